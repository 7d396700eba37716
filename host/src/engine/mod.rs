//! Runs guests: compiles components, keeps warm instances, makes one call against [`EntityIo`], and says how
//! it ended. Knows nothing of redb, partitions or HTTP. Invariant: after a trap the instance is gone.

mod bindings;
mod cache;
mod compile;
mod component;
mod guest;
mod host;
mod inspect;
mod instance;
mod limiter;
mod outcome;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod ticker;
mod wasi;
mod worker;
mod world;

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use cache::unusable_code;
pub use component::componentize;
pub use guest::{Engine, Guest};
pub use worker::Worker;

use crate::ids::{EntityRef, MessageId};

/// When a message or timer becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// As soon as its cause is durable.
    Now,
    /// At this time, in milliseconds since 1970.
    AtMs(u64),
}

/// Who hears how a message ended: a handler of the entity that sent it, called by a message once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The handler's name.
    pub handler: String,
    /// A JSON object, which the reply is put into.
    pub context: Bytes,
    /// Whether it waits for an operator when the message is parked.
    pub patient: bool,
}

/// How much a guest's log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Normal.
    Info,
    /// Unexpected and handled.
    Warn,
    /// Something failed.
    Error,
}

/// A pending named timer as its entity sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerInfo {
    /// Unique within the entity.
    pub name: String,
    /// The command it calls.
    pub handler: String,
    /// Milliseconds since 1970.
    pub due_ms: u64,
}

/// What one guest call may touch: its entity, its message, the transaction's clock, and nothing else.
/// `Err` ends the call at once with a trap of that kind.
pub trait EntityIo: Send {
    /// The entity this call is for.
    fn entity(&self) -> &EntityRef;
    /// The entity that sent the message.
    fn sender(&self) -> Option<&EntityRef>;
    /// The message's id.
    fn message_id(&self) -> MessageId;
    /// 1 on the first attempt.
    fn attempt(&self) -> u32;
    /// The transaction's time.
    fn now_ms(&self) -> u64;
    /// Fills `bytes` with randomness.
    fn random(&mut self, bytes: &mut [u8]);
    /// The input's content type when it is not JSON.
    fn content_type(&self) -> Option<&str>;
    /// A value of the app's configuration.
    fn config(&self, name: &str) -> Option<String>;
    /// The value of a state key; sees the call's own writes.
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault>;
    /// Replaces the value of a state key.
    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault>;
    /// Removes a state key.
    fn delete(&mut self, key: &[u8]) -> Result<(), Fault>;
    /// At most `limit` entries in `start..end`, backwards when `descending`.
    fn scan(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: u32,
        descending: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault>;
    /// Queues a message to an entity of the same app; `then` hears how it ended.
    fn send(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        input: Vec<u8>,
        due: Due,
        then: Option<Continuation>,
    ) -> Result<MessageId, Fault>;
    /// Cancels a message this entity sent that is not due yet.
    fn cancel(&mut self, id: &str) -> Result<bool, Fault>;
    /// Sets a named timer.
    fn timer_set(
        &mut self,
        name: &str,
        handler: &str,
        input: Vec<u8>,
        due: Due,
    ) -> Result<(), Fault>;
    /// Cancels a named timer.
    fn timer_cancel(&mut self, name: &str) -> Result<bool, Fault>;
    /// The pending timers in order of their names.
    fn timer_list(&mut self) -> Result<Vec<TimerInfo>, Fault>;
    /// Makes a token; `then` hears who uses it, or that nobody did until `expires`.
    fn callback_create(&mut self, then: Continuation, expires: Due) -> Result<String, Fault>;
    /// Withdraws a token that nobody has used.
    fn callback_cancel(&mut self, token: &str) -> Result<bool, Fault>;
    /// Writes a log line.
    fn log(&mut self, level: LogLevel, line: &str);
    /// Gives the caller of [`Worker::run`] its own type back.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Why a host call ended its guest's call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A named limit was reached.
    #[error("{what} is over its limit of {max}")]
    Limit {
        /// What was too large or too many, e.g. `state value bytes`.
        what: &'static str,
        /// The limit, in the unit `what` names.
        max: u64,
    },
    /// A query tried to write, send or set a timer.
    #[error("a query may not {what}; take &mut self (or declare the handler a command) to do so")]
    ReadOnly {
        /// What it tried.
        what: &'static str,
    },
    /// An argument made no sense: an unknown handler, a bad key.
    #[error("{0}")]
    BadArgument(String),
    /// `describe` used an import other than `log`.
    #[error("describe may use no import but log")]
    NoEntity,
    /// The host could not read its storage.
    #[error("the host failed: {0}")]
    Host(String),
}

impl Trap {
    /// Whether another attempt could end otherwise. One that starts with a fresh instance, a quieter machine or
    /// other state could; what a host call refuses for what it is, it refuses again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Misuse(_) | Self::ReadOnly(_))
    }
}

/// A failure that the guest returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, snake_case.
    pub code: String,
    /// For people.
    pub message: String,
    /// A JSON value as UTF-8, for programs.
    pub details: Option<Bytes>,
    /// False: a rejection, final.
    pub retryable: bool,
}

/// Why a call ended without an answer. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Trap {
    /// The handler panicked.
    #[error("panicked: {0}")]
    Panic(String),
    /// It ran longer than it may.
    #[error("ran longer than its deadline of {0} ms")]
    Deadline(u64),
    /// It wanted more memory than it may have.
    #[error("needs more memory than its limit of {0} bytes")]
    Memory(u64),
    /// It recursed too deep.
    #[error("used up its stack")]
    Stack,
    /// The host failed in a host call, or had no room for what it asked.
    #[error("{0}")]
    Fault(String),
    /// It tried to write in a query.
    #[error("{0}")]
    ReadOnly(String),
    /// Anything else the sandbox stopped: a wild memory access, a division by zero, …
    #[error("trapped: {0}")]
    Other(String),
    /// A host call refused what it was given: an argument without sense, or more than a limit. The same call
    /// would end the same.
    #[error("{0}")]
    Misuse(String),
}

/// How a guest call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It returned a value.
    Reply(Bytes),
    /// It returned a failure.
    Failed(Failure),
    /// It did not return.
    Trapped(Trap),
}

/// Whether warm instances serve an app's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Instances are kept within the app: fast; guest memory is a cache.
    #[default]
    App,
    /// Every call gets a fresh instance.
    Invocation,
}

/// One call to make.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The handler's name.
    pub handler: &'a str,
    /// Its input.
    pub input: &'a [u8],
    /// Wall time it may take.
    pub deadline: Duration,
    /// Linear memory it may use, in bytes.
    pub memory_bytes_max: usize,
    /// Fresh or warm.
    pub isolation: Isolation,
}

/// Why a component cannot be deployed. Each message says what is wrong and what would be right.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PrepareError {
    /// Not a WebAssembly component.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// Larger than [`crate::limits::COMPONENT_BYTES_MAX`] or with a part over its cap.
    #[error("the component is too large: {0}")]
    TooLarge(String),
    /// Imports something the host does not give, or lacks an export, or has one of another type.
    #[error("the component does not fit the world keystead:entity/app@0.1.0:\n{}", .0.join("\n"))]
    WrongWorld(Vec<String>),
    /// The compiler gave up, ran out of time or out of memory.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// `describe` trapped.
    #[error("describe failed: {0}")]
    Describe(String),
    /// The host's own failure.
    #[error("the host failed: {0}")]
    Host(String),
}

/// What an engine is made from.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// A private folder for compiled code; created when missing.
    pub cache_dir: PathBuf,
    /// Threads that will run guests: the pool is sized by it.
    pub workers: usize,
    /// The program that compiles in a child process as `PROGRAM compile-component`; `None` compiles in
    /// this process (tests of the engine alone).
    pub compiler: Option<PathBuf>,
}

/// The child process behind [`EngineConfig::compiler`]: reads a component from standard input, writes
/// compiled code to standard output, under limits of time and memory that it sets on itself.
///
/// # Errors
/// When the component does not compile; the message goes to the parent.
pub fn compile_in_child() -> anyhow::Result<()> {
    compile::child()
}

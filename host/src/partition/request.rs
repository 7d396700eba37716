//! What a partition is asked and what it answers: plain data between the edge and the partition's loop.
//! Answers that depend on state come wrapped in [`Durable`].

mod operate;
mod shown;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;

pub use operate::{
    Bulk, Change, DeadFilter, DeadMark, DeadPage, Expect, MessageFilter, MessageInfo, MessageMark,
    MessagePage, Put, PutDone, PutTimer, Removed, Scope, Settle,
};
pub use shown::{StateEntry, readable_value};

use crate::engine::{Due, Failure, Trap};
use crate::ids::{EntityRef, MessageId};
use crate::journal::Durable;

/// A command or query for one entity. The edge has checked that the handler exists, that it is of the right
/// kind, and that the input fits its schema.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Whom it is for.
    pub entity: EntityRef,
    /// The handler's name.
    pub handler: String,
    /// Its input: a JSON object, nothing, or bytes.
    pub input: Bytes,
    /// The content type when it is not JSON.
    pub content_type: Option<String>,
    /// W3C `traceparent` as it came.
    pub trace: Option<String>,
    /// `Idempotency-Key` as it came.
    pub idempotency_key: Option<String>,
}

/// What a command or query came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    /// The handler's value.
    Reply(Bytes),
    /// The handler's rejection: final, nothing kept.
    Rejected(Failure),
    /// It failed for good: an error or a trap of a call, nothing kept. A retry may succeed.
    Failed(CallFailure),
}

/// Why a call failed, or why a message was parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallFailure {
    /// The handler returned a retryable error.
    Error(Failure),
    /// The guest trapped, panicked, or went over a limit.
    Trap(Trap),
    /// The app or handler is gone since the message was accepted.
    NoHandler(String),
}

impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(failure) => write!(f, "{}: {}", failure.code, failure.message),
            Self::Trap(trap) => write!(f, "{trap}"),
            Self::NoHandler(what) => write!(f, "{what}"),
        }
    }
}

/// An answered call or a finished message.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The message's id.
    pub id: MessageId,
    /// What it came to.
    pub result: CallResult,
    /// The entity's version it was computed at: the number of committed commands.
    pub version: u64,
    /// True when this is the first answer of the same `Idempotency-Key` again.
    pub replayed: bool,
    /// Until when the `Idempotency-Key` is remembered, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// An accepted send.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The message's id.
    pub id: MessageId,
    /// True when the same `Idempotency-Key` was accepted before.
    pub previously: bool,
    /// Until when the `Idempotency-Key` is remembered, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// Whose messages somebody may know of.
#[derive(Debug, Clone)]
pub enum Sees {
    /// Everybody's.
    All,
    /// Those that are for entities of these apps.
    Apps(BTreeSet<String>),
}

/// Where a message is.
#[derive(Debug, Clone)]
pub enum MessageStatus {
    /// It took effect, or was rejected, and the outcome is still kept.
    Done(Answer),
    /// It is on its way.
    Pending(Stage),
    /// It is parked as a dead letter.
    Dead(DeadLetterInfo),
    /// Nothing of that id is known (any more), or nothing that whoever asks may know.
    Unknown,
}

/// Where a pending message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not due yet.
    Scheduled,
    /// Waiting at its entity.
    Queued,
    /// Being handled.
    Running,
    /// Waiting for its next attempt.
    BackingOff,
    /// Given up on.
    Dead,
}

/// What came of cancelling a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not run.
    Yes,
    /// It runs or ran.
    TooLate,
    /// Nothing of that id is known.
    Unknown,
}

/// What somebody outside says to a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A JSON value.
    Resolved(Bytes),
    /// A rejection.
    Rejected(Failure),
}

/// What came of using a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackUsed {
    /// Its entity will be called.
    Now,
    /// It was used before with the same verdict and body.
    Before,
    /// It was used before with another verdict or body.
    Otherwise,
    /// It expired, was withdrawn, was forgotten, or never was; or the token is wrong.
    Unknown,
}

/// What came of retrying or dropping a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadSettled {
    /// It was done.
    Yes,
    /// It cannot be retried: its sender was told that it failed, and may have acted on that.
    Answered,
    /// There is none of that id.
    Unknown,
}

/// A dead letter as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetterInfo {
    /// The message's id.
    pub id: String,
    /// Its target, `app/type/key`.
    pub entity: String,
    /// The handler it was for.
    pub handler: String,
    /// Who sent it, `app/type/key`.
    pub sender: Option<String>,
    /// The input: JSON when it is JSON, else text with bytes replaced.
    pub input: serde_json::Value,
    /// Why it was parked.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was parked, in milliseconds since 1970.
    pub parked_at_ms: u64,
    /// Whether its sender was told that it failed: it can be dropped, and not sent again.
    pub answered: bool,
}

/// One entity as operators see it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EntityInfo {
    /// `app/type/key`.
    pub entity: String,
    /// Committed commands.
    pub version: u64,
    /// True when it was removed and nothing has written since.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// True when a pause holds its commands.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// True while a command of it runs; not in listings.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
    /// State keys and values, in key order; empty in listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<StateEntry>,
    /// True when there is more state than is shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_state: bool,
    /// Pending named timers; empty in listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<TimerEntry>,
    /// Commands waiting, and the one that runs.
    pub mailbox: usize,
    /// Delayed messages that it sent and may still take back; not in listings.
    #[serde(skip_serializing_if = "is_zero")]
    pub delayed: usize,
    /// Callbacks that it waits for; not in listings.
    #[serde(skip_serializing_if = "is_zero")]
    pub callbacks: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One named timer as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerEntry {
    /// Its name.
    pub name: String,
    /// The command it calls.
    pub handler: String,
    /// Milliseconds since 1970.
    pub due_ms: u64,
    /// Its input: JSON when it is JSON.
    #[serde(default)]
    pub input: serde_json::Value,
}

/// One attempt at a command, as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct TurnInfo {
    /// Its number among its partition's turns since the host started.
    pub number: u64,
    /// The message that was handled.
    pub id: String,
    /// The entity, `app/type/key`.
    pub entity: String,
    /// The handler.
    pub handler: String,
    /// Where the message came from.
    pub cause: CauseInfo,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// `done`, `rejected`, `failed` (a call's, for its caller to make again), `retried` or `parked`.
    pub outcome: &'static str,
    /// Why, when it is not done.
    pub reason: Option<String>,
    /// The entity's version afterwards.
    pub version: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// From its start to its end, in microseconds; waiting is not in it.
    pub took_us: u64,
    /// What it sent.
    pub sent: Vec<SentInfo>,
}

/// Where a message came from.
#[derive(Debug, Clone, Serialize)]
pub struct CauseInfo {
    /// `ingress`, `entity`, `timer` or `callback`.
    pub kind: &'static str,
    /// The entity that sent it, or that it is a reply of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The timer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// The message that was handled when this one was sent, if that is remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A message that a turn sent.
#[derive(Debug, Clone, Serialize)]
pub struct SentInfo {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub entity: String,
    /// The handler it is for.
    pub handler: String,
    /// The name of the timer that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// When it is due, in milliseconds since 1970, if it was sent with a delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// What caused a message, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Journey {
    /// The message that was asked for.
    pub id: String,
    /// A tree of messages by `cause.message`; causes stand before what they caused.
    pub messages: Vec<StepInfo>,
    /// True when the first one has a cause that is not shown.
    pub cut_above: bool,
    /// True when more came of it than is shown.
    pub cut_below: bool,
    /// Since when turns are remembered, in milliseconds since 1970.
    pub since_ms: u64,
}

/// One message of a journey.
#[derive(Debug, Clone, Serialize)]
pub struct StepInfo {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub entity: String,
    /// The handler it is for.
    pub handler: String,
    /// Where it came from.
    pub cause: CauseInfo,
    /// What its last attempt came to, as in [`TurnInfo::outcome`]; or where it is: `scheduled`, `queued`,
    /// `running`, `backing_off`, `parked`; or `cancelled` by an entity; or `unknown`: an operator cancelled it, or it
    /// is not remembered.
    pub status: &'static str,
    /// Why, when it is not done.
    pub reason: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When it is due, in milliseconds since 1970.
    pub due_ms: Option<u64>,
    /// The entity's version after its last attempt.
    pub version: Option<u64>,
    /// When that ended, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// How long it took, in microseconds.
    pub took_us: Option<u64>,
}

/// A page of turns, the newest first.
#[derive(Debug, Clone)]
pub struct Turns {
    /// They.
    pub turns: Vec<TurnInfo>,
    /// Since when turns are remembered, in milliseconds since 1970.
    pub since_ms: u64,
}

/// Gauges of one partition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartitionStatus {
    /// Last durable journal position.
    pub durable: u64,
    /// Journal position that the state file holds.
    pub checkpointed: u64,
    /// Bytes of uncheckpointed writes in memory.
    pub view_bytes: usize,
    /// Messages waiting or backing off.
    pub queued: usize,
    /// How long the one that came first has waited, in milliseconds, since the partition was opened at most.
    pub oldest_ms: u64,
    /// Of these, the ones backing off.
    pub backing_off: usize,
    /// Messages and timers that are not due.
    pub scheduled: usize,
    /// Of these, the named timers.
    pub timers: usize,
    /// Dead letters.
    pub dead: usize,
    /// What operators paused: everything, apps, types and entities.
    pub pauses: usize,
    /// Guest calls running.
    pub running: usize,
    /// Transactions committed since start.
    pub transactions: u64,
    /// Journal appends (one fsync each) since start.
    pub appends: u64,
    /// Checkpoints written since start.
    pub checkpoints: u64,
    /// Why it refuses work, when it does.
    pub poisoned: Option<String>,
    /// Where guests that are not quick run.
    pub threads: Threads,
}

/// How an executor's threads are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// They run a guest.
    pub busy: usize,
    /// They have nothing to do.
    pub idle: usize,
    /// Guest calls that wait for one.
    pub waiting: usize,
}

/// Why a partition did not take a request. Nothing of it is kept, and it may be said at once: it depends on
/// no state that could still be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many commands wait at this entity.
    #[error("{waiting} commands wait at this entity, the most it may have; try again later")]
    MailboxFull {
        /// How many.
        waiting: usize,
    },
    /// The partition is over a limit.
    #[error("the host is over its limit of {what}; try again later")]
    Overloaded {
        /// Which.
        what: &'static str,
    },
    /// The app is over a quota of its own.
    #[error("the app is over its quota of {max} {what}; try again later")]
    OverQuota {
        /// Of what, with its unit.
        what: &'static str,
        /// The quota.
        max: usize,
    },
    /// The partition is closed: it shuts down, or its storage failed.
    #[error("this entity's partition is not available: {0}")]
    Unavailable(String),
    /// The `Idempotency-Key` was used with another handler or body.
    #[error("this Idempotency-Key was used before with another handler or body")]
    IdempotencyMismatch,
    /// An operator paused the entity.
    #[error("this entity is paused; its commands wait until somebody resumes it")]
    Paused,
    /// An operator removes the entity for which this waited.
    #[error("this entity is being removed; nothing of this command happened")]
    Removed,
    /// The wait for the result took too long; the command may still take effect.
    #[error("no result within {ms} ms; it may still take effect: ask for {id}")]
    TimedOut {
        /// How long it was.
        ms: u64,
        /// By which to ask what came of it.
        id: MessageId,
    },
}

/// A durable answer or a refusal.
pub type Answered<T> = Result<Durable<T>, Refusal>;

/// A send: an invocation and when it is due.
#[derive(Debug, Clone)]
pub struct Send {
    /// What to run.
    pub invocation: Invocation,
    /// When.
    pub due: Due,
}

//! Tests of handlers without a host: [`World`] runs them natively, with transactions, delivery, retries and
//! virtual time, in memory and the same each time. What a guest's plain `cargo test` uses.
//!
//! ```
//! use keystead_sdk::prelude::*;
//!
//! #[entity]
//! pub struct Counter {
//!     count: u64,
//! }
//!
//! #[handlers]
//! impl Counter {
//!     pub fn add(&mut self, by: u64) -> u64 {
//!         self.count += by;
//!         self.count
//!     }
//! }
//!
//! use keystead_sdk::testing::{World, json};
//!
//! let mut world = World::new().with::<Counter>();
//! assert_eq!(world.call::<u64>("counter", "c1", "add", json!({"by": 2})).unwrap(), 2);
//! // The same, checked by the compiler:
//! assert_eq!(world.call_typed::<u64>(Counter::at("c1").add(3)).unwrap(), 5);
//! ```

mod callbacks;
mod delivery;

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{EntityRef, MessageId, PendingTimer};
use crate::entity::{EntityType, HandlerKind, Handlers};
use crate::host::native::{self, Call, TimerRow};
use crate::log::Level;
use crate::message::Message;
use crate::migration::{MIGRATE, OUTDATED};
use crate::{Bytes, Error, Result, Timestamp, time};

pub use delivery::DeadLetter;
pub use serde_json::json;

use callbacks::Callbacks;
use delivery::Pending;

/// Where a world's clock starts: 2025-01-01T00:00:00Z.
const START_MS: u64 = 1_735_689_600_000;
/// Attempts before a message is parked, unless [`World::attempts`] says otherwise; as the host has it.
const ATTEMPTS_MAX: u32 = 10;

/// Entities, messages and a clock, in memory.
///
/// A call runs at once. What it sends waits until [`settle`](Self::settle) or
/// [`advance`](Self::advance) delivers it, as messages are delivered after their sender has committed.
#[derive(Debug)]
pub struct World {
    types: Vec<EntityType>,
    entities: BTreeMap<EntityRef, Stored>,
    pending: Vec<Pending>,
    dead: Vec<DeadLetter>,
    callbacks: Callbacks,
    rejected: Vec<(MessageId, Error)>,
    log: Vec<(Level, String)>,
    config: BTreeMap<String, String>,
    attempts_max: u32,
    now_ms: u64,
    messages: u64,
}

/// What one entity keeps between calls.
#[derive(Debug, Clone, Default)]
struct Stored {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    timers: BTreeMap<String, TimerRow>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world without entity types.
    #[must_use]
    pub fn new() -> Self {
        Self {
            types: Vec::new(),
            entities: BTreeMap::new(),
            pending: Vec::new(),
            dead: Vec::new(),
            callbacks: Callbacks::default(),
            rejected: Vec::new(),
            log: Vec::new(),
            config: BTreeMap::new(),
            attempts_max: ATTEMPTS_MAX,
            now_ms: START_MS,
            messages: 0,
        }
    }

    /// The same with the entity type `E`.
    #[must_use]
    pub fn with<E: Handlers>(mut self) -> Self {
        self.types.push(EntityType::of::<E>());
        self
    }

    /// Replaces the entity type of the same name, as deploying another version of the app does: for tests of
    /// migrations.
    pub fn deploy<E: Handlers>(&mut self) {
        self.types.retain(|entity| entity.name() != E::TYPE);
        self.types.push(EntityType::of::<E>());
    }

    /// The same with a value of the app's configuration.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.config.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with other attempts before a message is parked: `retry.attempts_max` of `keystead.toml`.
    #[must_use]
    pub fn attempts(mut self, attempts_max: u32) -> Self {
        assert!(attempts_max > 0, "a message gets one attempt at least");
        self.attempts_max = attempts_max;
        self
    }

    /// Runs a command as a call from outside: once, its failure is returned.
    ///
    /// # Errors
    /// The handler's; a panic has the code `handler_panicked`.
    pub fn call<R: DeserializeOwned + 'static>(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        arguments: impl Serialize,
    ) -> Result<R> {
        decode(self.call_bytes(kind, key, handler, &encode(&arguments), None)?)
    }

    /// Runs a command that a client made, `Account::at("alice").deposit(5)`, and gives what it returns.
    ///
    /// # Errors
    /// The handler's; a panic has the code `handler_panicked`.
    pub fn call_typed<R>(&mut self, message: Message<R>) -> Result<R>
    where
        R: DeserializeOwned + 'static,
    {
        let Message { kind, key, handler, input, .. } = message;
        decode(self.call_bytes(kind, &key, handler, &input, None)?)
    }

    /// Runs a command with a raw body.
    ///
    /// # Errors
    /// The handler's; a panic has the code `handler_panicked`.
    pub fn call_bytes(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        body: &[u8],
        content_type: Option<&str>,
    ) -> Result<Vec<u8>> {
        let entity = self.entity(kind, key, handler, false);
        let call = self.new_call(entity, None, content_type);
        self.run(call, handler, body)
    }

    /// Runs a query.
    ///
    /// # Errors
    /// The handler's; a panic has the code `handler_panicked`.
    pub fn read<R: DeserializeOwned + 'static>(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        arguments: impl Serialize,
    ) -> Result<R> {
        decode(self.read_bytes(kind, key, handler, &encode(&arguments))?)
    }

    /// Runs a query with a raw body.
    ///
    /// # Errors
    /// The handler's; a panic has the code `handler_panicked`.
    pub fn read_bytes(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let entity = self.entity(kind, key, handler, true);
        let reply = self.query(entity.clone(), handler, body);
        match reply {
            Err(error) if error.code() == OUTDATED => {
                // As the host does: a query can't write, so a command brings the state up to date first.
                let migration = self.new_call(entity.clone(), None, None);
                self.run(migration, MIGRATE, b"{}")?;
                self.query(entity, handler, body)
            }
            reply => reply,
        }
    }

    fn query(&mut self, entity: EntityRef, handler: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut call = self.new_call(entity, None, None);
        call.read_only = true;
        self.run(call, handler, body)
    }

    /// Queues a command as a send from outside; [`settle`](Self::settle) delivers it.
    pub fn send(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        arguments: impl Serialize,
    ) -> MessageId {
        let target = self.entity(kind, key, handler, false);
        self.enqueue(target, handler, encode(&arguments))
    }

    /// Moves the clock and delivers, in order of time, all that becomes due: messages, retries, timers.
    pub fn advance(&mut self, by: Duration) {
        let until_ms = self.now_ms.saturating_add(time::millis(by));
        self.deliver_until(until_ms);
        self.now_ms = until_ms;
    }

    /// Delivers until nothing is queued and nothing waits for its next attempt. The clock moves only as
    /// far as retries need it to; delayed messages and timers beyond stay pending.
    pub fn settle(&mut self) {
        loop {
            self.deliver_until(self.now_ms);
            let Some(retry_ms) = self.next_retry_ms() else { return };
            self.deliver_until(retry_ms);
        }
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now_ms)
    }

    /// Messages that are neither done nor parked.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Messages that used up their attempts, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> &[DeadLetter] {
        &self.dead
    }

    /// Messages that their handlers rejected for good, oldest first. Calls are not among them.
    #[must_use]
    pub fn rejections(&self) -> &[(MessageId, Error)] {
        &self.rejected
    }

    /// The pending timers of an entity, in order of their names.
    #[must_use]
    pub fn timers(&self, kind: &str, key: &str) -> Vec<PendingTimer> {
        let row = |(name, row): (&String, &TimerRow)| PendingTimer {
            name: name.clone(),
            handler: row.handler.clone(),
            due: Timestamp::from_ms(row.due_ms),
        };
        let stored = self.entities.get(&entity_ref(kind, key));
        stored.map(|stored| stored.timers.iter().map(row).collect()).unwrap_or_default()
    }

    /// The state of an entity as it is stored.
    #[must_use]
    pub fn state(&self, kind: &str, key: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let stored = self.entities.get(&entity_ref(kind, key));
        stored.map(|stored| stored.state.clone()).unwrap_or_default()
    }

    /// What was logged, oldest first.
    #[must_use]
    pub fn log(&self) -> &[(Level, String)] {
        &self.log
    }

    /// The entity, after checking that the test names a handler of the right kind.
    fn entity(&self, kind: &str, key: &str, handler: &str, query: bool) -> EntityRef {
        let Some(entity) = self.types.iter().find(|entity| entity.name() == kind) else {
            let known: BTreeSet<_> = self.types.iter().map(EntityType::name).collect();
            panic!(
                "this world has no entity type {kind:?}, only {known:?}: add it with World::with"
            );
        };
        match (entity.kind_of(handler), query) {
            (Some(HandlerKind::Query), false) => {
                panic!("{handler} of {kind} is a query: use World::read")
            }
            (Some(HandlerKind::Command), true) => {
                panic!("{handler} of {kind} is not a query: use World::call")
            }
            (Some(HandlerKind::Internal), _) => panic!(
                "{handler} of {kind} is internal: messages, timers and replies call it, nobody outside"
            ),
            _ => entity_ref(kind, key),
        }
    }

    /// The first attempt of a new message.
    fn new_call(
        &mut self,
        entity: EntityRef,
        sender: Option<EntityRef>,
        content_type: Option<&str>,
    ) -> Call {
        Call {
            message_id: self.new_id(),
            attempt: 1,
            sender,
            content_type: content_type.map(str::to_owned),
            entity,
            ..Call::default()
        }
    }

    fn new_id(&mut self) -> String {
        self.messages += 1;
        format!("m{}", self.messages)
    }

    /// Runs one attempt as a transaction: all that it did is kept, or nothing.
    fn run(&mut self, mut call: Call, handler: &str, input: &[u8]) -> Result<Vec<u8>> {
        let entity = call.entity.clone();
        let Some(entity_type) = self.types.iter().find(|one| one.name() == entity.kind).copied()
        else {
            return Err(Error::retryable(format!("this world has no entity type {}", entity.kind)));
        };
        let Stored { state, timers } = self.entities.get(&entity).cloned().unwrap_or_default();
        let own = |pending: &&Pending| {
            pending.sender.as_ref() == Some(&entity) && pending.due_ms > self.now_ms
        };
        call.cancellable = self.pending.iter().filter(own).map(|one| one.id.clone()).collect();
        call.open_callbacks = self.callbacks.open_of(&entity);
        call.app = "test".to_owned();
        call.now_ms = self.now_ms;
        call.seed = self.messages.wrapping_mul(31).wrapping_add(u64::from(call.attempt));
        call.config = self.config.clone();
        (call.state, call.timers) = (state, timers);

        let body = || catch_unwind(AssertUnwindSafe(|| entity_type.handle(handler, input)));
        let (ended, call) = native::run(call, body);
        self.log.extend(call.log.iter().cloned());
        let reply = ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?;
        self.commit(call);
        Ok(reply)
    }
}

fn entity_ref(kind: &str, key: &str) -> EntityRef {
    EntityRef { kind: kind.to_owned(), key: key.to_owned() }
}

fn encode(arguments: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(arguments).unwrap_or_else(|error| panic!("arguments are not JSON: {error}"))
}

fn decode<R: DeserializeOwned + 'static>(reply: Vec<u8>) -> Result<R> {
    if TypeId::of::<R>() == TypeId::of::<Bytes>() {
        let bytes: Box<dyn Any> = Box::new(Bytes(reply));
        return Ok(*bytes.downcast().expect("it is the type that was asked for"));
    }
    serde_json::from_slice(&reply).map_err(|error| {
        let (reply, wanted) = (reply.escape_ascii(), std::any::type_name::<R>());
        Error::rejected(format!("the reply {reply} is not a {wanted}: {error}"))
    })
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    Error::retryable(text.unwrap_or_default()).with_code("handler_panicked")
}

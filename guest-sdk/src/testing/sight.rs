//! What a test can see of a world besides its answers: entities' state as they see it, messages that were
//! sent, and the trace of what happened. Invariant: looking changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::{START_MS, World};
use crate::context::{EntityRef, MessageId};
use crate::entity::Handlers;
use crate::host::native::{self, Call, Sent};
use crate::{Timestamp, migration};

/// What happened, a line each. Shared with whoever reports a failure after the world is gone.
pub(super) type Trace = Arc<Mutex<Vec<String>>>;

/// A message that an entity sent.
#[derive(Debug, Clone)]
pub struct SentMessage {
    /// Its id.
    pub id: MessageId,
    /// Who sent it.
    pub sender: EntityRef,
    /// Whom it is for.
    pub target: EntityRef,
    /// The command it is for.
    pub handler: String,
    /// Its input.
    pub input: Vec<u8>,
    /// When it is due.
    pub due: Timestamp,
}

impl SentMessage {
    pub(super) fn of(sender: &EntityRef, sent: &Sent) -> Self {
        let Sent { id, target, handler, input, due_ms, .. } = sent.clone();
        let (id, due) = (MessageId::new(id), Timestamp::from_ms(due_ms));
        Self { id, sender: sender.clone(), target, handler, input, due }
    }

    /// The argument `name`.
    ///
    /// # Panics
    /// When it has no such argument, or one of another type.
    #[must_use]
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> T {
        let found = serde_json::from_slice::<serde_json::Value>(&self.input)
            .and_then(|mut input| serde_json::from_value(input[name].take()));
        found.unwrap_or_else(|error| panic!("argument `{name}` of {}: {error}", self.handler))
    }
}

impl World {
    /// Shows the entity `key` of type `E` to `look`, as its handlers see it:
    /// `world.inspect("alice", |account: &Account| account.balance)`.
    ///
    /// # Panics
    /// When what is stored is no `E`.
    pub fn inspect<E: Handlers, R>(&self, key: &str, look: impl FnOnce(&E) -> R) -> R {
        let entity = super::entity_ref(E::TYPE, key);
        let mut call = Call { entity, ..Call::default() };
        self.prepare(&mut call);
        // State of an older version is migrated for the look; like all of the call, that is dropped.
        let body = || match migration::load::<E>(false) {
            Ok(loaded) => look(&loaded.entity),
            Err(error) => panic!("{}/{key} can't be loaded: {error}", E::TYPE),
        };
        let (seen, _) = native::run(call, || catch_unwind(AssertUnwindSafe(body)));
        seen.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// All messages that entities sent, in the order in which their senders committed. Replies and timers are
    /// not among them.
    #[must_use]
    pub fn sent(&self) -> &[SentMessage] {
        &self.sent
    }

    /// What happened, a line each, when the world has faults: the same seed gives the same lines.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a line to the trace.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if self.faults.is_some() {
            let passed_ms = self.now_ms - START_MS;
            let line = format!("{:>5}.{:03} s  {}", passed_ms / 1000, passed_ms % 1000, line());
            self.trace.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

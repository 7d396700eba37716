//! Messages to commands, made by the clients that `#[handlers]` writes: `Account::at(key).deposit(5)` is a
//! message to another entity, `Account::timer(name).deposit(5)` a timer of this one.
//! Invariant: nothing goes out before `send` or `set`, and then only if the call commits.

use std::time::Duration;

use crate::context::{Ctx, MessageId};
use crate::host::{self, Due};
use crate::{Timestamp, time};

/// Where a client's messages go, and so what its methods make.
pub trait Target {
    /// [`Message`] or [`Timer`].
    type Call;

    /// A call of `handler` of type `kind` with `input`.
    #[doc(hidden)]
    fn call(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Self::Call;
}

/// The entity of a key.
#[derive(Debug, Clone)]
pub struct AtKey(String);

impl AtKey {
    #[doc(hidden)]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl Target for AtKey {
    type Call = Message;

    fn call(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Message {
        Message { kind, key: self.0.clone(), handler, input, due: Due::Now }
    }
}

/// This entity, when a timer is due.
#[derive(Debug, Clone)]
pub struct AtTimer(String);

impl AtTimer {
    #[doc(hidden)]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl Target for AtTimer {
    type Call = Timer;

    fn call(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Timer {
        Timer { name: self.0.clone(), kind, handler, input, due: Due::Now }
    }
}

/// A message to a command of an entity of the same app. It is delivered when this call has committed,
/// takes effect exactly once, and in the order in which this entity sent to that one.
#[derive(Debug, Clone)]
#[must_use = "a message goes out when it is sent: .send(ctx)"]
pub struct Message {
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) handler: &'static str,
    pub(crate) input: Vec<u8>,
    pub(crate) due: Due,
}

impl Message {
    /// The same, due this long after the transaction's time.
    pub fn after(mut self, delay: Duration) -> Self {
        self.due = Due::InMs(time::millis(delay));
        self
    }

    /// The same, due at this time; a time in the past means now.
    pub fn at(mut self, when: Timestamp) -> Self {
        self.due = Due::AtMs(when.as_ms());
        self
    }

    /// Sends it with this transaction. The id can cancel it while it is not due.
    pub fn send(self, _ctx: &Ctx) -> MessageId {
        MessageId::new(host::send(self.kind, &self.key, self.handler, &self.input, self.due))
    }
}

/// A named timer of this entity: it calls a command of this entity once, when it is due.
#[derive(Debug, Clone)]
#[must_use = "a timer runs when it is set: .set(ctx)"]
pub struct Timer {
    name: String,
    kind: &'static str,
    handler: &'static str,
    input: Vec<u8>,
    due: Due,
}

impl Timer {
    /// The same, due this long after the transaction's time.
    pub fn after(mut self, delay: Duration) -> Self {
        self.due = Due::InMs(time::millis(delay));
        self
    }

    /// The same, due at this time; a time in the past means now.
    pub fn at(mut self, when: Timestamp) -> Self {
        self.due = Due::AtMs(when.as_ms());
        self
    }

    /// Sets it with this transaction, replacing a timer of the same name that has not run.
    ///
    /// # Panics
    /// When its command belongs to another entity type: a timer calls its own entity.
    pub fn set(self, ctx: &Ctx) {
        let own = &ctx.entity().kind;
        assert!(own == self.kind, "a timer of {own} can't call a command of {}", self.kind);
        host::timer_set(&self.name, self.handler, &self.input, self.due);
    }
}

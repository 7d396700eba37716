//! Messages to commands, made by the clients that `#[handlers]` writes: `Account::at(key).deposit(5)` is a
//! message to another entity, `Account::timer(name).deposit(5)` a timer of this one. A message knows what its
//! command returns, so that only a handler that takes that can hear the reply.
//! Invariant: nothing goes out before `send` or `set`, and then only if the call commits.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::context::{Ctx, MessageId};
use crate::continuation::Then;
use crate::host::{self, Due};
use crate::{Timestamp, time};

/// Where a client's messages go, and so what its methods make.
pub trait Target {
    /// [`Message`] or [`Timer`] of a command that returns `R`.
    type Call<R>;

    /// A call of `handler` of type `kind` with `input`.
    #[doc(hidden)]
    fn call<R>(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Self::Call<R>;
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
    type Call<R> = Message<R>;

    fn call<R>(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Message<R> {
        let key = self.0.clone();
        Message { kind, key, handler, input, due: Due::Now, patient: false, of: PhantomData }
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
    type Call<R> = Timer;

    fn call<R>(&self, kind: &'static str, handler: &'static str, input: Vec<u8>) -> Timer {
        Timer { name: self.0.clone(), kind, handler, input, due: Due::Now }
    }
}

/// A message to a command of an entity of the same app. It is delivered when this call has committed,
/// takes effect exactly once, and in the order in which this entity sent to that one. `R` is what the
/// command returns when it succeeds.
#[must_use = "a message goes out when it is sent: .send(ctx) or .call_then(ctx, …)"]
pub struct Message<R = ()> {
    pub(crate) kind: &'static str,
    pub(crate) key: String,
    pub(crate) handler: &'static str,
    pub(crate) input: Vec<u8>,
    pub(crate) due: Due,
    pub(crate) patient: bool,
    of: PhantomData<fn() -> R>,
}

impl<R> Message<R> {
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

    /// The same, whose reply waits for people: when the message becomes a dead letter nothing is told until
    /// an operator has retried it with success or dropped it. Without this, a dead letter is told at once
    /// and is final. It matters to [`call_then`](Self::call_then) only.
    pub fn patient(mut self) -> Self {
        self.patient = true;
        self
    }

    /// Sends it with this transaction. The id can cancel it while it is not due.
    pub fn send(self, _ctx: &Ctx) -> MessageId {
        MessageId::new(host::send(self.kind, &self.key, self.handler, &self.input, self.due))
    }

    /// Sends it with this transaction; when it has ended, `then`, a reply handler of this entity, is called
    /// with the [`Reply`](crate::Reply): once, in one transaction with that end. Cancelling the message
    /// cancels the reply too.
    ///
    /// ```
    /// use keystead_sdk::prelude::*;
    ///
    /// #[entity]
    /// pub struct Stock { free: u64 }
    ///
    /// #[handlers]
    /// impl Stock {
    ///     pub fn reserve(&mut self, count: u64) -> Result<u64> {
    ///         ensure!(count <= self.free, code = "sold_out", "only {} left", self.free);
    ///         self.free -= count;
    ///         Ok(self.free)
    ///     }
    /// }
    ///
    /// #[entity]
    /// pub struct Order { status: String }
    ///
    /// #[handlers]
    /// impl Order {
    ///     pub fn place(&mut self, ctx: &Ctx, item: String) {
    ///         Stock::at(&*item).reserve(1).call_then(ctx, Order::reply().reserved(item));
    ///     }
    ///
    ///     pub fn reserved(&mut self, reply: Reply<u64>, item: String) {
    ///         self.status = match reply {
    ///             Reply::Ok(left) => format!("one {item} of {}", left + 1),
    ///             Reply::Rejected(no) | Reply::Failed(no) => no.code,
    ///         };
    ///     }
    ///
    ///     pub fn status(&self) -> String { self.status.clone() }
    /// }
    ///
    /// use keystead_sdk::testing::{World, json};
    ///
    /// let mut world = World::new().with::<Order>().with::<Stock>();
    /// world.call_typed(Order::at("o1").place("lamp")).unwrap();
    /// world.settle();
    /// assert_eq!(world.read::<String>("order", "o1", "status", json!({})).unwrap(), "sold_out");
    /// ```
    ///
    /// A handler that takes another reply does not compile:
    ///
    /// ```compile_fail,E0308
    /// # use keystead_sdk::prelude::*;
    /// # #[entity] pub struct Order { status: String }
    /// # #[handlers] impl Order {
    /// pub fn total(&mut self) -> u64 { 0 }
    /// pub fn ask(&mut self, ctx: &Ctx) {
    ///     Order::at("other").total().call_then(ctx, Order::reply().told());
    /// }
    /// pub fn told(&mut self, reply: Reply<String>) {}
    /// # }
    /// ```
    ///
    /// # Panics
    /// When `then` belongs to another entity type: the reply goes to the entity that asks.
    pub fn call_then(self, ctx: &Ctx, then: Then<R>) -> MessageId {
        let then = then.of(&ctx.entity().kind, self.patient);
        let Self { kind, key, handler, input, due, .. } = self;
        MessageId::new(host::call_then(kind, &key, handler, &input, due, &then))
    }
}

// By hand, because a derive would ask the same of `R`.
impl<R> Clone for Message<R> {
    fn clone(&self) -> Self {
        let Self { kind, key, handler, input, due, patient, of } = self;
        let (key, input) = (key.clone(), input.clone());
        Self { kind, key, handler, input, due: *due, patient: *patient, of: *of }
    }
}

impl<R> fmt::Debug for Message<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, handler, input, due, patient, .. } = self;
        let input = input.escape_ascii();
        write!(f, "{handler} of {kind}/{key} with {input}, {due:?}, patient: {patient}")
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

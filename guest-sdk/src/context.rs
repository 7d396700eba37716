//! What a handler knows besides its entity: who it is, who asks, and the transaction's clock and chance.
//! Invariant: only [`Ctx`] can send, and only commands get one.

use std::cell::OnceCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::continuation::{CallbackToken, Then};
use crate::host::Due;
use crate::{Timestamp, host, time};

/// The context of a command: all of [`QueryCtx`], and the right to send and to set timers.
///
/// ```compile_fail
/// # use keystead_sdk::prelude::*;
/// # #[entity] pub struct Account { balance: u64 }
/// # #[handlers] impl Account {
/// #     pub fn deposit(&mut self, amount: u64) {}
/// // A query's context can't send.
/// pub fn peek(&self, ctx: &QueryCtx) {
///     Account::at("bob").deposit(1).send(ctx);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Ctx(QueryCtx);

impl Ctx {
    pub(crate) fn new() -> Self {
        Self(QueryCtx::new())
    }

    /// Cancels a delayed message that this entity sent; false when it is due already, or unknown.
    pub fn cancel(&self, message: &MessageId) -> bool {
        host::cancel(message.as_str())
    }

    /// Makes a token that the world outside resolves or rejects, once, by
    /// `POST /v1/callbacks/{token}/resolve` or `…/reject`: `then`, a reply handler of this entity, is called with
    /// the value or the rejection; or, after `expires` (at most 400 days), with [`Reply::Failed`](crate::Reply)
    /// and the code `expired`, whichever is first. Whoever has the token may use it: hand it to nobody else.
    ///
    /// ```
    /// use keystead_sdk::prelude::*;
    ///
    /// #[entity]
    /// pub struct Expense { approved_by: Option<String>, closed: bool }
    ///
    /// #[handlers]
    /// impl Expense {
    ///     pub fn submit(&mut self, ctx: &Ctx) -> CallbackToken {
    ///         ctx.callback(Expense::reply().decided(), Duration::from_secs(7 * 86_400))
    ///     }
    ///
    ///     pub fn decided(&mut self, reply: Reply<String>) {
    ///         self.approved_by = reply.ok();
    ///         self.closed = true;
    ///     }
    ///
    ///     pub fn approved_by(&self) -> Option<String> { self.approved_by.clone() }
    /// }
    ///
    /// use keystead_sdk::testing::{World, json};
    ///
    /// let mut world = World::new().with::<Expense>();
    /// let token = world.call_typed(Expense::at("e1").submit()).unwrap();
    /// world.resolve(&token, "ann").unwrap();
    /// world.settle();
    /// let by: Option<String> = world.read("expense", "e1", "approved_by", json!({})).unwrap();
    /// assert_eq!(by.as_deref(), Some("ann"));
    /// ```
    ///
    /// # Panics
    /// When `then` belongs to another entity type.
    pub fn callback<R>(&self, then: Then<R>, expires: Duration) -> CallbackToken {
        let then = then.of(&self.entity().kind, false);
        CallbackToken::new(host::callback_create(&then, Due::InMs(time::millis(expires))))
    }

    /// Withdraws a token of this entity that nobody has used; false when it is too late or unknown.
    pub fn cancel_callback(&self, token: &CallbackToken) -> bool {
        host::callback_cancel(token.as_str())
    }

    /// Cancels the timer `name` of this entity; false when there is none.
    pub fn cancel_timer(&self, name: &str) -> bool {
        host::timer_cancel(name)
    }
}

impl Deref for Ctx {
    type Target = QueryCtx;

    fn deref(&self) -> &QueryCtx {
        &self.0
    }
}

/// The context of a query.
#[derive(Debug)]
pub struct QueryCtx {
    entity: OnceCell<EntityRef>,
    /// A context belongs to its call, and a call to its thread.
    here: PhantomData<*const ()>,
}

impl QueryCtx {
    pub(crate) fn new() -> Self {
        Self { entity: OnceCell::new(), here: PhantomData }
    }

    /// This entity's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.entity().key
    }

    /// This entity: its type's name and its key.
    #[must_use]
    pub fn entity(&self) -> &EntityRef {
        self.entity.get_or_init(host::self_ref)
    }

    /// The app this entity belongs to.
    #[must_use]
    pub fn app(&self) -> String {
        host::app()
    }

    /// The entity that sent the message; none for calls and sends from outside and for timers.
    #[must_use]
    pub fn sender(&self) -> Option<EntityRef> {
        host::sender()
    }

    /// The id of the message being handled, the same on every attempt.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId(host::message_id())
    }

    /// 1 on the first attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        host::attempt()
    }

    /// The transaction's time. It does not move during a call.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_ms(host::now_ms())
    }

    /// `N` random bytes, at most 1024.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let len = u32::try_from(N).unwrap_or(u32::MAX);
        let mut bytes = [0; N];
        bytes.copy_from_slice(&host::random(len));
        bytes
    }

    /// A random number.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        u64::from_le_bytes(self.random())
    }

    /// The content type of the input when it is not JSON.
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        host::content_type()
    }

    /// A value of the app's configuration: `[values]` in its `keystead.toml`, or what `keystead config set` or
    /// `keystead secret set` gave it since.
    #[must_use]
    pub fn config(&self, name: &str) -> Option<String> {
        host::config(name)
    }

    /// The pending timers of this entity, in order of their names.
    #[must_use]
    pub fn timers(&self) -> Vec<PendingTimer> {
        host::timers()
    }
}

/// The address of an entity of the same app.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityRef {
    /// The entity type's name, e.g. `account`.
    pub kind: String,
    /// Its key.
    pub key: String,
}

impl fmt::Display for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

/// The id of a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(String);

impl MessageId {
    pub(crate) fn new(id: String) -> Self {
        Self(id)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A timer that has not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTimer {
    /// Unique within the entity.
    pub name: String,
    /// The command it calls.
    pub handler: String,
    /// When.
    pub due: Timestamp,
}

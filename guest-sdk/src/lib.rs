//! Write Keystead entities in Rust: a struct is an entity type's state, its methods are the handlers.
//!
//! ```
//! use keystead_sdk::prelude::*;
//!
//! #[entity]
//! pub struct Account {
//!     balance: u64,
//! }
//!
//! #[handlers]
//! impl Account {
//!     /// `&mut self`: a command. It runs alone on its entity; all it does commits together.
//!     pub fn deposit(&mut self, amount: u64) -> u64 {
//!         self.balance += amount;
//!         self.balance
//!     }
//!
//!     pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<u64> {
//!         ensure!(self.balance >= amount, code = "insufficient_funds", "only {} left", self.balance);
//!         self.balance -= amount;
//!         Account::at(to).deposit(amount).send(ctx);
//!         Ok(self.balance)
//!     }
//!
//!     /// `&self`: a query. It can't write, and runs beside others.
//!     pub fn balance(&self) -> u64 {
//!         self.balance
//!     }
//! }
//!
//! use keystead_sdk::testing::{World, json};
//!
//! let mut world = World::new().with::<Account>();
//! world.call::<u64>("account", "alice", "deposit", json!({"amount": 10})).unwrap();
//! world.call::<u64>("account", "alice", "transfer", json!({"to": "bob", "amount": 4})).unwrap();
//! world.settle();
//! assert_eq!(world.read::<u64>("account", "bob", "balance", json!({})).unwrap(), 4);
//!
//! let all = json!({"to": "bob", "amount": 7});
//! let error = world.call::<u64>("account", "alice", "transfer", all).unwrap_err();
//! assert_eq!(error.code(), "insufficient_funds");
//! ```
//!
//! # How a handler ends
//! * It returns a value: what it wrote, sent and scheduled commits, then the caller gets the value.
//! * [`reject!`] or [`ensure!`]: nothing is kept, the caller gets the reason, the message is done.
//! * Another error (`?` on anything that implements [`std::error::Error`]) or a panic: nothing is kept; a
//!   message is tried again with growing pauses and, in the end, parked as a dead letter; the caller of a
//!   call is told.
//!
//! # Replies
//! A transaction never waits for another entity. [`Message::call_then`] sends a message and names a reply
//! handler, a method whose first argument after the context is a [`Reply`]: it is called when the message
//! has ended, done or not, with what the call hands it as context. `#[internal]` on a `&mut self` method makes
//! a command for entities of the app and timers only: nobody outside can call it. A reply handler also hears
//! of a [callback](Ctx::callback), a token that the world outside resolves or rejects by HTTP.
//!
//! # State
//! Plain fields are loaded before a call and written back after it, as one JSON value, when they changed.
//! A field that is missing in what is stored gets its `Default`, so fields can be added at any time.
//! [`Map`](state::Map), [`List`](state::List) and [`Value`](state::Value) fields are read and written
//! piece by piece, when the handler touches them: use them for what grows.
//! [`Activities`] keep what is known of each partner, [`Reservations`] what is promised for a while, and a
//! [`Saga`] does steps at other entities, all of them or none.
//!
//! A field's name is where it is stored; `#[serde(rename = "old")]` on a plain field and
//! `#[state(rename = "old")]` on another one keep that name when the field's changes. For all other changes
//! the state has a version, `#[entity(version = 2)]`, and steps that lead to it, [`Migration`]s: an entity
//! migrates by itself in the transaction of the next command that it gets, or before the next query.
//!
//! # Schemas
//! The component describes its handlers and fields with JSON Schemas; the host checks inputs against them before
//! it accepts a call. Types of std are described by themselves, an author's struct or enum by
//! `#[derive(`[`Schema`](trait@Schema)`)]`; one without it works as well, and anything is taken for it that serde takes.
//!
//! # Building
//! The crate is a `cdylib` (and `rlib`, so that its tests can use it) for `wasm32-unknown-unknown`;
//! `keystead build` makes the component. There is nothing else to export: `#[handlers]` registers the
//! type. A type that lives in another crate is registered with [`register!`].

// The macros' output names this crate, and so does what the crate itself derives.
extern crate self as keystead_sdk;

mod activity;
#[cfg(target_arch = "wasm32")]
mod alloc;
#[cfg(target_arch = "wasm32")]
mod bindings;
mod bytes;
mod context;
mod continuation;
mod entity;
mod error;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod export;
#[cfg(test)]
mod fuzz;
#[cfg(not(target_arch = "wasm32"))]
pub mod guide;
mod host;
#[doc(hidden)]
pub mod input;
pub mod log;
mod message;
#[doc(hidden)]
pub mod migration;
#[cfg(any(target_arch = "wasm32", test))]
mod panic;
#[doc(hidden)]
pub mod reply;
mod reservation;
mod saga;
pub mod schema;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

pub use activity::{Activities, Activity, Arrival, Contact, Partner};
pub use bytes::Bytes;
pub use context::{Ctx, EntityRef, MessageId, PendingTimer, QueryCtx};
pub use continuation::{CallbackToken, Failure, FailureKind, Reply, Then};
pub use entity::{Entity, EntityType, Handler, HandlerKind, Handlers, describe};
pub use error::{Error, HandlerError, Result};
pub use keystead_sdk_macros::{Schema, data, entity, handlers};
pub use message::{AtKey, AtTimer, Message, Target, Timer};
pub use migration::Migration;
pub use reservation::Reservations;
pub use saga::{SAGA_BYTES_MAX, Saga, SagaStatus, SagaStep, SagaSteps};
pub use schema::Schema;
pub use time::Timestamp;

/// What a handler's file needs: `use keystead_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::state::{List, Map, Value};
    pub use crate::{
        Activities, Bytes, CallbackToken, Ctx, EntityRef, Error, MessageId, Partner, QueryCtx,
        Reply, Reservations, Result, Saga, SagaStatus, Schema, Timestamp, data, debug, ensure,
        entity, error, handlers, info, reject, warn,
    };
    pub use std::time::Duration;
}

/// What the macros' output names, so that authors need no dependency but this crate.
#[doc(hidden)]
pub mod __private {
    pub use serde;
    pub use serde_json;
}

//! The only door to the host. Two backends with the same functions: the component's imports in a guest, a
//! call of `testing::World` everywhere else, so that handlers run natively in plain `cargo test`.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::*;

/// When a message or timer becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// As soon as the transaction is durable.
    Now,
    /// Milliseconds after the transaction's time.
    InMs(u64),
    /// Milliseconds since 1970.
    AtMs(u64),
}

/// Who hears how a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// A command of this entity.
    pub(crate) handler: &'static str,
    /// A JSON object without a member `reply`.
    pub(crate) context: Vec<u8>,
    /// Whether a dead letter waits for an operator before it replies.
    pub(crate) patient: bool,
}

/// A state key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

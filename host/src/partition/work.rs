//! What waits and runs in the state machine: guest calls with what they are for, commands in mailboxes, and whoever waits
//! for one of them to end. Plain data; `core` owns all of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::mailbox::Waiting;
use super::request::{Answer, Answered, MessageStatus};
use crate::ids::{EntityRef, MessageId};
use crate::record::message::Message;

/// A guest call's purpose; it travels with the call.
pub(crate) enum Work {
    Query(Query),
    Command(Entry),
}

/// A query, and whoever waits for it.
pub(crate) struct Query {
    pub(crate) reply: oneshot::Sender<Answered<Answer>>,
    /// How often it may yet run again because the entity's state is of an older version.
    pub(crate) retries: u8,
}

/// A command that waits in a mailbox.
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) message: Arc<Message>,
    /// Failed attempts.
    pub(crate) attempts: u32,
    /// When its turn began, by the monotonic clock.
    pub(crate) began: Duration,
    /// Set for a call: whoever waits for it. A message of the mailbox table has none.
    pub(crate) call: Option<Box<Caller>>,
}

/// Whoever waits for a call.
pub(crate) struct Caller {
    /// None for a migration: queries wait for it in [`Core::migrating`].
    pub(crate) reply: Option<oneshot::Sender<Answered<Answer>>>,
    pub(crate) idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key` as it was used.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    pub(crate) key: String,
    /// The key in the idempotency table.
    pub(crate) row: Vec<u8>,
    pub(crate) fingerprint: [u8; 16],
    pub(crate) retention_s: u64,
}

impl Waiting for Entry {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn sender(&self) -> Option<&EntityRef> {
        self.message.sender()
    }
}

/// A keyed call that has not ended.
pub(crate) struct InFlight {
    pub(crate) id: MessageId,
    pub(crate) fingerprint: [u8; 16],
}

/// Whoever waits for a message to end.
pub(crate) enum Waiter {
    Answer(oneshot::Sender<Answered<Answer>>),
    Status(oneshot::Sender<Answered<MessageStatus>>),
}

impl Waiter {
    pub(crate) fn gone(&self) -> bool {
        match self {
            Self::Answer(to) => to.is_closed(),
            Self::Status(to) => to.is_closed(),
        }
    }
}

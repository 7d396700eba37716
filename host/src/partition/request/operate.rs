//! What operators ask a partition to do, and what it answers: plain data, like all of `request`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DeadLetterInfo, Stage};
use crate::ids::{EntityRef, MessageId};

/// What a pause is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// All entities of all apps.
    All,
    /// The entities of an app.
    App(String),
    /// The entities of a type.
    Kind {
        /// Its app.
        app: String,
        /// The type.
        kind: String,
    },
    /// One entity.
    Entity(EntityRef),
}

impl Scope {
    /// Whether it holds this entity.
    #[must_use]
    pub fn holds(&self, entity: &EntityRef) -> bool {
        match self {
            Self::All => true,
            Self::App(app) => app == entity.app(),
            Self::Kind { app, kind } => app == entity.app() && kind == entity.kind(),
            Self::Entity(one) => one == entity,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::App(app) => f.write_str(app),
            Self::Kind { app, kind } => write!(f, "{app}/{kind}"),
            Self::Entity(entity) => write!(f, "{entity}"),
        }
    }
}

/// An operator's write to one entity.
#[derive(Debug, Clone)]
pub struct Put {
    /// Which.
    pub entity: EntityRef,
    /// Its state.
    pub change: Change,
    /// Its timers, in place of those that it has; `None` leaves them.
    pub timers: Option<Vec<PutTimer>>,
    /// What must be true before.
    pub expect: Expect,
    /// The version afterwards is not below this.
    pub version_min: u64,
}

/// Rows of state to write.
#[derive(Debug, Clone)]
pub enum Change {
    /// These and no others.
    Whole(Vec<(Bytes, Bytes)>),
    /// These beside others; `None` removes one.
    Some(Vec<(Bytes, Option<Bytes>)>),
}

/// A timer to set.
#[derive(Debug, Clone)]
pub struct PutTimer {
    /// Its name.
    pub name: String,
    /// The command it calls.
    pub handler: String,
    /// That command's input.
    pub input: Bytes,
    /// Milliseconds since 1970.
    pub due_ms: u64,
}

/// What an operator takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// The entity's version.
    Version(u64),
    /// That there is no such entity, or that it was removed.
    Absent,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutDone {
    /// It is written.
    Yes {
        /// The version now.
        version: u64,
    },
    /// Its app allows no entity to be so large, and it would be larger than before.
    TooLarge {
        /// Bytes of its state as it would be.
        bytes: u64,
        /// The quota.
        max: u64,
    },
    /// It is not what was expected.
    Otherwise {
        /// The version it is at; 0 when there is none.
        version: u64,
    },
}

/// What came of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The version at which it is gone; the next write has a higher one.
    pub version: u64,
    /// Messages that waited in its mailbox.
    pub messages: usize,
    /// Timers, callbacks and delayed messages to it.
    pub scheduled: usize,
    /// Dead letters.
    pub dead: usize,
}

/// Which dead letters; what is not said counts for all.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Of this app.
    pub app: Option<String>,
    /// Of one of these apps.
    pub apps: Option<Vec<String>>,
    /// For entities of this type.
    pub kind: Option<String>,
    /// For this handler.
    pub handler: Option<String>,
    /// Whose reason contains this.
    pub reason: Option<String>,
    /// Parked at this time or later, in milliseconds since 1970.
    pub parked_from_ms: Option<u64>,
    /// Parked before this time.
    pub parked_until_ms: Option<u64>,
}

/// A page of dead letters in order of their ids.
#[derive(Debug, Clone)]
pub struct DeadPage {
    /// They.
    pub letters: Vec<DeadLetterInfo>,
    /// Where the next page begins, when there may be more.
    pub next: Option<MessageId>,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Send them again.
    Retry,
    /// Forget them.
    Drop,
}

/// Where a pass over dead letters is: a place in arrival order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadMark(pub u64, pub MessageId);

/// What one step over many dead letters did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bulk {
    /// Sent again or forgotten.
    pub done: usize,
    /// Left, because they are final: their senders were told.
    pub answered: usize,
    /// Where to go on, when there may be more.
    pub next: Option<DeadMark>,
    /// Those parked later are not of this pass: hand it to the next step.
    pub through: u64,
}

/// Which messages; what is not said counts for all.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Of this app.
    pub app: Option<String>,
    /// For entities of this type.
    pub kind: Option<String>,
    /// For the entity of this key.
    pub key: Option<String>,
    /// Sent by this entity.
    pub sender: Option<EntityRef>,
    /// At this stage.
    pub stage: Option<Stage>,
    /// Named timers only.
    pub timers: bool,
}

/// Where a pass over messages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageMark {
    /// After this place in the arrival order.
    Queued(u64),
    /// After what is due then and has this number.
    Scheduled(u64, u64),
}

/// A page of messages: those in mailboxes in order of arrival, then the others in order of their time.
#[derive(Debug, Clone)]
pub struct MessagePage {
    /// They.
    pub messages: Vec<MessageInfo>,
    /// Where the next page begins, when there may be more.
    pub next: Option<MessageMark>,
}

/// A message as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct MessageInfo {
    /// Its id.
    pub id: String,
    /// Its target, `app/type/key`.
    pub entity: String,
    /// The command.
    pub handler: String,
    /// Where it is.
    pub stage: Stage,
    /// `send`, `entity`, `timer` or `callback`.
    pub origin: &'static str,
    /// Who sent it, `app/type/key`.
    pub sender: Option<String>,
    /// The timer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// Failed attempts.
    pub attempts: u32,
    /// When it was sent, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// When it is due or tried next, in milliseconds since 1970.
    pub due_ms: Option<u64>,
    /// Whether its sender is told how it ends.
    pub answers: bool,
    /// W3C `traceparent`: what caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Its input; not in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
}

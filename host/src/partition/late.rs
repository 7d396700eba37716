//! Calls whose callers waited too long and left: until they end they can be asked for by their ids, as messages can.
//! Other calls cannot, for their callers will be told. Knows only those that were left, so a call that is answered in
//! time costs nothing here. Invariant: nothing is decided by it, and it holds [`limits::LATE_CALLS_MAX`] at most.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::core::Core;
use super::request::Stage;
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::keys;

/// A call whose caller has left.
pub(crate) struct Left {
    /// The id that it was given; its key may stand for another.
    pub(crate) id: MessageId,
    pub(crate) entity: EntityRef,
    pub(crate) key: Option<String>,
}

/// Those that have not ended.
#[derive(Default)]
pub(crate) struct Late(BTreeMap<MessageId, EntityRef>);

impl Late {
    /// Whose it is.
    pub(crate) fn entity(&self, id: MessageId) -> Option<&EntityRef> {
        self.0.get(&id)
    }

    pub(crate) fn forget(&mut self, id: MessageId) {
        self.0.remove(&id);
    }
}

impl Core {
    /// Says which message it is that the caller will ask for.
    pub(crate) fn leave(&mut self, left: Left, reply: oneshot::Sender<MessageId>) {
        let Left { id, entity, key } = left;
        let id = key.and_then(|key| self.stands_for(&entity, &key)).unwrap_or(id);
        let ended = self.recent.get(id).is_some() || self.ledger.place(id).is_some();
        let room = self.late.0.len() < limits::LATE_CALLS_MAX;
        if !ended && room && self.waits_or_runs(id, &entity).is_some() {
            self.late.0.insert(id, entity);
        }
        // Whoever asked may have gone, too.
        let _ = reply.send(id);
    }

    /// Where such a call is; `None` when it is none of them, or has ended.
    pub(crate) fn late_stage(&self, id: MessageId) -> Option<Stage> {
        self.waits_or_runs(id, self.late.entity(id)?)
    }

    /// The entity's command has ended: it may have been one of them.
    pub(crate) fn forget_late(&mut self, entity: &EntityRef) {
        if self.late.0.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut self.late.0);
        late.retain(|id, of| of != entity || self.is_queued(*id, entity));
        self.late.0 = late;
    }

    fn stands_for(&mut self, entity: &EntityRef, key: &str) -> Option<MessageId> {
        let row = keys::idempotency(entity, key);
        if let Some(flight) = self.keyed.get(&row) {
            return Some(flight.id);
        }
        let found = self.view.remembered(&row);
        let mark = self.readable(found).ok()??.value;
        (mark.expires_ms > self.clock.now_ms()).then_some(mark.id)
    }

    /// A call that has not ended is in its mailbox, or else it is what makes its entity busy.
    fn waits_or_runs(&self, id: MessageId, entity: &EntityRef) -> Option<Stage> {
        if self.is_queued(id, entity) {
            return Some(Stage::Queued);
        }
        self.mailboxes.busy(entity).then_some(Stage::Running)
    }

    fn is_queued(&self, id: MessageId, entity: &EntityRef) -> bool {
        self.mailboxes.entries(entity).any(|entry| entry.message.id == id)
    }
}

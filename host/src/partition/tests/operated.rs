//! The model's part of what operators do: a removed entity is empty and nothing of before it is left, what was
//! silenced has no continuation, an edited dead letter has its new input, and those sent again together keep their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::Model;
use crate::ids::{EntityRef, MessageId};
use crate::partition::request::Scope;
use crate::record::delta::Op;
use crate::record::message::Message;
use crate::record::outcome::OldOutcome;

/// What operators did, as the log says it.
#[derive(Debug, Default)]
pub(super) struct Operated {
    /// The last input that each edited dead letter got.
    pub(super) edited: BTreeMap<MessageId, bytes::Bytes>,
    /// Rows of entities that were removed since.
    pub(super) forgotten: BTreeSet<Vec<u8>>,
    /// Messages that were under way when their sender was removed.
    pub(super) orphans: BTreeSet<MessageId>,
    /// At which version each entity was removed last.
    pub(super) removed: BTreeMap<EntityRef, u64>,
    pub(super) removals: usize,
    /// How often each pause was set (true) or ended, less how often an operator heard of that.
    pub(super) unheard: BTreeMap<(Scope, bool), usize>,
    /// Dead letters of one Delta that went back: their old place and their new one.
    again: Vec<(u64, u64)>,
    /// Deltas that sent several again.
    pub(super) bulks: usize,
}

impl Operated {
    pub(super) fn begin(&mut self) {
        self.again.clear();
    }

    /// Those that are sent again together come in the order in which they came before.
    pub(super) fn unparked(&mut self, old: u64, new: u64) {
        if let Some((old_before, new_before)) = self.again.last() {
            assert!(*old_before < old && *new_before < new, "sent again out of order");
            self.bulks += usize::from(self.again.len() == 1);
        }
        self.again.push((old, new));
    }
}

impl Model {
    /// Folds what only operators do, and what only older builds did.
    pub(super) fn operate(&mut self, op: &Op) {
        match op {
            Op::Rewrite { entity, version, rows, removed } => {
                let before = self.versions.insert(entity.clone(), *version).unwrap_or(0);
                assert!(*version == before + 1, "{entity}: {version} after {before}");
                let rows = rows.iter().cloned().collect();
                let old = self.rows.insert(entity.clone(), rows).unwrap_or_default();
                if *removed {
                    self.operated.forgotten.extend(old.into_keys().map(Vec::from));
                    self.operated.removed.insert(entity.clone(), *version);
                    self.operated.removals += 1;
                    self.nothing_left(entity);
                }
            }
            Op::Silence { id } => self.change(*id, |message| message.then = None),
            Op::Edit { id, input, content_type } => {
                assert!(self.dead.contains_key(id), "only a dead letter is edited");
                self.operated.edited.insert(*id, input.clone());
                self.change(*id, |message| {
                    (message.input, message.content_type) = (input.clone(), content_type.clone());
                });
            }
            Op::Pause { scope, paused } => {
                *self.operated.unheard.entry((scope.clone(), *paused)).or_default() += 1;
                if *paused {
                    self.pauses.insert(scope.clone())
                } else {
                    self.pauses.remove(scope)
                };
            }
            Op::OldOutcome { id, outcome } => {
                self.outcomes.insert(*id, Arc::new(OldOutcome::clone(outcome).into()));
            }
            _ => unreachable!("{op:?} is not an operator's"),
        }
    }

    /// Nothing waits for a removed entity, and nothing that it sent will tell it.
    fn nothing_left(&mut self, entity: &EntityRef) {
        for message in self.all() {
            assert!(message.target != *entity, "{} waits for what was removed", message.id);
            if message.sender() == Some(entity) {
                // A dead letter that is final has told already, and stays final.
                let told = self.dead.contains_key(&message.id) && message.ends_when_parked();
                let silent = message.then.is_none() || told;
                assert!(silent, "{} would tell what was removed", message.id);
                self.operated.orphans.insert(message.id);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Message>> {
        let queued = self.queued.values().map(|queued| &queued.message);
        let waiting = queued.chain(self.scheduled.values());
        waiting.chain(self.dead.values().map(|letter| &letter.message)).cloned().collect()
    }

    fn change(&mut self, id: MessageId, change: impl FnOnce(&mut Message)) {
        let queued = self.queued.values_mut().map(|queued| &mut queued.message);
        let waiting = queued.chain(self.scheduled.values_mut());
        let mut all = waiting.chain(self.dead.values_mut().map(|letter| &mut letter.message));
        let message = all.find(|message| message.id == id).expect("it waits somewhere");
        change(Arc::make_mut(message));
    }
}

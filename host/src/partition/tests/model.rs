//! What the log says, kept in plain maps: every sealed batch, folded when it is durable. Obviously right and slow.
//! Invariants that it checks for every simulation: nothing acknowledged is lost and nothing of an unacknowledged
//! batch is torn, no message comes twice, a timer is one, versions have no gaps, and what recovery brings back is the
//! fold of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::super::core::Core;
use super::super::request::Scope;
use super::super::rows::Rows;
use super::super::view::ScanBounds;
use super::operated::Operated;
use crate::ids::{EntityRef, MessageId, Position};
use crate::record::delta::{Batch, Delta, Op};
use crate::record::message::{DeadLetter, Message, Queued};
use crate::record::outcome::{Outcome, Remembered};
use crate::record::{self, keys};

/// How a message left the place where it waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Out of its mailbox: handled, rejected or cancelled.
    Taken,
    /// Out of the schedule, not because it was due.
    Withdrawn,
    Parked,
    /// An operator dropped its dead letter.
    Dropped,
}

/// One durable Delta, and what it did to messages.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) delta: Delta,
    pub(super) ended: Vec<(Arc<Message>, End)>,
    pub(super) arrived: Vec<Arc<Message>>,
}

/// What the durable prefix of the log says.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) through: Position,
    /// Not known to be durable; they may be, all of one or nothing.
    sealed: BTreeMap<Position, Batch>,
    pub(super) rows: BTreeMap<EntityRef, BTreeMap<Bytes, Bytes>>,
    pub(super) versions: BTreeMap<EntityRef, u64>,
    pub(super) queued: BTreeMap<u64, Queued>,
    pub(super) scheduled: BTreeMap<(u64, u64), Arc<Message>>,
    pub(super) dead: BTreeMap<MessageId, DeadLetter>,
    pub(super) outcomes: BTreeMap<MessageId, Arc<Outcome>>,
    pub(super) keys: BTreeMap<(EntityRef, String), Arc<Remembered>>,
    /// Every message that there ever was.
    pub(super) born: BTreeSet<MessageId>,
    pub(super) pauses: BTreeSet<Scope>,
    /// What operators did, beyond what is above.
    pub(super) operated: Operated,
}

impl Model {
    /// A batch goes to the journal.
    pub(super) fn seal(&mut self, position: Position, batch: &[u8]) {
        let batch = record::decode("batch", batch).expect("a batch reads back");
        assert!(self.sealed.insert(position, batch).is_none(), "{position:?} was sealed twice");
    }

    /// The journal says that it has it.
    pub(super) fn durable(&mut self, position: Position) -> Vec<Facts> {
        assert_eq!(position, self.through.next(), "one append at a time, in order");
        self.through = position;
        let batch = self.sealed.remove(&position).expect("sealed");
        batch.into_iter().map(|delta| self.fold(delta)).collect()
    }

    /// The partition was opened again: whole batches beyond what was acknowledged may be there, in order.
    pub(super) fn recovered(&mut self, through: Position) -> Vec<Facts> {
        assert!(
            through >= self.through,
            "lost: {:?} was acknowledged, {through:?} is left",
            self.through
        );
        let mut facts = vec![];
        while self.through < through {
            facts.extend(self.durable(self.through.next()));
        }
        self.sealed.clear();
        facts
    }

    /// What an entity may take back: its timers, what it sent for later, its callbacks.
    pub(super) fn pending(&self, entity: &EntityRef) -> BTreeSet<MessageId> {
        let timer = |message: &Message| message.timer().is_some() && message.target == *entity;
        let waits = |message: &Message| {
            let callback = message.callback().is_some() && message.target == *entity;
            timer(message) || callback || message.sender() == Some(entity)
        };
        let scheduled = self.scheduled.values().filter(|message| waits(message));
        let queued = self.queued.values().map(|queued| &queued.message);
        scheduled.chain(queued.filter(|message| timer(message))).map(|m| m.id).collect()
    }

    /// Its timers that have not run.
    fn timers(&self, entity: &EntityRef) -> BTreeSet<MessageId> {
        let queued = self.queued.values().map(|queued| &queued.message);
        let waiting = self.scheduled.values().chain(queued);
        waiting.filter(|m| m.timer().is_some() && m.target == *entity).map(|m| m.id).collect()
    }

    /// True while a message is in a mailbox, in the schedule, or dead.
    pub(super) fn waits(&self, id: MessageId) -> bool {
        self.queued.values().any(|queued| queued.message.id == id)
            || self.scheduled.values().any(|message| message.id == id)
            || self.dead.contains_key(&id)
    }

    fn fold(&mut self, delta: Delta) -> Facts {
        let (mut ended, mut arrived) = (vec![], vec![]);
        self.operated.begin();
        for op in &delta.ops {
            self.apply(op, &mut ended, &mut arrived);
        }
        if let Some(writes) = &delta.writes {
            let version = self.versions.entry(writes.entity.clone()).or_default();
            *version += 1;
            assert_eq!(writes.version, *version, "{}: versions have no gaps", writes.entity);
            let rows = self.rows.entry(writes.entity.clone()).or_default();
            for (key, value) in &writes.rows {
                match value {
                    Some(value) => rows.insert(key.clone(), value.clone()),
                    None => rows.remove(key),
                };
            }
        }
        Facts { delta, ended, arrived }
    }

    fn apply(
        &mut self,
        op: &Op,
        ended: &mut Vec<(Arc<Message>, End)>,
        arrived: &mut Vec<Arc<Message>>,
    ) {
        let mut arrives = |born: &mut BTreeSet<MessageId>, message: &Arc<Message>| {
            // The expiry of a callback makes way for the same message with the reply in it.
            let used =
                ended.iter().any(|(old, end)| old.id == message.id && *end == End::Withdrawn);
            assert!(born.insert(message.id) || used, "{} was sent twice", message.id);
            arrived.push(message.clone());
        };
        match op {
            Op::Enqueue { seq, message } => {
                arrives(&mut self.born, message);
                self.enqueue(*seq, message.clone());
            }
            Op::Schedule { due_ms, seq, message } => {
                arrives(&mut self.born, message);
                let before = self.scheduled.insert((*due_ms, *seq), message.clone());
                assert!(before.is_none(), "a place in the schedule was given twice");
                let same = |other: &&Arc<Message>| {
                    other.target == message.target && other.timer() == message.timer()
                };
                let timers = self.scheduled.values().filter(same).count();
                assert!(
                    message.timer().is_none() || timers == 1,
                    "one timer of a name: {message:?}"
                );
            }
            Op::Dequeue { seq } => {
                let queued = self.queued.remove(seq).expect("only what is queued is taken");
                ended.push((queued.message, End::Taken));
            }
            Op::Unschedule { due_ms, seq } => {
                let message = self.scheduled.remove(&(*due_ms, *seq)).expect("scheduled");
                ended.push((message, End::Withdrawn));
            }
            Op::Due { due_ms, seq, mailbox_seq } => {
                let message = self.scheduled.remove(&(*due_ms, *seq)).expect("due once");
                self.enqueue(*mailbox_seq, message);
            }
            Op::BackOff { seq, attempts, not_before_ms } => {
                let queued = self.queued.get_mut(seq).expect("only what is queued backs off");
                assert_eq!(*attempts, queued.attempts + 1, "attempts are counted");
                (queued.attempts, queued.not_before_ms) = (*attempts, *not_before_ms);
            }
            Op::Park { seq, attempts, reason, at_ms } => {
                let message = self.park(*seq, (*attempts, *at_ms), reason);
                ended.push((message, End::Parked));
            }
            Op::Unpark { id, seq } => {
                let letter = self.dead.remove(id).expect("only a dead letter is retried");
                self.operated.unparked(letter.seq, *seq);
                self.enqueue(*seq, letter.message);
            }
            Op::DropDead { id } => {
                let letter = self.dead.remove(id).expect("only a dead letter is dropped");
                ended.push((letter.message, End::Dropped));
            }
            Op::Outcome { id, outcome } => self.keep(*id, outcome),
            Op::Remember { entity, key, mark } => {
                self.keys.insert((entity.clone(), key.clone()), mark.clone());
            }
            // What only operators do, or older builds.
            _ => self.operate(op),
        }
    }

    fn keep(&mut self, id: MessageId, outcome: &Arc<Outcome>) {
        assert!(outcome.app.is_some(), "{id} is nobody's");
        self.outcomes.insert(id, outcome.clone());
    }

    fn park(&mut self, seq: u64, (attempts, at_ms): (u32, u64), reason: &str) -> Arc<Message> {
        let queued = self.queued.remove(&seq).expect("only what is queued is parked");
        let (message, reason, parked_at_ms) = (queued.message, reason.to_owned(), at_ms);
        let letter = DeadLetter { message: message.clone(), reason, attempts, parked_at_ms, seq };
        self.dead.insert(message.id, letter);
        message
    }

    fn enqueue(&mut self, seq: u64, message: Arc<Message>) {
        let queued = Queued { message, attempts: 0, not_before_ms: 0 };
        assert!(self.queued.insert(seq, queued).is_none(), "a place in the order was given twice");
    }

    /// What a partition that was just opened holds is what the log says.
    pub(super) fn compare(&self, core: &Core, latest_ms: u64) {
        let ledger = &core.ledger;
        let queued: BTreeMap<_, _> = ledger.queued.iter().map(|(k, v)| (*k, v.clone())).collect();
        assert_eq!(queued, self.queued, "mailboxes");
        assert_eq!(ledger.scheduled, self.scheduled, "the schedule");
        let dead: BTreeMap<_, _> =
            ledger.dead.iter().map(|(id, letter)| (*id, DeadLetter::clone(letter))).collect();
        assert_eq!(dead, self.dead, "dead letters");
        assert!(ledger.pauses.iter().eq(&self.pauses), "pauses");
        for entity in self.rows.keys() {
            let pending = ledger.pending(entity).map(|all| all.timers.values().flatten());
            let ids = pending.into_iter().flatten().map(|timer| timer.message.id);
            assert_eq!(ids.collect::<BTreeSet<_>>(), self.timers(entity), "{entity}: its timers");
        }
        for (entity, rows) in &self.rows {
            let (prefix, view) = (keys::entity_prefix(entity), core.view.entity(entity));
            let bounds = ScanBounds {
                start: b"",
                end: None,
                entries_max: usize::MAX,
                bytes_max: usize::MAX,
                descending: false,
            };
            let found = view.scan(&prefix, &Rows::default(), bounds).expect("reads");
            assert!(found.into_iter().eq(rows.clone()), "{entity}: its state");
            let version = view.version(&prefix).expect("reads");
            assert_eq!(version, self.versions[entity], "{entity}: its version");
        }
        for (id, outcome) in self.outcomes.iter().filter(|(_, o)| o.expires_ms > latest_ms) {
            let found = core.view.outcome(*id).expect("reads").map(|found| found.value);
            assert_eq!(found.as_ref(), Some(outcome), "{id}: its outcome");
        }
        for ((entity, key), mark) in self.keys.iter().filter(|(_, m)| m.expires_ms > latest_ms) {
            let found = core.view.remembered(&keys::idempotency(entity, key)).expect("reads");
            let found = found.map(|found| found.value);
            assert_eq!(found.as_ref(), Some(mark), "{entity}: its key {key}");
        }
    }
}

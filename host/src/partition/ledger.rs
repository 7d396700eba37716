//! Messages in memory: what waits in mailboxes, what is scheduled, what is dead, and where each one is. Applies
//! a Delta's operations, live and in recovery alike, and records them in the memtable. Invariant: it holds
//! exactly what the journal's prefix says; it decides nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::view::{Memtable, Stamped};
use crate::ids::{EntityRef, MessageId, Position};
use crate::record::delta::Op;
use crate::record::keys;
use crate::record::message::{DeadLetter, Message, Queued};
use crate::record::{self, Corrupt};
use crate::state::{Snapshot, Table};

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Mailbox(u64),
    Scheduled(u64, u64),
    Dead,
}

/// What an entity has pending elsewhere: its named timers, and delayed messages and callbacks it may cancel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending {
    /// Of a name there is more than one only while a dead letter that was sent again waits beside what was set
    /// since; in order of their due times and ids, so that it is the same after a restart.
    pub(crate) timers: BTreeMap<String, Vec<PendingTimer>>,
    pub(crate) delayed: BTreeMap<MessageId, (u64, u64)>,
    /// Callbacks whose token nobody used, with what proves it.
    pub(crate) callbacks: BTreeMap<MessageId, [u8; 32]>,
}

/// One named timer.
#[derive(Debug, Clone)]
pub(crate) struct PendingTimer {
    pub(crate) due_ms: u64,
    pub(crate) message: Arc<Message>,
}

impl Pending {
    /// Takes one timer away.
    pub(crate) fn forget_timer(&mut self, name: &str, id: MessageId) {
        let Some(timers) = self.timers.get_mut(name) else { return };
        timers.retain(|timer| timer.message.id != id);
        if timers.is_empty() {
            self.timers.remove(name);
        }
    }
}

/// All messages of a partition.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) queued: HashMap<u64, Queued>,
    pub(crate) scheduled: BTreeMap<(u64, u64), Arc<Message>>,
    pub(crate) dead: BTreeMap<MessageId, Arc<DeadLetter>>,
    places: HashMap<MessageId, Place>,
    pending: HashMap<EntityRef, Arc<Pending>>,
    /// Entities whose pending things changed since somebody asked.
    changed: Vec<EntityRef>,
    /// The last number given to a message.
    last_seq: u64,
    bytes: usize,
    /// Named timers in the schedule.
    timers: usize,
}

impl Ledger {
    /// Reads what a checkpoint left.
    pub(crate) fn load(base: &Snapshot) -> Result<Self, super::view::ReadError> {
        let mut ledger = Self::default();
        let damaged = |record| Corrupt { record, problem: "the key is not one".into() };
        for row in base.range(Table::Mailbox, b"", None)? {
            let (key, value) = row?;
            let seq = key.as_ref().try_into().map_err(|_| damaged("mailbox key"))?;
            ledger.admit(u64::from_be_bytes(seq), record::decode("queued message", &value)?);
        }
        for row in base.range(Table::Scheduled, b"", None)? {
            let (key, value) = row?;
            let key: [u8; 16] = key.as_ref().try_into().map_err(|_| damaged("schedule key"))?;
            let key = u128::from_be_bytes(key);
            let message = record::decode("scheduled message", &value)?;
            ledger.schedule((key >> 64) as u64, key as u64, message);
        }
        for row in base.range(Table::Dead, b"", None)? {
            ledger.bury(Arc::new(record::decode("dead letter", &row?.1)?));
        }
        Ok(ledger)
    }

    /// False for what speaks of a message that is not there.
    pub(crate) fn applies(&self, op: &Op) -> bool {
        match op {
            Op::Dequeue { seq } | Op::BackOff { seq, .. } | Op::Park { seq, .. } => {
                self.queued.contains_key(seq)
            }
            Op::Unschedule { due_ms, seq } | Op::Due { due_ms, seq, .. } => {
                self.scheduled.contains_key(&(*due_ms, *seq))
            }
            Op::Unpark { id, .. } | Op::DropDead { id } => self.dead.contains_key(id),
            Op::Enqueue { .. } | Op::Schedule { .. } | Op::Outcome { .. } | Op::Remember { .. } => {
                true
            }
        }
    }

    /// Applies one operation, which [`Ledger::applies`], and notes it in the memtable.
    pub(crate) fn apply(&mut self, position: Position, op: &Op, table: &mut Memtable) {
        match op {
            Op::Enqueue { seq, message } => {
                self.enqueue(*seq, message.clone(), table);
            }
            Op::Dequeue { seq } => {
                self.dequeue(*seq, table);
            }
            Op::Schedule { due_ms, seq, message } => {
                self.schedule(*due_ms, *seq, message.clone());
                table.scheduled.insert((*due_ms, *seq), message.clone());
                table.bytes += message.bytes();
            }
            Op::Unschedule { due_ms, seq } => {
                self.unschedule(*due_ms, *seq, table);
            }
            Op::Due { due_ms, seq, mailbox_seq } => {
                // A timer stays its entity's pending one until it has run.
                let message = self.scheduled.get(&(*due_ms, *seq)).cloned();
                let message = message.unwrap_or_else(|| unreachable!("{op:?}: not scheduled"));
                self.unschedule(*due_ms, *seq, table);
                self.enqueue(*mailbox_seq, message, table);
            }
            Op::BackOff { seq, attempts, not_before_ms } => {
                let queued = self.queued.get_mut(seq);
                let queued = queued.unwrap_or_else(|| unreachable!("{op:?}: not queued"));
                (queued.attempts, queued.not_before_ms) = (*attempts, *not_before_ms);
                table.mailbox.update(*seq, queued.clone());
            }
            Op::Park { seq, attempts, reason, at_ms } => {
                let message = self.dequeue(*seq, table).message;
                let (attempts, parked_at_ms) = (*attempts, *at_ms);
                let letter = DeadLetter { message, reason: reason.clone(), attempts, parked_at_ms };
                let letter = Arc::new(letter);
                table.dead.insert(letter.message.id, letter.clone());
                table.bytes += letter.message.bytes();
                self.bury(letter);
            }
            Op::Unpark { id, seq } => {
                let message = self.exhume(*id, table);
                self.enqueue(*seq, message, table);
            }
            Op::DropDead { id } => {
                self.exhume(*id, table);
            }
            Op::Outcome { id, outcome } => {
                table.bytes += 256;
                table.outcomes.insert(*id, Stamped { cause: position, value: outcome.clone() });
            }
            Op::Remember { entity, key, mark } => {
                table.bytes += 256 + key.len();
                let mark = Stamped { cause: position, value: mark.clone() };
                table.idempotency.insert(keys::idempotency(entity, key), mark);
            }
        }
    }

    /// A number after all that were given.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    pub(crate) fn place(&self, id: MessageId) -> Option<Place> {
        self.places.get(&id).copied()
    }

    /// A message in a mailbox or in the schedule.
    pub(crate) fn waiting(&self, id: MessageId) -> Option<&Arc<Message>> {
        match self.place(id)? {
            Place::Mailbox(seq) => self.queued.get(&seq).map(|queued| &queued.message),
            Place::Scheduled(due_ms, seq) => self.scheduled.get(&(due_ms, seq)),
            Place::Dead => None,
        }
    }

    /// What an entity has pending elsewhere.
    pub(crate) fn pending(&self, entity: &EntityRef) -> Option<&Arc<Pending>> {
        self.pending.get(entity)
    }

    /// Entities whose pending things changed since this was last asked: what is computed from them has to wait
    /// for the change to be durable.
    pub(crate) fn changed(&mut self) -> Vec<EntityRef> {
        std::mem::take(&mut self.changed)
    }

    /// Messages in mailboxes, in the schedule and dead.
    pub(crate) fn len(&self) -> usize {
        self.queued.len() + self.scheduled.len() + self.dead.len()
    }

    /// Named timers that are not due.
    pub(crate) fn timers(&self) -> usize {
        self.timers
    }

    /// Bytes of all messages.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn enqueue(&mut self, seq: u64, message: Arc<Message>, table: &mut Memtable) {
        table.bytes += message.bytes();
        let queued = Queued { message, attempts: 0, not_before_ms: 0 };
        table.mailbox.insert(seq, queued.clone());
        self.admit(seq, queued);
    }

    fn admit(&mut self, seq: u64, queued: Queued) {
        self.last_seq = self.last_seq.max(seq);
        self.bytes += queued.message.bytes();
        self.places.insert(queued.message.id, Place::Mailbox(seq));
        if let Some(name) = queued.message.timer() {
            let timer = PendingTimer { due_ms: 0, message: queued.message.clone() };
            self.set_timer(&queued.message.target, name, timer);
        }
        self.queued.insert(seq, queued);
    }

    fn dequeue(&mut self, seq: u64, table: &mut Memtable) -> Queued {
        let queued = self.queued.remove(&seq);
        let queued = queued.unwrap_or_else(|| unreachable!("message {seq} is not queued"));
        self.forget(&queued.message);
        table.mailbox.remove(seq);
        queued
    }

    fn schedule(&mut self, due_ms: u64, seq: u64, message: Arc<Message>) {
        self.last_seq = self.last_seq.max(seq);
        self.bytes += message.bytes();
        self.places.insert(message.id, Place::Scheduled(due_ms, seq));
        self.timers += usize::from(message.timer().is_some());
        if let Some(name) = message.timer() {
            let timer = PendingTimer { due_ms, message: message.clone() };
            self.set_timer(&message.target, name, timer);
        }
        if let Some(sender) = message.sender() {
            self.pending_of(sender).delayed.insert(message.id, (due_ms, seq));
        }
        if let Some(proof) = message.callback() {
            self.pending_of(&message.target).callbacks.insert(message.id, *proof);
        }
        self.scheduled.insert((due_ms, seq), message);
    }

    fn unschedule(&mut self, due_ms: u64, seq: u64, table: &mut Memtable) {
        let message = self.scheduled.remove(&(due_ms, seq));
        let message = message.unwrap_or_else(|| unreachable!("({due_ms}, {seq}): not scheduled"));
        if let Some(sender) = message.sender() {
            self.change_pending(&sender.clone(), |pending| {
                pending.delayed.remove(&message.id);
            });
        }
        self.timers -= usize::from(message.timer().is_some());
        if message.callback().is_some() {
            self.change_pending(&message.target, |pending| {
                pending.callbacks.remove(&message.id);
            });
        }
        self.forget(&message);
        table.scheduled.remove((due_ms, seq));
    }

    fn bury(&mut self, letter: Arc<DeadLetter>) {
        self.bytes += letter.message.bytes();
        self.places.insert(letter.message.id, Place::Dead);
        self.dead.insert(letter.message.id, letter);
    }

    fn exhume(&mut self, id: MessageId, table: &mut Memtable) -> Arc<Message> {
        let letter = self.dead.remove(&id).unwrap_or_else(|| unreachable!("{id} is not dead"));
        self.places.remove(&id);
        self.bytes -= letter.message.bytes();
        table.dead.remove(id);
        letter.message.clone()
    }

    fn forget(&mut self, message: &Message) {
        self.bytes -= message.bytes();
        self.places.remove(&message.id);
        if let Some(name) = message.timer() {
            self.change_pending(&message.target, |pending| pending.forget_timer(name, message.id));
        }
    }

    fn set_timer(&mut self, entity: &EntityRef, name: &str, timer: PendingTimer) {
        let timers = self.pending_of(entity).timers.entry(name.to_owned()).or_default();
        timers.push(timer);
        timers.sort_unstable_by_key(|timer| (timer.due_ms, timer.message.id));
    }

    fn pending_of(&mut self, entity: &EntityRef) -> &mut Pending {
        self.changed.push(entity.clone());
        Arc::make_mut(self.pending.entry(entity.clone()).or_default())
    }

    fn change_pending(&mut self, entity: &EntityRef, change: impl FnOnce(&mut Pending)) {
        let Some(pending) = self.pending.get_mut(entity) else { return };
        self.changed.push(entity.clone());
        change(Arc::make_mut(pending));
        let Pending { timers, delayed, callbacks } = &**pending;
        if timers.is_empty() && delayed.is_empty() && callbacks.is_empty() {
            self.pending.remove(entity);
        }
    }
}

//! Messages in memory: what waits in mailboxes, is scheduled or dead, where each one is; and what is paused. Applies
//! a Delta's operations, live and in recovery alike, and records them in the memtable. Invariant: it holds
//! exactly what the journal's prefix says; it decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::pauses::Pauses;
use super::view::{Memtable, Stamped};
use crate::ids::{EntityRef, MessageId, Position};
use crate::record::delta::Op;
use crate::record::keys;
use crate::record::message::{DeadLetter, Message, Queued};
use crate::record::outcome::{OldOutcome, Outcome};
use crate::record::{self, Corrupt, scope};
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

/// What there is of one app's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// All messages of a partition.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) queued: BTreeMap<u64, Queued>,
    pub(crate) scheduled: BTreeMap<(u64, u64), Arc<Message>>,
    pub(crate) dead: BTreeMap<MessageId, Arc<DeadLetter>>,
    /// Dead letters in the order in which they arrived before.
    pub(crate) parked: BTreeSet<(u64, MessageId)>,
    pub(crate) pauses: Pauses,
    places: HashMap<MessageId, Place>,
    /// Scheduled messages and dead letters by their target.
    aside: HashMap<EntityRef, BTreeSet<MessageId>>,
    /// Messages whose sender asked to hear of their end, by sender.
    asked: HashMap<EntityRef, BTreeSet<MessageId>>,
    pending: HashMap<EntityRef, Arc<Pending>>,
    /// Entities whose pending things changed since somebody asked.
    changed: Vec<EntityRef>,
    /// The last number given to a message.
    last_seq: u64,
    bytes: usize,
    /// The same by app, of those that have any.
    backlogs: HashMap<String, Backlog>,
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
            let letter = DeadLetter::of_row(&row?.1)?;
            ledger.last_seq = ledger.last_seq.max(letter.seq);
            ledger.bury(Arc::new(letter));
        }
        for row in base.range(Table::Pauses, b"", None)? {
            ledger.pauses.set(&scope::of_key(&row?.0)?, true);
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
            Op::Unpark { id, .. } | Op::DropDead { id } | Op::Edit { id, .. } => {
                self.dead.contains_key(id)
            }
            Op::Silence { id } => self.places.contains_key(id),
            Op::Enqueue { .. }
            | Op::Schedule { .. }
            | Op::Outcome { .. }
            | Op::OldOutcome { .. }
            | Op::Remember { .. }
            | Op::Rewrite { .. }
            | Op::Pause { .. } => true,
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
                let (reason, seq) = (reason.clone(), *seq);
                let letter = DeadLetter { message, reason, attempts, parked_at_ms, seq };
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
            Op::Outcome { id, outcome } => keep(*id, outcome.clone(), position, table),
            Op::OldOutcome { id, outcome } => {
                let outcome = Outcome::from(OldOutcome::clone(outcome));
                keep(*id, Arc::new(outcome), position, table);
            }
            Op::Remember { entity, key, mark } => {
                table.bytes += 256 + key.len();
                let mark = Stamped { cause: position, value: mark.clone() };
                table.idempotency.insert(keys::idempotency(entity, key), mark);
            }
            Op::Silence { id } => self.silence(*id, table),
            Op::Edit { id, input, content_type } => self.edit(*id, input, content_type, table),
            Op::Pause { scope, paused } => {
                self.pauses.set(scope, *paused);
                table.bytes += 256;
                table.pauses.insert(scope.clone(), *paused);
            }
            // The view's.
            Op::Rewrite { .. } => {}
        }
    }

    /// A number after all that were given.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// The last number that was given.
    pub(crate) fn last_seq(&self) -> u64 {
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

    /// A message, wherever it is.
    pub(crate) fn message(&self, id: MessageId) -> Option<&Arc<Message>> {
        self.waiting(id).or_else(|| self.dead.get(&id).map(|letter| &letter.message))
    }

    /// Scheduled messages and dead letters for an entity.
    pub(crate) fn aside(&self, entity: &EntityRef) -> impl Iterator<Item = MessageId> {
        self.aside.get(entity).into_iter().flatten().copied()
    }

    /// Messages of whose end an entity wants to hear.
    pub(crate) fn asked(&self, entity: &EntityRef) -> impl Iterator<Item = MessageId> {
        self.asked.get(entity).into_iter().flatten().copied()
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

    /// What there is of an app's messages, if there are any.
    pub(crate) fn backlog(&self, app: &str) -> Option<Backlog> {
        self.backlogs.get(app).copied()
    }

    /// What [`Ledger::backlog`] says is what there is.
    #[cfg(test)]
    pub(crate) fn check_backlogs(&self) {
        let queued = self.queued.values().map(|queued| &queued.message);
        let dead = self.dead.values().map(|letter| &letter.message);
        let mut counted: HashMap<String, Backlog> = HashMap::new();
        for message in queued.chain(self.scheduled.values()).chain(dead) {
            let backlog = counted.entry(message.target.app().to_owned()).or_default();
            backlog.messages += 1;
            backlog.bytes += message.bytes();
        }
        assert_eq!(self.backlogs, counted);
        assert_eq!(self.bytes, counted.values().map(|backlog| backlog.bytes).sum::<usize>());
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
        self.put(&queued.message, Place::Mailbox(seq));
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
        self.put(&message, Place::Scheduled(due_ms, seq));
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
        self.put(&letter.message, Place::Dead);
        self.parked.insert((letter.seq, letter.message.id));
        self.dead.insert(letter.message.id, letter);
    }

    fn exhume(&mut self, id: MessageId, table: &mut Memtable) -> Arc<Message> {
        let letter = self.dead.remove(&id).unwrap_or_else(|| unreachable!("{id} is not dead"));
        self.take(&letter.message);
        self.parked.remove(&(letter.seq, id));
        self.bytes -= letter.message.bytes();
        table.dead.remove(id);
        letter.message.clone()
    }

    /// Drops a message's continuation.
    fn silence(&mut self, id: MessageId, table: &mut Memtable) {
        let there = self.place(id).zip(self.message(id).cloned());
        let (place, old) = there.unwrap_or_else(|| unreachable!("{id} is nowhere"));
        let silent = Arc::new(Message { then: None, ..Message::clone(&old) });
        if let Some(asker) = old.sender() {
            remove_from(&mut self.asked, asker, id);
        }
        match place {
            Place::Mailbox(seq) => {
                self.weigh(&old, &silent);
                if let Some(queued) = self.queued.get_mut(&seq) {
                    queued.message = silent;
                    table.mailbox.update(seq, queued.clone());
                }
            }
            Place::Scheduled(due_ms, seq) => {
                self.weigh(&old, &silent);
                self.scheduled.insert((due_ms, seq), silent.clone());
                table.scheduled.update((due_ms, seq), silent);
            }
            Place::Dead => self.replace_letter(id, silent, table),
        }
    }

    fn edit(
        &mut self,
        id: MessageId,
        input: &Bytes,
        content_type: &Option<String>,
        table: &mut Memtable,
    ) {
        let letter = self.dead.get(&id).unwrap_or_else(|| unreachable!("{id} is not dead"));
        let (input, content_type) = (input.clone(), content_type.clone());
        let message = Message { input, content_type, ..Message::clone(&letter.message) };
        self.replace_letter(id, Arc::new(message), table);
    }

    fn replace_letter(&mut self, id: MessageId, message: Arc<Message>, table: &mut Memtable) {
        let Some(letter) = self.dead.get_mut(&id) else { return };
        table.bytes += message.bytes();
        let old = letter.message.clone();
        *letter = Arc::new(DeadLetter { message, ..DeadLetter::clone(letter) });
        table.dead.update(id, letter.clone());
        let new = letter.message.clone();
        self.weigh(&old, &new);
    }

    /// A message has another content now.
    fn weigh(&mut self, old: &Message, new: &Message) {
        self.bytes = self.bytes + new.bytes() - old.bytes();
        if let Some(backlog) = self.backlogs.get_mut(new.target.app()) {
            backlog.bytes = backlog.bytes + new.bytes() - old.bytes();
        }
    }

    fn put(&mut self, message: &Message, place: Place) {
        let app = message.target.app();
        let backlog = match self.backlogs.get_mut(app) {
            Some(backlog) => backlog,
            None => self.backlogs.entry(app.to_owned()).or_default(),
        };
        backlog.messages += 1;
        backlog.bytes += message.bytes();
        self.places.insert(message.id, place);
        if !matches!(place, Place::Mailbox(_)) {
            self.aside.entry(message.target.clone()).or_default().insert(message.id);
        }
        if let (Some(_), Some(sender)) = (&message.then, message.sender()) {
            self.asked.entry(sender.clone()).or_default().insert(message.id);
        }
    }

    fn take(&mut self, message: &Message) {
        let app = message.target.app();
        if let Some(backlog) = self.backlogs.get_mut(app) {
            backlog.messages -= 1;
            backlog.bytes -= message.bytes();
            if backlog.messages == 0 {
                self.backlogs.remove(app);
            }
        }
        let place = self.places.remove(&message.id);
        if !matches!(place, Some(Place::Mailbox(_))) {
            remove_from(&mut self.aside, &message.target, message.id);
        }
        if let (Some(_), Some(sender)) = (&message.then, message.sender()) {
            remove_from(&mut self.asked, sender, message.id);
        }
    }

    fn forget(&mut self, message: &Message) {
        self.bytes -= message.bytes();
        self.take(message);
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

fn keep(id: MessageId, outcome: Arc<Outcome>, cause: Position, table: &mut Memtable) {
    table.bytes += outcome.bytes();
    table.outcomes.insert(id, Stamped { cause, value: outcome });
}

fn remove_from(
    index: &mut HashMap<EntityRef, BTreeSet<MessageId>>,
    entity: &EntityRef,
    id: MessageId,
) {
    let Some(ids) = index.get_mut(entity) else { return };
    ids.remove(&id);
    if ids.is_empty() {
        index.remove(entity);
    }
}

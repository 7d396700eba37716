//! What operators and callers ask about: messages, entities, dead letters. Every answer waits until what it
//! shows is durable. Long reads are handed out as views, to be walked outside the machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::admit::answer_of;
use super::core::{Core, Waiter};
use super::ledger::{Pending, Place};
use super::letters::letter;
use super::reply::End;
use super::request::{
    Answered, Cancelled, EntityInfo, MessageStatus, Refusal, Scope, Sees, Stage, StateEntry,
    TimerEntry, readable_value,
};
use super::rows::Rows;
use super::view::{EntityView, ReadError, ScanBounds};
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::delta::Delta;
use crate::record::{self, keys};
use crate::state::{Snapshot, Table};

impl Core {
    /// Where a message is; with `wait`, answers only when it has ended.
    pub(crate) fn message(
        &mut self,
        id: MessageId,
        wait: bool,
        sees: &Sees,
        reply: oneshot::Sender<Answered<MessageStatus>>,
    ) {
        match self.may_know(id, sees) {
            Err(refusal) => return drop(reply.send(Err(refusal))),
            Ok(false) => {
                let applied = self.commit.applied();
                return self.commit.reply(applied, MessageStatus::Unknown, reply);
            }
            Ok(true) => {}
        }
        if let Some(answer) = self.recent.get(id) {
            let (cause, answer) = (answer.cause, answer.value.clone());
            return self.commit.reply(cause, MessageStatus::Done(answer), reply);
        }
        let outcome = self.view.outcome(id);
        let outcome = match self.readable(outcome) {
            Ok(outcome) => outcome,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let now_ms = self.clock.now_ms();
        let kept = outcome.filter(|outcome| outcome.value.expires_ms > now_ms);
        let kept = kept.and_then(|kept| Some((kept.cause, answer_of(id, &kept.value)?)));
        if let Some((cause, answer)) = kept {
            return self.commit.reply(cause, MessageStatus::Done(answer), reply);
        }
        let late = self.late_stage(id);
        let status = match self.ledger.place(id) {
            None if late.is_some() && wait => return self.wait_for(id, Waiter::Status(reply)),
            None => late.map_or(MessageStatus::Unknown, MessageStatus::Pending),
            Some(Place::Dead) => MessageStatus::Dead(letter(&self.ledger.dead[&id])),
            Some(_) if wait => return self.wait_for(id, Waiter::Status(reply)),
            Some(place) => MessageStatus::Pending(self.stage(place, now_ms)),
        };
        self.commit.reply(self.commit.applied(), status, reply);
    }

    /// Where a message stands.
    pub(crate) fn stage(&self, place: Place, now_ms: u64) -> Stage {
        match place {
            Place::Dead => Stage::Dead,
            Place::Scheduled(..) => Stage::Scheduled,
            Place::Mailbox(seq) if self.running_seqs.contains(&seq) => Stage::Running,
            Place::Mailbox(seq) if self.ledger.queued[&seq].not_before_ms > now_ms => {
                Stage::BackingOff
            }
            Place::Mailbox(_) => Stage::Queued,
        }
    }

    /// Cancels a message that has not started.
    pub(crate) fn cancel(
        &mut self,
        id: MessageId,
        sees: &Sees,
        reply: oneshot::Sender<Answered<Cancelled>>,
    ) {
        match self.may_know(id, sees) {
            Ok(true) => self.take_away(id, false, reply),
            Ok(false) => self.commit.reply(self.commit.applied(), Cancelled::Unknown, reply),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Whether somebody may hear of a message, wherever it is. What does not say whose it was, because an older build
    /// kept its outcome, is for those who see all.
    fn may_know(&mut self, id: MessageId, sees: &Sees) -> Result<bool, Refusal> {
        let Sees::Apps(apps) = sees else { return Ok(true) };
        if let Some(message) = self.ledger.message(id) {
            return Ok(apps.contains(message.target.app()));
        }
        if let Some(entity) = self.recent.entity(id).or_else(|| self.late.entity(id)) {
            return Ok(apps.contains(entity.app()));
        }
        let outcome = self.view.outcome(id);
        let outcome = self.readable(outcome)?;
        let app = outcome.as_ref().and_then(|outcome| outcome.value.app.as_deref());
        Ok(app.is_some_and(|app| apps.contains(app)))
    }

    /// Takes a message away that has not started; an operator may cancel callbacks, too.
    pub(crate) fn take_away(
        &mut self,
        id: MessageId,
        operator: bool,
        reply: oneshot::Sender<Answered<Cancelled>>,
    ) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let waiting = self.ledger.waiting(id).cloned();
        let callback = waiting.as_ref().is_some_and(|message| message.callback().is_some());
        if callback && !operator {
            // Its token is how it is used; nobody may take it away who does not know more than its id.
            return self.commit.reply(self.commit.applied(), Cancelled::Unknown, reply);
        }
        let (cancelled, cause) = match self.cancel_op(id, None).zip(waiting) {
            Some((op, message)) => {
                let end = End::Failed("cancelled", "it was cancelled before it ran");
                let ops = [op].into_iter().chain(self.reply_op(&message, end)).collect();
                let position = self.apply(Delta { writes: None, ops });
                for waiter in self.waiters.remove(&id).unwrap_or_default() {
                    if let Waiter::Status(to) = waiter {
                        self.commit.reply(position, MessageStatus::Unknown, to);
                    }
                }
                self.dispatch(&message.target);
                (Cancelled::Yes, position)
            }
            None => {
                let runs = self.ledger.place(id).is_some() || self.late_stage(id).is_some();
                let ended = self.recent.get(id).is_some() || runs;
                let outcome = self.view.outcome(id);
                let cancelled = match self.readable(outcome) {
                    Ok(None) if !ended => Cancelled::Unknown,
                    Ok(_) => Cancelled::TooLate,
                    Err(refusal) => return drop(reply.send(Err(refusal))),
                };
                (cancelled, self.commit.applied())
            }
        };
        self.commit.reply(cause, cancelled, reply);
    }

    /// What is needed to list entities of a type, without the listing itself.
    pub(crate) fn listing(
        &mut self,
        app: &str,
        kind: &str,
        reply: oneshot::Sender<Answered<Listing>>,
    ) {
        let mut touched = BTreeMap::new();
        for entity in self.view.touched() {
            if entity.app() == app && entity.kind() == kind {
                touched.insert(entity.key().to_owned(), self.view.entity(entity));
            }
        }
        let base = self.view.base().clone();
        let (app, kind) = (app.to_owned(), kind.to_owned());
        let pauses: Vec<Scope> = self.ledger.pauses.iter().cloned().collect();
        let mut waiting: HashMap<String, usize> = HashMap::new();
        for entity in self.mailboxes.entities() {
            if entity.app() == app && entity.kind() == kind {
                let running = usize::from(self.mailboxes.busy(entity));
                let count = self.mailboxes.waiting(entity) + running;
                waiting.insert(entity.key().to_owned(), count);
            }
        }
        let listing = Listing { app, kind, touched, base, pauses, waiting };
        self.commit.reply(self.commit.applied(), listing, reply);
    }

    /// What is needed to show one entity.
    pub(crate) fn portrait(
        &mut self,
        entity: EntityRef,
        reply: oneshot::Sender<Answered<Portrait>>,
    ) {
        let view = self.view.entity(&entity);
        let pending = self.ledger.pending(&entity).cloned();
        let running = self.mailboxes.busy(&entity);
        let mailbox = self.mailboxes.waiting(&entity) + usize::from(running);
        let paused = self.ledger.pauses.hold(&entity);
        let portrait = Portrait { entity, view, pending, mailbox, running, paused };
        self.commit.reply(self.commit.applied(), portrait, reply);
    }
}

/// Entities of one type at one moment.
pub(crate) struct Listing {
    app: String,
    kind: String,
    touched: BTreeMap<String, EntityView>,
    base: Arc<Snapshot>,
    pauses: Vec<Scope>,
    /// Commands that wait or run, by key.
    waiting: HashMap<String, usize>,
}

impl Listing {
    /// One page in key order. Walks from entity to entity, not over their rows.
    pub(crate) fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EntityInfo>, ReadError> {
        let limit = limit.min(limits::PAGE_ROWS_MAX);
        let wanted = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let mut found = BTreeMap::new();
        let mut from_memory = 0;
        for (key, view) in self.touched.iter().filter(|(key, _)| wanted(key)) {
            if from_memory == limit {
                break;
            }
            if let Ok(entity) = EntityRef::new(&self.app, &self.kind, key) {
                let prefix = keys::entity_prefix(&entity);
                let version = view.version(&prefix)?;
                let there = view.removed(&prefix)? != version;
                from_memory += usize::from(there);
                found.insert(key.clone(), there.then(|| self.info(&entity, version)));
            }
        }
        let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let mut start = keys::kind_prefix(&self.app, &self.kind, from);
        let mut from_base = 0;
        while from_base < limit {
            let mut rows = self.base.range(Table::Rows, &start, None)?;
            let Some((key, value)) = rows.next().transpose()? else { break };
            let entity = keys::entity_of(&key)?;
            if entity.app() != self.app || entity.kind() != self.kind {
                break;
            }
            let entity_prefix = keys::entity_prefix(&entity);
            start = keys::rows_end(&entity_prefix);
            if !entity.key().starts_with(prefix) {
                break;
            }
            if wanted(entity.key()) && !self.touched.contains_key(entity.key()) {
                // The first row of an entity is its metadata.
                let version: u64 = record::decode("entity", &value)?;
                let removed = self.base.get(Table::Rows, &keys::removed(entity_prefix))?;
                let removed = removed.map(|row| record::decode::<u64>("removed entity", &row));
                if removed.transpose()? != Some(version) {
                    from_base += 1;
                    found.insert(entity.key().to_owned(), Some(self.info(&entity, version)));
                }
            }
        }
        Ok(found.into_values().flatten().take(limit).collect())
    }

    fn info(&self, entity: &EntityRef, version: u64) -> EntityInfo {
        EntityInfo {
            entity: entity.to_string(),
            version,
            paused: self.pauses.iter().any(|scope| scope.holds(entity)),
            mailbox: self.waiting.get(entity.key()).copied().unwrap_or(0),
            ..EntityInfo::default()
        }
    }
}

/// One entity at one moment.
pub(crate) struct Portrait {
    entity: EntityRef,
    view: EntityView,
    pending: Option<Arc<Pending>>,
    mailbox: usize,
    running: bool,
    paused: bool,
}

impl Portrait {
    /// The entity with its state beyond the key `after`; `None` when it has none and nothing waits for it.
    pub(crate) fn paint(&self, after: &[u8]) -> Result<Option<EntityInfo>, ReadError> {
        let prefix = keys::entity_prefix(&self.entity);
        let version = self.view.version(&prefix)?;
        let removed = version > 0 && self.view.removed(&prefix)? == version;
        let (rows, more_state) = self.rows(&prefix, after)?;
        let nothing = version == 0 && rows.is_empty() && after.is_empty();
        if nothing && self.pending.is_none() && self.mailbox == 0 {
            return Ok(None);
        }
        let state = rows.iter().map(|(key, value)| StateEntry::of(key, value));
        let pending = self.pending.as_deref().cloned().unwrap_or_default();
        let timers = pending.timers.iter();
        let timers = timers.flat_map(|(name, set)| set.iter().map(move |timer| (name, timer)));
        let timers = timers.map(|(name, timer)| TimerEntry {
            name: name.clone(),
            handler: timer.message.handler.clone(),
            due_ms: timer.due_ms,
            input: readable_value(&timer.message.input),
        });
        Ok(Some(EntityInfo {
            entity: self.entity.to_string(),
            version,
            removed,
            paused: self.paused,
            running: self.running,
            state: state.collect(),
            more_state,
            timers: timers.collect(),
            mailbox: self.mailbox,
            delayed: pending.delayed.len(),
            callbacks: pending.callbacks.len(),
        }))
    }

    /// Its rows, and whether there are more than may be shown.
    fn rows(&self, prefix: &[u8], after: &[u8]) -> Result<(Vec<(Bytes, Bytes)>, bool), ReadError> {
        // No key is empty, so this is before the first one or right behind another.
        let (mut all, mut bytes, mut start) = (vec![], 0, [after, &b"\0"[..]].concat());
        loop {
            let bounds = ScanBounds {
                start: &start,
                end: None,
                entries_max: limits::SCAN_ENTRIES_MAX,
                bytes_max: limits::SCAN_BYTES_MAX,
                descending: false,
            };
            let rows = self.view.scan(prefix, &Rows::default(), bounds)?;
            let Some((last, _)) = rows.last() else { return Ok((all, false)) };
            start = [last, &b"\0"[..]].concat();
            for (key, value) in rows {
                bytes += key.len() + value.len();
                if bytes > limits::TRANSACTION_BYTES_MAX
                    || all.len() >= limits::STATE_ROWS_SHOWN_MAX
                {
                    return Ok((all, true));
                }
                all.push((key, value));
            }
        }
    }
}

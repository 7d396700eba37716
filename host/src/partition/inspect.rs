//! What operators and callers ask about: messages, entities, dead letters. Every answer waits until what it
//! shows is durable. Long reads are handed out as views, to be walked outside the machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::admit::answer_of;
use super::core::{Core, Waiter};
use super::ledger::{Pending, Place};
use super::reply::End;
use super::request::{
    Answered, Cancelled, DeadLetterInfo, DeadSettled, EntityInfo, MessageStatus, Stage, StateEntry,
    TimerEntry,
};
use super::rows::Rows;
use super::view::{EntityView, ReadError, ScanBounds};
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::delta::{Delta, Op};
use crate::record::message::DeadLetter;
use crate::record::{self, keys};
use crate::state::{Snapshot, Table};

impl Core {
    /// Where a message is; with `wait`, answers only when it has ended.
    pub(crate) fn message(
        &mut self,
        id: MessageId,
        wait: bool,
        reply: oneshot::Sender<Answered<MessageStatus>>,
    ) {
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
        let status = match self.ledger.place(id) {
            None => MessageStatus::Unknown,
            Some(Place::Dead) => MessageStatus::Dead(letter(&self.ledger.dead[&id])),
            Some(_) if wait => return self.wait_for(id, Waiter::Status(reply)),
            Some(Place::Scheduled(..)) => MessageStatus::Pending(Stage::Scheduled),
            Some(Place::Mailbox(seq)) if self.running_seqs.contains(&seq) => {
                MessageStatus::Pending(Stage::Running)
            }
            Some(Place::Mailbox(seq)) if self.ledger.queued[&seq].not_before_ms > now_ms => {
                MessageStatus::Pending(Stage::BackingOff)
            }
            Some(Place::Mailbox(_)) => MessageStatus::Pending(Stage::Queued),
        };
        self.commit.reply(self.commit.applied(), status, reply);
    }

    /// The app that a message is for which waits or is parked.
    pub(crate) fn message_app(
        &mut self,
        id: MessageId,
        reply: oneshot::Sender<Answered<Option<String>>>,
    ) {
        let waiting = self.ledger.waiting(id).map(|message| message.target.app());
        let parked = || self.ledger.dead.get(&id).map(|dead| dead.message.target.app());
        let app = waiting.or_else(parked).map(str::to_owned);
        self.commit.reply(self.commit.applied(), app, reply);
    }

    /// Cancels a message that has not started.
    pub(crate) fn cancel(&mut self, id: MessageId, reply: oneshot::Sender<Answered<Cancelled>>) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let waiting = self.ledger.waiting(id).cloned();
        if waiting.as_ref().is_some_and(|message| message.callback().is_some()) {
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
                let ended = self.recent.get(id).is_some() || self.ledger.place(id).is_some();
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
        let listing = Listing { app, kind, touched, base };
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
        let mailbox = self.mailboxes.waiting(&entity) + usize::from(self.mailboxes.busy(&entity));
        let portrait = Portrait { entity, view, pending, mailbox };
        self.commit.reply(self.commit.applied(), portrait, reply);
    }

    /// Dead letters in order of their ids.
    pub(crate) fn dead_letters(
        &mut self,
        app: Option<&str>,
        after: Option<MessageId>,
        limit: usize,
        reply: oneshot::Sender<Answered<Vec<DeadLetterInfo>>>,
    ) {
        use std::ops::Bound::{Excluded, Unbounded};
        let letters = self.ledger.dead.range((after.map_or(Unbounded, Excluded), Unbounded));
        let letters = letters.map(|(_, dead)| dead);
        let letters = letters.filter(|dead| app.is_none_or(|app| dead.message.target.app() == app));
        let letters = letters.take(limit).map(letter).collect();
        self.commit.reply(self.commit.applied(), letters, reply);
    }

    /// One dead letter.
    pub(crate) fn dead_letter(
        &mut self,
        id: MessageId,
        reply: oneshot::Sender<Answered<Option<DeadLetterInfo>>>,
    ) {
        let found = self.ledger.dead.get(&id).map(letter);
        self.commit.reply(self.commit.applied(), found, reply);
    }

    /// Sends a dead letter again, or forgets it. A sender that waits for its end is told that then, unless it
    /// was told when it was parked.
    pub(crate) fn settle_dead(
        &mut self,
        id: MessageId,
        again: bool,
        reply: oneshot::Sender<Answered<DeadSettled>>,
    ) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let Some(message) = self.ledger.dead.get(&id).map(|dead| dead.message.clone()) else {
            return self.commit.reply(self.commit.applied(), DeadSettled::Unknown, reply);
        };
        let answered = message.ends_when_parked();
        if again && answered {
            return self.commit.reply(self.commit.applied(), DeadSettled::Answered, reply);
        }
        let mut ops = if again {
            vec![Op::Unpark { id, seq: self.ledger.next_seq() }]
        } else {
            vec![Op::DropDead { id }]
        };
        if !again && !answered {
            let end = End::Failed("dropped", "an operator dropped its dead letter");
            ops.extend(self.reply_op(&message, end));
        }
        let position = self.apply(Delta { writes: None, ops });
        self.commit.reply(position, DeadSettled::Yes, reply);
    }
}

/// A dead letter for operators.
pub(crate) fn letter(dead: &Arc<DeadLetter>) -> DeadLetterInfo {
    let message = &dead.message;
    DeadLetterInfo {
        id: message.id.to_string(),
        entity: message.target.to_string(),
        handler: message.handler.clone(),
        sender: message.sender().map(ToString::to_string),
        input: readable_value(&message.input),
        reason: dead.reason.clone(),
        attempts: dead.attempts,
        parked_at_ms: dead.parked_at_ms,
        answered: message.ends_when_parked(),
    }
}

/// Entities of one type at one moment.
pub(crate) struct Listing {
    app: String,
    kind: String,
    touched: BTreeMap<String, EntityView>,
    base: Arc<Snapshot>,
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
        for (key, view) in self.touched.iter().filter(|(key, _)| wanted(key)).take(limit) {
            if let Ok(entity) = EntityRef::new(&self.app, &self.kind, key) {
                let version = view.version(&keys::entity_prefix(&entity))?;
                found.insert(key.clone(), info(&entity, version));
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
            if wanted(entity.key()) {
                from_base += 1;
                // The first row of an entity is its metadata.
                let version = record::decode("entity", &value)?;
                found.entry(entity.key().to_owned()).or_insert_with(|| info(&entity, version));
            }
        }
        Ok(found.into_values().take(limit).collect())
    }
}

/// One entity at one moment.
pub(crate) struct Portrait {
    entity: EntityRef,
    view: EntityView,
    pending: Option<Arc<Pending>>,
    mailbox: usize,
}

impl Portrait {
    /// The entity with its state; `None` when it has none and nothing waits for it.
    pub(crate) fn paint(&self) -> Result<Option<EntityInfo>, ReadError> {
        let prefix = keys::entity_prefix(&self.entity);
        let version = self.view.version(&prefix)?;
        let bounds = ScanBounds {
            start: b"",
            end: None,
            entries_max: limits::SCAN_ENTRIES_MAX,
            bytes_max: limits::SCAN_BYTES_MAX,
            descending: false,
        };
        let rows = self.view.scan(&prefix, &Rows::default(), bounds)?;
        if version == 0 && rows.is_empty() && self.pending.is_none() && self.mailbox == 0 {
            return Ok(None);
        }
        let state = rows.iter().map(|(key, value)| StateEntry {
            key: readable_key(key),
            value: readable_value(value),
        });
        let timers = self.pending.iter().flat_map(|pending| &pending.timers);
        let timers = timers.flat_map(|(name, set)| set.iter().map(move |timer| (name, timer)));
        let timers = timers.map(|(name, timer)| TimerEntry {
            name: name.clone(),
            handler: timer.message.handler.clone(),
            due_ms: timer.due_ms,
        });
        Ok(Some(EntityInfo {
            state: state.collect(),
            timers: timers.collect(),
            mailbox: self.mailbox,
            ..info(&self.entity, version)
        }))
    }
}

fn info(entity: &EntityRef, version: u64) -> EntityInfo {
    EntityInfo { entity: entity.to_string(), version, state: vec![], timers: vec![], mailbox: 0 }
}

fn readable_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ => hex(key),
    }
}

fn readable_value(value: &Bytes) -> serde_json::Value {
    if value.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(value).unwrap_or_else(|_| match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => hex(value).into(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("hex:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

//! What operators do to one entity: remove it, or write its state. An operation takes its turn like a command: at once
//! when none runs, else right after the one that does, before any that waits. Invariant: it is one Delta, so a crash
//! leaves all of it or nothing, and no command sees half of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::{Core, Waiter};
use super::ledger::Place;
use super::reply::End;
use super::request::{Answered, Change, Expect, MessageStatus, Put, PutDone, Refusal, Removed};
use super::rows::Rows;
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::metrics::{self, QuotaKind};
use crate::record::delta::{Delta, EntityWrites, Op};
use crate::record::keys;
use crate::record::message::{Message, Origin};

/// One operation, and whoever waits for it.
pub(crate) enum Operation {
    Remove(oneshot::Sender<Answered<Option<Removed>>>),
    Put(Box<Put>, oneshot::Sender<Answered<PutDone>>),
}

impl Operation {
    pub(crate) fn refuse(self, refusal: &Refusal) {
        match self {
            Self::Remove(reply) => drop(reply.send(Err(refusal.clone()))),
            Self::Put(_, reply) => drop(reply.send(Err(refusal.clone()))),
        }
    }
}

impl Core {
    /// Does it now, or when the entity's running command has ended.
    pub(crate) fn operate(&mut self, entity: EntityRef, operation: Operation) {
        let waiting: usize = self.operations.values().map(Vec::len).sum();
        let allowed = self.open().and_then(|()| {
            if waiting >= limits::OPERATIONS_MAX {
                return Err(Refusal::Overloaded { what: "operators' writes" });
            }
            if self.view.bytes() >= self.bounds.view_bytes {
                return Err(Refusal::Overloaded { what: "uncheckpointed bytes" });
            }
            Ok(())
        });
        if let Err(refusal) = allowed {
            return operation.refuse(&refusal);
        }
        if self.mailboxes.busy(&entity) {
            return self.operations.entry(entity).or_default().push(operation);
        }
        self.perform(&entity, operation);
        self.dispatch(&entity);
    }

    /// The entity's command has ended: what waited for that is done, in order.
    pub(crate) fn operate_now(&mut self, entity: &EntityRef) {
        for operation in self.operations.remove(entity).unwrap_or_default() {
            self.perform(entity, operation);
        }
    }

    fn perform(&mut self, entity: &EntityRef, operation: Operation) {
        match operation {
            Operation::Remove(reply) => match self.remove(entity) {
                Ok(removed) => self.commit.reply(self.commit.applied(), removed, reply),
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            Operation::Put(put, reply) => match self.put(*put) {
                Ok(done) => self.commit.reply(self.commit.applied(), done, reply),
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
        }
    }

    /// Takes away all that is an entity's: state, what waits for it, and its wish to hear of what it sent. What it
    /// sent stays on its way.
    fn remove(&mut self, entity: &EntityRef) -> Result<Option<Removed>, Refusal> {
        let (version, gone) = self.life(entity)?;
        let queued = self.mailboxes.entries(entity).filter(|entry| entry.call.is_none());
        let queued: Vec<MessageId> = queued.map(|entry| entry.message.id).collect();
        let aside: Vec<MessageId> = self.ledger.aside(entity).collect();
        let hears = self.ledger.asked(entity).next().is_some();
        if (version == 0 || gone) && queued.is_empty() && aside.is_empty() && !hears {
            return Ok(None);
        }
        let scheduled = aside.iter().filter(|id| self.ledger.waiting(**id).is_some()).count();
        let removed = Removed {
            version: version + 1,
            messages: queued.len(),
            scheduled,
            dead: aside.len() - scheduled,
        };
        let ending: BTreeSet<MessageId> = queued.into_iter().chain(aside).collect();
        let silent = self.ledger.asked(entity).filter(|id| !ending.contains(id));
        // Where the entity was told already nothing more will be said, and the dead letter stays final.
        let silent: Vec<_> = silent.filter(|id| !self.is_final(*id)).collect();
        let told = ending.iter().filter_map(|id| self.ledger.message(*id)?.then.as_deref());
        let told: usize = told.map(|then| then.context.len() + limits::REPLY_FRAME_BYTES_MAX).sum();
        if told + limits::REPLY_FRAME_BYTES_MAX * silent.len() > limits::BATCH_BYTES_MAX {
            return Err(Refusal::Overloaded { what: "messages that end with one entity" });
        }
        self.refuse_waiting_calls(entity);
        let mut ops = vec![];
        for id in &ending {
            ops.extend(self.end_op(*id));
        }
        for id in &ending {
            if let Some(message) = self.ledger.message(*id).cloned()
                && message.sender() != Some(entity)
                && !self.is_final(*id)
            {
                let end = End::Failed("dropped", "the entity that it was for was removed");
                ops.extend(self.reply_op(&message, end));
            }
        }
        ops.extend(silent.into_iter().map(|id| Op::Silence { id }));
        let version = removed.version;
        let (entity, rows) = (entity.clone(), vec![]);
        ops.push(Op::Rewrite { entity, version, rows, removed: true });
        let position = self.apply(Delta { writes: None, ops });
        for id in ending {
            for waiter in self.waiters.remove(&id).unwrap_or_default() {
                match waiter {
                    Waiter::Status(to) => self.commit.reply(position, MessageStatus::Unknown, to),
                    Waiter::Answer(to) => {
                        self.commit.reply_refusal(position, Refusal::Removed, to);
                    }
                }
            }
        }
        Ok(Some(removed))
    }

    /// Writes an entity's state, and its timers if they are given.
    fn put(&mut self, put: Put) -> Result<PutDone, Refusal> {
        let Put { entity, change, timers, expect, version_min } = put;
        let (version, gone) = self.life(&entity)?;
        let expected = match expect {
            Expect::Anything => true,
            Expect::Version(wanted) => wanted == version,
            Expect::Absent => version == 0 || gone,
        };
        if !expected {
            return Ok(PutDone::Otherwise { version });
        }
        if let Some(refused) = self.over_state(&entity, &change)? {
            return Ok(refused);
        }
        let version = (version + 1).max(version_min);
        let mut delta = Delta::default();
        if let Some(timers) = timers {
            let pending = self.ledger.pending(&entity).cloned().unwrap_or_default();
            for timer in pending.timers.values().flatten() {
                delta.ops.extend(self.cancel_op(timer.message.id, None));
            }
            for timer in timers {
                let id = MessageId::new(self.clock.now_ms(), &entity, self.clock.chance());
                let message = Message {
                    id,
                    target: entity.clone(),
                    handler: timer.handler,
                    input: timer.input,
                    content_type: None,
                    trace: None,
                    origin: Origin::Timer(timer.name),
                    then: None,
                };
                let (due_ms, seq) = (timer.due_ms, self.ledger.next_seq());
                delta.ops.push(Op::Schedule { due_ms, seq, message: Arc::new(message) });
            }
        }
        match change {
            Change::Whole(rows) => {
                delta.ops.push(Op::Rewrite { entity, version, rows, removed: false });
            }
            Change::Some(rows) => delta.writes = Some(EntityWrites { entity, version, rows }),
        }
        self.apply(delta);
        Ok(PutDone::Yes { version })
    }

    /// Holds a write against its app's quota as a handler's is: what makes the state no larger is allowed.
    fn over_state(
        &mut self,
        entity: &EntityRef,
        change: &Change,
    ) -> Result<Option<PutDone>, Refusal> {
        let Some(max) = self.apps.settings(entity.app()).state_bytes_max else { return Ok(None) };
        let (prefix, view) = (keys::entity_prefix(entity), self.view.entity(entity));
        let after = match change {
            Change::Whole(rows) => {
                Ok(rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
            }
            Change::Some(rows) => {
                let mut writes = Rows::default();
                for (key, value) in rows {
                    writes.insert(key.clone(), value.clone());
                }
                view.size_with(&prefix, &writes)
            }
        };
        let bytes = self.readable(after)?;
        if bytes <= max {
            return Ok(None);
        }
        let before = view.size(&prefix);
        if bytes <= self.readable(before)? {
            return Ok(None);
        }
        metrics::app(entity.app()).over_quota(QuotaKind::StateBytes);
        Ok(Some(PutDone::TooLarge { bytes, max }))
    }

    /// An entity's version, and whether it was removed at that one.
    fn life(&mut self, entity: &EntityRef) -> Result<(u64, bool), Refusal> {
        let (prefix, view) = (keys::entity_prefix(entity), self.view.entity(entity));
        let read = view.version(&prefix).and_then(|version| {
            let removed = view.removed(&prefix)?;
            Ok((version, version > 0 && removed == version))
        });
        self.readable(read)
    }

    /// True of a dead letter whose sender was told.
    fn is_final(&self, id: MessageId) -> bool {
        self.ledger.dead.get(&id).is_some_and(|letter| letter.message.ends_when_parked())
    }

    /// The operation that takes a message away, wherever it is.
    fn end_op(&mut self, id: MessageId) -> Option<Op> {
        match self.ledger.place(id)? {
            Place::Dead => Some(Op::DropDead { id }),
            Place::Mailbox(_) | Place::Scheduled(..) => self.cancel_op(id, None),
        }
    }

    /// Calls that have not started; a migration goes on, queries wait for it.
    fn refuse_waiting_calls(&mut self, entity: &EntityRef) {
        let called = |entry: &&super::core::Entry| {
            entry.call.as_ref().is_some_and(|caller| caller.reply.is_some())
        };
        let calls = self.mailboxes.entries(entity).filter(called);
        let calls: Vec<u64> = calls.map(|entry| entry.seq).collect();
        for seq in calls {
            if let Some(entry) = self.mailboxes.remove(entity, seq) {
                self.refuse_call(entry, &Refusal::Removed);
            }
        }
    }
}

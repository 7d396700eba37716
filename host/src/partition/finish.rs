//! What a guest call came to: a committed transaction, a rejection, another attempt, or a dead letter. Decides,
//! then applies one Delta. Invariant: the message that was handled leaves its mailbox in the same Delta as the
//! effects of handling it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::admit::answer_of;
use super::core::{Core, Entry, Waiter, Work};
use super::executor::{Direct, Executed, Verdict};
use super::history::Ended;
use super::ledger::Place;
use super::reply::End;
use super::request::{Answer, CallFailure, CallResult, MessageStatus};
use super::transaction::Draft;
use crate::engine::{Due, Failure, Trap};
use crate::ids::{EntityRef, MessageId, Position};
use crate::journal::Parked;
use crate::logging;
use crate::metrics;
use crate::record::delta::{Delta, EntityWrites, Op};
use crate::record::message::Origin;
use crate::record::outcome::{Ending, Outcome, Rejection, Remembered};

/// Answers a query that began on what was durable; gives back what the machine has to hear of.
pub(crate) fn answer_directly(mut executed: Executed) -> Option<Executed> {
    if matches!(executed.verdict, Verdict::Outdated(..) | Verdict::Unreadable(_)) {
        return Some(executed);
    }
    let Some(Direct { receipt, open }) = executed.direct.take() else { return Some(executed) };
    let Work::Query(query) = executed.work else { return Some(executed) };
    let answer = query_answer(executed.message.id, executed.verdict, executed.version);
    if let Ok(durable) = Parked::new(executed.cause, answer).release(receipt) {
        drop(query.reply.send(Ok(durable)));
    }
    drop(open);
    None
}

pub(crate) fn query_answer(id: MessageId, verdict: Verdict, version: u64) -> Answer {
    let result = match verdict {
        Verdict::Done(body, _) => CallResult::Reply(body),
        Verdict::Rejected(failure) => CallResult::Rejected(failure),
        Verdict::Failed(failure) => CallResult::Failed(failure),
        Verdict::Outdated(_, failure) => CallResult::Failed(CallFailure::Error(failure)),
        Verdict::Unreadable(why) => unreachable!("{why}: the partition is poisoned"),
    };
    Answer { id, result, version, replayed: false, expires_ms: None }
}

impl Core {
    /// Settles one guest call and starts the entity's next.
    pub(crate) fn finish(&mut self, executed: Executed) {
        let Executed { work, message, verdict, version, cause, direct: _ } = executed;
        // IMPORTANT: an I/O error latches the state file, so every other read would fail after this one.
        if let Verdict::Unreadable(why) = &verdict {
            self.poison(why.clone());
        }
        if self.poisoned().is_some() {
            return self.refuse_work(work);
        }
        match work {
            Work::Query(query) => {
                let verdict = match verdict {
                    Verdict::Outdated(migrate, _) if query.retries > 0 => {
                        return self.bring_up_to_date(message, query, migrate, version);
                    }
                    verdict => verdict,
                };
                self.commit.reply(cause, query_answer(message.id, verdict, version), query.reply);
            }
            Work::Command(entry) => {
                let entity = message.target.clone();
                if entry.call.is_none() {
                    self.running_seqs.remove(&entry.seq);
                }
                match verdict {
                    Verdict::Done(body, draft) => {
                        self.commit_draft(entry, body, draft, version, cause);
                    }
                    Verdict::Rejected(failure) => self.reject(entry, failure, version, cause),
                    Verdict::Failed(failure) => self.fail(entry, failure, version, cause),
                    Verdict::Unreadable(why) => unreachable!("{why}: the partition is poisoned"),
                    // Commands migrate in their own transaction.
                    Verdict::Outdated(_, failure) => {
                        self.fail(entry, CallFailure::Error(failure), version, cause);
                    }
                }
                self.mailboxes.done(&entity);
                self.forget_late(&entity);
                self.operate_now(&entity);
                self.dispatch(&entity);
            }
        }
    }

    /// Seals what a command did into a Delta.
    fn commit_draft(
        &mut self,
        entry: Entry,
        body: Bytes,
        draft: Draft,
        version: u64,
        cause: Position,
    ) {
        if !self.can_cancel(&entry, &draft) {
            // What it cancelled has started meanwhile: nothing is kept, it runs again on what is true now.
            let entity = entry.message.target.clone();
            return self.mailboxes.push(&entity, entry);
        }
        let emits = !draft.sends.is_empty() || !draft.timers.is_empty();
        if let Some(what) = self.crowded().filter(|_| emits) {
            let fault = format!("the host is over its limit of {what}; nothing was sent");
            return self.fail(entry, CallFailure::Trap(Trap::Fault(fault)), version, cause);
        }
        if emits
            && self.adds_messages(&entry, &draft)
            && let Some(refusal) = self.over_backlog(entry.message.target.app())
        {
            let (code, message) = ("over_quota".into(), format!("{refusal}; nothing was sent"));
            let failure = Failure { code, message, details: None, retryable: true };
            return self.fail(entry, CallFailure::Error(failure), version, cause);
        }
        let state_bytes = draft.state_bytes;
        let ends_message = entry.call.is_none();
        let keyed = entry.call.as_ref().is_some_and(|call| call.idempotency.is_some());
        let effects = !draft.is_empty();
        let version = version + u64::from(!draft.writes.is_empty());
        let mut delta = Delta::default();
        if ends_message {
            delta.ops.push(Op::Dequeue { seq: entry.seq });
        }
        let end = if draft.replies_bytes { End::Bytes(&body) } else { End::Value(&body) };
        let cancelled = match effects {
            true => self.seal(&entry, draft, version, &mut delta),
            false => Vec::new(),
        };
        delta.ops.extend(self.turn_reply_op(&entry, end));
        let outcome = self.remember(&entry, Ending::Reply(body.clone()), version, &mut delta);
        self.note_turn(&entry, Ended::Done(cancelled.into()), version, &delta);
        let cause = if effects || ends_message || keyed { self.apply(delta) } else { cause };
        if let Some(bytes) = state_bytes {
            self.view.keep_size(&entry.message.target, bytes);
        }
        let answer = Answer {
            id: entry.message.id,
            result: CallResult::Reply(body),
            version,
            replayed: false,
            expires_ms: outcome.map(|outcome| outcome.expires_ms),
        };
        self.answer(entry, answer, cause);
    }

    /// The handler rejected: final. Whoever can be told is told; a message that nobody waits for is parked, so
    /// that it does not vanish.
    fn reject(&mut self, entry: Entry, failure: Failure, version: u64, cause: Position) {
        let told = matches!(entry.message.origin, Origin::Ingress { .. });
        if !told && self.continuation(&entry.message).is_none() {
            let reason = format!("rejected: {}: {}", failure.code, failure.message);
            return self.park(&entry, reason, version);
        }
        let mut delta = Delta::default();
        if entry.call.is_none() {
            delta.ops.push(Op::Dequeue { seq: entry.seq });
        }
        delta.ops.extend(self.turn_reply_op(&entry, End::Rejected(&failure)));
        let why = Rejection {
            code: failure.code.clone(),
            message: failure.message.clone(),
            details: failure.details.clone(),
        };
        let reason = format!("{}: {}", failure.code, failure.message);
        let outcome = self.remember(&entry, Ending::Rejected(why), version, &mut delta);
        self.note_turn(&entry, Ended::because(Ended::Rejected, &reason), version, &delta);
        let cause = if delta.is_empty() { cause } else { self.apply(delta) };
        let answer = Answer {
            id: entry.message.id,
            result: CallResult::Rejected(failure),
            version,
            replayed: false,
            expires_ms: outcome.map(|outcome| outcome.expires_ms),
        };
        self.answer(entry, answer, cause);
    }

    /// The attempt failed. A call is its caller's to retry; a message is ours.
    fn fail(&mut self, entry: Entry, failure: CallFailure, version: u64, cause: Position) {
        if entry.call.is_some() {
            let ended = Ended::because(Ended::Failed, &failure.to_string());
            self.note_turn(&entry, ended, version, &Delta::default());
            let (id, result) = (entry.message.id, CallResult::Failed(failure));
            let answer = Answer { id, result, version, replayed: false, expires_ms: None };
            return self.answer(entry, answer, cause);
        }
        let retry = self.apps.settings(entry.message.target.app()).retry;
        let attempts = entry.attempts + 1;
        let _lines = logging::turn(entry.message.clone(), attempts);
        tracing::debug!(%failure, "attempt failed");
        if attempts >= retry.attempts_max {
            return self.park(&entry, failure.to_string(), version);
        }
        metrics::app(entry.message.target.app()).retried();
        let not_before_ms = self.clock.now_ms() + retry.pause_ms(attempts, self.clock.chance());
        let seq = entry.seq;
        let ops = vec![Op::BackOff { seq, attempts, not_before_ms }];
        let ended = Ended::because(Ended::Retried, &failure.to_string());
        self.note_turn(&entry, ended, version, &Delta::default());
        self.apply(Delta { writes: None, ops });
        let entity = entry.message.target.clone();
        self.mailboxes.hold(&entity, Entry { attempts, ..entry }, not_before_ms);
    }

    /// Gives up on a message and keeps it whole.
    fn park(&mut self, entry: &Entry, reason: String, version: u64) {
        let (id, attempts) = (entry.message.id, entry.attempts + 1);
        let _lines = logging::turn(entry.message.clone(), attempts);
        tracing::warn!(%reason, "parked");
        metrics::app(entry.message.target.app()).parked();
        let at_ms = self.clock.now_ms();
        let then = entry.message.ends_when_parked().then_some(End::Failed("parked", &reason));
        let reply = then.and_then(|end| self.turn_reply_op(entry, end));
        let ended = Ended::because(Ended::Parked, &reason);
        let mut ops = vec![Op::Park { seq: entry.seq, attempts, reason, at_ms }];
        ops.extend(reply);
        let delta = Delta { writes: None, ops };
        self.note_turn(entry, ended, version, &delta);
        let position = self.apply(delta);
        for waiter in self.waiters.remove(&id).unwrap_or_default() {
            match waiter {
                Waiter::Status(to) => {
                    let letter = self.ledger.dead.get(&id).map(super::letters::letter);
                    let status = letter.map_or(MessageStatus::Unknown, MessageStatus::Dead);
                    self.commit.reply(position, status, to);
                }
                Waiter::Answer(to) => {
                    let reason = "it was given up on and is a dead letter".into();
                    let result = CallResult::Failed(CallFailure::NoHandler(reason));
                    let answer =
                        Answer { id, result, version: 0, replayed: true, expires_ms: None };
                    self.commit.reply(position, answer, to);
                }
            }
        }
    }

    /// Sends an answer to the caller and to whoever waits for the message.
    fn answer(&mut self, entry: Entry, answer: Answer, cause: Position) {
        for waiter in self.waiters.remove(&answer.id).unwrap_or_default() {
            match waiter {
                Waiter::Answer(to) => {
                    let again = Answer { replayed: true, ..answer.clone() };
                    self.commit.reply(cause, again, to);
                }
                Waiter::Status(to) => {
                    self.commit.reply(cause, MessageStatus::Done(answer.clone()), to);
                }
            }
        }
        let Some(caller) = entry.call else { return };
        let Some(reply) = caller.reply else {
            return self.migrated(&entry.message.target, &answer, cause);
        };
        match caller.idempotency {
            Some(key) => drop(self.keyed.remove(&key.row)),
            None => self.recent.push(cause, entry.message.target.clone(), answer.clone()),
        }
        self.commit.reply(cause, answer, reply);
    }

    /// Adds to the Delta what is to be remembered of a message's end: for keyed calls and for sends.
    fn remember(
        &mut self,
        entry: &Entry,
        ending: Ending,
        version: u64,
        delta: &mut Delta,
    ) -> Option<Arc<Outcome>> {
        let key = entry.call.as_ref().and_then(|call| call.idempotency.as_ref());
        let retention_s = match (&entry.message.origin, key) {
            (_, Some(key)) => key.retention_s,
            (Origin::Ingress { retention_s }, None) if entry.call.is_none() => *retention_s,
            _ => return None,
        };
        let id = entry.message.id;
        let expires_ms = self.clock.now_ms() + retention_s * 1_000;
        let app = Some(entry.message.target.app().into());
        let outcome = Arc::new(Outcome { ending, version, expires_ms, app });
        delta.ops.push(Op::Outcome { id, outcome: outcome.clone() });
        if let Some(key) = key {
            let mark = Arc::new(Remembered { id, fingerprint: key.fingerprint, expires_ms });
            let entity = entry.message.target.clone();
            delta.ops.push(Op::Remember { entity, key: key.key.clone(), mark });
        }
        debug_assert_eq!(answer_of(id, &outcome).and_then(|a| a.expires_ms), Some(expires_ms));
        Some(outcome)
    }

    /// True when there are more messages after it than before.
    fn adds_messages(&self, entry: &Entry, draft: &Draft) -> bool {
        let pending = self.ledger.pending(&entry.message.target);
        let is_set = |name: &String| pending.is_some_and(|all| all.timers.contains_key(name));
        let set = draft.timers.iter().filter(|(name, set)| set.is_some() && !is_set(name)).count();
        let ends = usize::from(entry.call.is_none()) + draft.cancels.len();
        draft.sends.len() + set > ends
    }

    /// True when everything that the draft cancels has still not started.
    fn can_cancel(&self, entry: &Entry, draft: &Draft) -> bool {
        let waits = |id: &MessageId| match self.ledger.place(*id) {
            Some(Place::Scheduled(..)) => true,
            // A callback in its mailbox was used: whoever did was told so.
            Some(Place::Mailbox(seq)) if self.ledger.queued[&seq].message.callback().is_some() => {
                false
            }
            Some(Place::Mailbox(seq)) => seq != entry.seq && !self.running_seqs.contains(&seq),
            Some(Place::Dead) | None => false,
        };
        draft.cancels.iter().all(waits)
    }

    /// Turns a draft into a Delta: cancels first, so that what is set takes the place of what was. Gives the messages
    /// that are cancelled.
    fn seal(
        &mut self,
        entry: &Entry,
        draft: Draft,
        version: u64,
        delta: &mut Delta,
    ) -> Vec<MessageId> {
        let entity = &entry.message.target;
        let replaced = self.replaced_timers(entity, draft.timers.keys());
        let cancelled: Vec<_> = draft.cancels.into_iter().chain(replaced).collect();
        for id in &cancelled {
            delta.ops.extend(self.cancel_op(*id, Some(entry.seq)));
        }
        for (message, due_ms) in draft.timers.into_values().flatten() {
            let seq = self.ledger.next_seq();
            delta.ops.push(Op::Schedule { due_ms, seq, message });
        }
        let now_ms = self.clock.now_ms();
        for (message, due) in draft.sends {
            let seq = self.ledger.next_seq();
            delta.ops.push(match due {
                Due::AtMs(due_ms) if due_ms > now_ms => Op::Schedule { due_ms, seq, message },
                Due::AtMs(_) | Due::Now => Op::Enqueue { seq, message },
            });
        }
        if !draft.writes.is_empty() {
            let rows = draft.writes.into_vec();
            delta.writes = Some(EntityWrites { entity: entity.clone(), version, rows });
        }
        cancelled
    }

    /// What waits under these names, all of it: an operator may have sent a dead letter again meanwhile.
    fn replaced_timers<'n>(
        &self,
        entity: &EntityRef,
        names: impl Iterator<Item = &'n String>,
    ) -> BTreeSet<MessageId> {
        let Some(pending) = self.ledger.pending(entity) else { return BTreeSet::new() };
        let timers = names.filter_map(|name| pending.timers.get(name)).flatten();
        timers.map(|timer| timer.message.id).collect()
    }

    /// The operation that takes a waiting message away, unless it is the one at `except` or is gone.
    pub(crate) fn cancel_op(&mut self, id: MessageId, except: Option<u64>) -> Option<Op> {
        match self.ledger.place(id)? {
            Place::Scheduled(due_ms, seq) => Some(Op::Unschedule { due_ms, seq }),
            Place::Mailbox(seq) if Some(seq) != except && !self.running_seqs.contains(&seq) => {
                let entity = self.ledger.queued[&seq].message.target.clone();
                self.mailboxes.remove(&entity, seq);
                Some(Op::Dequeue { seq })
            }
            Place::Mailbox(_) | Place::Dead => None,
        }
    }

    fn refuse_work(&mut self, work: Work) {
        let Err(refusal) = self.open() else { return };
        match work {
            Work::Query(query) => drop(query.reply.send(Err(refusal))),
            Work::Command(entry) => {
                if let Some(reply) = entry.call.and_then(|caller| caller.reply) {
                    drop(reply.send(Err(refusal)));
                }
            }
        }
    }
}

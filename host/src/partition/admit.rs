//! Requests from outside: calls, sends and queries enter the partition here, or are refused before anything of
//! them is kept. Idempotency keys are looked up here: the first answer again, or attach to what is in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::{Caller, Core, Entry, Idempotency, InFlight, Query, Waiter, Work};
use super::request::{
    Accepted, Answer, Answered, CallFailure, CallResult, Invocation, Refusal, Send,
};
use super::view::Stamped;
use crate::engine::{Due, Failure};
use crate::ids::{EntityRef, MessageId, Position};
use crate::limits;
use crate::record::delta::{Delta, Op};
use crate::record::keys;
use crate::record::message::{Message, Origin};
use crate::record::outcome::{Ending, Outcome, Remembered, fingerprint};

impl Core {
    /// Runs a command once and answers when its result is durable. Its id is `id`, or one that is made for it.
    pub(crate) fn call_as(
        &mut self,
        id: Option<MessageId>,
        invocation: Invocation,
        reply: oneshot::Sender<Answered<Answer>>,
    ) {
        let idempotency = match self.admit(&invocation) {
            Ok(idempotency) => idempotency,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        if let Some(key) = &idempotency {
            match self.known(key) {
                Ok(None) => {}
                Ok(Some(known)) => return self.answer_known(&invocation.entity, &known, reply),
                Err(refusal) => return drop(reply.send(Err(refusal))),
            }
        }
        // Answers that are there are given all the same.
        if let Err(refusal) = self.running_allowed(&invocation.entity) {
            return drop(reply.send(Err(refusal)));
        }
        let message = self.compose(id, invocation, Origin::Ingress { retention_s: 0 });
        if let Some(key) = &idempotency {
            let flight = InFlight { id: message.id, fingerprint: key.fingerprint };
            self.keyed.insert(key.row.clone(), flight);
        }
        let seq = self.ledger.next_seq();
        let call = Some(Box::new(Caller { reply: Some(reply), idempotency }));
        self.enter(Entry { seq, message, attempts: 0, began: Duration::ZERO, call });
    }

    /// Queues a command durably.
    pub(crate) fn send(&mut self, send: Send, reply: oneshot::Sender<Answered<Accepted>>) {
        let Send { invocation, due } = send;
        let idempotency = match self.admit(&invocation) {
            Ok(idempotency) => idempotency,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        if let Some(key) = &idempotency {
            match self.known(key) {
                Ok(None) => {}
                Ok(Some(known)) => {
                    let (id, expires_ms) = (known.id, known.expires_ms);
                    let accepted = Accepted { id, previously: true, expires_ms };
                    return self.commit.reply(known.cause, accepted, reply);
                }
                Err(refusal) => return drop(reply.send(Err(refusal))),
            }
        }
        let retention_s = self.apps.settings(invocation.entity.app()).retention_s;
        let message = self.compose(None, invocation, Origin::Ingress { retention_s });
        let (id, target) = (message.id, message.target.clone());
        let seq = self.ledger.next_seq();
        let now_ms = self.clock.now_ms();
        let mut ops = vec![match due {
            Due::AtMs(due_ms) if due_ms > now_ms => Op::Schedule { due_ms, seq, message },
            Due::AtMs(_) | Due::Now => Op::Enqueue { seq, message },
        }];
        let mut expires_ms = None;
        if let Some(key) = idempotency {
            // The key is remembered at least until the outcome is forgotten, however long the delay.
            let due_ms = if let Due::AtMs(due_ms) = due { due_ms.max(now_ms) } else { now_ms };
            let until = due_ms + key.retention_s * 1_000;
            expires_ms = Some(until);
            let mark = Remembered { id, fingerprint: key.fingerprint, expires_ms: until };
            let mark = Arc::new(mark);
            ops.push(Op::Remember { entity: target, key: key.key, mark });
        }
        let position = self.apply(Delta { writes: None, ops });
        self.commit.reply(position, Accepted { id, previously: false, expires_ms }, reply);
    }

    /// Runs a query beside whatever else runs.
    pub(crate) fn read(
        &mut self,
        invocation: Invocation,
        reply: oneshot::Sender<Answered<Answer>>,
    ) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        if self.running() >= self.bounds.running {
            let refusal = Refusal::Overloaded { what: "guest calls in progress" };
            return drop(reply.send(Err(refusal)));
        }
        let message = self.compose(None, invocation, Origin::Ingress { retention_s: 0 });
        let query = Query { reply, retries: limits::OUTDATED_RETRIES_MAX };
        self.run(Work::Query(query), message, 1);
    }

    /// Checks the bounds, and reads the idempotency key.
    fn admit(&self, invocation: &Invocation) -> Result<Option<Idempotency>, Refusal> {
        self.open()?;
        if let Some(what) = self.crowded() {
            return Err(Refusal::Overloaded { what });
        }
        if self.view.bytes() >= self.bounds.view_bytes {
            return Err(Refusal::Overloaded { what: "uncheckpointed bytes" });
        }
        let entity = &invocation.entity;
        if let Some(refusal) = self.over_backlog(entity.app()) {
            return Err(refusal);
        }
        let waiting = self.mailboxes.waiting(entity);
        if waiting > 0 && waiting >= self.apps.settings(entity.app()).mailbox_max {
            return Err(Refusal::MailboxFull { waiting });
        }
        Ok(invocation.idempotency_key.as_ref().map(|key| Idempotency {
            key: key.clone(),
            row: keys::idempotency(entity, key),
            fingerprint: fingerprint(
                &invocation.handler,
                invocation.content_type.as_deref(),
                &invocation.input,
            ),
            retention_s: self.apps.settings(entity.app()).retention_s,
        }))
    }

    fn compose(
        &self,
        id: Option<MessageId>,
        invocation: Invocation,
        origin: Origin,
    ) -> Arc<Message> {
        let Invocation { entity, handler, input, content_type, trace, .. } = invocation;
        let new = || MessageId::new(self.clock.now_ms(), &entity, self.clock.chance());
        let id = id.unwrap_or_else(new);
        let target = entity;
        Arc::new(Message { id, target, handler, input, content_type, trace, origin, then: None })
    }

    /// What this idempotency key stands for already.
    fn known(&mut self, key: &Idempotency) -> Result<Option<Known>, Refusal> {
        if let Some(flight) = self.keyed.get(&key.row) {
            if flight.fingerprint != key.fingerprint {
                return Err(Refusal::IdempotencyMismatch);
            }
            let (id, cause) = (flight.id, Position(0));
            return Ok(Some(Known { id, cause, expires_ms: None, in_flight: true }));
        }
        let found = self.view.remembered(&key.row);
        let Some(Stamped { cause, value: mark }) = self.readable(found)? else { return Ok(None) };
        if mark.expires_ms <= self.clock.now_ms() {
            return Ok(None);
        }
        if mark.fingerprint != key.fingerprint {
            return Err(Refusal::IdempotencyMismatch);
        }
        let expires_ms = Some(mark.expires_ms);
        Ok(Some(Known { id: mark.id, cause, expires_ms, in_flight: false }))
    }

    /// Answers a repeated call: with the first answer, or when there is one.
    fn answer_known(
        &mut self,
        entity: &EntityRef,
        known: &Known,
        reply: oneshot::Sender<Answered<Answer>>,
    ) {
        let id = known.id;
        if known.in_flight {
            return self.wait_for(id, Waiter::Answer(reply));
        }
        let view = self.view.entity(entity);
        let removed = match self.readable(view.removed(&keys::entity_prefix(entity))) {
            Ok(removed) => removed,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let outcome = self.view.outcome(id);
        let answer = self
            .readable(outcome)
            .map(|kept| kept.and_then(|kept| Some((kept.cause, answer_of(id, &kept.value)?))));
        match answer {
            Err(refusal) => drop(reply.send(Err(refusal))),
            // It belongs to an earlier life: neither its answer nor its effect comes again.
            Ok(Some((cause, answer))) if answer.version < removed => {
                let why = format!("the entity of {id} was removed; use another Idempotency-Key");
                self.commit.reply(cause.max(view.cause), known.spent("removed", why), reply);
            }
            Ok(Some((cause, answer))) => {
                self.commit.reply(cause, Answer { replayed: true, ..answer }, reply);
            }
            Ok(None) if self.ledger.dead.contains_key(&id) => {
                let why = format!("{id} was given up on and is a dead letter");
                self.commit.reply(self.commit.applied(), known.spent("parked", why), reply);
            }
            Ok(None) if self.ledger.place(id).is_some() => self.wait_for(id, Waiter::Answer(reply)),
            Ok(None) => {
                let why = format!(
                    "{id} was cancelled, by itself or with its entity; use another Idempotency-Key"
                );
                self.commit.reply(self.commit.applied(), known.spent("cancelled", why), reply);
            }
        }
    }

    /// Registers somebody who waits for a message to end.
    pub(crate) fn wait_for(&mut self, id: MessageId, waiter: Waiter) {
        let waiters = self.waiters.entry(id).or_default();
        waiters.retain(|waiter| !waiter.gone());
        waiters.push(waiter);
    }
}

struct Known {
    id: MessageId,
    cause: Position,
    expires_ms: Option<u64>,
    /// A call that has not ended; nothing of it is kept yet.
    in_flight: bool,
}

impl Known {
    /// The answer when the message will never have one.
    fn spent(&self, code: &str, message: String) -> Answer {
        let failure = Failure { code: code.into(), message, details: None, retryable: false };
        let result = CallResult::Failed(CallFailure::Error(failure));
        Answer { id: self.id, result, version: 0, replayed: true, expires_ms: self.expires_ms }
    }
}

/// A kept outcome as an answer; none for what only says that a callback was used.
pub(crate) fn answer_of(id: MessageId, outcome: &Outcome) -> Option<Answer> {
    let result = match &outcome.ending {
        Ending::Reply(body) => CallResult::Reply(body.clone()),
        Ending::Rejected(why) => CallResult::Rejected(Failure {
            code: why.code.clone(),
            message: why.message.clone(),
            details: why.details.clone(),
            retryable: false,
        }),
        Ending::Settled { .. } => return None,
    };
    let (version, expires_ms) = (outcome.version, Some(outcome.expires_ms));
    Some(Answer { id, result, version, replayed: false, expires_ms })
}

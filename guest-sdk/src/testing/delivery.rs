//! A world's messages and timers on their way: order, retries, dead letters, replies. Invariant: messages of
//! one sender to one receiver take effect in the order they were sent, except that a delayed one counts from
//! when it is due; a failed one holds back only later ones of the same pair. A message that ends replies once.

use serde_json::value::RawValue;

use super::{Stored, World};
use crate::context::{EntityRef, MessageId};
use crate::continuation::{Failure, FailureKind, Reply};
use crate::host::Continuation;
use crate::host::native::{Call, Sent, TimerRow};
use crate::{Bytes, Error, Result};

/// First and longest pause between attempts, as the host has them; without its chance.
const RETRY_INITIAL_MS: u64 = 200;
const RETRY_MAX_MS: u64 = 60_000;

/// A message that used up its attempts.
#[derive(Debug)]
pub struct DeadLetter {
    /// Its id.
    pub id: MessageId,
    /// Whom it was for.
    pub target: EntityRef,
    /// The command it was for.
    pub handler: String,
    /// Its input.
    pub input: Vec<u8>,
    /// Who sent it; none for sends from outside and timers.
    pub sender: Option<EntityRef>,
    /// Attempts made.
    pub attempts: u32,
    /// The last attempt's failure.
    pub reason: Error,
    /// Who hears how it ends; none when its sender was told, or asked for no reply.
    then: Option<Continuation>,
    /// Whether its sender was told that it failed, so that it can't be retried.
    pub is_answered: bool,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) id: String,
    /// Position in the order of sending.
    sequence: u64,
    target: EntityRef,
    handler: String,
    input: Vec<u8>,
    pub(super) sender: Option<EntityRef>,
    pub(super) due_ms: u64,
    /// Attempts that failed.
    failed: u32,
    then: Option<Continuation>,
}

/// What happens next.
enum Event {
    Message(usize),
    Timer(EntityRef, String),
    Expiry(String),
}

impl World {
    /// Queues a message from outside.
    pub(super) fn enqueue(
        &mut self,
        target: EntityRef,
        handler: &str,
        input: Vec<u8>,
    ) -> MessageId {
        let id = self.new_id();
        let (handler, due_ms) = (handler.to_owned(), self.now_ms);
        self.push(Sent { id: id.clone(), target, handler, input, due_ms, then: None }, None);
        MessageId::new(id)
    }

    /// Tries a dead letter again, as an operator does: it is queued with all its attempts.
    ///
    /// # Errors
    /// `unknown_message`, and `already_answered` when its sender was told that it failed: it may have done
    /// something else by now.
    pub fn retry_dead_letter(&mut self, id: &MessageId) -> Result<()> {
        let at = self.dead_letter(id)?;
        if self.dead[at].is_answered {
            let text =
                format!("the sender of {id} was told that it failed; it can only be dropped");
            return Err(Error::rejected(text).with_code("already_answered"));
        }
        let DeadLetter { id, target, handler, input, sender, then, .. } = self.dead.remove(at);
        let (id, due_ms) = (id.as_str().to_owned(), self.now_ms);
        self.push(Sent { id, target, handler, input, due_ms, then }, sender);
        Ok(())
    }

    /// Forgets a dead letter, as an operator does; a sender that waits for its reply is told.
    ///
    /// # Errors
    /// `unknown_message`.
    pub fn drop_dead_letter(&mut self, id: &MessageId) -> Result<()> {
        let at = self.dead_letter(id)?;
        let DeadLetter { target, sender, then, .. } = self.dead.remove(at);
        self.reply(&target, sender, then, || failed("dropped", "an operator dropped the message"));
        Ok(())
    }

    /// Cancels a queued message, as an operator does; a sender that waits for its reply is told.
    ///
    /// # Errors
    /// `unknown_message`.
    pub fn cancel(&mut self, id: &MessageId) -> Result<()> {
        let found = self.pending.iter().position(|one| one.id == id.as_str());
        let Pending { target, sender, then, .. } =
            self.pending.remove(found.ok_or_else(|| unknown(id))?);
        self.reply(&target, sender, then, || {
            failed("cancelled", "an operator cancelled the message")
        });
        Ok(())
    }

    fn dead_letter(&self, id: &MessageId) -> Result<usize> {
        self.dead.iter().position(|dead| &dead.id == id).ok_or_else(|| unknown(id))
    }

    /// Keeps what a call did.
    pub(super) fn commit(&mut self, call: Call) {
        if call.read_only {
            return;
        }
        for sent in call.sent {
            self.push(sent, Some(call.entity.clone()));
        }
        self.pending.retain(|pending| !call.cancelled.contains(&pending.id));
        self.callbacks.keep(&call.entity, call.callbacks, &call.withdrawn);
        self.entities.insert(call.entity, Stored { state: call.state, timers: call.timers });
    }

    /// Delivers, in order of time, what is due by `until_ms`.
    pub(super) fn deliver_until(&mut self, until_ms: u64) {
        while let Some((due_ms, event)) =
            self.next_event().filter(|(due_ms, _)| *due_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(due_ms);
            match event {
                Event::Message(at) => self.attempt(at),
                Event::Timer(entity, name) => self.fire(&entity, &name),
                Event::Expiry(token) => self.expire(&token),
            }
        }
    }

    /// When the next message that failed before is tried again.
    pub(super) fn next_retry_ms(&self) -> Option<u64> {
        self.pending.iter().filter(|one| one.failed > 0).map(|one| one.due_ms).min()
    }

    pub(super) fn push(&mut self, sent: Sent, sender: Option<EntityRef>) {
        let Sent { id, target, handler, input, due_ms, then } = sent;
        self.messages += 1;
        let (sequence, failed) = (self.messages, 0);
        let message =
            Pending { id, sequence, target, handler, input, sender, due_ms, failed, then };
        self.pending.push(message);
    }

    /// Queues the reply of a message to `callee` that has ended, to the entity that asked for it.
    fn reply(
        &mut self,
        callee: &EntityRef,
        asking: Option<EntityRef>,
        then: Option<Continuation>,
        reply: impl FnOnce() -> Reply<Box<RawValue>>,
    ) {
        let (Some(target), Some(then)) = (asking, then) else { return };
        let input = with_reply(&then.context, &reply());
        let (id, handler, due_ms) = (self.new_id(), then.handler.to_owned(), self.now_ms);
        let sent = Sent { id, target, handler, input, due_ms, then: None };
        self.push(sent, Some(callee.clone()));
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let messages = self.pending.iter().enumerate().filter(|(_, one)| !self.is_held(one));
        let message = messages.min_by_key(|(_, one)| (one.due_ms, one.sequence));
        let timers = self.entities.iter().flat_map(|(entity, stored)| {
            stored.timers.iter().map(move |(name, row)| (row.due_ms, entity, name))
        });
        let message = message.map(|(at, one)| (one.due_ms, Event::Message(at)));
        let timer = timers.min();
        let timer = timer
            .map(|(due_ms, entity, name)| (due_ms, Event::Timer(entity.clone(), name.clone())));
        let expiry = self.callbacks.next_expiry();
        let expiry = expiry.map(|(due_ms, token)| (due_ms, Event::Expiry(token.to_owned())));
        [message, timer, expiry].into_iter().flatten().min_by_key(|(due_ms, _)| *due_ms)
    }

    /// Whether an earlier message of the same pair waits for its next attempt.
    fn is_held(&self, message: &Pending) -> bool {
        message.sender.is_some()
            && self.pending.iter().any(|other| {
                other.failed > 0
                    && other.sequence < message.sequence
                    && (&other.sender, &other.target) == (&message.sender, &message.target)
            })
    }

    fn attempt(&mut self, at: usize) {
        let mut message = self.pending.remove(at);
        let call = Call {
            message_id: message.id.clone(),
            attempt: message.failed + 1,
            sender: message.sender.clone(),
            entity: message.target.clone(),
            ..Call::default()
        };
        let error = match self.run(call, &message.handler, &message.input) {
            Ok(value) => return self.done(message, value),
            Err(error) => error,
        };
        if !error.is_retryable() {
            let rejected = || Reply::Rejected(failure(FailureKind::Rejected, &error));
            self.reply(&message.target, message.sender, message.then, rejected);
            self.rejected.push((MessageId::new(message.id), error));
            return;
        }
        message.failed += 1;
        if message.failed < self.attempts_max {
            let doubled = RETRY_INITIAL_MS.saturating_mul(1 << (message.failed - 1).min(32));
            message.due_ms = self.now_ms.saturating_add(doubled.min(RETRY_MAX_MS));
            self.pending.push(message);
            return;
        }
        self.park(message, error);
    }

    fn done(&mut self, message: Pending, value: Vec<u8>) {
        let Pending { target, handler, sender, then, .. } = message;
        let of_type = self.types.iter().find(|one| one.name() == target.kind);
        let gives_bytes = of_type.is_some_and(|one| one.gives_bytes(&handler));
        self.reply(&target, sender, then, || Reply::Ok(reply_value(value, gives_bytes)));
    }

    /// Makes a dead letter of a message. A sender that is not patient is told, and that is final.
    fn park(&mut self, message: Pending, reason: Error) {
        let Pending { id, target, handler, input, sender, failed: attempts, then, .. } = message;
        let (told, then) = match then {
            Some(then) if !then.patient => (Some(then), None),
            then => (None, then),
        };
        let is_answered = told.is_some();
        let parked = || failed("parked", reason.message());
        self.reply(&target, sender.clone(), told, parked);
        let id = MessageId::new(id);
        self.dead.push(DeadLetter {
            id,
            target,
            handler,
            input,
            sender,
            attempts,
            reason,
            then,
            is_answered,
        });
    }

    /// A timer that is due becomes a message to its own entity.
    fn fire(&mut self, entity: &EntityRef, name: &str) {
        let timer = self.entities.get_mut(entity).and_then(|stored| stored.timers.remove(name));
        let Some(TimerRow { handler, input, due_ms, .. }) = timer else { return };
        let (id, target) = (self.new_id(), entity.clone());
        self.push(Sent { id, target, handler, input, due_ms, then: None }, None);
    }
}

/// What a reply handler takes: the context and the reply.
pub(super) fn with_reply(context: &[u8], reply: &Reply<Box<RawValue>>) -> Vec<u8> {
    let reply = serde_json::to_vec(reply).expect("a reply has a JSON form");
    let members = context.strip_suffix(b"}").expect("a context is a JSON object");
    let comma: &[u8] = if members == b"{" { b"" } else { b"," };
    [members, comma, br#""reply":"#, &reply, b"}"].concat()
}

/// A handler's value inside of JSON: bytes become base64.
fn reply_value(value: Vec<u8>, is_bytes: bool) -> Box<RawValue> {
    let json = if is_bytes { serde_json::to_vec(&Bytes(value)) } else { Ok(value) };
    let json = json.map(|json| String::from_utf8_lossy(&json).into_owned());
    json.and_then(RawValue::from_string).expect("a handler's value is JSON")
}

pub(super) fn failed(code: &str, message: &str) -> Reply<Box<RawValue>> {
    let error = Error::rejected(message).with_code(code.to_owned());
    Reply::Failed(failure(FailureKind::Failed, &error))
}

fn failure(kind: FailureKind, error: &Error) -> Failure {
    let details = error.details().map(|json| String::from_utf8_lossy(json).into_owned());
    let (code, message) = (error.code().to_owned(), error.message().to_owned());
    Failure { kind, code, message, details }
}

fn unknown(id: &MessageId) -> Error {
    Error::rejected(format!("there is no such message {id}")).with_code("unknown_message")
}

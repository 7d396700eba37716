//! A world's messages and timers on their way: order, retries, dead letters, replies. Invariant: messages of
//! one sender to one receiver take effect in the order they were sent, except that a delayed one counts from
//! when it is due; a failed one holds back only later ones of the same pair. A message that ends replies once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::value::RawValue;

use super::explore::{outcome, shown};
use super::faults::Faults;
use super::sight::SentMessage;
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
    /// Whether its client was told that it is accepted, and can ask how it ended.
    is_request: bool,
    /// When it was due at first: its place in the order of its pair.
    order_ms: u64,
    /// When it is due, or its next attempt.
    pub(super) due_ms: u64,
    /// Attempts that failed.
    failed: u32,
    /// Those of them that failed because a fault was injected.
    injected: u32,
    /// Whether faults let all its attempts fail.
    is_doomed: bool,
    then: Option<Continuation>,
}

/// What happens next.
#[derive(Debug, Clone)]
pub(super) enum Event {
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
        if let Some(request) = self.pending.last_mut() {
            request.is_request = true;
        }
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
        self.note(|| format!("an operator retries {handler} to {target}"));
        let (id, due_ms) = (id.as_str().to_owned(), self.now_ms);
        self.ended.remove(&id);
        self.push(Sent { id, target, handler, input, due_ms, then }, sender);
        if let Some(retried) = self.pending.last_mut() {
            retried.is_doomed = false;
        }
        Ok(())
    }

    /// Tries every dead letter again that can be, and settles, as an operator does in the end; again, until
    /// none is left or one fails that failed before. Gives back how many it tried.
    pub fn retry_dead_letters(&mut self) -> usize {
        let mut tried = BTreeSet::new();
        loop {
            let open =
                self.dead.iter().filter(|dead| !dead.is_answered).map(|dead| dead.id.clone());
            let new: Vec<_> = open.filter(|id| !tried.contains(id)).collect();
            if new.is_empty() {
                return tried.len();
            }
            for id in new {
                // It was listed as one that can be retried.
                let _ = self.retry_dead_letter(&id);
                tried.insert(id);
            }
            self.settle();
        }
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
        let found = self.pending.iter().position(|one| self.is_open(one) && one.id == id.as_str());
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
            self.sent.push(SentMessage::of(&call.entity, &sent));
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
            self.perform(event);
        }
    }

    /// Delivers a message, runs a timer, or lets a callback expire.
    pub(super) fn perform(&mut self, event: Event) {
        match event {
            Event::Message(at) => self.attempt(at),
            Event::Timer(entity, name) => self.fire(&entity, &name),
            Event::Expiry(token) => self.expire(&token),
        }
    }

    /// All that may happen now or later, with when: one message of each pair, the timers, the callbacks'
    /// expiries.
    pub(super) fn events(&self) -> Vec<(u64, Event)> {
        let heads = self.heads();
        let free = self.pending.iter().enumerate().filter(|(_, one)| {
            heads.get(&one.pair()).is_none_or(|head| *head == (one.order_ms, one.sequence))
        });
        let mut messages: Vec<_> = free.map(|(at, one)| (one.due_ms, one.sequence, at)).collect();
        messages.sort_unstable();
        let messages = messages.into_iter().map(|(due_ms, _, at)| (due_ms, Event::Message(at)));
        let timers = self.entities.iter().flat_map(|(entity, stored)| {
            let rows = stored.timers.iter();
            rows.map(|(name, row)| (row.due_ms, Event::Timer(entity.clone(), name.clone())))
        });
        let expiries = self.callbacks.expiries();
        let expiries = expiries.map(|(due_ms, token)| (due_ms, Event::Expiry(token.to_owned())));
        messages.chain(timers).chain(expiries).collect()
    }

    /// When the next message that failed before is tried again.
    pub(super) fn next_retry_ms(&self) -> Option<u64> {
        self.pending.iter().filter(|one| one.failed > 0).map(|one| one.due_ms).min()
    }

    pub(super) fn push(&mut self, sent: Sent, sender: Option<EntityRef>) {
        let Sent { id, target, handler, input, due_ms, then } = sent;
        self.messages += 1;
        let is_doomed = sender.is_some() && self.faults.as_mut().is_some_and(Faults::parks);
        self.pending.push(Pending {
            id,
            sequence: self.messages,
            target,
            handler,
            input,
            sender,
            is_request: false,
            order_ms: due_ms,
            due_ms,
            failed: 0,
            injected: 0,
            is_doomed,
            then,
        });
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
        // A message goes before a timer of the same time; both are in order already.
        self.events().into_iter().min_by_key(|(due_ms, _)| *due_ms)
    }

    /// The place of the first message of each pair of entities.
    fn heads(&self) -> BTreeMap<(Option<&EntityRef>, &EntityRef), (u64, u64)> {
        let mut heads = BTreeMap::new();
        for message in self.pending.iter().filter(|one| one.sender.is_some()) {
            let place = (message.order_ms, message.sequence);
            let head = heads.entry(message.pair()).or_insert(place);
            *head = place.min(*head);
        }
        heads
    }

    /// Whether it has not ended: a message that is delivered again has.
    pub(super) fn is_open(&self, message: &Pending) -> bool {
        !self.ended.contains(&message.id)
    }

    fn attempt(&mut self, at: usize) {
        let mut message = self.pending.remove(at);
        if !self.is_open(&message) {
            self.note(|| format!("{message} comes again: it is known, and has no effect"));
            return;
        }
        let failure = match self.injected_failure(&mut message) {
            Some(failure) => Err(failure),
            None => {
                let call = Call {
                    message_id: message.id.clone(),
                    attempt: message.failed + 1,
                    sender: message.sender.clone(),
                    entity: message.target.clone(),
                    ..Call::default()
                };
                self.run(call, &message.handler, &message.input)
            }
        };
        let ended = failure.as_ref().map(Vec::as_slice);
        // The last one tells it all.
        if !message.is_doomed {
            self.note(|| format!("{message}{}", outcome(ended)));
        }
        match failure {
            Ok(value) => {
                self.repeat(&message);
                self.done(message, value);
            }
            Err(error) if error.is_retryable() => self.failed(message, error),
            Err(error) => {
                self.repeat(&message);
                self.refused(message, error);
            }
        }
    }

    /// The failure of this attempt, when faults want one.
    fn injected_failure(&mut self, message: &mut Pending) -> Option<Error> {
        let faults = self.faults.as_mut()?;
        let is_last = message.failed + 1 >= self.attempts_max;
        if !message.is_doomed && (is_last || !faults.fails(message.injected)) {
            return None;
        }
        message.injected += 1;
        Some(Error::retryable("a fault made this attempt fail").with_code("injected"))
    }

    /// Delivers a message again whose acknowledgement is lost.
    fn repeat(&mut self, message: &Pending) {
        self.ended.insert(message.id.clone());
        if self.faults.as_mut().is_some_and(Faults::loses_answer) {
            self.pending.push(message.clone());
        }
    }

    fn failed(&mut self, mut message: Pending, error: Error) {
        message.failed += 1;
        if message.failed < self.attempts_max {
            let doubled = RETRY_INITIAL_MS.saturating_mul(1 << (message.failed - 1).min(32));
            message.due_ms = self.now_ms.saturating_add(doubled.min(RETRY_MAX_MS));
            self.pending.push(message);
            return;
        }
        self.ended.insert(message.id.clone());
        self.park(message, error);
    }

    /// The handler said no, for good. A message whose sender hears nothing becomes a dead letter.
    fn refused(&mut self, mut message: Pending, error: Error) {
        if !message.is_request && message.then.is_none() {
            message.failed += 1;
            return self.park(message, error);
        }
        let rejected = || Reply::Rejected(failure(FailureKind::Rejected, &error));
        self.reply(&message.target, message.sender, message.then, rejected);
        self.rejected.push((MessageId::new(message.id), error));
    }

    fn done(&mut self, message: Pending, value: Vec<u8>) {
        let Pending { target, handler, sender, then, .. } = message;
        let of_type = self.types.iter().find(|one| one.name() == target.kind);
        let gives_bytes = of_type.is_some_and(|one| one.gives_bytes(&handler));
        self.reply(&target, sender, then, || Reply::Ok(reply_value(value, gives_bytes)));
    }

    /// Makes a dead letter of a message. A sender that is not patient is told, and that is final.
    fn park(&mut self, message: Pending, reason: Error) {
        self.note(|| {
            let Pending { target, handler, failed, .. } = &message;
            format!("{target} {handler} is parked after {failed} attempts: {reason:?}")
        });
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
        self.note(|| format!("timer {name} of {entity} is due"));
        self.push(Sent { id, target, handler, input, due_ms, then: None }, None);
    }
}

impl Pending {
    fn pair(&self) -> (Option<&EntityRef>, &EntityRef) {
        (self.sender.as_ref(), &self.target)
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, handler, input, sender, failed, .. } = self;
        write!(f, "{target} {handler} {}", shown(input))?;
        if let Some(sender) = sender {
            write!(f, " from {sender}")?;
        }
        if *failed > 0 { write!(f, ", attempt {}", failed + 1) } else { Ok(()) }
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

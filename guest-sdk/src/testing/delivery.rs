//! A world's messages and timers on their way: order, retries, dead letters. Invariant: messages of one
//! sender to one receiver take effect in the order they were sent, except that a delayed one counts from
//! when it is due; a failed one holds back only later ones of the same pair.

use super::{Stored, World};
use crate::Error;
use crate::context::{EntityRef, MessageId};
use crate::host::native::{Call, TimerRow};

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
}

/// What happens next.
enum Event {
    Message(usize),
    Timer(EntityRef, String),
}

impl World {
    /// Queues a message from outside.
    pub(super) fn enqueue(
        &mut self,
        target: EntityRef,
        handler: &str,
        input: Vec<u8>,
    ) -> MessageId {
        let call = self.new_call(target, None, None);
        self.push(
            call.message_id.clone(),
            call.entity,
            handler.to_owned(),
            input,
            None,
            self.now_ms,
        );
        MessageId::new(call.message_id)
    }

    /// Keeps what a call did.
    pub(super) fn commit(&mut self, call: Call) {
        if call.read_only {
            return;
        }
        for sent in call.sent {
            let sender = Some(call.entity.clone());
            self.push(sent.id, sent.target, sent.handler, sent.input, sender, sent.due_ms);
        }
        self.pending.retain(|pending| !call.cancelled.contains(&pending.id));
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
            }
        }
    }

    /// When the next message that failed before is tried again.
    pub(super) fn next_retry_ms(&self) -> Option<u64> {
        self.pending.iter().filter(|one| one.failed > 0).map(|one| one.due_ms).min()
    }

    fn push(
        &mut self,
        id: String,
        target: EntityRef,
        handler: String,
        input: Vec<u8>,
        sender: Option<EntityRef>,
        due_ms: u64,
    ) {
        self.messages += 1;
        let sequence = self.messages;
        let failed = 0;
        self.pending.push(Pending { id, sequence, target, handler, input, sender, due_ms, failed });
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let messages = self.pending.iter().enumerate().filter(|(_, one)| !self.is_held(one));
        let message = messages.min_by_key(|(_, one)| (one.due_ms, one.sequence));
        let timers = self.entities.iter().flat_map(|(entity, stored)| {
            stored.timers.iter().map(move |(name, row)| (row.due_ms, entity, name))
        });
        match (message, timers.min()) {
            (Some((at, one)), timer) if timer.is_none_or(|(due_ms, ..)| one.due_ms <= due_ms) => {
                Some((one.due_ms, Event::Message(at)))
            }
            (_, Some((due_ms, entity, name))) => {
                Some((due_ms, Event::Timer(entity.clone(), name.clone())))
            }
            _ => None,
        }
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
        let Err(error) = self.run(call, &message.handler, &message.input) else { return };
        if !error.is_retryable() {
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
        self.dead.push(DeadLetter {
            id: MessageId::new(message.id),
            target: message.target,
            handler: message.handler,
            input: message.input,
            sender: message.sender,
            attempts: message.failed,
            reason: error,
        });
    }

    /// A timer that is due becomes a message to its own entity.
    fn fire(&mut self, entity: &EntityRef, name: &str) {
        let timer = self.entities.get_mut(entity).and_then(|stored| stored.timers.remove(name));
        let Some(TimerRow { handler, input, due_ms, .. }) = timer else { return };
        self.messages += 1;
        let id = format!("m{}", self.messages);
        self.push(id, entity.clone(), handler, input, None, due_ms);
    }
}

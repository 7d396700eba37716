//! Dead letters as operators see and settle them: one at a time, or many by a filter, in the order in which they
//! arrived. Invariant: a dead letter whose sender was told that it failed is final; it can be dropped and nothing else.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::core::Core;
use super::reply::End;
use super::request::{
    Answered, Bulk, DeadFilter, DeadLetterInfo, DeadMark, DeadPage, DeadSettled, Settle,
    readable_value,
};
use crate::ids::MessageId;
use crate::limits;
use crate::record::delta::{Delta, Op};
use crate::record::message::{DeadLetter, Message};

/// One step over many.
pub(crate) struct Step {
    pub(crate) settle: Settle,
    pub(crate) filter: DeadFilter,
    pub(crate) after: Option<DeadMark>,
    /// The last place that belongs to this pass; the newest there is when it begins.
    pub(crate) through: Option<u64>,
    pub(crate) limit: usize,
}

/// An operator's new input for a dead letter.
pub(crate) struct Edit {
    pub(crate) id: MessageId,
    pub(crate) input: Bytes,
    pub(crate) content_type: Option<String>,
    /// Whether to send it again, too.
    pub(crate) again: bool,
}

impl DeadFilter {
    fn matches(&self, dead: &DeadLetter) -> bool {
        let message = &dead.message;
        let is =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        let apps = self.apps.as_ref();
        is(&self.app, message.target.app())
            && apps.is_none_or(|apps| apps.iter().any(|app| app == message.target.app()))
            && is(&self.kind, message.target.kind())
            && is(&self.handler, &message.handler)
            && self.reason.as_ref().is_none_or(|part| dead.reason.contains(part))
            && self.parked_from_ms.is_none_or(|from| dead.parked_at_ms >= from)
            && self.parked_until_ms.is_none_or(|until| dead.parked_at_ms < until)
    }
}

impl Core {
    /// Dead letters in order of their ids. Looks at a bounded number of them.
    pub(crate) fn dead_letters(
        &mut self,
        filter: &DeadFilter,
        after: Option<MessageId>,
        limit: usize,
        reply: oneshot::Sender<Answered<DeadPage>>,
    ) {
        let (mut letters, mut looked, mut next) = (vec![], 0, None);
        for (id, dead) in self.ledger.dead.range((after.map_or(Unbounded, Excluded), Unbounded)) {
            if filter.matches(dead) {
                letters.push(letter(dead));
            }
            looked += 1;
            if letters.len() == limit || looked == limits::LOOK_ROWS_MAX {
                next = Some(*id);
                break;
            }
        }
        self.commit.reply(self.commit.applied(), DeadPage { letters, next }, reply);
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
        let settle = if again { Settle::Retry } else { Settle::Drop };
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let Some(message) = self.ledger.dead.get(&id).map(|dead| dead.message.clone()) else {
            return self.commit.reply(self.commit.applied(), DeadSettled::Unknown, reply);
        };
        let Some(ops) = self.settle_ops(&message, settle) else {
            return self.commit.reply(self.commit.applied(), DeadSettled::Answered, reply);
        };
        let position = self.apply(Delta { writes: None, ops });
        self.commit.reply(position, DeadSettled::Yes, reply);
    }

    /// Settles some of those that match, in the order in which they arrived before they were parked, in one
    /// transaction. So a pair's messages keep their order, however many steps it takes.
    pub(crate) fn settle_many(&mut self, step: &Step, reply: oneshot::Sender<Answered<Bulk>>) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let last = self.ledger.parked.last().map_or(0, |(seq, _)| *seq);
        let through = step.through.unwrap_or(last);
        let mut bulk = Bulk { done: 0, answered: 0, next: None, through };
        let from = step.after.map_or(Unbounded, |DeadMark(seq, id)| Excluded((seq, id)));
        let range = (from, Included((through, MessageId(u128::MAX))));
        // What is given to a next step may stand before the mark of this one, if a client made it up.
        let empty = step.after.is_some_and(|DeadMark(seq, _)| seq > through);
        let places: Vec<_> = if empty {
            vec![]
        } else {
            self.ledger.parked.range(range).take(limits::LOOK_ROWS_MAX).copied().collect()
        };
        let (looked, mut told, mut ops) = (places.len(), 0, vec![]);
        for (seq, id) in places {
            if bulk.done == step.limit || told > limits::BODY_BYTES_MAX {
                break;
            }
            bulk.next = Some(DeadMark(seq, id));
            let Some(dead) = self.ledger.dead.get(&id).filter(|dead| step.filter.matches(dead))
            else {
                continue;
            };
            let message = dead.message.clone();
            match self.settle_ops(&message, step.settle) {
                Some(more) => {
                    told += message.then.as_ref().map_or(0, |then| then.context.len());
                    ops.extend(more);
                    bulk.done += 1;
                }
                None => bulk.answered += 1,
            }
        }
        let stopped = bulk.done == step.limit || told > limits::BODY_BYTES_MAX;
        bulk.next = bulk.next.filter(|_| stopped || looked == limits::LOOK_ROWS_MAX);
        if !ops.is_empty() {
            self.apply(Delta { writes: None, ops });
        }
        self.commit.reply(self.commit.applied(), bulk, reply);
    }

    /// Changes a dead letter's input, and sends it again if that is asked.
    pub(crate) fn edit_dead(&mut self, edit: Edit, reply: oneshot::Sender<Answered<DeadSettled>>) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        let Edit { id, input, content_type, again } = edit;
        let settled = match self.ledger.dead.get(&id) {
            None => DeadSettled::Unknown,
            Some(dead) if dead.message.ends_when_parked() => DeadSettled::Answered,
            Some(_) => {
                let mut ops = vec![Op::Edit { id, input, content_type }];
                if again {
                    ops.push(Op::Unpark { id, seq: self.ledger.next_seq() });
                }
                self.apply(Delta { writes: None, ops });
                DeadSettled::Yes
            }
        };
        self.commit.reply(self.commit.applied(), settled, reply);
    }

    /// None when it is final.
    fn settle_ops(&mut self, message: &Arc<Message>, settle: Settle) -> Option<Vec<Op>> {
        let (id, answered) = (message.id, message.ends_when_parked());
        match settle {
            Settle::Retry if answered => None,
            Settle::Retry => Some(vec![Op::Unpark { id, seq: self.ledger.next_seq() }]),
            Settle::Drop => {
                let mut ops = vec![Op::DropDead { id }];
                if !answered {
                    let end = End::Failed("dropped", "an operator dropped its dead letter");
                    ops.extend(self.reply_op(message, end));
                }
                Some(ops)
            }
        }
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

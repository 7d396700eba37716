//! Messages as operators see them: those in mailboxes, in the schedule, and one by its id wherever it is. Invariant: one
//! answer looks at a bounded number of messages, however many there are; a page may be short and still have a next.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::ledger::Place;
use super::request::{
    Answered, Cancelled, MessageFilter, MessageInfo, MessageMark, MessagePage, Stage,
    readable_value,
};
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::message::{Message, Origin};

impl MessageFilter {
    fn matches(&self, message: &Message) -> bool {
        let is =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&self.app, message.target.app())
            && is(&self.kind, message.target.kind())
            && is(&self.key, message.target.key())
            && self.sender.as_ref().is_none_or(|sender| message.sender() == Some(sender))
            && (!self.timers || message.timer().is_some())
    }
}

impl Core {
    /// A page of messages that wait.
    pub(crate) fn messages(
        &mut self,
        filter: &MessageFilter,
        after: Option<MessageMark>,
        limit: usize,
        reply: oneshot::Sender<Answered<MessagePage>>,
    ) {
        let mut page = MessagePage { messages: vec![], next: None };
        let mut looked = 0;
        let queued = !matches!(after, Some(MessageMark::Scheduled(..)));
        if queued && filter.stage != Some(Stage::Scheduled) {
            let from = match after {
                Some(MessageMark::Queued(seq)) => Excluded(seq),
                _ => Unbounded,
            };
            for (seq, queued) in self.ledger.queued.range((from, Unbounded)) {
                let place = Place::Mailbox(*seq);
                let mark = MessageMark::Queued(*seq);
                if self.add(&mut page, filter, (&queued.message, place), limit, &mut looked, mark) {
                    return self.commit.reply(self.commit.applied(), page, reply);
                }
            }
        }
        if filter.stage.is_none_or(|stage| stage == Stage::Scheduled) {
            let from = match after {
                Some(MessageMark::Scheduled(due_ms, seq)) => Excluded((due_ms, seq)),
                _ => Unbounded,
            };
            for ((due_ms, seq), message) in self.ledger.scheduled.range((from, Unbounded)) {
                let place = Place::Scheduled(*due_ms, *seq);
                let mark = MessageMark::Scheduled(*due_ms, *seq);
                if self.add(&mut page, filter, (message, place), limit, &mut looked, mark) {
                    break;
                }
            }
        }
        self.commit.reply(self.commit.applied(), page, reply);
    }

    /// One message that waits, or is dead.
    pub(crate) fn message_info(
        &mut self,
        id: MessageId,
        reply: oneshot::Sender<Answered<Option<MessageInfo>>>,
    ) {
        let found = self.ledger.place(id).zip(self.ledger.message(id));
        let found = found.map(|(place, message)| MessageInfo {
            input: Some(readable_value(&message.input)),
            ..self.about(message, place)
        });
        self.commit.reply(self.commit.applied(), found, reply);
    }

    /// Cancels an entity's timer by its name.
    pub(crate) fn cancel_timer(
        &mut self,
        entity: &EntityRef,
        name: &str,
        reply: oneshot::Sender<Answered<Cancelled>>,
    ) {
        // Several may wait under one name, when dead ones were sent again.
        let pending = self.ledger.pending(entity);
        let set = pending.and_then(|pending| pending.timers.get(name)).into_iter().flatten();
        let mut ids: Vec<MessageId> = set.map(|timer| timer.message.id).collect();
        let Some(last) = ids.pop() else {
            return self.commit.reply(self.commit.applied(), Cancelled::Unknown, reply);
        };
        for id in ids {
            self.take_away(id, true, oneshot::channel().0);
        }
        self.take_away(last, true, reply);
    }

    /// Adds a message that matches; true when the page is to end behind it.
    fn add(
        &self,
        page: &mut MessagePage,
        filter: &MessageFilter,
        (message, place): (&Arc<Message>, Place),
        limit: usize,
        looked: &mut usize,
        mark: MessageMark,
    ) -> bool {
        *looked += 1;
        if filter.matches(message) {
            let info = self.about(message, place);
            if filter.stage.is_none_or(|stage| stage == info.stage) {
                page.messages.push(info);
            }
        }
        let ends = page.messages.len() == limit || *looked == limits::LOOK_ROWS_MAX;
        page.next = ends.then_some(mark);
        ends
    }

    fn about(&self, message: &Arc<Message>, place: Place) -> MessageInfo {
        let now_ms = self.clock.now_ms();
        let (attempts, due_ms) = match place {
            Place::Mailbox(seq) => {
                let queued = &self.ledger.queued[&seq];
                (queued.attempts, (queued.not_before_ms > 0).then_some(queued.not_before_ms))
            }
            Place::Scheduled(due_ms, _) => (0, Some(due_ms)),
            Place::Dead => (self.ledger.dead[&message.id].attempts, None),
        };
        let origin = match &message.origin {
            Origin::Ingress { .. } => "send",
            Origin::Entity(_) => "entity",
            Origin::Timer(_) => "timer",
            Origin::Callback { .. } => "callback",
        };
        MessageInfo {
            id: message.id.to_string(),
            entity: message.target.to_string(),
            handler: message.handler.clone(),
            stage: self.stage(place, now_ms),
            origin,
            sender: message.sender().map(ToString::to_string),
            timer: message.timer().map(ToOwned::to_owned),
            attempts,
            sent_at_ms: message.id.at_ms(),
            due_ms,
            answers: message.then.is_some(),
            trace: message.trace.clone(),
            input: None,
        }
    }
}

//! A message's journey: what caused it, as far up as is remembered, and all that came of it, over any number of
//! entities and partitions. Walks what partitions remember ([`super::history`]) and then asks where the messages are
//! that have not ended. Invariant: it shows a tree of at most [`limits::JOURNEY_MESSAGES_MAX`] messages, the one that
//! was asked for and its causes first, and says when there is more.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;

use super::core::Core;
use super::history::{Cause, Ended, Past, Sent, Turn};
use super::ledger::Place;
use super::request::{Answered, Journey, StepInfo};
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::message::Message;

/// What is known of a message that has not ended.
pub(crate) struct Live {
    id: MessageId,
    entity: EntityRef,
    handler: String,
    cause: Cause,
    stage: &'static str,
    attempts: u32,
    due_ms: Option<u64>,
    reason: Option<String>,
}

/// The messages of a journey, causes before what they caused.
pub(crate) struct Walk {
    asked: MessageId,
    steps: Vec<StepInfo>,
    cut_above: bool,
    cut_below: bool,
    since_ms: u64,
}

impl Core {
    /// What is known of these messages, as far as they have not ended.
    pub(crate) fn live(&self, ids: &[MessageId]) -> Vec<Live> {
        ids.iter().filter_map(|id| self.live_one(*id)).collect()
    }

    /// The same as an answer.
    pub(crate) fn tell_live(
        &mut self,
        ids: &[MessageId],
        reply: oneshot::Sender<Answered<Vec<Live>>>,
    ) {
        let live = self.live(ids);
        self.commit.reply(self.commit.applied(), live, reply);
    }

    fn live_one(&self, id: MessageId) -> Option<Live> {
        let live = |message: &Message, stage, attempts| Live {
            id,
            entity: message.target.clone(),
            handler: message.handler.clone(),
            cause: Cause::of(message),
            stage,
            attempts,
            due_ms: None,
            reason: None,
        };
        Some(match self.ledger.place(id)? {
            Place::Scheduled(due_ms, seq) => {
                let message = self.ledger.scheduled.get(&(due_ms, seq))?;
                Live { due_ms: Some(due_ms), ..live(message, "scheduled", 0) }
            }
            Place::Mailbox(seq) => {
                let queued = self.ledger.queued.get(&seq)?;
                let backs_off = queued.not_before_ms > self.clock.now_ms();
                let stage = match self.running_seqs.contains(&seq) {
                    true => "running",
                    false if backs_off => "backing_off",
                    false => "queued",
                };
                let due_ms = backs_off.then_some(queued.not_before_ms);
                Live { due_ms, ..live(&queued.message, stage, queued.attempts) }
            }
            Place::Dead => {
                let dead = self.ledger.dead.get(&id)?;
                let reason = Some(dead.reason.clone());
                Live { reason, ..live(&dead.message, "parked", dead.attempts) }
            }
        })
    }
}

/// What partitions remember, by message.
#[derive(Default)]
struct Index<'p> {
    /// Every attempt at a message, the newest first.
    turns: HashMap<MessageId, Vec<&'p Turn>>,
    /// Which turn sent a message.
    senders: HashMap<MessageId, (&'p Turn, &'p Sent)>,
    /// Messages that a turn took back before they ran.
    cancelled: HashSet<MessageId>,
}

impl<'p> Index<'p> {
    fn of(pasts: &'p [Past]) -> Self {
        let mut index = Self::default();
        for (_, turn) in pasts.iter().flat_map(Past::newest_first) {
            index.turns.entry(turn.id).or_default().push(turn);
            for sent in &turn.sent {
                index.senders.insert(sent.id, (turn, sent));
            }
            if let Ended::Done(cancelled) = &turn.ended {
                index.cancelled.extend(cancelled);
            }
        }
        index
    }

    fn cause(&self, id: MessageId) -> Option<MessageId> {
        self.senders.get(&id).map(|(turn, _)| turn.id)
    }

    /// What a message's attempts sent, in order.
    fn effects(&self, id: MessageId) -> impl Iterator<Item = MessageId> {
        let turns = self.turns.get(&id).map_or(&[][..], Vec::as_slice);
        turns.iter().rev().flat_map(|turn| turn.sent.iter().map(|sent| sent.id))
    }

    fn step(&self, id: MessageId) -> Option<StepInfo> {
        let cause = self.cause(id);
        if let Some(turns) = self.turns.get(&id) {
            let last = turns.first()?;
            let (status, reason) = last.ended.info();
            return Some(StepInfo {
                id: id.to_string(),
                entity: last.entity.to_string(),
                handler: last.handler.to_string(),
                cause: last.cause.info(cause),
                status,
                reason,
                attempts: last.attempt,
                due_ms: None,
                version: Some(last.version),
                at_ms: Some(last.at_ms),
                took_us: Some(last.took.as_micros() as u64),
            });
        }
        let (_, sent) = self.senders.get(&id)?;
        let status = if self.cancelled.contains(&id) { "cancelled" } else { "unknown" };
        Some(StepInfo {
            status,
            due_ms: sent.due_ms,
            ..waiting(id, &sent.entity, &sent.handler, sent.cause.info(cause))
        })
    }
}

/// A step of which no attempt is known; unless something live says otherwise, what became of it is forgotten.
fn waiting(
    id: MessageId,
    entity: &EntityRef,
    handler: &str,
    cause: super::request::CauseInfo,
) -> StepInfo {
    StepInfo {
        id: id.to_string(),
        entity: entity.to_string(),
        handler: handler.to_owned(),
        cause,
        status: "unknown",
        reason: None,
        attempts: 0,
        due_ms: None,
        version: None,
        at_ms: None,
        took_us: None,
    }
}

impl Walk {
    /// Finds the messages of `asked`'s journey in what is remembered.
    pub(crate) fn new(pasts: &[Past], asked: MessageId) -> Self {
        let index = Index::of(pasts);
        let (path, cut_above) = causes(&index, asked);
        let mut seen: HashSet<MessageId> = path.iter().copied().collect();
        let mut order = path.clone();
        let mut cut_below = false;
        // What came of the message itself is shown before what else came of its causes.
        let mut waiting: VecDeque<MessageId> = path.into_iter().rev().collect();
        while let Some(id) = waiting.pop_front() {
            for effect in index.effects(id) {
                if seen.len() >= limits::JOURNEY_MESSAGES_MAX {
                    cut_below |= !seen.contains(&effect);
                } else if seen.insert(effect) {
                    order.push(effect);
                    waiting.push_front(effect);
                }
            }
        }
        let steps = order.into_iter().filter_map(|id| index.step(id)).collect();
        let since_ms = pasts.iter().map(|past| past.since_ms).max().unwrap_or(0);
        Self { asked, steps, cut_above, cut_below, since_ms }
    }

    /// The messages to ask after, and always the one that was asked for.
    pub(crate) fn ids(&self) -> Vec<MessageId> {
        let found = self.steps.iter().filter_map(|step| step.id.parse().ok());
        let mut ids: Vec<MessageId> = found.collect();
        if !ids.contains(&self.asked) {
            ids.push(self.asked);
        }
        ids
    }

    /// The journey with what is live of it; `None` when nothing is known of the message.
    pub(crate) fn finish(mut self, live: Vec<Live>) -> Option<Journey> {
        let asked = self.asked.to_string();
        for live in live {
            let id = live.id.to_string();
            let known = self.steps.iter_mut().find(|step| step.id == id);
            if let Some(step) = known {
                live.show(step);
            } else {
                let mut step = waiting(live.id, &live.entity, &live.handler, live.cause.info(None));
                self.cut_above |= live.cause != Cause::Ingress;
                live.show(&mut step);
                self.steps.push(step);
            }
        }
        let found = self.steps.iter().any(|step| step.id == asked);
        found.then_some(Journey {
            id: asked,
            messages: self.steps,
            cut_above: self.cut_above,
            cut_below: self.cut_below,
            since_ms: self.since_ms,
        })
    }
}

impl Live {
    fn show(self, step: &mut StepInfo) {
        step.status = self.stage;
        step.due_ms = self.due_ms;
        step.attempts = step.attempts.max(self.attempts);
        step.reason = self.reason.or(step.reason.take());
    }
}

/// The message and its causes, the first of them first, and whether there is one more that is not shown.
fn causes(index: &Index<'_>, asked: MessageId) -> (Vec<MessageId>, bool) {
    let mut path = vec![asked];
    while let Some(cause) = path.last().and_then(|id| index.cause(*id)) {
        if path.len() >= limits::JOURNEY_CAUSES_MAX || path.contains(&cause) {
            path.reverse();
            return (path, true);
        }
        path.push(cause);
    }
    let first = path.last().and_then(|id| index.turns.get(id)?.first());
    let forgotten = first.is_some_and(|turn| turn.cause != Cause::Ingress);
    path.reverse();
    (path, forgotten)
}

#[cfg(test)]
mod tests {
    use super::super::history::tests::{past, turn};
    use super::*;

    fn from(key: &str) -> Cause {
        Cause::Entity(EntityRef::new("app", "thing", key).expect("valid"))
    }

    fn ids(journey: &Journey) -> Vec<u128> {
        let id = |step: &StepInfo| step.id.parse::<MessageId>().expect("an id").0;
        journey.messages.iter().map(id).collect()
    }

    fn walk(pasts: &[Past], id: u128) -> Option<Journey> {
        Walk::new(pasts, MessageId(id)).finish(vec![])
    }

    #[test]
    fn a_journey_goes_up_to_the_first_cause_and_down_to_every_effect() {
        let turns = [
            turn(1, "a", Cause::Ingress, &[(2, "b"), (3, "c")]),
            turn(2, "b", from("a"), &[(4, "a")]),
            turn(4, "a", from("b"), &[]),
            turn(9, "z", Cause::Ingress, &[]),
        ];
        let pasts = [past(turns), past([turn(3, "c", from("a"), &[(5, "d")])])];
        let journey = walk(&pasts, 2).expect("known");
        assert_eq!(ids(&journey), [1, 2, 4, 3, 5]);
        assert!(!journey.cut_above && !journey.cut_below);
        let status = |at: usize| journey.messages[at].status;
        assert_eq!((status(1), status(4)), ("done", "unknown"), "5 was sent and nothing is known");
        assert_eq!(journey.messages[4].cause.message, Some(MessageId(3).to_string()));
        assert_eq!(ids(&walk(&pasts, 5).expect("known")), [1, 3, 5, 2, 4]);
        assert!(walk(&pasts, 77).is_none());
        let took_back =
            Turn { ended: Ended::Done([MessageId(5)].into()), ..turn(6, "c", from("c"), &[]) };
        let journey = walk(&[past([turn(3, "c", from("a"), &[(5, "d")]), took_back])], 5);
        assert_eq!(journey.expect("known").messages[1].status, "cancelled");
    }

    #[test]
    fn what_waits_is_shown_where_it_waits() {
        let pasts = [past([turn(1, "a", Cause::Ingress, &[(2, "b")])])];
        let live = |id: u128, key: &str, cause| Live {
            id: MessageId(id),
            entity: EntityRef::new("app", "thing", key).expect("valid"),
            handler: "work".into(),
            cause,
            stage: "parked",
            attempts: 3,
            due_ms: None,
            reason: Some("no".into()),
        };
        let journey = Walk::new(&pasts, MessageId(1)).finish(vec![live(2, "b", from("a"))]);
        let journey = journey.expect("known");
        let step = &journey.messages[1];
        assert_eq!((step.status, step.attempts, step.reason.as_deref()), ("parked", 3, Some("no")));
        let journey = Walk::new(&pasts, MessageId(8)).finish(vec![live(8, "x", from("y"))]);
        let journey = journey.expect("live");
        assert_eq!(ids(&journey), [8]);
        assert!(journey.cut_above, "its sender's turn is forgotten");
    }

    #[test]
    fn long_journeys_are_cut_and_say_so() {
        let chain = |n: u128| turn(n, "a", from("a"), &[(n + 1, "a")]);
        let pasts = [past((1..1_000).map(chain))];
        let journey = walk(&pasts, 500).expect("known");
        assert!(journey.cut_above && journey.cut_below);
        assert_eq!(journey.messages.len(), limits::JOURNEY_MESSAGES_MAX);
        assert!(ids(&journey).contains(&500));
        let journey = walk(&pasts, 3).expect("known");
        assert!(journey.cut_above, "what caused the first is forgotten");
    }
}

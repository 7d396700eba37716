//! Outcomes of calls without an `Idempotency-Key`, for whoever asks soon: in memory, bounded, gone after a
//! restart. Keeping them durably would double the writes of every call to answer a question that only somebody
//! who already has the answer can ask.

use std::collections::VecDeque;

use super::request::{Answer, CallResult};
use super::view::Stamped;
use crate::ids::{EntityRef, MessageId, Position};
use crate::limits;

/// Answers by a few bits of their ids, each bucket oldest first. A hash map that forgets as fast as it learns
/// rehashes for ever, which was 8 % of a call.
pub(crate) struct Recent {
    buckets: Vec<VecDeque<(EntityRef, Stamped<Answer>)>>,
    /// Whose turn it is to forget: the bucket of each answer, oldest first.
    order: VecDeque<u16>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        let buckets = (0..limits::RECENT_OUTCOMES_BUCKETS).map(|_| VecDeque::new()).collect();
        Self { buckets, order: VecDeque::new(), bytes: 0 }
    }
}

impl Recent {
    /// Remembers an answer of `entity` and forgets the oldest beyond the bounds.
    pub(crate) fn push(&mut self, cause: Position, entity: EntityRef, answer: Answer) {
        self.bytes += size(&answer);
        let bucket = bucket(answer.id);
        self.order.push_back(bucket);
        self.buckets[usize::from(bucket)].push_back((entity, Stamped { cause, value: answer }));
        while self.order.len() > limits::RECENT_OUTCOMES_MAX
            || self.bytes > limits::RECENT_OUTCOME_BYTES_MAX
        {
            let Some(oldest) = self.order.pop_front() else { break };
            let gone = self.buckets[usize::from(oldest)].pop_front();
            self.bytes -= gone.map_or(0, |(_, gone)| size(&gone.value));
        }
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Stamped<Answer>> {
        self.find(id).map(|(_, answer)| answer)
    }

    /// Whose answer it is.
    pub(crate) fn entity(&self, id: MessageId) -> Option<&EntityRef> {
        self.find(id).map(|(entity, _)| entity)
    }

    fn find(&self, id: MessageId) -> Option<&(EntityRef, Stamped<Answer>)> {
        self.buckets[usize::from(bucket(id))].iter().find(|(_, answer)| answer.value.id == id)
    }
}

/// The lowest bits of an id are chance.
fn bucket(id: MessageId) -> u16 {
    (id.0 % limits::RECENT_OUTCOMES_BUCKETS as u128) as u16
}

fn size(answer: &Answer) -> usize {
    match &answer.result {
        CallResult::Reply(body) => 256 + body.len(),
        CallResult::Rejected(_) | CallResult::Failed(_) => 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_beyond_the_bound() {
        let mut recent = Recent::default();
        let body = bytes::Bytes::from(vec![0; limits::RECENT_OUTCOME_BYTES_MAX / 4]);
        for n in 0..4u128 {
            let result = CallResult::Reply(body.clone());
            let id = MessageId(n);
            let answer = Answer { id, result, version: 0, replayed: false, expires_ms: None };
            recent.push(Position(1), EntityRef::new("a", "t", "k").expect("valid"), answer);
        }
        assert!(recent.get(MessageId(0)).is_none());
        assert!(recent.get(MessageId(3)).is_some());
    }
}

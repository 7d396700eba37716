//! Since when messages wait at their entities. A message has no time of its arrival, so the machine marks now and then
//! which number it had come to, in memory: an age is exact to a mark, and none is longer than the partition is open.
//! Invariant: it never says that a message has waited longer than it has.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;

/// Marks, in order.
#[derive(Default)]
pub(crate) struct Ages(VecDeque<Mark>);

/// What had a number up to this one was there at this time of the monotonic clock.
struct Mark {
    seq: u64,
    at: Duration,
}

impl Ages {
    /// `last_seq` is the newest number, and `first` the oldest one that waits.
    pub(crate) fn note(&mut self, last_seq: u64, first: Option<u64>, now: Duration) {
        let fresh = |mark: &Mark| mark.seq == last_seq || now < mark.at + limits::AGE_TICK;
        if self.0.back().is_some_and(fresh) {
            return;
        }
        // What is before all that waits says nothing any more.
        while self.0.front().is_some_and(|mark| first.is_none_or(|first| mark.seq < first)) {
            self.0.pop_front();
        }
        if self.0.len() >= limits::AGE_MARKS_MAX {
            let mut keep = true;
            self.0.retain(|_| {
                keep = !keep;
                !keep
            });
        }
        self.0.push_back(Mark { seq: last_seq, at: now });
    }

    /// How long a message with this number has been there.
    pub(crate) fn of(&self, seq: u64, now: Duration) -> Duration {
        let after = self.0.partition_point(|mark| mark.seq < seq);
        self.0.get(after).map_or(Duration::ZERO, |mark| now.saturating_sub(mark.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn an_age_is_never_too_long_and_short_by_a_mark_at_most() {
        let mut ages = Ages::default();
        // Ten messages a second come; number n comes at n / 10.
        for n in 0..600_u64 {
            ages.note(n, Some(0), Duration::from_millis(n * 100));
        }
        for seq in [0, 1, 17, 300, 590] {
            let (is, says) = (S(100) - Duration::from_millis(seq * 100), ages.of(seq, S(100)));
            assert!(says <= is && says + limits::AGE_TICK >= is, "{seq}: {says:?} of {is:?}");
        }
        assert_eq!(ages.of(9_999, S(100)), Duration::ZERO, "it came after the last mark");
    }

    #[test]
    fn marks_are_few_however_long_one_message_stays() {
        let mut ages = Ages::default();
        for n in 1..100_000_u64 {
            ages.note(n, Some(1), S(n));
        }
        assert!(ages.0.len() <= limits::AGE_MARKS_MAX, "{}", ages.0.len());
        let says = ages.of(1, S(100_000));
        assert!(says <= S(99_999) && says > S(99_000), "{says:?}");
        ages.note(100_001, Some(100_000), S(100_001));
        assert!(ages.0.len() <= 2, "the message is gone, and its marks are");
    }
}

//! How long a handler's calls take, learned from the calls themselves. Decides only whether the next one may
//! run on the thread that brought it. In memory only: a restart and a deploy start over. Invariant: a handler
//! that overran is not trusted for a while, twice as long each time: one that was only unlucky with the
//! scheduler is back soon, one that does it on purpose costs less and less.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits;

/// What is known of one handler's calls. Races lose a sample, never a verdict for long.
#[derive(Debug, Default)]
pub struct Pace {
    /// Moving average of nanoseconds, over about 8 calls.
    average_ns: AtomicU64,
    /// Until when it is not trusted: nanoseconds of monotonic time.
    distrusted_ns: AtomicU64,
    /// How long the next distrust is, in nanoseconds; 0 for the first.
    penalty_ns: AtomicU64,
}

impl Pace {
    /// Whether a call is expected to end soon. A handler that was never called is.
    #[must_use]
    pub fn is_quick(&self, now: Duration) -> bool {
        self.average_ns.load(Ordering::Relaxed) <= nanos(limits::INLINE_CALL_TIME)
            && self.distrusted_ns.load(Ordering::Relaxed) <= nanos(now)
    }

    /// A call took this long.
    pub fn took(&self, time: Duration) {
        let average = self.average_ns.load(Ordering::Relaxed);
        // One outlier is mostly the scheduler's doing.
        let time = time.min(limits::INLINE_CALL_TIME * 4);
        let next = average - average / 8 + nanos(time) / 8;
        self.average_ns.store(next, Ordering::Relaxed);
    }

    /// A call did not end in the time that it got on the thread that brought it.
    pub fn overran(&self, now: Duration) {
        let (least, most) =
            (nanos(limits::INLINE_DISTRUST_MIN), nanos(limits::INLINE_DISTRUST_MAX));
        let trusted_for = nanos(now).saturating_sub(self.distrusted_ns.load(Ordering::Relaxed));
        let penalty = match self.penalty_ns.load(Ordering::Relaxed) {
            again if trusted_for < most => again.max(least),
            _ => least,
        };
        self.penalty_ns.store((penalty * 2).min(most), Ordering::Relaxed);
        self.distrusted_ns.store(nanos(now) + penalty, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_handlers_lose_trust_and_win_it_back() {
        let pace = Pace::default();
        assert!(pace.is_quick(Duration::ZERO));
        for _ in 0..20 {
            pace.took(limits::INLINE_CALL_TIME * 3);
        }
        assert!(!pace.is_quick(Duration::ZERO));
        for _ in 0..20 {
            pace.took(Duration::from_micros(2));
        }
        assert!(pace.is_quick(Duration::ZERO));
        let (least, most) = (limits::INLINE_DISTRUST_MIN, limits::INLINE_DISTRUST_MAX);
        let mut now = Duration::from_secs(5);
        let mut distrusts = vec![];
        for _ in 0..20 {
            pace.overran(now);
            let before = now;
            while !pace.is_quick(now) {
                now += least;
            }
            distrusts.push(now - before);
        }
        assert_eq!(distrusts[..3], [least, least * 2, least * 4]);
        assert_eq!(distrusts[19], most, "at its longest");
        now += most * 2;
        pace.overran(now);
        assert!(pace.is_quick(now + least), "forgiven after a good while");
    }
}

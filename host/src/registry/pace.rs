//! How long a handler's calls take, learned from the calls themselves. Decides only whether the next one may
//! run on the thread that brought it. In memory only: a restart and a deploy start over. Invariant: a handler
//! that overran is not trusted again before [`limits::INLINE_DISTRUST`] is over.

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
        let next = average - average / 8 + nanos(time) / 8;
        self.average_ns.store(next, Ordering::Relaxed);
    }

    /// A call did not end in the time that it got on the thread that brought it.
    pub fn overran(&self, now: Duration) {
        let until = nanos(now + limits::INLINE_DISTRUST);
        self.distrusted_ns.store(until, Ordering::Relaxed);
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
        pace.overran(Duration::from_secs(5));
        assert!(!pace.is_quick(Duration::from_secs(5)));
        assert!(pace.is_quick(Duration::from_secs(5) + limits::INLINE_DISTRUST));
    }
}

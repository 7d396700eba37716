//! When a send becomes due: `?delay=10s` or `?at=2030-01-31T08:00:00Z`; now when neither is given.

use crate::edge::query::Params;
use crate::edge::{Problem, time};
use crate::engine::Due;
use crate::limits;

/// Reads the query of a send. A moment in the past is now.
pub(super) fn read(query: Option<&str>, now_ms: u64) -> Result<Due, Problem> {
    let Some(query) = query else { return Ok(Due::Now) };
    let mut params = Params::new(Some(query))?;
    let delay = params.text("delay")?;
    let at = params.literal("at")?;
    params.finish("send takes delay or at")?;
    let at_ms = match (delay, at) {
        (None, None) => now_ms,
        (Some(delay), None) => {
            let delay = time::duration("delay", &delay, limits::DELAY_MAX)?;
            now_ms.saturating_add(delay.as_millis() as u64)
        }
        (None, Some(at)) => soon_enough(time::moment_ms("at", &at)?, now_ms)?,
        (Some(_), Some(_)) => {
            return Err(Problem::malformed("delay and at exclude each other; give one of them"));
        }
    };
    Ok(if at_ms <= now_ms { Due::Now } else { Due::AtMs(at_ms) })
}

fn soon_enough(at_ms: u64, now_ms: u64) -> Result<u64, Problem> {
    let max = limits::DELAY_MAX;
    if at_ms.saturating_sub(now_ms) <= max.as_millis() as u64 {
        return Ok(at_ms);
    }
    let days = max.as_secs() / (24 * 3600);
    Err(Problem::malformed(format!("at: is more than {days} days away, the most there is")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000; // 2023-11-14T22:13:20Z

    #[test]
    fn delays_and_moments_are_read() {
        for (query, due) in [
            ("", Due::Now),
            ("delay=0s", Due::Now),
            ("delay=10s", Due::AtMs(NOW_MS + 10_000)),
            ("delay=PT10S", Due::AtMs(NOW_MS + 10_000)),
            ("delay=1h+30m", Due::AtMs(NOW_MS + 5_400_000)),
            ("delay=3660d", Due::AtMs(NOW_MS + 3_660 * 86_400_000)),
            ("at=2023-11-14T22:13:21Z", Due::AtMs(NOW_MS + 1_000)),
            ("at=2023-11-14T23:13:21+01:00", Due::AtMs(NOW_MS + 1_000)),
            ("at=2023-11-14T23:13:21%2B01:00", Due::AtMs(NOW_MS + 1_000)),
            ("at=2023-11-14T22:13:20Z", Due::Now),
            ("at=1969-01-01T00:00:00Z", Due::Now),
        ] {
            let read = read(Some(query), NOW_MS).unwrap_or_else(|p| panic!("{query}: {p:?}"));
            assert_eq!(read, due, "{query}");
        }
        assert_eq!(read(None, NOW_MS).expect("valid"), Due::Now);
    }

    #[test]
    fn wrong_ones_are_refused() {
        for (query, says) in [
            ("delay=banana", "delay: \"banana\""),
            ("delay=-5s", "negative"),
            ("delay=3661d", "longer"),
            ("delay=1s&at=2030-01-31T08:00:00Z", "exclude"),
            ("delay=1s&delay=2s", "more than once"),
            ("at=tomorrow", "at: \"tomorrow\""),
            ("at=2123-11-14T22:13:21Z", "days away"),
            ("dealy=10s", "\"dealy\""),
        ] {
            let problem = read(Some(query), NOW_MS).expect_err(query);
            assert_eq!(problem.code(), "malformed");
            assert!(problem.detail().contains(says), "{query}: {}", problem.detail());
        }
    }
}

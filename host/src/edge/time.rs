//! Durations and moments as users write them in queries and read them in headers.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::problem::Problem;

/// Reads `10s`, `1h 30m`, `2 days` or ISO 8601 `PT10S`; a day is 24 hours.
///
/// # Errors
/// 400 when it is no duration, is negative or longer than `max`.
pub fn duration(field: &'static str, text: &str, max: Duration) -> Result<Duration, Problem> {
    let bad = |why: &str| Problem::malformed(format!("{field}: {text:?} {why}"));
    let signed = text
        .parse::<SignedDuration>()
        .or_else(|_| text.parse::<Span>()?.to_duration(SpanRelativeTo::days_are_24_hours()));
    let signed = signed.map_err(|_| bad("is not a duration; write 10s, 1h 30m or PT10S"))?;
    let duration = Duration::try_from(signed).map_err(|_| bad("is negative"))?;
    if duration > max {
        return Err(bad(&format!("is longer than {} s, the most there is", max.as_secs())));
    }
    Ok(duration)
}

/// Reads an RFC 3339 moment into milliseconds since 1970; one before 1970 is 0.
///
/// # Errors
/// 400 when it is not one.
pub fn moment_ms(field: &'static str, text: &str) -> Result<u64, Problem> {
    let moment: Timestamp = text.parse().map_err(|_| {
        let example = "2030-01-31T08:00:00Z or 2030-01-31T09:00:00+01:00";
        Problem::malformed(format!("{field}: {text:?} is not an RFC 3339 time; write {example}"))
    })?;
    Ok(u64::try_from(moment.as_millisecond()).unwrap_or(0))
}

/// Writes milliseconds since 1970 as RFC 3339; `None` beyond the year 9999.
#[must_use]
pub fn rfc3339(ms: u64) -> Option<String> {
    let moment = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(10 * 24 * 3600);

    #[test]
    fn durations_read_as_people_and_machines_write_them() {
        for (text, ms) in [
            ("10s", 10_000),
            ("PT10S", 10_000),
            ("PT0.25S", 250),
            ("250ms", 250),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("2 days", 172_800_000),
            ("P1D", 86_400_000),
            ("0s", 0),
            ("10d", 864_000_000),
        ] {
            let read = duration("delay", text, MAX).unwrap_or_else(|p| panic!("{}", p.detail()));
            assert_eq!(read, Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_bounded_duration_is_refused_by_name() {
        let detail = |text| duration("delay", text, MAX).expect_err(text).detail().to_owned();
        for text in ["banana", "", "10", "10 s s", "1 month", "1e3s"] {
            assert!(detail(text).contains("write 10s"), "{text}: {}", detail(text));
        }
        assert!(detail("-1s").contains("negative"));
        assert!(detail("1s ago").contains("negative"));
        assert!(detail("10d 1ms").contains("longer than 864000 s"));
        assert!(detail("P9999Y").contains("duration"));
    }

    #[test]
    fn moments_read_and_write_back() {
        let ms = moment_ms("at", "2026-11-22T09:40:00.5+01:00").expect("valid");
        assert_eq!(rfc3339(ms).as_deref(), Some("2026-11-22T08:40:00.5Z"));
        assert_eq!(moment_ms("at", "1960-01-01T00:00:00Z").expect("valid"), 0);
        for text in ["banana", "2026-11-22", "2026-11-22T09:40:00", "2026-02-30T00:00:00Z", ""] {
            assert_eq!(moment_ms("at", text).expect_err(text).code(), "malformed");
        }
        assert_eq!(rfc3339(u64::MAX), None);
    }
}

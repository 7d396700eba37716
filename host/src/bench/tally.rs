//! What a driver counted: latencies, answers over time, refusals and failures. Invariant: only a successful
//! answer has a latency; everything else is counted apart, never left out.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits;

/// What one or more drivers counted.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Of successful answers, in nanoseconds.
    pub(super) latencies: Histogram<u64>,
    /// Successful answers.
    pub(super) answers: u64,
    /// Answers 429 and 503: the host had enough.
    pub(super) refused: u64,
    /// Every other answer that is no success.
    pub(super) failed: u64,
    /// The first of those.
    pub(super) first_failure: Option<String>,
    /// Requests that were due and never sent (open loop); each has a latency, of the time it waited.
    pub(super) unsent: u64,
    /// Successful answers of each [`limits::BENCH_TICK`].
    pub(super) ticks: Vec<u64>,
    /// How long it took.
    pub(super) elapsed: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        let highest = limits::BENCH_LATENCY_MAX.as_nanos() as u64;
        let latencies = Histogram::new_with_bounds(1_000, highest, 3);
        Self {
            latencies: latencies.unwrap_or_else(|error| unreachable!("these bounds: {error}")),
            answers: 0,
            refused: 0,
            failed: 0,
            first_failure: None,
            unsent: 0,
            ticks: vec![],
            elapsed: Duration::ZERO,
        }
    }

    /// Counts a successful answer that came `at` after the start.
    pub(super) fn answered(&mut self, latency: Duration, at: Duration) {
        self.latencies.saturating_record(latency.as_nanos() as u64);
        self.answers += 1;
        let tick = (at.as_nanos() / limits::BENCH_TICK.as_nanos()) as usize;
        if tick >= self.ticks.len() {
            self.ticks.resize(tick + 1, 0);
        }
        self.ticks[tick] += 1;
    }

    /// Counts an answer that is no success.
    pub(super) fn not_answered(&mut self, status: u16, body: &[u8]) {
        if matches!(status, 429 | 503) {
            self.refused += 1;
            return;
        }
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| {
            let shown = &body[..body.len().min(limits::FOREIGN_BODY_BYTES_SHOWN)];
            format!("{status} {}", String::from_utf8_lossy(shown))
        });
    }

    /// Counts a request that was never sent.
    pub(super) fn never_sent(&mut self, waited: Duration) {
        self.latencies.saturating_record(waited.as_nanos() as u64);
        self.unsent += 1;
    }

    /// Adds what another driver counted at the same time.
    pub(super) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so adding cannot fail.
        let _ = self.latencies.add(&other.latencies);
        self.answers += other.answers;
        self.refused += other.refused;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
        if self.ticks.len() < other.ticks.len() {
            self.ticks.resize(other.ticks.len(), 0);
        }
        for (tick, more) in self.ticks.iter_mut().zip(&other.ticks) {
            *tick += more;
        }
    }

    /// A quantile in milliseconds; 0 without any answer.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_keep_failures_apart() {
        let mut one = Tally::new();
        one.answered(Duration::from_millis(2), Duration::from_millis(1));
        one.not_answered(503, b"busy");
        one.not_answered(422, b"no");
        let mut two = Tally::new();
        two.answered(Duration::from_millis(10), limits::BENCH_TICK * 2);
        two.not_answered(500, b"trap");
        two.never_sent(Duration::from_millis(50));
        two.elapsed = Duration::from_secs(1);
        one.merge(&two);
        assert_eq!((one.answers, one.refused, one.failed, one.unsent), (2, 1, 2, 1));
        assert_eq!(one.first_failure.as_deref(), Some("422 no"));
        assert_eq!((one.ticks.as_slice(), one.elapsed), (&[1, 0, 1][..], Duration::from_secs(1)));
        assert!((one.quantile_ms(0.3) - 2.0).abs() < 0.01, "{}", one.quantile_ms(0.3));
        assert!((one.quantile_ms(1.0) - 50.0).abs() < 0.1, "{}", one.quantile_ms(1.0));
    }
}

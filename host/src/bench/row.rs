//! One measured row: its figures, its cells in the table, and the median of several runs. Knows nothing of how
//! it was measured.

use serde::Serialize;

use super::tally::Tally;
use crate::engine::Isolation;
use crate::limits;

/// Quantiles of the latency curve.
const CURVE: [f64; 13] =
    [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999];

/// What one workload came to over one number of connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// The workload's name.
    pub workload: String,
    /// Connections, or callers when it ran inside.
    pub connections: usize,
    /// How many entities existed before, for a workload that wants them to.
    pub entities: Option<u64>,
    /// Whether warm instances served its calls.
    pub isolation: Isolation,
    /// True when it was driven in the host's own process, without HTTP.
    pub inside: bool,
    /// The rate of an open loop; a closed loop has none.
    pub offered_per_s: Option<f64>,
    /// Successful answers in a second.
    pub rate_per_s: f64,
    /// The rates of all runs that this row is the median of.
    pub rates_per_s: Vec<f64>,
    /// Latency: median.
    pub p50_ms: f64,
    /// The medians of all runs.
    pub p50s_ms: Vec<f64>,
    /// Latency: 90 of 100 are faster.
    pub p90_ms: f64,
    /// Latency: 99 of 100 are faster.
    pub p99_ms: f64,
    /// Latency: 999 of 1000 are faster.
    pub p999_ms: f64,
    /// Latency: the slowest.
    pub max_ms: f64,
    /// Committed transactions in a second; a send and a transfer are two each.
    pub transactions_per_s: f64,
    /// Messages that took effect in a second while a backlog was drained.
    pub drained_per_s: Option<f64>,
    /// Processors that the server used.
    pub cpu_cores: f64,
    /// Processors that the load generator used.
    pub client_cores: f64,
    /// Processors that anything else on the machine used.
    pub other_cores: f64,
    /// The most memory that the server had.
    pub rss_mib: f64,
    /// Journal appends in a second, each of which is one sync; a checkpoint's syncs are not in it.
    pub syncs_per_s: f64,
    /// Checkpoints in a second.
    pub checkpoints_per_s: f64,
    /// Bytes of the state file afterwards, where it is more than a few.
    pub state_bytes: Option<u64>,
    /// Bytes that the server wrote to disk for each answer, checkpoints included.
    pub bytes_per_call: Option<f64>,
    /// Of the machine's processor time, how much its own host took.
    pub steal_percent: f64,
    /// Answers 429 and 503.
    pub refused: u64,
    /// All other answers that are no success.
    pub failed: u64,
    /// The first of those.
    pub first_failure: Option<String>,
    /// Requests that were due and never sent.
    pub unsent: u64,
    /// Latency in milliseconds by quantile.
    pub latency_curve: Vec<(f64, f64)>,
    /// Answers in a second, for each tick of 100 ms.
    pub rate_curve: Vec<f64>,
    /// What is to be said beside it.
    pub notes: Vec<String>,
}

/// The head of the table.
pub(super) const HEADER: [&str; 18] = [
    "workload", "conns", "rate/s", "p50 ms", "p90", "p99", "p99.9", "max", "tx/s", "cpu",
    "rss MiB", "syncs/s", "ckpt/s", "B/call", "client", "other", "steal %", "errors",
];

impl Row {
    /// A row with what the tally says; the rest is zero.
    pub(super) fn new(workload: String, connections: usize, tally: &Tally) -> Self {
        let tick_s = limits::BENCH_TICK.as_secs_f64();
        let rate_per_s = match tally.elapsed.as_secs_f64() {
            0.0 => 0.0,
            elapsed => tally.answers as f64 / elapsed,
        };
        Self {
            workload,
            connections,
            rate_per_s,
            p50_ms: tally.quantile_ms(0.5),
            p90_ms: tally.quantile_ms(0.9),
            p99_ms: tally.quantile_ms(0.99),
            p999_ms: tally.quantile_ms(0.999),
            max_ms: tally.quantile_ms(1.0),
            refused: tally.refused,
            failed: tally.failed,
            first_failure: tally.first_failure.clone(),
            unsent: tally.unsent,
            latency_curve: CURVE.map(|quantile| (quantile, tally.quantile_ms(quantile))).into(),
            rate_curve: tally.ticks.iter().map(|&answers| answers as f64 / tick_s).collect(),
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What tells rows of one run apart.
    pub(super) fn name(&self) -> String {
        let mut name = self.workload.clone();
        if let Some(entities) = self.entities {
            name = format!("{name} of {}", whole(entities as f64));
        }
        if self.isolation == Isolation::Invocation {
            name += ", fresh";
        }
        if self.inside {
            name += " (in process)";
        }
        name
    }

    /// Its cells, under [`HEADER`].
    pub(super) fn cells(&self) -> Vec<String> {
        let asked = self.rate_per_s > 0.0;
        let ms = |ms: f64| if ms > 0.0 { figure(ms) } else { "-".into() };
        vec![
            self.name(),
            self.connections.to_string(),
            if asked { whole(self.rate_per_s) } else { "-".into() },
            ms(self.p50_ms),
            ms(self.p90_ms),
            ms(self.p99_ms),
            ms(self.p999_ms),
            ms(self.max_ms),
            whole(self.transactions_per_s),
            format!("{:.2}", self.cpu_cores),
            whole(self.rss_mib),
            whole(self.syncs_per_s),
            format!("{:.2}", self.checkpoints_per_s),
            self.bytes_per_call.map_or_else(|| "-".into(), whole),
            if self.inside { "-".into() } else { format!("{:.2}", self.client_cores) },
            format!("{:.2}", self.other_cores),
            format!("{:.1}", self.steal_percent),
            (self.refused + self.failed + self.unsent).to_string(),
        ]
    }
}

/// The run with the median rate of runs of one row, and the rates of all; the lower one of two in the middle.
/// Runs without a rate are in the order of their latencies, the slowest first.
pub(super) fn median(mut runs: Vec<Row>) -> Option<Row> {
    let order = |run: &Row| if run.rate_per_s > 0.0 { run.rate_per_s } else { -run.p50_ms };
    runs.sort_by(|a, b| order(a).total_cmp(&order(b)));
    let all = |figure: fn(&Row) -> f64| runs.iter().map(figure).collect();
    let (rates_per_s, p50s_ms) = (all(|run| run.rate_per_s), all(|run| run.p50_ms));
    let middle = runs.len().checked_sub(1)? / 2;
    let mut row = runs.swap_remove(middle);
    (row.rates_per_s, row.p50s_ms) = (rates_per_s, p50s_ms);
    Some(row)
}

/// A number with its thousands apart.
pub(super) fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

/// Milliseconds with three significant digits.
pub(super) fn figure(ms: f64) -> String {
    let decimals = match ms {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{ms:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_read_well() {
        let numbers = [0.0, 999.4, 1_000.0, 52_123.0, 1_234_567.0].map(whole);
        assert_eq!(numbers, ["0", "999", "1 000", "52 123", "1 234 567"]);
        assert_eq!([0.1234, 9.876, 12.34, 123.4].map(figure), ["0.12", "9.88", "12.3", "123"]);
    }

    #[test]
    fn the_median_is_one_whole_run() {
        let run = |rate_per_s, p50_ms| Row { rate_per_s, p50_ms, ..Row::default() };
        let row = median(vec![run(30.0, 1.0), run(10.0, 3.0), run(20.0, 2.0)]).expect("runs");
        assert_eq!((row.rate_per_s, row.p50_ms), (20.0, 2.0));
        assert_eq!(row.rates_per_s, [10.0, 20.0, 30.0]);
        let row = median(vec![run(30.0, 1.0), run(10.0, 3.0)]).expect("runs");
        assert_eq!(row.rate_per_s, 10.0);
        assert_eq!(median(vec![]), None);
        let row = median(vec![run(0.0, 5.0), run(0.0, 9.0), run(0.0, 7.0)]).expect("runs");
        assert_eq!((row.p50_ms, row.p50s_ms), (7.0, vec![9.0, 7.0, 5.0]));
    }

    #[test]
    fn names_tell_rows_of_one_workload_apart() {
        let mut row = Row { workload: "entities".into(), ..Row::default() };
        row.entities = Some(10_000_000);
        assert_eq!(row.name(), "entities of 10 000 000");
        (row.isolation, row.inside) = (Isolation::Invocation, true);
        assert_eq!(row.name(), "entities of 10 000 000, fresh (in process)");
    }

    #[test]
    fn a_row_says_what_was_counted() {
        let mut tally = Tally::new();
        for n in 1..=1_000 {
            tally.answered(Duration::from_micros(n * 10), Duration::from_micros(n * 100));
        }
        tally.not_answered(503, b"");
        tally.elapsed = Duration::from_millis(100);
        let row = Row::new("add".into(), 64, &tally);
        assert_eq!((row.rate_per_s, row.refused), (10_000.0, 1));
        assert!((row.p99_ms - 9.9).abs() < 0.02 && (row.max_ms - 10.0).abs() < 0.02, "{row:?}");
        let cells = row.cells();
        assert_eq!(cells.len(), HEADER.len());
        assert_eq!(cells[..4], ["add", "64", "10 000", "5.00"]);
        assert_eq!(cells[17], "1");
        let idle = Row::new("idle".into(), 0, &Tally::new()).cells();
        assert_eq!(idle[2..4], ["-", "-"]);
    }
}

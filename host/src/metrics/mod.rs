//! One function for each measured fact, and the page that Prometheus reads. It decides nothing, and nobody else knows
//! the library behind it. What it counts is the process's. Invariant: labels come from closed sets, and
//! from the names of deployed apps up to `limits::METRIC_APPS_MAX`: never from a key, a handler or a partition.

mod apps;
mod gauges;
mod moments;
mod process;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

pub use apps::{AppMetrics, GuestEnd, GuestKind, QuotaKind, RequestKind, app};
pub use gauges::{Gauges, ServedApp};
pub use moments::{certificate_expires, newest_snapshot};

/// The content type of [`page`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything, in the text format of Prometheus, version 0.0.4.
#[must_use]
pub fn page(now: &Gauges) -> Vec<u8> {
    // One at a time, so that none sees another one's half.
    static PAGE: Mutex<()> = Mutex::new(());
    let _page = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    gauges::set(now);
    process::look();
    let mut page = vec![];
    let encoded = TextEncoder::new().encode(&HOST.registry.gather(), &mut page);
    encoded.unwrap_or_else(|error| unreachable!("a vector takes every metric: {error}"));
    page
}

/// A connection of a listener, open as long as this lives.
pub struct Connection(IntGauge);

impl Connection {
    /// One was accepted.
    #[must_use]
    pub fn opened(listener: &'static str) -> Self {
        HOST.connections_total.with_label_values(&[listener]).inc();
        let open = HOST.connections.with_label_values(&[listener]);
        open.inc();
        Self(open)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A listener turned a connection away: it had as many as it may.
pub fn connection_refused(listener: &'static str) {
    HOST.connections_refused.with_label_values(&[listener]).inc();
}

/// The host itself refused a request; `reason` is the code of its problem document.
pub fn request_refused(reason: &'static str) {
    HOST.refusals.with_label_values(&[reason]).inc();
}

/// A batch is durable.
pub fn journal_appended(transactions: usize, bytes: usize, took: Duration) {
    HOST.transactions.inc_by(transactions as u64);
    HOST.journal_bytes.inc_by(bytes as u64);
    HOST.journal_batch.observe(transactions as f64);
    HOST.journal_append.observe(took.as_secs_f64());
}

/// A checkpoint is written.
pub fn checkpoint_written(took: Duration, now_ms: u64) {
    HOST.checkpoint.observe(took.as_secs_f64());
    moments::checkpoint(now_ms);
}

/// A partition failed and takes no more work.
pub fn partition_poisoned() {
    HOST.poisonings.inc();
}

/// A partition that had failed was opened again.
pub fn partition_reopened() {
    HOST.reopenings.inc();
}

/// Compiled code was looked for in the cache.
pub fn compiled_code_asked(hit: bool) {
    HOST.compile_cache.with_label_values(&[if hit { "hit" } else { "miss" }]).inc();
}

/// A component was compiled, or not, in this time.
pub fn compiled(took: Duration) {
    HOST.compile.observe(took.as_secs_f64());
}

/// A deploy ended: refused, or accepted with or without a change.
pub fn deployed(changed: Option<bool>, took: Duration) {
    let outcome = match changed {
        Some(true) => "changed",
        Some(false) => "unchanged",
        None => "refused",
    };
    HOST.deploys.with_label_values(&[outcome]).inc();
    HOST.deploy.observe(took.as_secs_f64());
}

/// Spans left this host's hands.
pub fn spans(end: SpanEnd, count: usize) {
    HOST.spans.with_label_values(&[end.name()]).inc_by(count as u64);
}

/// What became of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanEnd {
    /// The collector took them.
    Exported,
    /// There was no room for them, or no collector in time.
    Dropped,
    /// The collector did not want them.
    Rejected,
}

impl SpanEnd {
    const ALL: [Self; 3] = [Self::Exported, Self::Dropped, Self::Rejected];

    fn name(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        }
    }
}

/// What is not an app's.
struct Host {
    registry: Registry,
    connections: IntGaugeVec,
    connections_total: IntCounterVec,
    connections_refused: IntCounterVec,
    refusals: IntCounterVec,
    transactions: IntCounter,
    journal_bytes: IntCounter,
    journal_batch: Histogram,
    journal_append: Histogram,
    checkpoint: Histogram,
    poisonings: IntCounter,
    reopenings: IntCounter,
    compile_cache: IntCounterVec,
    compile: Histogram,
    deploys: IntCounterVec,
    deploy: Histogram,
    spans: IntCounterVec,
    gauges: gauges::Handles,
    moments: moments::Handles,
    process: process::Handles,
    apps: apps::Families,
}

static HOST: LazyLock<Host> = LazyLock::new(Host::new);

/// From 10 µs to 5 s.
const SHORT_S: [f64; 14] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0, 5.0];
/// From a quarter of a millisecond to the longest that a call waits.
const REQUEST_S: [f64; 16] = [
    2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];
/// For what may take minutes.
const LONG_S: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 120.0];
/// Transactions of one batch.
const BATCH: [f64; 12] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0, 8192.0];

impl Host {
    fn new() -> Self {
        let r = &Registry::new();
        let host = Self {
            registry: r.clone(),
            connections: gauges(r, "connections", "Open connections", "listener"),
            connections_total: counters(r, "connections_total", "Connections accepted", "listener"),
            connections_refused: counters(
                r,
                "connections_refused_total",
                "Connections turned away: the listener had as many as it may",
                "listener",
            ),
            refusals: counters(
                r,
                "refusals_total",
                "Requests that the host refused itself, by the code of the problem document",
                "reason",
            ),
            transactions: counter(r, "transactions_total", "Transactions committed and durable"),
            journal_bytes: counter(r, "journal_bytes_total", "Bytes appended to journals"),
            journal_batch: histogram(
                r,
                "journal_batch_transactions",
                "Transactions of one append; the count is the number of appends",
                &BATCH,
            ),
            journal_append: histogram(
                r,
                "journal_append_seconds",
                "Time of one append with its sync",
                &SHORT_S,
            ),
            checkpoint: histogram(r, "checkpoint_seconds", "Time of one checkpoint", &LONG_S),
            poisonings: counter(r, "partition_poisonings_total", "Times that a partition failed"),
            reopenings: counter(
                r,
                "partition_reopenings_total",
                "Times that a partition was opened again after it had failed",
            ),
            compile_cache: counters(
                r,
                "compile_cache_total",
                "Components looked for in the cache of compiled code",
                "result",
            ),
            compile: histogram(r, "compile_seconds", "Time of compiling one component", &LONG_S),
            deploys: counters(r, "deploys_total", "Deploys by what they came to", "outcome"),
            deploy: histogram(r, "deploy_seconds", "Time of one deploy", &LONG_S),
            spans: counters(r, "spans_total", "Spans of traces by what became of them", "outcome"),
            gauges: gauges::Handles::new(r),
            moments: moments::Handles::new(r),
            process: process::Handles::new(r),
            apps: apps::Families::new(r),
        };
        let version = env!("CARGO_PKG_VERSION");
        let build = gauges(r, "build_info", "1, with the version of the host", "version");
        build.with_label_values(&[version]).set(1);
        host.begin();
        host
    }

    /// What may never happen is 0 from the start, so that its first time shows as an increase.
    fn begin(&self) {
        for listener in ["ingress", "admin"] {
            self.connections.with_label_values(&[listener]);
            self.connections_total.with_label_values(&[listener]);
            self.connections_refused.with_label_values(&[listener]);
        }
        for reason in
            ["overloaded", "mailbox_full", "unavailable", "result_timeout", "too_many_connections"]
        {
            self.refusals.with_label_values(&[reason]);
        }
        for result in ["hit", "miss"] {
            self.compile_cache.with_label_values(&[result]);
        }
        for outcome in ["changed", "unchanged", "refused"] {
            self.deploys.with_label_values(&[outcome]);
        }
        for end in SpanEnd::ALL {
            self.spans.with_label_values(&[end.name()]);
        }
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("keystead_{name}"), help)
}

fn counter(to: &Registry, name: &str, help: &str) -> IntCounter {
    register(to, IntCounter::with_opts(options(name, help)))
}

fn gauge(to: &Registry, name: &str, help: &str) -> IntGauge {
    register(to, IntGauge::with_opts(options(name, help)))
}

fn counters(to: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    register(to, IntCounterVec::new(options(name, help), &[label]))
}

fn gauges(to: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    register(to, IntGaugeVec::new(options(name, help), &[label]))
}

fn histogram(to: &Registry, name: &str, help: &str, bounds: &[f64]) -> Histogram {
    let options = HistogramOpts { common_opts: options(name, help), buckets: bounds.to_vec() };
    register(to, Histogram::with_opts(options))
}

/// Names stand in this module only, so a wrong one is found by the first test that touches any.
fn register<C: Collector + Clone + 'static>(to: &Registry, made: prometheus::Result<C>) -> C {
    let registered = made.and_then(|made| to.register(Box::new(made.clone())).map(|()| made));
    registered.unwrap_or_else(|error| unreachable!("a metric of ours: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn the_page_has_help_and_type_for_everything() {
        journal_appended(3, 4096, Duration::from_micros(150));
        drop(Connection::opened("ingress"));
        let page = String::from_utf8(page(&Gauges::default())).expect("UTF-8");
        let families = |what: &str| page.lines().filter(|line| line.starts_with(what)).count();
        assert!(families("# HELP ") > 25, "{page}");
        assert_eq!(families("# HELP "), families("# TYPE "));
        assert!(page.contains("keystead_connections{listener=\"admin\"} 0"), "{page}");
        assert!(page.contains("process_resident_memory_bytes "), "{page}");
        assert!(!page.contains(" NaN"), "{page}");
    }

    #[test]
    fn apps_beyond_the_cap_share_one_series() {
        let count = |page: &str| {
            page.lines().filter(|line| line.starts_with("keystead_retries_total{")).count()
        };
        for n in 0..limits::METRIC_APPS_MAX * 2 {
            app(&format!("app{n}")).retried();
        }
        let before = count(&String::from_utf8(page(&Gauges::default())).expect("UTF-8"));
        assert!(before <= limits::METRIC_APPS_MAX + 2, "{before} series");
        app("one-more").retried();
        assert_eq!(count(&String::from_utf8(page(&Gauges::default())).expect("UTF-8")), before);
    }
}

//! What is looked up when somebody reads the page, rather than counted when it happens.

use prometheus::{Gauge, IntGauge, IntGaugeVec, Registry};

use super::apps::{LIVE, OTHER, RAMP};
use super::{HOST, app, gauge, gauges, options, register};

/// The host as it stands: sums over its partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Deployed apps, with what is served of each.
    pub apps: Vec<ServedApp>,
    /// Bytes of the data folder's disk that are free, and all of them; not known on some file systems.
    pub disk: Option<(u64, u64)>,
    /// Partitions that take work.
    pub partitions_open: usize,
    /// Partitions that failed and are not open again.
    pub partitions_poisoned: usize,
    /// Last durable position of the journal.
    pub position: u64,
    /// Position that the state file holds.
    pub checkpoint_position: u64,
    /// Bytes of writes that no checkpoint holds.
    pub checkpoint_lag_bytes: usize,
    /// How long the one that came first of all that wait at their entities has waited, in milliseconds.
    pub oldest_ms: u64,
    /// Messages that wait at their entities.
    pub queued: usize,
    /// Messages that wait for their next attempt.
    pub backing_off: usize,
    /// Messages that are not due.
    pub scheduled: usize,
    /// Named timers that are not due.
    pub timers: usize,
    /// Dead letters.
    pub dead: usize,
    /// Commands that wait at the entity with most of them.
    pub mailbox_depth_max: usize,
    /// Guest calls that run or are about to.
    pub running: usize,
    /// Executor threads that run a guest.
    pub executor_busy: usize,
    /// Executor threads without work.
    pub executor_idle: usize,
    /// Guest calls that wait for an executor thread.
    pub executor_queue: usize,
}

/// What is served of an app: hashes of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedApp {
    /// Its name.
    pub name: String,
    /// The live version.
    pub live: String,
    /// The one that is ramped, and the share of entities that is on it.
    pub ramp: Option<(String, u8)>,
}

/// The page says this.
pub(super) fn set(now: &Gauges) {
    let handles = &HOST.gauges;
    let put = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    let label = |gauges: &IntGaugeVec, label: &str, value: usize| {
        put(&gauges.with_label_values(&[label]), value as u64);
    };
    put(&handles.apps, now.apps.len() as u64);
    set_versions(&now.apps);
    if let Some((free, all)) = now.disk {
        put(&handles.disk_free, free);
        put(&handles.disk, all);
    }
    handles.oldest.set(now.oldest_ms as f64 / 1_000.0);
    label(&handles.partitions, "open", now.partitions_open);
    label(&handles.partitions, "poisoned", now.partitions_poisoned);
    put(&handles.position, now.position);
    put(&handles.checkpoint_position, now.checkpoint_position);
    put(&handles.lag_positions, now.position.saturating_sub(now.checkpoint_position));
    put(&handles.lag_bytes, now.checkpoint_lag_bytes as u64);
    label(&handles.messages, "queued", now.queued);
    label(&handles.messages, "backing_off", now.backing_off);
    label(&handles.messages, "scheduled", now.scheduled);
    label(&handles.messages, "timer", now.timers);
    label(&handles.messages, "dead", now.dead);
    put(&handles.mailbox_depth_max, now.mailbox_depth_max as u64);
    put(&handles.running, now.running as u64);
    label(&handles.threads, "busy", now.executor_busy);
    label(&handles.threads, "idle", now.executor_idle);
    put(&handles.queue, now.executor_queue as u64);
}

/// Which version each track is now. Those that are served no more have no series.
fn set_versions(apps: &[ServedApp]) {
    let handles = &HOST.gauges;
    handles.versions.reset();
    for served in apps {
        let app = app(&served.name);
        if app.label == OTHER {
            continue;
        }
        let say = |track, version: &str| {
            handles.versions.with_label_values(&[&app.label[..], track, version]).set(1);
        };
        say(LIVE, &served.live);
        let percent = served.ramp.as_ref().map_or(0, |(version, percent)| {
            say(RAMP, version);
            *percent
        });
        handles.percent.with_label_values(&[&app.label]).set(i64::from(percent));
    }
}

pub(super) struct Handles {
    apps: IntGauge,
    versions: IntGaugeVec,
    percent: IntGaugeVec,
    disk_free: IntGauge,
    disk: IntGauge,
    oldest: Gauge,
    partitions: IntGaugeVec,
    position: IntGauge,
    checkpoint_position: IntGauge,
    lag_positions: IntGauge,
    lag_bytes: IntGauge,
    messages: IntGaugeVec,
    mailbox_depth_max: IntGauge,
    running: IntGauge,
    threads: IntGaugeVec,
    queue: IntGauge,
}

impl Handles {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            apps: gauge(r, "apps", "Deployed apps"),
            versions: register(
                r,
                IntGaugeVec::new(
                    options("version_info", "1, with the version that each track of an app is now"),
                    &["app", "track", "version"],
                ),
            ),
            percent: gauges(
                r,
                "ramp_percent",
                "Share of an app's entities that is on the ramped version, 0 without one",
                "app",
            ),
            disk_free: gauge(r, "disk_free_bytes", "Room on the disk of the data folder"),
            disk: gauge(r, "disk_bytes", "Size of the disk of the data folder"),
            oldest: register(
                r,
                Gauge::with_opts(options(
                    "oldest_message_seconds",
                    "How long the message that came first of all that wait at their entities has waited, since the start at most",
                )),
            ),
            partitions: gauges(r, "partitions", "Partitions, by whether they take work", "state"),
            position: gauge(r, "journal_position", "Last durable position of the journal"),
            checkpoint_position: gauge(
                r,
                "checkpoint_position",
                "Position of the journal that the state file holds",
            ),
            lag_positions: gauge(
                r,
                "checkpoint_lag_positions",
                "Positions of the journal that no checkpoint holds",
            ),
            lag_bytes: gauge(
                r,
                "checkpoint_lag_bytes",
                "Bytes of writes in memory that no checkpoint holds",
            ),
            messages: gauges(
                r,
                "messages",
                "Messages by where they are: queued at their entity, backing off, scheduled, a timer, dead",
                "stage",
            ),
            mailbox_depth_max: gauge(
                r,
                "mailbox_depth_max",
                "Commands that wait at the entity with most of them",
            ),
            running: gauge(r, "guest_calls_running", "Calls of handlers under way"),
            threads: gauges(
                r,
                "executor_threads",
                "Threads for guests that are not quick",
                "state",
            ),
            queue: gauge(r, "executor_queue", "Calls of handlers that wait for a thread"),
        }
    }
}

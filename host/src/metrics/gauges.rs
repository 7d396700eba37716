//! What is looked up when somebody reads the page, rather than counted when it happens.

use prometheus::{IntGauge, IntGaugeVec, Registry};

use super::{HOST, gauge, gauges};

/// The host as it stands: sums over its partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Deployed apps.
    pub apps: usize,
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

/// The next page says this.
pub fn set(now: &Gauges) {
    let handles = &HOST.gauges;
    let put = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    let label = |gauges: &IntGaugeVec, label: &str, value: usize| {
        put(&gauges.with_label_values(&[label]), value as u64);
    };
    put(&handles.apps, now.apps as u64);
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

pub(super) struct Handles {
    apps: IntGauge,
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

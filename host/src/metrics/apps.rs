//! What is measured of one app: handles that are found once for each version and then cost a few atomic additions. Calls
//! are told apart by track, the live version's and a ramp's; a version's hash is no label of theirs.
//! Series appear with what they count, so an app that is only read has none for sends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::{HOST, REQUEST_S, SHORT_S, options, register};
use crate::limits;

/// The label of all apps beyond [`limits::METRIC_APPS_MAX`]. No app can have this name.
pub(super) const OTHER: &str = "_other";

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// `POST /v1/call/…`
    Call,
    /// `POST /v1/send/…`
    Send,
    /// `GET` or `POST /v1/read/…`
    Read,
    /// `/v1/messages/…`
    Message,
    /// `/v1/callbacks/…`
    Callback,
    /// Documents, and paths that are no route.
    Other,
}

/// Which handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestKind {
    /// They change state.
    Command,
    /// They look at it.
    Query,
}

/// How a guest call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEnd {
    /// With a value.
    Done,
    /// With a rejection.
    Rejected,
    /// With an error that a retry may help.
    Failed,
    /// The sandbox or the host ended it.
    Trapped,
}

/// A quota of an app that it can come up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// A request was refused.
    RequestsPerS,
    /// A request was refused for its entity.
    EntityRequestsPerS,
    /// A request was refused.
    RequestsAtOnce,
    /// Commands were made to wait.
    TurnsPerS,
    /// A request was refused, or a handler that would add messages.
    Backlog,
    /// A request was refused, or a message of a handler.
    MessageBytes,
    /// A write was refused.
    StateBytes,
}

/// What is measured of one app. Share it in an [`Arc`].
pub struct AppMetrics {
    pub(super) label: String,
    track: &'static str,
    /// Those of the version that is ramped beside it, once there was one.
    ramp: OnceLock<Arc<Self>>,
    requests: [[OnceLock<IntCounter>; CLASSES.len()]; KINDS.len()],
    latency: [OnceLock<Histogram>; KINDS.len()],
    guests: [[OnceLock<IntCounter>; ENDS.len()]; 2],
    guest_time: Histogram,
    over_quota: [OnceLock<IntCounter>; QUOTAS.len()],
    retries: IntCounter,
    dead_letters: IntCounter,
    lines_left_out: IntCounter,
    ramps_halted: IntCounter,
}

/// The handles of an app; `""` for what belongs to none.
#[must_use]
pub fn app(name: &str) -> Arc<AppMetrics> {
    let mut known = HOST.apps.known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(app) = known.get(name) {
        return app.clone();
    }
    let label = if known.len() < limits::METRIC_APPS_MAX { name } else { OTHER };
    known.entry(label.to_owned()).or_insert_with(|| Arc::new(AppMetrics::new(label, LIVE))).clone()
}

impl AppMetrics {
    /// The handles of the version that is ramped beside this one.
    #[must_use]
    pub fn of_ramp(&self) -> Arc<Self> {
        self.ramp.get_or_init(|| Arc::new(Self::new(&self.label, RAMP))).clone()
    }

    /// A request was answered.
    pub fn request(&self, kind: RequestKind, status: u16, took: Duration) {
        let (at, families) = (kind as usize, &HOST.apps);
        let class = (usize::from(status) / 100).clamp(2, 5) - 2;
        let count = || {
            families.requests.with_label_values(&[
                &self.label[..],
                self.track,
                KINDS[at],
                CLASSES[class],
            ])
        };
        self.requests[at][class].get_or_init(count).inc();
        let latency =
            || families.latency.with_label_values(&[&self.label[..], self.track, KINDS[at]]);
        self.latency[at].get_or_init(latency).observe(took.as_secs_f64());
    }

    /// A guest call ended.
    pub fn guest(&self, kind: GuestKind, end: GuestEnd, took: Duration) {
        let labels = || {
            let kind = if kind == GuestKind::Query { "query" } else { "command" };
            let labels = [&self.label[..], self.track, kind, ENDS[end as usize]];
            HOST.apps.guests.with_label_values(&labels)
        };
        self.guests[kind as usize][end as usize].get_or_init(labels).inc();
        self.guest_time.observe(took.as_secs_f64());
    }

    /// It came up against a quota.
    pub fn over_quota(&self, quota: QuotaKind) {
        let labels =
            || HOST.apps.over_quota.with_label_values(&[&self.label[..], QUOTAS[quota as usize]]);
        self.over_quota[quota as usize].get_or_init(labels).inc();
    }

    /// A message will be tried again.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// A message was given up on.
    pub fn parked(&self) {
        self.dead_letters.inc();
    }

    /// A guest's line was left out of the host's log.
    pub fn line_left_out(&self) {
        self.lines_left_out.inc();
    }

    /// Its ramp turned out to be worse and ended itself.
    pub fn ramp_halted(&self) {
        self.ramps_halted.inc();
    }

    fn new(label: &str, track: &'static str) -> Self {
        let families = &HOST.apps;
        Self {
            label: label.to_owned(),
            track,
            ramp: OnceLock::new(),
            requests: Default::default(),
            latency: Default::default(),
            guests: Default::default(),
            guest_time: families.guest_time.with_label_values(&[label, track]),
            over_quota: Default::default(),
            retries: families.retries.with_label_values(&[label]),
            dead_letters: families.dead_letters.with_label_values(&[label]),
            lines_left_out: families.lines_left_out.with_label_values(&[label]),
            ramps_halted: families.ramps_halted.with_label_values(&[label]),
        }
    }
}

/// The live version's track.
pub(super) const LIVE: &str = "live";
/// The track of the version that a share of the entities is on.
pub(super) const RAMP: &str = "ramp";
const KINDS: [&str; 6] = ["call", "send", "read", "message", "callback", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
const ENDS: [&str; 4] = ["done", "rejected", "failed", "trapped"];
/// The fields of `quotas` in an app's settings.
const QUOTAS: [&str; 7] = [
    "requests_per_s",
    "entity_requests_per_s",
    "requests_at_once_max",
    "turns_per_s",
    "backlog_max",
    "message_bytes_max",
    "state_bytes_max",
];

/// The metrics that have a series for each app.
pub(super) struct Families {
    known: Mutex<HashMap<String, Arc<AppMetrics>>>,
    requests: IntCounterVec,
    latency: HistogramVec,
    guests: IntCounterVec,
    guest_time: HistogramVec,
    over_quota: IntCounterVec,
    retries: IntCounterVec,
    dead_letters: IntCounterVec,
    lines_left_out: IntCounterVec,
    ramps_halted: IntCounterVec,
}

impl Families {
    pub(super) fn new(r: &Registry) -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(r, IntCounterVec::new(options(name, help), labels))
        };
        let histograms = |name: &str, help: &str, labels: &[&str], bounds: &[f64]| {
            let common_opts = options(name, help);
            let options = HistogramOpts { common_opts, buckets: bounds.to_vec() };
            register(r, HistogramVec::new(options, labels))
        };
        Self {
            known: Mutex::default(),
            requests: counters(
                "requests_total",
                "Requests answered, by what was asked for and the class of the status",
                &["app", "track", "kind", "status"],
            ),
            latency: histograms(
                "request_seconds",
                "Time from a request's head to its answer",
                &["app", "track", "kind"],
                &REQUEST_S,
            ),
            guests: counters(
                "guest_calls_total",
                "Calls of handlers that ended, every attempt, by how",
                &["app", "track", "kind", "outcome"],
            ),
            guest_time: histograms(
                "guest_seconds",
                "Time of one call of a handler",
                &["app", "track"],
                &SHORT_S,
            ),
            over_quota: counters(
                "over_quota_total",
                "Times that an app came up against a quota of its own: refused, or made to wait for its turns",
                &["app", "quota"],
            ),
            retries: counters("retries_total", "Failed attempts that another follows", &["app"]),
            dead_letters: counters(
                "dead_letters_total",
                "Messages given up on: parked as dead letters",
                &["app"],
            ),
            lines_left_out: counters(
                "guest_log_lines_left_out_total",
                "Lines of guests that the host's log left out, being over their rate",
                &["app"],
            ),
            ramps_halted: counters(
                "ramps_halted_total",
                "Ramps that ended themselves because the new version was worse",
                &["app"],
            ),
        }
    }
}

//! When something happened last, or will: seconds since 1970, 0 while there is no such moment. Their age is the reader's
//! to compute.

use prometheus::{IntGauge, Registry};

use super::{HOST, gauge};

/// The newest snapshot is of this time, 0 when there is none.
pub fn newest_snapshot(at_ms: u64) {
    set(&HOST.moments.snapshot, at_ms / 1_000);
}

/// The certificate that is served from now on, or one above it, is good until this second.
pub fn certificate_expires(at_s: u64) {
    set(&HOST.moments.certificate, at_s);
}

/// A checkpoint was written.
pub(super) fn checkpoint(at_ms: u64) {
    set(&HOST.moments.checkpoint, at_ms / 1_000);
}

pub(super) struct Handles {
    checkpoint: IntGauge,
    snapshot: IntGauge,
    certificate: IntGauge,
}

impl Handles {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            checkpoint: gauge(
                r,
                "checkpoint_timestamp_seconds",
                "When the last checkpoint was written, 0 before the first",
            ),
            snapshot: gauge(
                r,
                "snapshot_timestamp_seconds",
                "When the newest snapshot of the data folder was made, 0 without one",
            ),
            certificate: gauge(
                r,
                "certificate_expiry_timestamp_seconds",
                "When the first certificate of the chain in use expires, 0 without TLS",
            ),
        }
    }
}

fn set(gauge: &IntGauge, at_s: u64) {
    gauge.set(i64::try_from(at_s).unwrap_or(i64::MAX));
}

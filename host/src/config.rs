//! What an operator and an app may choose, read from flags and files into validated, immutable values.
//! Every default is a bound of `limits`.

mod quotas;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Isolation;
use crate::limits;
pub use quotas::Quotas;

/// How failed messages are retried: the pause doubles from `initial_ms` to `max_ms`, each one drawn at
/// random between half and all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// First pause, in milliseconds.
    pub initial_ms: u64,
    /// Longest pause, in milliseconds.
    pub max_ms: u64,
    /// Attempts before the message is parked as a dead letter; at least 1.
    pub attempts_max: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_ms: limits::RETRY_INITIAL.as_millis() as u64,
            max_ms: limits::RETRY_MAX.as_millis() as u64,
            attempts_max: limits::ATTEMPTS_MAX,
        }
    }
}

impl RetryPolicy {
    /// The pause after the failed attempt number `attempt` (from 1), between half and all of the doubled
    /// pause, chosen by `chance`.
    #[must_use]
    pub fn pause_ms(&self, attempt: u32, chance: u64) -> u64 {
        let doubled = self.initial_ms.saturating_mul(1 << attempt.saturating_sub(1).min(32));
        let full = doubled.min(self.max_ms).max(1);
        full / 2 + chance % (full - full / 2 + 1)
    }
}

/// An app's own settings: `keystead.toml` beside its `Cargo.toml`, or JSON at the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppConfig {
    /// Retries of failed messages.
    pub retry: RetryPolicy,
    /// Wall time that one handler call may take, in milliseconds.
    pub deadline_ms: u64,
    /// Linear memory of one guest instance, in bytes.
    pub memory_bytes_max: usize,
    /// `app`: warm instances; `invocation`: a fresh one for each call.
    pub isolation: Isolation,
    /// How long outcomes of sends and of keyed calls are kept, in seconds.
    pub outcome_retention_s: u64,
    /// Commands that may wait at one entity.
    pub mailbox_max: usize,
    /// How much of the host it may take.
    pub quotas: Quotas,
    /// Values that handlers read with `context.config`.
    pub values: BTreeMap<String, String>,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            deadline_ms: limits::HANDLER_DEADLINE.as_millis() as u64,
            memory_bytes_max: limits::GUEST_MEMORY_BYTES_MAX,
            isolation: Isolation::default(),
            outcome_retention_s: limits::OUTCOME_RETENTION.as_secs(),
            mailbox_max: limits::MAILBOX_MESSAGES_MAX,
            quotas: Quotas::default(),
            values: BTreeMap::new(),
        }
    }
}

/// A setting outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; it must be {bounds}")]
pub struct BadConfig {
    /// The setting, e.g. `retry.attempts_max`.
    pub field: &'static str,
    /// What it is.
    pub value: u64,
    /// What it may be.
    pub bounds: String,
}

impl AppConfig {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// [`BadConfig`] for the first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let day_ms = 24 * 3_600 * 1_000;
        let checks = [
            ("retry.initial_ms", self.retry.initial_ms, 1, day_ms),
            ("retry.max_ms", self.retry.max_ms, self.retry.initial_ms, day_ms),
            ("retry.attempts_max", u64::from(self.retry.attempts_max), 1, 1_000),
            ("deadline_ms", self.deadline_ms, 1, limits::CALL_WAIT_MAX.as_millis() as u64),
            (
                "memory_bytes_max",
                self.memory_bytes_max as u64,
                64 * 1024,
                limits::GUEST_MEMORY_BYTES_MAX as u64,
            ),
            ("outcome_retention_s", self.outcome_retention_s, 1, 30 * 24 * 3_600),
            ("mailbox_max", self.mailbox_max as u64, 1, limits::MAILBOX_MESSAGES_MAX as u64),
        ];
        for (field, value, min, max) in checks {
            if value < min || value > max {
                return Err(BadConfig { field, value, bounds: format!("{min} to {max}") });
            }
        }
        self.quotas.validate()
    }

    /// The wall time that one handler call may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_maximum_and_stay_within_half() {
        let policy = RetryPolicy { initial_ms: 100, max_ms: 1_000, attempts_max: 10 };
        for (attempt, full) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_000), (60, 1_000)] {
            for chance in [0, 1, 7, u64::MAX] {
                let pause = policy.pause_ms(attempt, chance);
                assert!(pause >= full / 2 && pause <= full, "attempt {attempt}: {pause}");
            }
        }
    }

    #[test]
    fn bad_settings_are_named() {
        let config = AppConfig { deadline_ms: 0, ..AppConfig::default() };
        assert_eq!(config.validate().expect_err("bad").field, "deadline_ms");
        assert!(AppConfig::default().validate().is_ok());
        assert!(toml::from_str::<AppConfig>("[retry]\nattempt_max = 3").is_err());
    }
}

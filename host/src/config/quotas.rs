//! How much of a host an app may take: its quotas, and its weight among others. What is not said is bounded by the
//! host's own limits alone.

use serde::{Deserialize, Serialize};

use super::BadConfig;
use crate::limits;

/// An app's quotas: the table `quotas` of `keystead.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Calls, sends and reads together that ingress takes for the app in a second; beyond them 429.
    pub requests_per_s: Option<u32>,
    /// Of these, how many may come at once after a pause; a second's worth if it is not said.
    pub requests_burst: Option<u32>,
    /// The same for each entity by itself, with a second's worth at once.
    pub entity_requests_per_s: Option<u32>,
    /// Calls, sends and reads of the app that may be under way at the same time; beyond them 429.
    pub requests_at_once_max: Option<u32>,
    /// Commands of the app that start in a second, whatever brought them: a request, a message, a timer, a further
    /// attempt; with a second's worth at once. Beyond them commands wait, in order; none is refused or lost.
    pub turns_per_s: Option<u32>,
    /// Messages for the app's entities, wherever they are: in mailboxes, backing off, scheduled, timers, dead letters.
    /// Beyond them calls and sends get 429, and a handler that would add one fails and is tried again.
    pub backlog_max: usize,
    /// Bytes of those messages.
    pub backlog_bytes_max: usize,
    /// Bytes of a request's body and of a message between its entities.
    pub message_bytes_max: usize,
    /// Bytes of all keys and values of one entity's state; a write beyond them fails its handler, and an
    /// operator's is refused. The first command that writes after a
    /// start or an operator's write reads its entity for it.
    pub state_bytes_max: Option<u64>,
    /// Its share of turns while other apps want theirs: one of weight 4 gets four for each one of weight 1.
    pub weight: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            requests_per_s: None,
            requests_burst: None,
            entity_requests_per_s: None,
            requests_at_once_max: None,
            turns_per_s: None,
            backlog_max: limits::APP_BACKLOG_MAX,
            backlog_bytes_max: limits::APP_BACKLOG_BYTES_MAX,
            message_bytes_max: limits::BODY_BYTES_MAX,
            state_bytes_max: None,
            weight: 1,
        }
    }
}

impl Quotas {
    /// Checks each against its bounds.
    ///
    /// # Errors
    /// [`BadConfig`] for the first one that is out of bounds.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let given = |field, value: Option<u32>| Some((field, u64::from(value?), 1, 10_000_000));
        let optional = [
            given("quotas.requests_per_s", self.requests_per_s),
            given("quotas.requests_burst", self.requests_burst),
            given("quotas.entity_requests_per_s", self.entity_requests_per_s),
            given("quotas.requests_at_once_max", self.requests_at_once_max),
            given("quotas.turns_per_s", self.turns_per_s),
        ];
        let state = ("quotas.state_bytes_max", self.state_bytes_max.unwrap_or(u64::MAX));
        let message = ("quotas.message_bytes_max", self.message_bytes_max as u64);
        let messages = ("quotas.backlog_max", self.backlog_max as u64);
        let bytes = ("quotas.backlog_bytes_max", self.backlog_bytes_max as u64);
        let always = [
            (messages.0, messages.1, 1, limits::PARTITION_MESSAGES_MAX as u64),
            (bytes.0, bytes.1, 1, limits::PARTITION_MESSAGE_BYTES_MAX as u64),
            (message.0, message.1, 1, limits::BODY_BYTES_MAX as u64),
            (state.0, state.1, 1, u64::MAX),
            ("quotas.weight", u64::from(self.weight), 1, u64::from(limits::APP_WEIGHT_MAX)),
        ];
        for (field, value, min, max) in optional.into_iter().flatten().chain(always) {
            if value < min || value > max {
                return Err(BadConfig { field, value, bounds: format!("{min} to {max}") });
            }
        }
        Ok(())
    }

    /// How many requests may come at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.requests_burst.or(self.requests_per_s).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_out_of_bounds_are_named() {
        assert!(Quotas::default().validate().is_ok());
        for (quotas, field) in [
            (Quotas { requests_per_s: Some(0), ..Quotas::default() }, "quotas.requests_per_s"),
            (Quotas { turns_per_s: Some(0), ..Quotas::default() }, "quotas.turns_per_s"),
            (Quotas { backlog_max: 0, ..Quotas::default() }, "quotas.backlog_max"),
            (Quotas { backlog_bytes_max: 0, ..Quotas::default() }, "quotas.backlog_bytes_max"),
            (Quotas { weight: 0, ..Quotas::default() }, "quotas.weight"),
            (Quotas { message_bytes_max: 0, ..Quotas::default() }, "quotas.message_bytes_max"),
        ] {
            assert_eq!(quotas.validate().expect_err(field).field, field);
        }
        let bounded: Quotas = toml::from_str("requests_per_s = 50").expect("valid");
        assert_eq!((bounded.requests_per_s, bounded.burst(), bounded.weight), (Some(50), 50, 1));
        assert!(toml::from_str::<Quotas>("request_per_s = 50").is_err());
    }
}

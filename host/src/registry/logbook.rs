//! What an app's guests logged: the last [`crate::limits::LOG_LINES_KEPT`] lines in memory, numbered, so that
//! a reader can follow. Not durable: logs are for people, the journal is for promises.

use serde::Serialize;

use crate::engine::LogLevel;
use crate::ids::{EntityRef, MessageId};

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct LogLine {
    /// Numbered from 1 in order of arrival.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Who logged it, `type/key`.
    pub entity: String,
    /// The message being handled.
    pub message_id: String,
    /// The text.
    pub line: String,
}

/// An app's log.
#[derive(Default)]
pub struct LogBook {}

impl LogBook {
    /// Adds a line and drops the oldest beyond the limit.
    pub fn push(
        &self,
        _at_ms: u64,
        _level: LogLevel,
        _entity: &EntityRef,
        _id: MessageId,
        _line: &str,
    ) {
        todo!("registry")
    }

    /// Lines numbered above `after`, oldest first, at most `limit`.
    #[must_use]
    pub fn after(&self, _after: u64, _limit: usize) -> Vec<LogLine> {
        todo!("registry")
    }

    /// Waits until there is a line numbered above `after`.
    pub async fn changed(&self, _after: u64) {
        todo!("registry")
    }
}

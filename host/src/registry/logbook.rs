//! What an app's guests logged: the last [`crate::limits::LOG_LINES_KEPT`] lines in memory, numbered, so that
//! a reader can follow. Not durable: logs are for people, the journal is for promises.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use crate::engine::LogLevel;
use crate::ids::{EntityRef, MessageId};
use crate::limits;

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
pub struct LogBook {
    kept: Mutex<Kept>,
    grown: Notify,
    shown: Mutex<Shown>,
}

/// How much of it the host's own log has taken.
#[derive(Default)]
struct Shown {
    second: u64,
    lines: u64,
    left_out: u64,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    last_seq: u64,
}

impl LogBook {
    /// Adds a line and drops the oldest beyond the limit.
    pub fn push(&self, at_ms: u64, level: LogLevel, entity: &EntityRef, id: MessageId, line: &str) {
        let entity = format!("{}/{}", entity.kind(), entity.key());
        let mut kept = self.kept();
        kept.last_seq += 1;
        let (seq, message_id) = (kept.last_seq, id.to_string());
        kept.bytes += line.len() + entity.len();
        kept.lines.push_back(LogLine { seq, at_ms, level, entity, message_id, line: line.into() });
        while kept.lines.len() > limits::LOG_LINES_KEPT || kept.bytes > limits::LOG_BYTES_KEPT {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.line.len() + oldest.entity.len();
        }
        drop(kept);
        self.grown.notify_waiters();
    }

    /// Whether the host's own log takes a line now, and if so, how many it left out since the last one.
    #[must_use]
    pub fn shows(&self, at_ms: u64) -> Option<u64> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.second != at_ms / 1_000 {
            (shown.second, shown.lines) = (at_ms / 1_000, 0);
        }
        if shown.lines >= limits::HOST_LOG_GUEST_LINES_MAX {
            shown.left_out += 1;
            return None;
        }
        shown.lines += 1;
        Some(std::mem::take(&mut shown.left_out))
    }

    /// Lines numbered above `after`, oldest first, at most `limit`.
    #[must_use]
    pub fn after(&self, after: u64, limit: usize) -> Vec<LogLine> {
        let kept = self.kept();
        let seen = kept.lines.partition_point(|line| line.seq <= after);
        kept.lines.range(seen..).take(limit).cloned().collect()
    }

    /// Waits until there is a line numbered above `after`.
    pub async fn changed(&self, after: u64) {
        loop {
            // Registered before the look, so that a line between look and wait is not missed.
            let mut grown = pin!(self.grown.notified());
            grown.as_mut().enable();
            if self.kept().last_seq > after {
                return;
            }
            grown.await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn push(book: &LogBook, line: &str) {
        let entity = EntityRef::new("app", "thing", "k").expect("valid");
        book.push(1, LogLevel::Info, &entity, MessageId(1), line);
    }

    #[test]
    fn lines_are_numbered_and_the_oldest_go() {
        let book = LogBook::default();
        for n in 1..=limits::LOG_LINES_KEPT + 5 {
            push(&book, &n.to_string());
        }
        assert_eq!(book.after(0, 2).iter().map(|l| l.seq).collect::<Vec<_>>(), [6, 7]);
        let last = limits::LOG_LINES_KEPT as u64 + 5;
        assert_eq!(book.after(last - 1, 10)[0].line, last.to_string());
        assert!(book.after(last, 10).is_empty());

        push(&book, &"x".repeat(limits::LOG_BYTES_KEPT));
        assert!(book.after(0, 10).is_empty(), "one that is larger than all that is kept");
        push(&book, "after it");
        assert_eq!(book.after(0, 10).len(), 1);
    }

    #[test]
    fn the_hosts_log_takes_so_many_lines_in_a_second() {
        let book = LogBook::default();
        let most = limits::HOST_LOG_GUEST_LINES_MAX;
        let shown = (0..most + 7).filter(|_| book.shows(5_000) == Some(0)).count();
        assert_eq!(shown as u64, most);
        assert_eq!(
            (book.shows(5_999), book.shows(6_000), book.shows(6_000)),
            (None, Some(8), Some(0))
        );
    }

    #[tokio::test]
    async fn a_reader_is_woken() {
        let book = Arc::new(LogBook::default());
        push(&book, "first");
        book.changed(0).await;
        let reader = tokio::spawn({
            let book = Arc::clone(&book);
            async move { book.changed(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        push(&book, "second");
        reader.await.expect("woken");
    }
}

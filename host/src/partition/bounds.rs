//! How much a partition takes on at once, as a value, so that a simulation can be small enough to reach it. A host
//! never has other bounds than those of `limits`; an app may have lower ones for what waits for its entities.

use super::core::Core;
use super::request::Refusal;
use crate::limits;
use crate::metrics::{self, QuotaKind};

/// The bounds of `limits`, but in simulations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) running: usize,
    pub(crate) view_bytes: usize,
    pub(crate) view_bytes_checkpoint: usize,
    pub(crate) due_messages: usize,
    pub(crate) batch_transactions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            messages: limits::PARTITION_MESSAGES_MAX,
            running: limits::EXECUTOR_QUEUE_MAX,
            view_bytes: limits::VIEW_BYTES_MAX,
            view_bytes_checkpoint: limits::VIEW_BYTES_CHECKPOINT,
            due_messages: limits::DUE_MESSAGES_MAX,
            batch_transactions: limits::BATCH_TRANSACTIONS_MAX,
        }
    }
}

impl Core {
    /// Why an app takes no further messages: it has as many as it may. Theirs is a part of the host's bound, so that
    /// its neighbours have the rest.
    pub(crate) fn over_backlog(&self, app: &str) -> Option<Refusal> {
        let backlog = self.ledger.backlog(app)?;
        let (messages_max, bytes_max) = self.apps.settings(app).backlog_max;
        let bounds = [
            ("messages that wait or are dead", backlog.messages, messages_max),
            ("bytes of such messages", backlog.bytes, bytes_max),
        ];
        let (what, _, max) = bounds.into_iter().find(|(_, size, max)| size >= max)?;
        metrics::app(app).over_quota(QuotaKind::Backlog);
        Some(Refusal::OverQuota { what, max })
    }
}

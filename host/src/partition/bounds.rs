//! How much a partition takes on at once, as a value, so that a simulation can be small enough to reach it. A host
//! never has other bounds than those of `limits`.

use crate::limits;

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

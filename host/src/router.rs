//! Entity → partition: the only place that hashes. Cheap to clone; knows no HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::ids::{EntityRef, MessageId};
use crate::partition::request::{
    Accepted, Answer, Answered, Cancelled, DeadLetterInfo, EntityInfo, Invocation, MessageStatus,
    PartitionStatus, Refusal, Send,
};
use crate::registry::Registry;

/// Finds the partition that owns an entity and asks it.
#[derive(Clone)]
pub struct Router {}

impl Router {
    /// Opens every partition in `data` and starts its loop. Blocks.
    ///
    /// # Errors
    /// When the data cannot be opened or recovered.
    pub fn open(
        _data: &Path,
        _registry: Arc<Registry>,
        _engine: Engine,
        _clock: Arc<dyn Clock>,
        _workers: usize,
    ) -> anyhow::Result<Self> {
        todo!("router")
    }

    /// Closes every partition, with a last checkpoint. Blocks.
    ///
    /// # Errors
    /// When the last checkpoint fails; nothing durable is lost by it.
    pub fn close(&self) -> anyhow::Result<()> {
        todo!("router")
    }

    /// Runs a command once and waits for its durable result, at most
    /// [`crate::limits::CALL_WAIT_MAX`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn call(&self, _invocation: Invocation) -> Answered<Answer> {
        todo!("router")
    }

    /// Queues a command durably.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn send(&self, _send: Send) -> Answered<Accepted> {
        todo!("router")
    }

    /// Runs a query on a consistent view.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn read(&self, _invocation: Invocation) -> Answered<Answer> {
        todo!("router")
    }

    /// Where a message is; waits up to `wait` for it to be done or parked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn message(&self, _id: MessageId, _wait: Duration) -> Answered<MessageStatus> {
        todo!("router")
    }

    /// Cancels a message that has not started.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cancel(&self, _id: MessageId) -> Answered<Cancelled> {
        todo!("router")
    }

    /// Entities of `app`/`kind` whose key starts with `prefix` and comes after `after`, in key order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entities(
        &self,
        _app: &str,
        _kind: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Answered<Vec<EntityInfo>> {
        todo!("router")
    }

    /// One entity with its state; `None` when it has none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entity(&self, _entity: EntityRef) -> Answered<Option<EntityInfo>> {
        todo!("router")
    }

    /// Dead letters of `app` (of all apps when `None`), in order of their ids after `after`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn dead_letters(
        &self,
        _app: Option<&str>,
        _after: Option<MessageId>,
        _limit: usize,
    ) -> Answered<Vec<DeadLetterInfo>> {
        todo!("router")
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn dead_letter(&self, _id: MessageId) -> Answered<Option<DeadLetterInfo>> {
        todo!("router")
    }

    /// Sends a dead letter again, with its attempts at zero; false when there is none of that id.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn dead_retry(&self, _id: MessageId) -> Answered<bool> {
        todo!("router")
    }

    /// Forgets a dead letter; false when there is none of that id.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn dead_drop(&self, _id: MessageId) -> Answered<bool> {
        todo!("router")
    }

    /// Gauges of every partition.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn status(&self) -> Result<Vec<PartitionStatus>, Refusal> {
        todo!("router")
    }
}

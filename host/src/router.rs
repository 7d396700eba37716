//! Entity → partition: the only place that hashes. Cheap to clone; knows no HTTP. A new installation has one
//! partition over the whole ring.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::partition::request::{
    Accepted, Answer, Answered, CallbackUsed, Cancelled, EntityInfo, Invocation, MessageStatus,
    PartitionStatus, Refusal, Send, Verdict,
};
use crate::partition::{Partition, PartitionConfig, PartitionThread};
use crate::registry::Registry;

/// Finds the partition that owns an entity and asks it.
#[derive(Clone)]
pub struct Router(Arc<Table>);

struct Table {
    /// Partitions by the first ring place they own, ascending; the first one owns from 0.
    ranges: Vec<(u64, Partition)>,
    threads: Mutex<Vec<PartitionThread>>,
}

impl Router {
    /// Opens every partition under `data`, creating the first one when there is none; with `paused`, everything
    /// is paused before anything starts. Blocks.
    ///
    /// # Errors
    /// When a partition's files cannot be opened or are damaged.
    pub fn open(
        data: &Path,
        registry: Arc<Registry>,
        engine: Engine,
        clock: Arc<dyn Clock>,
        (workers, paused): (usize, bool),
    ) -> anyhow::Result<Self> {
        let folder = data.join("partitions").join("0");
        let config = PartitionConfig { folder, registry, engine, clock, workers, paused };
        let (partition, thread) = Partition::start(config)?;
        let threads = Mutex::new(vec![thread]);
        Ok(Self(Arc::new(Table { ranges: vec![(0, partition)], threads })))
    }

    /// Takes no more work, writes the last checkpoints and closes the files. Blocks.
    ///
    /// # Errors
    /// None today: a partition that cannot write its last checkpoint keeps its journal.
    pub fn close(&self) -> anyhow::Result<()> {
        for (_, partition) in &self.0.ranges {
            partition.close();
        }
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            thread.join();
        }
        Ok(())
    }

    /// Runs a command once and waits for its durable result, at most
    /// [`crate::limits::CALL_WAIT_MAX`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn call(&self, invocation: Invocation) -> Answered<Answer> {
        self.owner(invocation.entity.ring()).call(invocation).await
    }

    /// Queues a command durably.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn send(&self, send: Send) -> Answered<Accepted> {
        self.owner(send.invocation.entity.ring()).send(send).await
    }

    /// Runs a query on a consistent view.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn read(&self, invocation: Invocation) -> Answered<Answer> {
        self.owner(invocation.entity.ring()).read(invocation).await
    }

    /// Where a message is; waits up to `wait` for it to be done or parked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn message(&self, id: MessageId, wait: Duration) -> Answered<MessageStatus> {
        self.owner(id.ring()).message(id, wait).await
    }

    /// Cancels a message that has not started.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cancel(&self, id: MessageId) -> Answered<Cancelled> {
        self.owner(id.ring()).cancel(id).await
    }

    /// Entities of `app`/`kind` whose key starts with `prefix` and comes after `after`, in key order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entities(
        &self,
        app: &str,
        kind: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answered<Vec<EntityInfo>> {
        self.first().entities((app, kind), prefix, after, limit).await
    }

    /// One entity with its state; `None` when it has none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entity(&self, entity: EntityRef) -> Answered<Option<EntityInfo>> {
        self.owner(entity.ring()).entity(entity).await
    }

    /// The partition of an entity, for what operators do.
    #[must_use]
    pub fn of_entity(&self, entity: &EntityRef) -> &Partition {
        self.owner(entity.ring())
    }

    /// The partition of a message, for what operators do.
    #[must_use]
    pub fn of_message(&self, id: MessageId) -> &Partition {
        self.owner(id.ring())
    }

    /// All partitions, for what operators do to many entities.
    #[must_use]
    pub fn partitions(&self) -> Vec<&Partition> {
        self.0.ranges.iter().map(|(_, partition)| partition).collect()
    }

    /// Listings cover all partitions; there is one until partitions can split.
    #[must_use]
    pub fn listed(&self) -> &Partition {
        self.first()
    }

    /// Resolves or rejects a callback.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn use_callback(
        &self,
        token: CallbackToken,
        verdict: Verdict,
    ) -> Answered<CallbackUsed> {
        self.owner(token.id().ring()).use_callback(token, verdict).await
    }

    /// Gauges of every partition.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn status(&self) -> Result<Vec<PartitionStatus>, Refusal> {
        let mut all = Vec::with_capacity(self.0.ranges.len());
        for (_, partition) in &self.0.ranges {
            all.push(partition.status().await?);
        }
        Ok(all)
    }

    fn owner(&self, ring: u64) -> &Partition {
        let after = self.0.ranges.partition_point(|(start, _)| *start <= ring);
        // The first range starts at 0, so something is always at or before any place.
        &self.0.ranges[after.saturating_sub(1)].1
    }

    fn first(&self) -> &Partition {
        &self.0.ranges[0].1
    }
}

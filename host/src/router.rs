//! Entity → partition: the only place that hashes. Cheap to clone; knows no HTTP. A new installation has one
//! partition over the whole ring.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Clock;
use crate::engine::Engine;
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::metrics::Gauges;
use crate::partition::journey::Walk;
use crate::partition::request::{
    Accepted, Answer, Answered, CallbackUsed, Cancelled, EntityInfo, Invocation, Journey,
    MessageStatus, PartitionStatus, Refusal, Sees, Send, Turns, Verdict,
};
use crate::partition::{Partition, PartitionConfig, PartitionThread};
use crate::registry::Registry;
use crate::state::Snapshot;

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

    /// Where a message is, for somebody who `sees` it; waits up to `wait` for it to be done or parked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn message(
        &self,
        id: MessageId,
        wait: Duration,
        sees: &Sees,
    ) -> Answered<MessageStatus> {
        self.owner(id.ring()).message(id, wait, sees).await
    }

    /// Cancels a message that has not started and that whoever asks `sees`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cancel(&self, id: MessageId, sees: Sees) -> Answered<Cancelled> {
        self.owner(id.ring()).cancel(id, sees).await
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

    /// The types of an app that have entities, in order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn kinds(&self, app: &str) -> Answered<BTreeSet<String>> {
        self.first().kinds(app).await
    }

    /// One entity with its state beyond the key `after`, which may be empty; `None` when it has none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entity(&self, entity: EntityRef, after: Bytes) -> Answered<Option<EntityInfo>> {
        self.owner(entity.ring()).entity(entity, after).await
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

    /// A consistent cut of every partition, in their order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cuts(&self) -> Result<Vec<Arc<Snapshot>>, Refusal> {
        let mut cuts = Vec::with_capacity(self.0.ranges.len());
        for (_, partition) in &self.0.ranges {
            cuts.push(partition.cut().await?.into_inner());
        }
        Ok(cuts)
    }

    /// The last turns of an entity, or of an app's entities, or of all: the newest first, below the number `after`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn turns(
        &self,
        of: TurnsOf,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Turns, Refusal> {
        let owner = match &of {
            TurnsOf::Entity(entity) => self.owner(entity.ring()),
            TurnsOf::App(_) | TurnsOf::All => self.first(),
        };
        let past = owner.past().await?.into_inner();
        let look = move || {
            let turns = past.page(|turn| of.has(&turn.entity), after, limit);
            Turns { turns, since_ms: past.since_ms }
        };
        tokio::task::spawn_blocking(look).await.map_err(|error| gone(&error))
    }

    /// What caused a message and what came of it; `None` when nothing of it is remembered.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn journey(&self, id: MessageId) -> Result<Option<Journey>, Refusal> {
        let mut pasts = Vec::with_capacity(self.0.ranges.len());
        for (_, partition) in &self.0.ranges {
            pasts.push(partition.past().await?.into_inner());
        }
        let walk = tokio::task::spawn_blocking(move || Walk::new(&pasts, id)).await;
        let walk = walk.map_err(|error| gone(&error))?;
        let mut live = Vec::new();
        let ids = walk.ids();
        for (at, (_, partition)) in self.0.ranges.iter().enumerate() {
            let own = ids.iter().copied().filter(|id| self.place(id.ring()) == at).collect();
            live.extend(partition.live(own).await?.into_inner());
        }
        Ok(walk.finish(live))
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

    /// What metrics say of all partitions; one that is closed counts as poisoned.
    pub async fn gauges(&self) -> Gauges {
        let mut sum = Gauges::default();
        for (_, partition) in &self.0.ranges {
            let Ok(status) = partition.status().await else {
                sum.partitions_poisoned += 1;
                continue;
            };
            let poisoned = usize::from(status.poisoned.is_some());
            sum.partitions_poisoned += poisoned;
            sum.partitions_open += 1 - poisoned;
            sum.position += status.durable;
            sum.checkpoint_position += status.checkpointed;
            sum.checkpoint_lag_bytes += status.view_bytes;
            sum.oldest_ms = sum.oldest_ms.max(status.oldest_ms);
            sum.queued += status.queued - status.backing_off.min(status.queued);
            sum.backing_off += status.backing_off;
            sum.scheduled += status.scheduled - status.timers;
            sum.timers += status.timers;
            sum.dead += status.dead;
            sum.running += status.running;
            sum.executor_busy += status.threads.busy;
            sum.executor_idle += status.threads.idle;
            sum.executor_queue += status.threads.waiting;
            let deepest = partition.deepest().await.unwrap_or_default();
            sum.mailbox_depth_max = sum.mailbox_depth_max.max(deepest);
        }
        sum
    }

    fn owner(&self, ring: u64) -> &Partition {
        &self.0.ranges[self.place(ring)].1
    }

    fn place(&self, ring: u64) -> usize {
        let after = self.0.ranges.partition_point(|(start, _)| *start <= ring);
        // The first range starts at 0, so something is always at or before any place.
        after.saturating_sub(1)
    }

    fn first(&self) -> &Partition {
        &self.0.ranges[0].1
    }
}

/// Whose turns are asked for.
#[derive(Debug, Clone)]
pub enum TurnsOf {
    /// Everybody's.
    All,
    /// An app's entities'.
    App(String),
    /// One entity's.
    Entity(EntityRef),
}

impl TurnsOf {
    fn has(&self, entity: &EntityRef) -> bool {
        match self {
            Self::All => true,
            Self::App(app) => entity.app() == app,
            Self::Entity(one) => entity == one,
        }
    }
}

fn gone(error: &tokio::task::JoinError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

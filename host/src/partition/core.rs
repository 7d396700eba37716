//! The partition as a state machine: events in, outputs out, no threads, no files and no clock of its own, so
//! that a simulator can drive it. One thread at a time drives it. Invariants: commands of one entity are serial; a Delta is
//! applied to the view in the order of its position; nothing is answered but through [`Commit`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::ages::Ages;
use super::apply::apply_delta;
use super::bounds::Bounds;
use super::checkpoint::Checkpoint;
use super::commit::{Append, Commit, Released};
use super::cut::Cuts;
use super::executor::{Direct, Executed, Job};
use super::history::History;
use super::late::Late;
use super::ledger::{Ledger, Pending};
use super::mailbox::Mailboxes;
use super::operate::Operation;
use super::recent::Recent;
use super::request::{PartitionStatus, Refusal};
use super::turns::Turns;
use super::view::{ReadError, View};
pub(crate) use super::work::{Caller, Entry, Idempotency, InFlight, Query, Waiter, Work};
use crate::clock::Clock;
use crate::config::RetryPolicy;
use crate::ids::{EntityRef, MessageId, Position};
use crate::journal::{JournalError, Mark, Receipt};
use crate::limits;
use crate::metrics;
use crate::record::delta::{Delta, Op};
use crate::record::message::{Message, Origin};
use crate::state::Snapshot;
use crate::storage::StorageError;

/// What an app's configuration says to the partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) retry: RetryPolicy,
    pub(crate) retention_s: u64,
    pub(crate) mailbox_max: usize,
    /// Its share of turns.
    pub(crate) weight: u32,
    /// Commands of it that may start in a second.
    pub(crate) turns_per_s: Option<u32>,
    /// Messages for its entities, and bytes of them.
    pub(crate) backlog_max: (usize, usize),
    /// Bytes of one entity's state.
    pub(crate) state_bytes_max: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            retention_s: limits::OUTCOME_RETENTION.as_secs(),
            mailbox_max: limits::MAILBOX_MESSAGES_MAX,
            weight: 1,
            turns_per_s: None,
            backlog_max: (limits::APP_BACKLOG_MAX, limits::APP_BACKLOG_BYTES_MAX),
            state_bytes_max: None,
        }
    }
}

/// Where the partition learns an app's settings.
pub(crate) trait Apps: Send + Sync {
    fn settings(&self, app: &str) -> Settings;

    /// False while no app has a rate of turns: asked for every turn, so it must cost next to nothing.
    fn paced(&self) -> bool {
        false
    }
}

/// What the threads around the machine tell it.
pub(crate) enum Event {
    Executed(Box<Executed>),
    Appended(Result<(Receipt, Mark), JournalError>),
    Checkpointed(Result<Arc<Snapshot>, StorageError>),
}

/// What its driver is to do.
pub(crate) enum Output {
    Release(Released),
    Run(Job),
    Append(Append),
    Checkpoint(Checkpoint),
}

/// One partition's state machine.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) apps: Arc<dyn Apps>,
    pub(crate) bounds: Bounds,
    pub(crate) view: View,
    pub(crate) ledger: Ledger,
    pub(crate) mailboxes: Mailboxes<Entry>,
    pub(crate) commit: Commit,
    pub(crate) recent: Recent,
    pub(crate) history: History,
    ages: Ages,
    pub(crate) keyed: HashMap<Vec<u8>, InFlight>,
    pub(crate) waiters: HashMap<MessageId, Vec<Waiter>>,
    /// Messages of the mailbox table that are being handled.
    pub(crate) running_seqs: HashSet<u64>,
    /// Queries that wait for their entity's state to be brought to its type's version, by entity; where there
    /// are any, one migration waits or runs.
    pub(crate) migrating: HashMap<EntityRef, Vec<(Arc<Message>, Query)>>,
    /// What operators want done to entities whose command runs.
    pub(crate) operations: HashMap<EntityRef, Vec<Operation>>,
    /// Entities that changed what they have pending, not their state, and when: what is computed from that
    /// waits for it too.
    touched: HashMap<EntityRef, Position>,
    running: usize,
    /// Queries that will not come back to the machine: as many as there are further references.
    queries: Arc<()>,
    /// Entities whose turn came while the executor or the batch was full, and all of apps with a rate.
    pub(crate) stalled: Turns,
    outputs: Vec<Output>,
    /// The chain up to the last durable position.
    mark: Mark,
    /// A checkpoint that waits for its position to be durable.
    frozen: Option<Arc<super::view::Memtable>>,
    checkpointing: bool,
    checkpointed: Position,
    checkpoints: u64,
    /// By the monotonic clock: a wall clock that is set back must not hold up checkpoints.
    next_checkpoint: Duration,
    pub(crate) cuts: Cuts,
    pub(crate) late: Late,
    closing: bool,
    poisoned: Option<String>,
}

impl Core {
    /// A partition over what recovery found: `view` and `ledger` hold everything through `mark`.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        apps: Arc<dyn Apps>,
        (view, ledger): (View, Ledger),
        (receipt, mark): (Receipt, Mark),
    ) -> Self {
        let checkpointed = view.base().mark().position;
        let mut core = Self {
            next_checkpoint: clock.monotonic(),
            history: History::new(clock.now_ms()),
            ages: Ages::default(),
            clock,
            apps,
            bounds: Bounds::default(),
            view,
            ledger,
            mailboxes: Mailboxes::default(),
            commit: Commit::new(receipt),
            recent: Recent::default(),
            keyed: HashMap::new(),
            waiters: HashMap::new(),
            running_seqs: HashSet::new(),
            migrating: HashMap::new(),
            operations: HashMap::new(),
            touched: HashMap::new(),
            running: 0,
            queries: Arc::default(),
            stalled: Turns::default(),
            outputs: vec![],
            mark,
            frozen: None,
            checkpointing: false,
            checkpointed,
            checkpoints: 0,
            cuts: Cuts::default(),
            late: Late::default(),
            closing: false,
            poisoned: None,
        };
        core.fill_mailboxes();
        core
    }

    /// Handles one event from the threads around the machine.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Executed(executed) => {
                self.running -= usize::from(executed.direct.is_none());
                self.finish(*executed);
            }
            Event::Appended(Ok((receipt, mark))) => {
                self.mark = mark;
                self.touched.retain(|_, cause| *cause > receipt.through());
                self.commit.durable(receipt);
                self.start_checkpoint();
            }
            Event::Appended(Err(error)) => self.poison(error.to_string()),
            Event::Checkpointed(Ok(base)) => {
                self.checkpointed = base.mark().position;
                self.checkpointing = false;
                self.checkpoints += 1;
                self.view.thaw(base);
                self.hand_out_cuts();
            }
            Event::Checkpointed(Err(error)) => self.poison(error.to_string()),
        }
    }

    /// Does what is ready: due messages, stalled entities, the next append, the next checkpoint. Call it
    /// after a round of events and requests, and after [`Core::next_wait`].
    pub(crate) fn step(&mut self) {
        if self.poisoned.is_some() {
            return;
        }
        let now_ms = self.clock.now_ms();
        self.make_due(now_ms);
        for entity in self.mailboxes.wake(now_ms) {
            self.dispatch(&entity);
        }
        let now = self.clock.monotonic();
        self.ages.note(self.ledger.last_seq(), self.oldest(), now);
        // A step happens after every call, so it must not look at more of them than it can start.
        while self.can_run()
            && let Some(entity) = self.next_turn(now)
        {
            self.take_turn(&entity);
        }
        if let Some((position, batch)) = self.commit.seal() {
            let trim = self.checkpointed;
            self.outputs.push(Output::Append(Append { position, batch, trim }));
        }
        let urgent = self.view.bytes() >= self.bounds.view_bytes_checkpoint || self.closing;
        if self.commit.settled() && (urgent || now >= self.next_checkpoint) {
            self.freeze(now);
        }
    }

    /// What its driver is to do now.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        self.outputs.extend(self.commit.released().map(Output::Release));
        std::mem::take(&mut self.outputs)
    }

    /// How long until [`Core::step`] has something to do; `None` when only an event can give it work.
    pub(crate) fn next_wait(&self) -> Option<Duration> {
        if self.poisoned.is_some() {
            return None;
        }
        let due = self.ledger.scheduled.first_key_value().map(|((due_ms, _), _)| *due_ms);
        let due = [due, self.mailboxes.next_wake_ms()].into_iter().flatten().min();
        let due = due.map(|at| Duration::from_millis(at.saturating_sub(self.clock.now_ms())));
        let dirty = !self.view.table.is_empty() && !self.checkpointing && self.frozen.is_none();
        let checkpoint = dirty.then(|| self.next_checkpoint.saturating_sub(self.clock.monotonic()));
        let turn = self.stalled.next_back();
        let turn = turn.map(|at| at.saturating_sub(self.clock.monotonic()));
        [due, checkpoint, turn].into_iter().flatten().min()
    }

    /// True while it should be given no further requests.
    pub(crate) fn saturated(&self) -> bool {
        self.full()
    }

    /// What the state file holds.
    pub(crate) fn checkpointed(&self) -> Position {
        self.checkpointed
    }

    /// The next checkpoint begins at this time of the monotonic clock, if not before.
    pub(crate) fn checkpoint_by(&mut self, at: Duration) {
        self.next_checkpoint = self.next_checkpoint.min(at);
    }

    /// Takes no more work; [`Core::drained`] says when it has ended.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        let refusal = Refusal::Unavailable("the host is shutting down".into());
        self.refuse_waiting(&refusal);
    }

    /// True when everything accepted is durable and in the state file, or nothing more ever will be.
    pub(crate) fn drained(&self) -> bool {
        if self.poisoned.is_some() {
            return self.running == 0;
        }
        let clean = self.view.table.is_empty() && !self.checkpointing && self.frozen.is_none();
        self.closing && self.running == 0 && self.commit.idle() && clean
    }

    /// Why it takes no work any more.
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Refuses work while it is closed or broken.
    pub(crate) fn open(&self) -> Result<(), Refusal> {
        match &self.poisoned {
            Some(why) => Err(Refusal::Unavailable(why.clone())),
            None if self.closing => Err(Refusal::Unavailable("the host is shutting down".into())),
            None => Ok(()),
        }
    }

    /// Storage failed: refuses everything that waits; what never became durable is dropped. Isolate, then
    /// poison: its driver reopens the partition from disk.
    pub(crate) fn poison(&mut self, why: String) {
        if self.poisoned.is_some() {
            return;
        }
        tracing::error!(%why, "partition poisoned");
        metrics::partition_poisoned();
        let refusal = Refusal::Unavailable(why.clone());
        self.poisoned = Some(why);
        self.commit.refuse(&refusal);
        self.refuse_waiting(&refusal);
        // IMPORTANT: guest calls that were not handed out will not come back, and are not waited for.
        for output in self.outputs.drain(..) {
            if let Output::Run(job) = output {
                self.running -= usize::from(job.direct.is_none());
            }
        }
    }

    /// The value, or `None` after poisoning the partition with the error.
    pub(crate) fn readable<T>(&mut self, read: Result<T, ReadError>) -> Result<T, Refusal> {
        read.map_err(|error| {
            self.poison(error.to_string());
            Refusal::Unavailable(error.to_string())
        })
    }

    /// Applies a Delta to the view and to the mailboxes, and adds it to the batch that forms.
    pub(crate) fn apply(&mut self, delta: Delta) -> Position {
        let position = self.commit.next();
        // Encoded before the view takes its rows, so that nothing of it is kept twice.
        self.commit.add(&delta);
        let Delta { writes, ops } = delta;
        apply_delta(position, writes, &ops, &mut self.view, &mut self.ledger);
        for entity in self.ledger.changed() {
            self.touched.insert(entity, position);
        }
        for op in &ops {
            match op {
                Op::Enqueue { seq, .. }
                | Op::Unpark { seq, .. }
                | Op::Due { mailbox_seq: seq, .. } => {
                    let entry = self.arrived(*seq);
                    self.enter(entry);
                }
                _ => {}
            }
        }
        position
    }

    /// True while the partition holds as many messages as it may.
    pub(crate) fn crowded(&self) -> Option<&'static str> {
        let bounds = [
            ("messages", self.ledger.len() + self.mailboxes.len(), self.bounds.messages),
            ("message bytes", self.ledger.bytes(), limits::PARTITION_MESSAGE_BYTES_MAX),
        ];
        bounds.iter().find(|(_, size, max)| size >= max).map(|(what, ..)| *what)
    }

    /// Starts a command if its entity is idle, or puts it into its mailbox.
    pub(crate) fn enter(&mut self, entry: Entry) {
        let entity = entry.message.target.clone();
        if self.can_run() && self.may_start(&entity) && !self.paced(&entity) {
            match self.mailboxes.start(&entity, entry) {
                Ok(entry) => return self.begin(entry),
                Err(entry) => self.mailboxes.push(&entity, entry),
            }
        } else {
            self.mailboxes.push(&entity, entry);
        }
        self.dispatch(&entity);
    }

    /// Starts the entity's next command if it may.
    pub(crate) fn dispatch(&mut self, entity: &EntityRef) {
        if !self.may_start(entity) {
            return;
        }
        if !self.can_run() || self.paced(entity) {
            self.stalled.push(entity.clone());
            return;
        }
        self.take_turn(entity);
    }

    /// Starts the entity's next command, if it has one, at its turn.
    fn take_turn(&mut self, entity: &EntityRef) {
        if self.may_start(entity)
            && let Some(entry) = self.mailboxes.take(entity)
        {
            self.count_turn(entity);
            self.begin(entry);
        }
    }

    fn may_start(&self, entity: &EntityRef) -> bool {
        self.open().is_ok() && !self.ledger.pauses.hold(entity)
    }

    /// Lets an entity go on at the next step.
    pub(crate) fn wake(&mut self, entity: EntityRef) {
        self.stalled.push(entity);
    }

    fn begin(&mut self, mut entry: Entry) {
        entry.began = self.clock.monotonic();
        if entry.call.is_none() {
            self.running_seqs.insert(entry.seq);
        }
        let (message, attempt) = (entry.message.clone(), entry.attempts + 1);
        self.run(Work::Command(entry), message, attempt);
    }

    fn full(&self) -> bool {
        self.commit.full(self.bounds.batch_transactions)
    }

    fn can_run(&self) -> bool {
        self.running < self.bounds.running
            && !self.full()
            && self.view.bytes() < self.bounds.view_bytes
    }

    /// Hands a guest call to the executor.
    pub(crate) fn run(&mut self, work: Work, message: Arc<Message>, attempt: u32) {
        let mut view = self.view.entity(&message.target);
        if let Some(cause) = self.touched.get(&message.target) {
            view.cause = view.cause.max(*cause);
        }
        let pending = self.ledger.pending(&message.target).map(|all| without_self(all, &message));
        let now_ms = self.clock.now_ms();
        let direct = matches!(work, Work::Query(_)) && view.cause <= self.commit.through();
        self.running += usize::from(!direct);
        let direct =
            direct.then(|| Direct { receipt: self.commit.receipt(), open: self.queries.clone() });
        let job = Job { work, message, attempt, now_ms, view, pending, direct };
        self.outputs.push(Output::Run(job));
    }

    /// Guest calls handed out and not finished.
    pub(crate) fn running(&self) -> usize {
        self.running + Arc::strong_count(&self.queries) - 1
    }

    pub(crate) fn status(&self) -> PartitionStatus {
        let now = self.clock.monotonic();
        let age_ms = |seq| self.ages.of(seq, now).as_millis() as u64;
        PartitionStatus {
            durable: self.commit.through().0,
            checkpointed: self.checkpointed.0,
            view_bytes: self.view.bytes(),
            queued: self.ledger.queued.len(),
            oldest_ms: self.oldest().map_or(0, age_ms),
            backing_off: self.mailboxes.backing_off(),
            scheduled: self.ledger.scheduled.len(),
            timers: self.ledger.timers(),
            dead: self.ledger.dead.len(),
            pauses: self.ledger.pauses.len(),
            running: self.running(),
            transactions: self.commit.transactions,
            appends: self.commit.appends,
            checkpoints: self.checkpoints,
            poisoned: self.poisoned.clone(),
            ..PartitionStatus::default()
        }
    }

    /// The message that came first of those that wait.
    fn oldest(&self) -> Option<u64> {
        self.ledger.queued.first_key_value().map(|(seq, _)| *seq)
    }

    /// A message of the mailbox table, as it goes into its entity's mailbox.
    fn arrived(&self, seq: u64) -> Entry {
        let queued = &self.ledger.queued[&seq];
        let (message, attempts) = (queued.message.clone(), queued.attempts);
        Entry { seq, message, attempts, began: Duration::ZERO, call: None }
    }

    /// After recovery: every queued message goes to its mailbox, in arrival order.
    fn fill_mailboxes(&mut self) {
        let now_ms = self.clock.now_ms();
        let seqs: Vec<u64> = self.ledger.queued.keys().copied().collect();
        for &seq in &seqs {
            let not_before_ms = self.ledger.queued[&seq].not_before_ms;
            let entry = self.arrived(seq);
            let entity = entry.message.target.clone();
            self.mailboxes.push(&entity, entry);
            if not_before_ms > now_ms
                && let Some(entry) = self.mailboxes.remove(&entity, seq)
            {
                self.mailboxes.hold(&entity, entry, not_before_ms);
            }
        }
        // In order, so that one disk gives one run.
        let entities: BTreeSet<EntityRef> =
            self.ledger.queued.values().map(|queued| queued.message.target.clone()).collect();
        entities.into_iter().for_each(|entity| self.stalled.push(entity));
    }

    fn make_due(&mut self, now_ms: u64) {
        let due = self.ledger.scheduled.range(..=(now_ms, u64::MAX));
        let due: Vec<_> = due.map(|(key, _)| *key).take(self.bounds.due_messages).collect();
        if due.is_empty() || self.full() {
            return;
        }
        let ops = due.into_iter().map(|(due_ms, seq)| {
            let mailbox_seq = self.ledger.next_seq();
            Op::Due { due_ms, seq, mailbox_seq }
        });
        let ops = ops.collect();
        self.apply(Delta { writes: None, ops });
    }

    fn freeze(&mut self, now: Duration) {
        if self.checkpointing || self.frozen.is_some() {
            return;
        }
        self.frozen = self.view.freeze();
        if self.frozen.is_some() {
            self.next_checkpoint = now + limits::CHECKPOINT_INTERVAL;
            self.start_checkpoint();
        }
    }

    /// IMPORTANT: a checkpoint starts only when the journal is durable through it.
    fn start_checkpoint(&mut self) {
        let ready = |table: &Arc<super::view::Memtable>| table.through == self.mark.position;
        if let Some(table) = self.frozen.take_if(|table| ready(table)) {
            self.checkpointing = true;
            let (mark, now_ms) = (self.mark, self.clock.now_ms());
            self.outputs.push(Output::Checkpoint(Checkpoint { table, mark, now_ms }));
        }
    }

    fn refuse_waiting(&mut self, refusal: &Refusal) {
        for entry in self.mailboxes.drain() {
            if let Some(reply) = entry.call.and_then(|caller| caller.reply) {
                drop(reply.send(Err(refusal.clone())));
            }
        }
        for (_, query) in std::mem::take(&mut self.migrating).into_values().flatten() {
            drop(query.reply.send(Err(refusal.clone())));
        }
        for waiter in std::mem::take(&mut self.waiters).into_values().flatten() {
            match waiter {
                Waiter::Answer(to) => drop(to.send(Err(refusal.clone()))),
                Waiter::Status(to) => drop(to.send(Err(refusal.clone()))),
            }
        }
        for operation in std::mem::take(&mut self.operations).into_values().flatten() {
            operation.refuse(refusal);
        }
        self.keyed.clear();
        self.stalled.clear();
    }
}

/// What an entity has pending, less the timer that is running.
fn without_self(all: &Arc<Pending>, message: &Message) -> Arc<Pending> {
    let Origin::Timer(name) = &message.origin else { return all.clone() };
    let mut pending = Pending::clone(all);
    pending.forget_timer(name, message.id);
    Arc::new(pending)
}

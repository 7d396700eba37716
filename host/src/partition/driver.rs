//! Drives the state machine. Driving is a role, not a thread: whoever brings a request or an event takes the
//! lock, lets the machine take everything that is there, lets go, and performs what it returned; whoever finds
//! it taken leaves the request for the one who has it. A call so passes three threads instead of six. The
//! supervisor's thread drives by the clock, and reopens the partition after a failure.
//! Invariant: one thread at a time touches the machine, and none blocks while it does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::core::{Apps, Core, Event, Output};
use super::executor::{Executed, Executor, Told};
use super::{PartitionConfig, Request, checkpoint, commit, recover};
use crate::clock::Clock;
use crate::limits;

/// The partition's state machine with all that drives it. Share it in an [`Arc`].
pub(super) struct Driver {
    /// Itself, for the threads it starts.
    me: Weak<Self>,
    /// `None` while the partition is not open.
    open: Mutex<Option<Open>>,
    inbox: (Sender<Request>, Receiver<Request>),
    executor: Executor,
    clock: Arc<dyn Clock>,
    alarm: Alarm,
    closing: AtomicBool,
}

/// An open partition: the state machine and the threads that write its files.
struct Open {
    core: Core,
    links: Arc<Links>,
    threads: Vec<JoinHandle<()>>,
}

struct Links {
    appends: Sender<commit::Append>,
    checkpoints: Sender<checkpoint::Checkpoint>,
}

/// What the machine came to.
enum Turn {
    /// It goes on, and wants to be driven after this long at the latest.
    On(Option<Duration>),
    /// It goes on, and takes no requests until the append in flight has ended.
    Full,
    /// It was closed and has written everything.
    Closed,
    /// It failed, and nothing of it runs any more.
    Failed,
}

impl Driver {
    /// Opens the partition's files and recovers. Blocks.
    pub(super) fn open(config: &PartitionConfig) -> anyhow::Result<Arc<Self>> {
        let (engine, registry) = (config.engine.clone(), config.registry.clone());
        let executor = Executor::new(engine, registry, config.clock.clone(), config.workers);
        let driver = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            open: Mutex::new(None),
            inbox: bounded(limits::PARTITION_INBOX_MAX),
            executor,
            clock: config.clock.clone(),
            alarm: Alarm::default(),
            closing: AtomicBool::new(false),
        });
        *driver.lock() = Some(driver.reopen(config)?);
        Ok(driver)
    }

    /// Leaves a request for the machine and drives it if nobody else does. False when too many wait.
    pub(super) fn submit(&self, request: Request) -> bool {
        let left = self.inbox.0.try_send(request).is_ok();
        self.catch_up();
        left
    }

    /// Takes no more work; the supervisor ends when everything is written.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.alarm.arm(Duration::ZERO);
    }

    /// Drives by the clock until the partition is closed; reopens it when it has failed.
    pub(super) fn supervise(&self, config: &PartitionConfig) {
        loop {
            let (turn, outputs) = self.turn(&mut self.lock(), None);
            self.perform(outputs, false);
            match turn {
                Turn::On(_) | Turn::Full => {
                    self.schedule(&turn);
                    self.schedule(&Turn::On(self.executor.relieve()));
                    // Whoever came while this thread had the lock left a request behind.
                    self.catch_up();
                    self.alarm.wait(&*self.clock);
                }
                Turn::Closed => break,
                Turn::Failed => {
                    self.shut();
                    if !self.mend(config) {
                        break;
                    }
                }
            }
        }
        self.shut();
        self.executor.close();
    }

    /// Tells the machine what happened.
    fn event(&self, event: Event, executor_thread: bool) {
        let (turn, outputs) = self.turn(&mut self.lock(), Some(event));
        self.perform(outputs, executor_thread);
        self.schedule(&turn);
        self.catch_up();
    }

    /// Lets the machine take what was left for it, unless another thread is at it: that one looks again after.
    fn catch_up(&self) {
        loop {
            // With the fence of whoever left a request or let go of the lock: one of the two sees the other.
            fence(Ordering::SeqCst);
            if self.inbox.1.is_empty() {
                return;
            }
            let (turn, outputs) = match self.open.try_lock() {
                Ok(mut open) => self.turn(&mut open, None),
                Err(std::sync::TryLockError::Poisoned(open)) => {
                    self.turn(&mut open.into_inner(), None)
                }
                Err(std::sync::TryLockError::WouldBlock) => return,
            };
            self.perform(outputs, false);
            self.schedule(&turn);
            if matches!(turn, Turn::Full) {
                return;
            }
        }
    }

    /// One turn of the machine: everything that is there, then what is ready.
    fn turn(&self, open: &mut Option<Open>, event: Option<Event>) -> (Turn, Vec<Output>) {
        let Some(Open { core, .. }) = open else {
            // Dropping a request answers it: its partition is closed.
            self.inbox.1.try_iter().for_each(drop);
            return (Turn::On(None), vec![]);
        };
        // Isolate, then poison: a broken assertion costs this partition a reopening, not the process.
        let driven = catch_unwind(AssertUnwindSafe(|| {
            if let Some(event) = event {
                core.event(event);
            }
            for _ in 0..limits::INBOX_DRAIN_MAX {
                if core.saturated() {
                    break;
                }
                let Ok(request) = self.inbox.1.try_recv() else { break };
                request.handle(core);
            }
            if self.closing.load(Ordering::SeqCst) {
                core.close();
            }
            core.step();
            core.outputs()
        }));
        let outputs = driven.unwrap_or_else(|_| {
            core.poison("its state machine panicked; it is opened again from disk".into());
            vec![]
        });
        let turn = match (core.drained(), core.poisoned()) {
            (false, _) if core.saturated() => Turn::Full,
            (false, _) => Turn::On(core.next_wait()),
            (true, None) => Turn::Closed,
            (true, Some(_)) => Turn::Failed,
        };
        let links = open.as_ref().map(|open| open.links.clone());
        if let Some(links) = links {
            return (turn, hand_over(&links, outputs));
        }
        (turn, outputs)
    }

    /// Does what is left to do outside the lock.
    fn perform(&self, outputs: Vec<Output>, executor_thread: bool) {
        let mut jobs = vec![];
        let mut released = None;
        for output in outputs {
            match output {
                Output::Run(job) => jobs.push(job),
                Output::Release(replies) => released = Some(replies),
                Output::Append(_) | Output::Checkpoint(_) => unreachable!("handed over"),
            }
        }
        if !jobs.is_empty()
            && let Some(me) = self.me.upgrade()
        {
            let told: Arc<dyn Told> = me;
            if self.executor.run(jobs, &told, executor_thread) {
                self.alarm.arm(self.clock.monotonic() + limits::EXECUTOR_PATIENCE);
            }
        }
        if let Some(replies) = released {
            replies.deliver();
        }
    }

    /// Sees to it that the supervisor drives in time.
    fn schedule(&self, turn: &Turn) {
        match turn {
            Turn::On(None) | Turn::Full => {}
            Turn::On(Some(wait)) => self.alarm.arm(self.clock.monotonic() + *wait),
            Turn::Closed | Turn::Failed => self.alarm.arm(Duration::ZERO),
        }
    }

    /// Opens the files, recovers, and starts the threads that write them.
    fn reopen(&self, config: &PartitionConfig) -> anyhow::Result<Open> {
        let recovered = recover::open(&config.folder)?;
        let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
        let apps: Arc<dyn Apps> = config.registry.clone();
        let core = Core::new(config.clock.clone(), apps, (view, ledger), (receipt, mark));
        // One append and one checkpoint at a time: room for one is room enough.
        let (appends, to_append) = bounded(1);
        let (checkpoints, to_checkpoint) = bounded(1);
        let tell = |me: Weak<Self>| {
            move |event| {
                if let Some(driver) = me.upgrade() {
                    driver.event(event, false);
                }
            }
        };
        let (journal_tell, checkpoint_tell) = (tell(self.me.clone()), tell(self.me.clone()));
        let thread = || std::thread::Builder::new();
        let journal_thread = thread().name("keystead-journal".into()).spawn(move || {
            commit::run_journal(journal, &to_append, &journal_tell);
        })?;
        let checkpoint_thread = thread().name("keystead-checkpoint".into()).spawn(move || {
            checkpoint::run_checkpoints(&file, &to_checkpoint, &checkpoint_tell);
        })?;
        let links = Arc::new(Links { appends, checkpoints });
        Ok(Open { core, links, threads: vec![journal_thread, checkpoint_thread] })
    }

    /// Tries until the partition opens; what is asked meanwhile learns that it is closed. False when it is
    /// to close.
    fn mend(&self, config: &PartitionConfig) -> bool {
        while !self.closing.load(Ordering::SeqCst) {
            match catch_unwind(AssertUnwindSafe(|| self.reopen(config))) {
                Ok(Ok(open)) => {
                    tracing::info!("partition reopened");
                    *self.lock() = Some(open);
                    return true;
                }
                Ok(Err(error)) => tracing::error!(%error, "the partition stays closed"),
                Err(_) => tracing::error!("opening the partition panicked; it stays closed"),
            }
            self.alarm.arm(self.clock.monotonic() + limits::REOPEN_PAUSE);
            self.alarm.wait(&*self.clock);
        }
        false
    }

    /// Closes the files.
    fn shut(&self) {
        let open = self.lock().take();
        let Some(Open { core, links, threads }) = open else { return };
        drop((core, links));
        for thread in threads {
            drop(thread.join());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told for Driver {
    fn executed(&self, executed: Executed) {
        self.event(Event::Executed(Box::new(executed)), true);
    }
}

/// Gives the file threads what is theirs. Neither send waits: the machine asks for one of each at a time.
fn hand_over(links: &Links, outputs: Vec<Output>) -> Vec<Output> {
    let mut left = Vec::with_capacity(outputs.len());
    for output in outputs {
        // The file threads end only after telling why.
        match output {
            Output::Append(append) => drop(links.appends.send(append)),
            Output::Checkpoint(checkpoint) => drop(links.checkpoints.send(checkpoint)),
            Output::Run(_) | Output::Release(_) => left.push(output),
        }
    }
    left
}

/// When the supervisor wakes. Arming is a load when it is armed for an earlier time already.
struct Alarm {
    /// Nanoseconds of monotonic time.
    at: AtomicU64,
    lock: Mutex<()>,
    ring: Condvar,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { at: AtomicU64::new(u64::MAX), lock: Mutex::new(()), ring: Condvar::new() }
    }
}

impl Alarm {
    /// Wakes the sleeper at `at` of monotonic time, or earlier if it was armed so.
    fn arm(&self, at: Duration) {
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX - 1);
        if self.at.fetch_min(at, Ordering::SeqCst) > at {
            // The sleeper looks at the time under this lock, so it either has seen it or hears the ring.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.ring.notify_one();
        }
    }

    /// Sleeps until the armed time, then disarms.
    fn wait(&self, clock: &dyn Clock) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let at = self.at.load(Ordering::SeqCst);
            let now = u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
            if at <= now {
                self.at.store(u64::MAX, Ordering::SeqCst);
                return;
            }
            let left = Duration::from_nanos(at - now).min(Duration::from_secs(3_600));
            let waited = self.ring.wait_timeout(guard, left);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::engine;
    use crate::partition::Partition;
    use crate::registry::Registry;

    const ROUNDS: usize = 20_000;

    /// Requests that wake nothing are the ones that could be left lying: each must be answered though threads
    /// meet at the lock all the time, and though no event ever comes.
    #[test]
    fn no_request_is_left_lying() {
        let folder = tempfile::tempdir().expect("folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let engine = engine::testing::engine(&folder.path().join("cache"));
        let registry = Registry::open(&folder.path().join("apps"), engine.clone(), clock.clone());
        let registry = Arc::new(registry.expect("opens"));
        let folder = folder.path().join("partition");
        let config = PartitionConfig { folder, registry, engine, clock, workers: 1 };
        let (partition, thread) = Partition::start(config).expect("starts");
        // In rounds: nobody asks again before all are answered, so nobody picks up what another left.
        let round = Arc::new(std::sync::Barrier::new(3));
        let lost = Arc::new(AtomicBool::new(false));
        let asked = |rings: bool| {
            let (partition, round, lost) = (partition.clone(), round.clone(), lost.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let runtime = runtime.expect("runs");
                for _ in 0..ROUNDS {
                    round.wait();
                    if lost.load(Ordering::SeqCst) {
                        return;
                    }
                    if rings {
                        partition.driver.alarm.arm(Duration::ZERO);
                        continue;
                    }
                    let status = runtime.block_on(async {
                        tokio::time::timeout(Duration::from_secs(10), partition.status()).await
                    });
                    lost.fetch_or(!matches!(status, Ok(Ok(_))), Ordering::SeqCst);
                }
            }
        };
        let threads = [asked(false), asked(false), asked(true)].map(std::thread::spawn);
        for thread in threads {
            thread.join().expect("ends");
        }
        assert!(!lost.load(Ordering::SeqCst), "a request was left lying");
        partition.close();
        thread.join();
    }
}

//! Drives the state machine. Driving is a role, not a thread: whoever brings a request or an event takes the
//! lock, lets the machine take everything that is there, lets go, and performs what it returned; whoever finds
//! it taken leaves the request for the one who has it. Whoever brought a request runs its guest too, when that
//! is expected to be quick, so that a call changes threads only to become durable. The supervisor's thread
//! drives by the clock, and reopens the partition after a failure.
//! Invariant: one thread at a time touches the machine, and none blocks while it does.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::commit::Released;
use super::core::{Apps, Core, Event, Output};
use super::executor::{Executed, Executor, Job, Told};
use super::finish::answer_directly;
use super::request::Threads;
use super::{PartitionConfig, Request, checkpoint, commit, recover};
use crate::clock::Clock;
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::metrics;

/// The partition's state machine with all that drives it. Share it in an [`Arc`].
pub(super) struct Driver {
    /// Itself, for the threads it starts.
    me: Weak<Self>,
    /// `None` while the partition is not open.
    open: Mutex<Option<Open>>,
    inbox: (Sender<Request>, Receiver<Request>),
    executor: Executor,
    clock: Arc<dyn Clock>,
    /// Where callers wait, if they are known to.
    runtime: Option<tokio::runtime::Handle>,
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

/// What is to be done outside the lock.
#[derive(Default)]
struct Ready {
    jobs: Vec<Job>,
    replies: Vec<Released>,
}

/// What a turn asks for, and who writes the files.
struct Outputs {
    list: Vec<Output>,
    links: Option<Arc<Links>>,
}

/// Who drives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// A thread that brought a request; it may run quick guests.
    Caller,
    /// An executor thread.
    Executor,
    /// One that has files to write or a clock to watch.
    Other,
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
            runtime: tokio::runtime::Handle::try_current().ok(),
            alarm: Alarm::default(),
            closing: AtomicBool::new(false),
        });
        let mut open = driver.reopen(config)?;
        if config.paused {
            open.core.begin_paused();
        }
        *driver.lock() = Some(open);
        Ok(driver)
    }

    /// Leaves a request for the machine, drives it if nobody else does, and runs the guests that are ready
    /// and quick right here. False when too many requests wait.
    pub(super) fn submit(&self, request: Request) -> bool {
        let left = self.inbox.0.try_send(request).is_ok();
        let ready = self.drive(None, Thread::Caller);
        self.run_here(ready);
        left
    }

    /// An id for a message to this entity.
    pub(super) fn new_id(&self, entity: &EntityRef) -> MessageId {
        MessageId::new(self.clock.now_ms(), entity, self.clock.chance())
    }

    /// How its executor's threads are doing.
    pub(super) fn threads(&self) -> Threads {
        self.executor.threads()
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
            self.schedule(&turn);
            let mut ready = Ready::default();
            perform(outputs, &mut ready);
            self.hand_on(ready, Thread::Other);
            match turn {
                Turn::On(_) | Turn::Full => {
                    // Whoever came while this thread had the lock left a request behind.
                    let ready = self.drive(None, Thread::Other);
                    self.hand_on(ready, Thread::Other);
                    self.schedule(&Turn::On(self.executor.relieve()));
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
    fn event(&self, event: Event, thread: Thread) {
        let ready = self.drive(Some(event), thread);
        self.hand_on(ready, thread);
    }

    /// Tells the machine what happened and lets it take what was left for it, unless another thread is at it:
    /// that one looks again after.
    fn drive(&self, event: Option<Event>, thread: Thread) -> Ready {
        let mut ready = Ready::default();
        let mut event = event;
        loop {
            let (turn, outputs) = if event.is_some() {
                self.turn(&mut self.lock(), event.take())
            } else {
                // With the fence of whoever left a request or let go of the lock: one of the two sees the other.
                fence(Ordering::SeqCst);
                if self.inbox.1.is_empty() {
                    return ready;
                }
                match self.try_lock(thread) {
                    Some(mut open) => self.turn(&mut open, None),
                    None => return ready,
                }
            };
            perform(outputs, &mut ready);
            self.schedule(&turn);
            if matches!(turn, Turn::Full) {
                return ready;
            }
        }
    }

    /// One turn of the machine: everything that is there, then what is ready.
    fn turn(&self, open: &mut Option<Open>, event: Option<Event>) -> (Turn, Outputs) {
        let Some(Open { core, .. }) = open else {
            // Dropping a request answers it: its partition is closed.
            self.inbox.1.try_iter().for_each(drop);
            return (Turn::On(None), Outputs { list: vec![], links: None });
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
        (turn, Outputs { list: outputs, links })
    }

    /// Runs quick guests on this thread, and what follows from them, for a while; the rest goes to executor
    /// threads. A call changes threads only to become durable.
    fn run_here(&self, ready: Ready) {
        ready.replies.into_iter().for_each(Released::deliver);
        if ready.jobs.is_empty() {
            return;
        }
        let until = self.clock.monotonic() + limits::INLINE_TIME_MAX;
        let mut jobs = VecDeque::from(ready.jobs);
        let mut rest = vec![];
        while let Some(job) = jobs.pop_front() {
            match self.executor.run_here(job, until) {
                Ok(executed) => {
                    let Some(executed) = answer_directly(executed) else { continue };
                    let event = Event::Executed(Box::new(executed));
                    let ready = self.drive(Some(event), Thread::Caller);
                    ready.replies.into_iter().for_each(Released::deliver);
                    jobs.extend(ready.jobs);
                }
                Err(job) => rest.push(*job),
            }
        }
        self.execute(rest, Thread::Caller);
    }

    /// Delivers replies and has guests run, on other threads: where callers wait, if they are known to. Waking
    /// many from outside the runtime costs each a lock and maybe a system call, and whoever writes files has
    /// the next to write: one thread of the runtime is woken, and does the rest.
    fn hand_on(&self, ready: Ready, thread: Thread) {
        let alone = ready.jobs.is_empty() && !ready.replies.iter().any(Released::many);
        match (&self.runtime, self.me.upgrade()) {
            (Some(runtime), Some(me)) if thread == Thread::Other && !alone => {
                drop(runtime.spawn(async move { me.run_here(ready) }));
            }
            _ => {
                ready.replies.into_iter().for_each(Released::deliver);
                self.execute(ready.jobs, thread);
            }
        }
    }

    /// Gives guest calls to executor threads.
    fn execute(&self, jobs: Vec<Job>, thread: Thread) {
        if jobs.is_empty() {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        let told: Arc<dyn Told> = me;
        if self.executor.run(jobs, &told, thread == Thread::Executor) {
            self.alarm.arm(self.clock.monotonic() + limits::EXECUTOR_PATIENCE);
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
        let recovered = recover::open(&config.folder, &*config.clock)?;
        let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
        let apps: Arc<dyn Apps> = config.registry.clone();
        let core = Core::new(config.clock.clone(), apps, (view, ledger), (receipt, mark));
        // One append and one checkpoint at a time: room for one is room enough.
        let (appends, to_append) = bounded(1);
        let (checkpoints, to_checkpoint) = bounded(1);
        let tell = |me: Weak<Self>| {
            move |event| {
                if let Some(driver) = me.upgrade() {
                    driver.event(event, Thread::Other);
                }
            }
        };
        let (journal_tell, checkpoint_tell) = (tell(self.me.clone()), tell(self.me.clone()));
        let (journal_clock, clock) = (config.clock.clone(), config.clock.clone());
        let thread = || std::thread::Builder::new();
        let journal_thread = thread().name("keystead-journal".into()).spawn(move || {
            commit::run_journal(journal, &to_append, &*journal_clock, &journal_tell);
        })?;
        let checkpoint_thread = thread().name("keystead-checkpoint".into()).spawn(move || {
            checkpoint::run_checkpoints(&file, &to_checkpoint, &*clock, &checkpoint_tell);
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
                    metrics::partition_reopened();
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

    /// The lock, unless another thread has it. A caller tries for a moment: it can run the guest of its
    /// request itself, which a thread that writes files would have to hand over.
    fn try_lock(&self, thread: Thread) -> Option<MutexGuard<'_, Option<Open>>> {
        let tries = if thread == Thread::Caller { limits::DRIVER_SPINS } else { 1 };
        for _ in 0..tries {
            match self.open.try_lock() {
                Ok(open) => return Some(open),
                Err(TryLockError::Poisoned(open)) => return Some(open.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told for Driver {
    fn executed(&self, executed: Executed) {
        if let Some(executed) = answer_directly(executed) {
            self.event(Event::Executed(Box::new(executed)), Thread::Executor);
        }
    }
}

/// Does what a turn asks for, but for what [`Ready`] takes.
fn perform(outputs: Outputs, ready: &mut Ready) {
    let Outputs { list, links } = outputs;
    for output in list {
        match (output, &links) {
            // Neither send waits: the machine asks for one of each at a time. The file threads end only after
            // telling why.
            (Output::Append(append), Some(links)) => drop(links.appends.send(append)),
            (Output::Checkpoint(checkpoint), Some(links)) => {
                drop(links.checkpoints.send(checkpoint));
            }
            (Output::Append(_) | Output::Checkpoint(_), None) => {}
            (Output::Run(job), _) => ready.jobs.push(job),
            (Output::Release(replies), _) => ready.replies.push(replies),
        }
    }
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
        let config = PartitionConfig { folder, registry, engine, clock, workers: 1, paused: false };
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

//! Where guests run: quick ones on the thread that brought the call, the others on threads of their own. Those
//! are fair between apps: each app has a queue, taken from in turn, and a share of the threads. A guest that is
//! slow holds up its own thread, not its neighbours: while calls wait longer than [`limits::EXECUTOR_PATIENCE`],
//! threads are added up to a limit. Knows no journal and no mailbox.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::core::Work;
use super::ledger::Pending;
use super::request::{CallFailure, Threads};
use super::spans;
use super::transaction::{Draft, Start, Transaction};
use super::view::EntityView;
use crate::clock::Clock;
use crate::engine::{self, Call, Engine, Failure, Outcome, Trap};
use crate::ids::Position;
use crate::journal::Receipt;
use crate::limits;
use crate::logging;
use crate::metrics::{GuestEnd, GuestKind};
use crate::record::message::Message;
use crate::registry::{App, Body, Registry};
use crate::trace::Context;

/// One guest call to make.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) message: Arc<Message>,
    pub(crate) attempt: u32,
    pub(crate) now_ms: u64,
    pub(crate) view: EntityView,
    pub(crate) pending: Option<Arc<Pending>>,
    pub(crate) direct: Option<Direct>,
}

/// For a query whose cause was durable when it began: it can be answered without asking the machine again.
pub(crate) struct Direct {
    pub(crate) receipt: Receipt,
    /// Counts it as long as it lives.
    pub(crate) open: Arc<()>,
}

/// What a guest call came to.
pub(crate) struct Executed {
    pub(crate) work: Work,
    pub(crate) message: Arc<Message>,
    pub(crate) verdict: Verdict,
    /// The entity's version before the call.
    pub(crate) version: u64,
    /// What must be durable before anything of this may leave.
    pub(crate) cause: Position,
    pub(crate) direct: Option<Direct>,
}

/// Whom an executor thread tells what a call came to; the same thread then takes the next call.
pub(crate) trait Told: Send + Sync {
    fn executed(&self, executed: Executed);
}

/// How a guest call ended.
pub(crate) enum Verdict {
    /// It returned a value, and this is what it did.
    Done(Bytes, Draft),
    /// It rejected: final.
    Rejected(Failure),
    /// It failed: worth a retry.
    Failed(CallFailure),
    /// A query found state of an older version, which this handler of the type brings to its own.
    Outdated(String, Failure),
    /// The entity's state could not be read: nothing is known of the call, and the partition is reopened.
    Unreadable(String),
}

impl Verdict {
    /// The same for those who count.
    pub(crate) fn end(&self) -> GuestEnd {
        match self {
            Self::Done(..) => GuestEnd::Done,
            Self::Rejected(_) => GuestEnd::Rejected,
            Self::Failed(CallFailure::Trap(_)) => GuestEnd::Trapped,
            Self::Failed(_) | Self::Outdated(..) | Self::Unreadable(_) => GuestEnd::Failed,
        }
    }
}

/// The pool of threads; share it in an [`Arc`].
pub(crate) struct Executor {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Guests of calls that run on the thread that brought them, the last used on top.
    visitors: Mutex<Vec<engine::Worker>>,
}

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    engine: Engine,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    base_threads: usize,
}

#[derive(Default)]
struct Queues {
    apps: HashMap<String, AppQueue>,
    /// Apps with waiting calls, in turn.
    turn: VecDeque<String>,
    waiting: usize,
    idle: usize,
    threads: usize,
    /// When a thread last took a call.
    progress: Duration,
    closed: bool,
}

#[derive(Default)]
struct AppQueue {
    waiting: VecDeque<(Job, Arc<dyn Told>)>,
    running: usize,
    in_turn: bool,
    /// Its share of turns, and how many it may yet have in this one.
    weight: u32,
    left: u32,
}

impl Executor {
    pub(crate) fn new(
        engine: Engine,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        threads: usize,
    ) -> Self {
        let base_threads = threads.clamp(1, limits::EXECUTOR_THREADS_MAX);
        let queues = Mutex::default();
        let work = Condvar::new();
        let shared = Arc::new(Shared { queues, work, engine, registry, clock, base_threads });
        let visitors = (0..base_threads).map(|_| engine::Worker::new(&shared.engine)).collect();
        let executor = Self { shared, threads: Mutex::default(), visitors: Mutex::new(visitors) };
        for _ in 0..base_threads {
            executor.add_thread(&mut executor.shared.lock());
        }
        executor
    }

    /// Queues calls; each result goes to `told`. `here` says that an executor thread asks, which takes one of
    /// them itself. True when calls wait for a thread.
    pub(crate) fn run(&self, jobs: Vec<Job>, told: &Arc<dyn Told>, here: bool) -> bool {
        let mut queues = self.shared.lock();
        if queues.waiting == 0 {
            queues.progress = self.shared.clock.monotonic();
        }
        let wake = (jobs.len() - usize::from(here && !jobs.is_empty())).min(queues.idle);
        for job in jobs {
            let app = job.message.target.app().to_owned();
            let weight = self.shared.weight(&app);
            queues.push(app, weight, (job, told.clone()));
        }
        let waits = queues.waiting > queues.idle;
        drop(queues);
        for _ in 0..wake {
            self.shared.work.notify_one();
        }
        waits
    }

    /// Runs a call on this thread, if `until` has not come, it is expected to be quick, and not too many
    /// threads do the same; gives it back otherwise, and also when it was not quick after all. Then it
    /// starts over elsewhere, and nothing that it did has happened.
    pub(crate) fn run_here(&self, job: Job, until: Duration) -> Result<Executed, Box<Job>> {
        let now = self.shared.clock.monotonic();
        if now >= until || !self.shared.is_quick(&job.message, now) {
            return Err(Box::new(job));
        }
        let visitors = || self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut worker) = visitors().pop() else { return Err(Box::new(job)) };
        let executed = self.shared.execute(&mut worker, job, Some(limits::INLINE_DEADLINE));
        visitors().push(worker);
        executed
    }

    /// Adds a thread when calls have waited too long. Says when to look again, if calls wait.
    pub(crate) fn relieve(&self) -> Option<Duration> {
        let mut queues = self.shared.lock();
        if queues.waiting == 0 || queues.turn.is_empty() {
            return None;
        }
        let waited = self.shared.clock.monotonic().saturating_sub(queues.progress);
        if waited < limits::EXECUTOR_PATIENCE {
            return Some(limits::EXECUTOR_PATIENCE - waited);
        }
        if queues.threads < limits::EXECUTOR_THREADS_MAX && queues.idle == 0 {
            self.add_thread(&mut queues);
        }
        queues.progress = self.shared.clock.monotonic();
        Some(limits::EXECUTOR_PATIENCE)
    }

    /// How its threads are doing.
    pub(crate) fn threads(&self) -> Threads {
        let queues = self.shared.lock();
        let busy = queues.threads.saturating_sub(queues.idle);
        Threads { busy, idle: queues.idle, waiting: queues.waiting }
    }

    /// Ends the threads when they have run what waits.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            drop(thread.join());
        }
    }

    fn add_thread(&self, queues: &mut Queues) {
        let shared = self.shared.clone();
        let extra = queues.threads >= shared.base_threads;
        let thread = std::thread::Builder::new()
            .name("keystead-guest".into())
            .stack_size(limits::EXECUTOR_STACK_BYTES)
            .spawn(move || shared.run(extra));
        match thread {
            Ok(thread) => {
                queues.threads += 1;
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(error) => tracing::warn!(%error, "no further executor thread"),
        }
    }
}

impl Queues {
    fn push(&mut self, app: String, weight: u32, job: (Job, Arc<dyn Told>)) {
        self.waiting += 1;
        let queue = self.apps.entry(app.clone()).or_default();
        queue.weight = weight;
        queue.waiting.push_back(job);
        if !queue.in_turn && queue.running < limits::APP_RUNNING_MAX {
            queue.in_turn = true;
            self.turn.push_back(app);
        }
    }

    fn pop(&mut self) -> Option<(Job, Arc<dyn Told>)> {
        let app = self.turn.pop_front()?;
        let queue = self.apps.get_mut(&app)?;
        let job = queue.waiting.pop_front()?;
        self.waiting -= 1;
        queue.running += 1;
        if queue.left == 0 {
            queue.left = queue.weight.max(1);
        }
        queue.left -= 1;
        queue.in_turn = !queue.waiting.is_empty() && queue.running < limits::APP_RUNNING_MAX;
        match (queue.in_turn, queue.left) {
            (true, 0) => self.turn.push_back(app),
            (true, _) => self.turn.push_front(app),
            (false, _) => queue.left = 0,
        }
        Some(job)
    }

    fn ended(&mut self, app: &str) {
        let Some(queue) = self.apps.get_mut(app) else { return };
        queue.running -= 1;
        if !queue.in_turn && !queue.waiting.is_empty() {
            queue.in_turn = true;
            self.turn.push_back(app.to_owned());
        } else if queue.running == 0 && queue.waiting.is_empty() {
            self.apps.remove(app);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, extra: bool) {
        let mut worker = engine::Worker::new(&self.engine);
        let mut queues = self.lock();
        loop {
            if let Some((job, told)) = queues.pop() {
                queues.progress = self.clock.monotonic();
                drop(queues);
                let message = job.message.clone();
                let executed = self.execute(&mut worker, job, None);
                self.lock().ended(message.target.app());
                // Only a call with a shorter time than its own is given back.
                if let Ok(executed) = executed {
                    told.executed(executed);
                }
                queues = self.lock();
                // One of those that wait is this thread's own.
                if queues.idle > 0 && queues.waiting > 1 {
                    self.work.notify_one();
                }
                continue;
            }
            if queues.closed {
                break;
            }
            queues.idle += 1;
            let patience = if extra { limits::EXECUTOR_IDLE_MAX } else { Duration::MAX };
            let (guard, waited) = self.wait(queues, patience);
            queues = guard;
            queues.idle -= 1;
            if extra && waited && queues.turn.is_empty() {
                break;
            }
        }
        queues.threads -= 1;
    }

    fn wait<'q>(
        &self,
        queues: MutexGuard<'q, Queues>,
        patience: Duration,
    ) -> (MutexGuard<'q, Queues>, bool) {
        if patience == Duration::MAX {
            return (self.work.wait(queues).unwrap_or_else(PoisonError::into_inner), false);
        }
        let waited = self.work.wait_timeout(queues, patience);
        let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (guard, timeout.timed_out())
    }

    fn weight(&self, app: &str) -> u32 {
        self.registry.app(app).map_or(1, |app| app.config.quotas.weight)
    }

    fn is_quick(&self, message: &Message, now: Duration) -> bool {
        let Some(app) = self.registry.app(message.target.app()) else { return true };
        let handler = app.contract.handler(message.target.kind(), &message.handler);
        handler.is_none_or(|handler| handler.pace.is_quick(now))
    }

    /// Makes the call. With a `trial` time that is over before its own it is given back.
    fn execute(
        &self,
        worker: &mut engine::Worker,
        job: Job,
        trial: Option<Duration>,
    ) -> Result<Executed, Box<Job>> {
        let Job { work, message, attempt, now_ms, view, pending, direct } = job;
        let cause = view.cause;
        let read_only = matches!(work, Work::Query(_));
        let span = spans::of(&work, &message, attempt);
        let _lines = logging::turn(message.clone(), attempt);
        let called = catch_unwind(AssertUnwindSafe(|| {
            let start = StartParts { attempt, span, now_ms, read_only, view, pending };
            self.call(worker, &message, start, trial)
        }));
        let (verdict, version) = match called {
            Ok(Called::Ended(verdict, version)) => (verdict, version),
            Ok(Called::Overran(view, pending)) => {
                let job = Job { work, message, attempt, now_ms, view, pending, direct };
                return Err(Box::new(job));
            }
            Err(_) => {
                // Isolate: whatever panicked, this call alone failed; the instances start over.
                *worker = engine::Worker::new(&self.engine);
                let trap = Trap::Other("the host panicked; its log says where".into());
                (Verdict::Failed(CallFailure::Trap(trap)), 0)
            }
        };
        Ok(Executed { work, message, verdict, version, cause, direct })
    }

    fn call(
        &self,
        worker: &mut engine::Worker,
        message: &Arc<Message>,
        start: StartParts,
        trial: Option<Duration>,
    ) -> Called {
        let target = &message.target;
        let no_handler =
            |what: String| Called::Ended(Verdict::Failed(CallFailure::NoHandler(what)), 0);
        let Some(app) = self.registry.app(target.app()) else {
            return no_handler(format!("there is no app {:?}", target.app()));
        };
        let Some(handler) = app.contract.handler(target.kind(), &message.handler) else {
            let (kind, handler) = (target.kind(), &message.handler);
            return no_handler(format!("the app has no handler {handler:?} on type {kind:?}"));
        };
        let trial = trial.filter(|trial| *trial < app.config.deadline());
        let call = Call {
            handler: &message.handler,
            input: &message.input,
            deadline: trial.unwrap_or(app.config.deadline()),
            memory_bytes_max: app.config.memory_bytes_max,
            isolation: app.config.isolation,
        };
        let StartParts { attempt, span, now_ms, read_only, view, pending } = start;
        let start = Start {
            app: app.clone(),
            message: message.clone(),
            attempt,
            span,
            now_ms,
            read_only,
            view,
            pending,
        };
        let transaction = Transaction::new(start, self.clock.clone(), trial.is_some());
        let began = self.clock.monotonic();
        let (outcome, io) = worker.run(&app.guest, call, Box::new(transaction));
        let now = self.clock.monotonic();
        let took = now.saturating_sub(began);
        handler.pace.took(took);
        let transaction = io.into_any().downcast::<Transaction>();
        let transaction = transaction.unwrap_or_else(|_| unreachable!("it comes back as it went"));
        if trial.is_some() && matches!(outcome, Outcome::Trapped(Trap::Deadline(_))) {
            handler.pace.overran(now);
            let Start { view, pending, .. } = transaction.start_over();
            return Called::Overran(view, pending);
        }
        match transaction.seal() {
            Ok((mut draft, version)) => {
                let asked = message.then.is_some();
                draft.replies_bytes = asked && matches!(handler.output, Body::Bytes(_));
                let verdict = match verdict(outcome, draft) {
                    Verdict::Failed(CallFailure::Error(failure))
                        if read_only && failure.code == OUTDATED =>
                    {
                        outdated(&app, message, failure)
                    }
                    verdict => verdict,
                };
                let kind = if read_only { GuestKind::Query } else { GuestKind::Command };
                app.metrics.guest(kind, verdict.end(), took);
                spans::ended(span, message, attempt, &verdict, (began, now));
                Called::Ended(verdict, version)
            }
            Err(error) => Called::Ended(Verdict::Unreadable(error.to_string()), 0),
        }
    }
}

/// What came of a call.
enum Called {
    /// Its end, and the entity's version before it.
    Ended(Verdict, u64),
    /// Its trial was over first: what it started from.
    Overran(EntityView, Option<Arc<Pending>>),
}

struct StartParts {
    attempt: u32,
    span: Option<Context>,
    now_ms: u64,
    read_only: bool,
    view: EntityView,
    pending: Option<Arc<Pending>>,
}

/// What a query says that found state of an older version than its own.
const OUTDATED: &str = "state_outdated";

fn outdated(app: &App, message: &Message, failure: Failure) -> Verdict {
    let entity = app.contract.entities.get(message.target.kind());
    match entity.and_then(|entity| entity.migrate.clone()) {
        Some(migrate) => Verdict::Outdated(migrate, failure),
        None => Verdict::Failed(CallFailure::Error(failure)),
    }
}

fn verdict(outcome: Outcome, draft: Draft) -> Verdict {
    match outcome {
        Outcome::Reply(body) if body.len() > limits::BODY_BYTES_MAX => {
            let max = limits::BODY_BYTES_MAX;
            let fault = format!("reply bytes is over its limit of {max}");
            Verdict::Failed(CallFailure::Trap(Trap::Fault(fault)))
        }
        Outcome::Reply(body) => Verdict::Done(body, draft),
        Outcome::Failed(failure) if failure.retryable => {
            Verdict::Failed(CallFailure::Error(failure))
        }
        Outcome::Failed(failure) => Verdict::Rejected(failure),
        Outcome::Trapped(trap) => Verdict::Failed(CallFailure::Trap(trap)),
    }
}

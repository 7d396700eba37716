//! The machine of a simulation: the partition's state machine over the real journal and state file on a simulated
//! disk, with a clock and an executor that move when told to. Nothing here knows what handlers do. Invariant: what
//! is checked here holds for every partition: commands of an entity are serial, messages of a pair keep their order,
//! no attempt starts early, and what comes back after a crash is what the log says.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::bounds::Bounds;
use super::super::checkpoint::{self, Checkpoint};
use super::super::commit::Append;
use super::super::core::{Apps, Core, Event, Output, Settings, Work};
use super::super::executor::{Executed, Job, Verdict};
use super::super::finish::answer_directly;
use super::super::recover;
use super::super::request::CallFailure;
use super::super::view::ReadError;
use super::model::{Facts, Model};
use super::{Counts, Run, Trace};
use crate::clock::{Clock, ManualClock};
use crate::config::RetryPolicy;
use crate::engine::{Failure, Trap};
use crate::ids::MessageId;
use crate::journal::{Journal, LocalJournal};
use crate::record::keys;
use crate::state::StateFile;
use crate::storage::simulated::{Crash, Kind, SimDisk, Struck};

/// Wall time at the beginning, far enough from zero to be set back.
const START_MS: u64 = 1_000_000_000;
/// How far a wall clock jumps at most.
const JUMP_MS: u64 = 3_600_000;
/// Openings in a row that may fail before nothing fails any more.
const OPENINGS_MAX: u32 = 6;

/// Steps of others that make an append or a checkpoint a slow one.
const SLOW_STEPS: u32 = 10;

/// Gives up on a message after so many attempts.
#[derive(Clone, Copy)]
pub(super) struct Patience(pub(super) u32);

impl Apps for Patience {
    fn settings(&self, _app: &str) -> Settings {
        let retry = RetryPolicy { initial_ms: 5, max_ms: 40, attempts_max: self.0 };
        Settings { retry, ..Settings::default() }
    }
}

/// What a guest would do; the second argument says that no handler fails on purpose any more.
pub(super) type Handlers = fn(&Job, bool, &dyn Clock) -> Result<Verdict, ReadError>;

/// The machine, its disk, and what it asked for and did not get yet.
pub(super) struct Machine {
    pub(super) rng: StdRng,
    pub(super) clock: Arc<ManualClock>,
    pub(super) disk: SimDisk,
    pub(super) core: Core,
    journal: Option<Box<dyn Journal>>,
    file: Option<StateFile>,
    pub(super) jobs: Vec<Job>,
    /// When commands of apps with a rate started, since the last opening.
    started: HashMap<String, Vec<Duration>>,
    pub(super) append: Option<Append>,
    checkpoint: Option<Checkpoint>,
    apps: Arc<dyn Apps>,
    bounds: Bounds,
    handlers: Handlers,
    pub(super) faults: bool,
    crashes: usize,
    trace: Trace,
    counts: Counts,
    /// What of the disk's faults is counted.
    counted: Struck,
    /// Where the process stopped.
    stopped_in: Option<&'static str>,
    /// Steps since the append in flight was made, and the checkpoint.
    waited: [u32; 2],
    /// The latest that the wall clock ever was.
    pub(super) latest_ms: u64,
    pub(super) model: Model,
    /// What became durable, to be looked at by whoever knows the handlers.
    pub(super) facts: Vec<Facts>,
    /// Messages that may go without a trace: rejected, silent, or cancelled by a handler.
    pub(super) excused: HashSet<MessageId>,
}

type Opened = (Core, Box<dyn Journal>, StateFile);

impl Machine {
    pub(super) fn new(seed: u64, apps: impl Apps + 'static, handlers: Handlers) -> Self {
        Self::bounded(seed, apps, handlers, Bounds::default())
    }

    pub(super) fn bounded(
        seed: u64,
        apps: impl Apps + 'static,
        handlers: Handlers,
        bounds: Bounds,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(START_MS, seed));
        let disk = SimDisk::new(seed);
        let apps: Arc<dyn Apps> = Arc::new(apps);
        let (core, journal, file) = open(&disk, clock.clone(), &apps, bounds).expect("opens");
        Self {
            rng: StdRng::seed_from_u64(seed),
            clock,
            disk,
            core,
            journal: Some(journal),
            file: Some(file),
            jobs: vec![],
            started: HashMap::new(),
            append: None,
            checkpoint: None,
            apps,
            bounds,
            handlers,
            faults: true,
            crashes: 0,
            trace: Trace::default(),
            counts: Counts::new(),
            counted: Struck::default(),
            stopped_in: None,
            waited: [0; 2],
            latest_ms: START_MS,
            model: Model::default(),
            facts: vec![],
            excused: HashSet::new(),
        }
    }

    pub(super) fn note(&mut self, line: String) {
        self.trace.note(line);
    }

    /// One more of something that a suite must see.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry((what, "")).or_default() += 1;
    }

    /// Counts the disk's faults since the last time as such of `place`.
    fn account(&mut self, place: &'static str) {
        let now = self.disk.struck();
        for ((what, times), (_, before)) in now.named().into_iter().zip(self.counted.named()) {
            if times > before {
                *self.counts.entry((what, place)).or_default() += times - before;
            }
        }
        self.counted = now;
        if self.disk.stopped() {
            self.stopped_in.get_or_insert(place);
        }
    }

    /// What it came to.
    pub(super) fn end(self) -> Run {
        Run { crashes: self.crashes, counts: self.counts, trace: self.trace, few: false }
    }

    /// Collects what the machine asks for; true when it had to be opened again.
    pub(super) fn settle(&mut self) -> bool {
        self.account("a request");
        self.count("step");
        self.core.step();
        self.core.ledger.check_backlogs();
        for output in self.core.outputs() {
            match output {
                Output::Release(released) => released.deliver(),
                Output::Run(job) => {
                    self.check_start(&job);
                    self.jobs.push(job);
                }
                Output::Append(append) => {
                    self.model.seal(append.position, append.batch.as_ref());
                    assert!(self.append.replace(append).is_none(), "one append at a time");
                }
                Output::Checkpoint(next) => assert!(self.checkpoint.replace(next).is_none()),
            }
        }
        if self.core.stalled.next_back().is_some() {
            self.count("turns over their rate");
        }
        self.waited[0] += u32::from(self.append.is_some());
        self.waited[1] += u32::from(self.checkpoint.is_some());
        if self.disk.stopped() {
            self.note("stopped".into());
            self.restart(true);
            return true;
        }
        if let Some(why) = self.core.poisoned() {
            let line = format!("poisoned: {why}");
            self.note(line);
            self.restart(false);
            return true;
        }
        false
    }

    /// However long one looks, an app with a rate starts no more than it and a second's worth.
    fn check_pace(&mut self, job: &Job) {
        let app = job.message.target.app();
        let Some(per_s) = self.apps.settings(app).turns_per_s else { return };
        let now = self.clock.monotonic();
        let started = self.started.entry(app.to_owned()).or_default();
        started.push(now);
        for (earlier, since) in started.iter().rev().enumerate() {
            let most = f64::from(per_s) * (1.0 + (now - *since).as_secs_f64());
            assert!(earlier as f64 + 1.0 <= most + 1e-6, "{app}: {earlier} since {since:?}");
        }
    }

    /// Commands of an entity are serial, messages of a pair keep their order, no attempt starts early.
    fn check_start(&mut self, job: &Job) {
        let Work::Command(entry) = &job.work else { return };
        self.check_pace(job);
        let target = &job.message.target;
        let same =
            |other: &Job| matches!(other.work, Work::Command(_)) && other.message.target == *target;
        assert!(!self.jobs.iter().any(same), "{target} runs two commands at once");
        assert!(!self.core.ledger.pauses.hold(target), "{target} is paused");
        if entry.call.is_some() {
            return;
        }
        let queued = &self.core.ledger.queued;
        let own = queued.get(&entry.seq).expect("a message that runs is in its mailbox");
        assert!(own.not_before_ms <= self.latest_ms, "{} is tried too early", job.message.id);
        let Some(sender) = job.message.sender() else { return };
        let earlier = queued.iter().find(|(seq, other)| {
            let message = &other.message;
            **seq < entry.seq && message.target == *target && message.sender() == Some(sender)
        });
        assert!(earlier.is_none(), "{sender} -> {target}: out of order");
    }

    pub(super) fn run_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.swap_remove(self.rng.random_range(0..self.jobs.len()));
        let fails = self.faults && self.rng.random_range(0..5u32) == 0;
        let starts_over = self.rng.random_range(0..8u32) == 0;
        let line = format!(
            "run {} {} {} fails: {fails}, starts over: {starts_over}",
            job.message.target,
            job.message.handler,
            job.message.input.escape_ascii()
        );
        self.note(line);
        let run = |job: &Job| (self.handlers)(job, !self.faults, &*self.clock);
        if starts_over {
            drop(run(&job));
        }
        let read = job.view.version(&keys::entity_prefix(&job.message.target));
        let (version, verdict) = match read.and_then(|version| Ok((version, run(&job)?))) {
            Ok((version, _)) if fails => (version, self.failure()),
            Ok(done) => done,
            Err(error) => (0, Verdict::Unreadable(error.to_string())),
        };
        self.account("a guest call");
        if starts_over {
            self.count("started over");
        }
        self.count(match &verdict {
            Verdict::Done(..) => "guest call done",
            Verdict::Rejected(_) => "handler rejects",
            Verdict::Failed(CallFailure::Trap(Trap::Deadline(_))) => "handler times out",
            Verdict::Failed(CallFailure::Trap(_)) => "handler traps",
            Verdict::Failed(_) => "handler fails",
            Verdict::Outdated(..) => "state outdated",
            Verdict::Unreadable(_) => "state unreadable",
        });
        self.excuse(&job, &verdict);
        let Job { work, message, view, direct, .. } = job;
        let cause = view.cause;
        // A state file can be opened again only when every reader of the old one is gone.
        drop(view);
        let executed = Executed { work, message, verdict, version, cause, direct };
        let Some(executed) = answer_directly(executed) else { return };
        self.core.event(Event::Executed(Box::new(executed)));
    }

    /// The ways of a guest to fail.
    fn failure(&mut self) -> Verdict {
        Verdict::Failed(match self.rng.random_range(0..3u32) {
            0 => CallFailure::Trap(Trap::Other("told to".into())),
            1 => CallFailure::Trap(Trap::Deadline(5_000)),
            _ => CallFailure::Error(Failure {
                code: "told_to".into(),
                message: "fail".into(),
                details: None,
                retryable: true,
            }),
        })
    }

    fn excuse(&mut self, job: &Job, verdict: &Verdict) {
        match verdict {
            Verdict::Rejected(_) => drop(self.excused.insert(job.message.id)),
            Verdict::Done(_, draft) => {
                self.excused.extend(&draft.cancels);
                let timers = job.pending.iter().flat_map(|pending| &pending.timers);
                let changed = timers.filter(|(name, _)| draft.timers.contains_key(*name));
                let changed = changed.flat_map(|(_, set)| set);
                self.excused.extend(changed.map(|timer| timer.message.id));
                if draft.writes.is_empty() {
                    self.excused.insert(job.message.id);
                }
            }
            Verdict::Failed(_) | Verdict::Outdated(..) | Verdict::Unreadable(_) => {}
        }
    }

    pub(super) fn append(&mut self) {
        let Some(Append { position, batch, trim }) = self.append.take() else { return };
        let journal = self.journal.as_mut().expect("open");
        let appended = journal.append(position, batch.as_ref(), trim);
        self.account("an append");
        self.count_slow(0, "append slow");
        self.note(format!("append {position:?} trim {trim:?} ok: {}", appended.is_ok()));
        if appended.is_ok() {
            self.facts.extend(self.model.durable(position));
        }
        self.core.event(Event::Appended(appended));
    }

    pub(super) fn write_checkpoint(&mut self) {
        let Some(next) = self.checkpoint.take() else { return };
        let written = checkpoint::write(self.file.as_ref().expect("open"), &next);
        self.account("a checkpoint");
        self.count_slow(1, "checkpoint slow");
        self.note(format!("checkpoint {:?} ok: {}", next.mark.position, written.is_ok()));
        self.core.event(Event::Checkpointed(written));
    }

    /// An append or a checkpoint has ended.
    fn count_slow(&mut self, which: usize, what: &'static str) {
        if std::mem::take(&mut self.waited[which]) >= SLOW_STEPS {
            self.count(what);
        }
    }

    pub(super) fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.random_range(0..400));
        self.advance(by);
        // Somebody makes room again.
        self.disk.fill(false);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.latest_ms = self.latest_ms.max(self.clock.now_ms());
    }

    /// Somebody sets the wall clock.
    pub(super) fn jump(&mut self) {
        let by = self.rng.random_range(0..JUMP_MS);
        let now = self.clock.now_ms();
        let forward = self.rng.random();
        let now = if forward { now + by } else { now.saturating_sub(by).max(START_MS / 2) };
        self.clock.set(now);
        self.latest_ms = self.latest_ms.max(now);
        self.note(format!("the clock says {now}"));
        self.count(if forward { "clock set forward" } else { "clock set back" });
    }

    /// Something will go wrong with the disk soon.
    pub(super) fn spoil(&mut self) {
        let mut soon = self.rng.random_range(0..6);
        let fault = match self.rng.random_range(0..14u32) {
            0..3 => Some(Kind::Write),
            3..6 => Some(Kind::Sync),
            6..8 => Some(Kind::Read),
            8..10 => {
                // They are rare.
                soon /= 3;
                Some(Kind::Name)
            }
            10..12 => {
                self.note("full".into());
                return self.disk.fill(true);
            }
            _ => None,
        };
        self.note(format!("fault: {fault:?} in {soon}"));
        match fault {
            Some(kind) => self.disk.fail_in(kind, soon),
            None => self.disk.stop_in(soon * 4),
        }
    }

    /// Everything in memory is gone, perhaps in the middle of an append or of a checkpoint.
    pub(super) fn crash(&mut self) {
        if self.rng.random()
            && let (Some(append), Some(journal)) = (self.append.take(), &mut self.journal)
        {
            self.disk.stop_in(self.rng.random_range(0..8));
            drop(journal.append(append.position, append.batch.as_ref(), append.trim));
            self.account("an append");
        }
        if self.rng.random()
            && let (Some(next), Some(file)) = (self.checkpoint.take(), &self.file)
        {
            self.disk.stop_in(self.rng.random_range(0..60));
            drop(checkpoint::write(file, &next));
            self.account("a checkpoint");
        }
        self.restart(true);
    }

    /// Opens the partition again: in another process, or in the same one.
    fn restart(&mut self, crashed: bool) {
        self.crashes += 1;
        self.jobs.clear();
        // What an app had of its rate is forgotten with the process.
        self.started.clear();
        (self.append, self.checkpoint, self.waited) = (None, None, [0; 2]);
        if crashed {
            self.die();
        } else {
            // Whatever closing the files still does to them happens first.
            let idle = open(&SimDisk::new(0), self.clock.clone(), &self.apps, self.bounds);
            let (idle, ..) = idle.expect("opens");
            (self.journal, self.file) = (None, None);
            drop(std::mem::replace(&mut self.core, idle));
        }
        let mut failed = 0;
        let (core, journal, file) = loop {
            if self.disk.stopped() {
                self.die();
            }
            if self.faults && failed < OPENINGS_MAX && self.rng.random_range(0..5u32) == 0 {
                self.spoil();
            } else if failed >= OPENINGS_MAX {
                self.disk.calm();
            }
            let before = self.disk.struck();
            let opened = catch_unwind(AssertUnwindSafe(|| {
                open(&self.disk, self.clock.clone(), &self.apps, self.bounds)
            }));
            let stood = before == self.disk.struck();
            self.account("an opening");
            match opened {
                Ok(Ok(opened)) if !self.disk.stopped() => break opened,
                Ok(Err(error)) if !self.disk.stopped() && stood => {
                    panic!("it does not open: {error:#}");
                }
                Ok(_) => failed += 1,
                Err(cause) => std::panic::resume_unwind(cause),
            }
            self.note("not opened".into());
            self.count("opening failed");
        };
        self.disk.spare();
        (self.core, self.journal, self.file) = (core, Some(journal), Some(file));
        let through = self.core.commit.through();
        self.note(format!("opened at {through:?}"));
        self.count("opened again");
        self.facts.extend(self.model.recovered(through));
        self.model.compare(&self.core, self.latest_ms);
    }

    /// How often the partition was opened again.
    pub(super) fn restarts(&self) -> usize {
        self.crashes
    }

    /// An orderly end: everything that was accepted is written, then it is opened again.
    pub(super) fn shut_down(&mut self) {
        self.note("shut down".into());
        self.count("shut down");
        let restarts = self.crashes;
        self.core.close();
        self.settle();
        while self.crashes == restarts && !self.core.drained() {
            assert!(self.go_on(), "it is closing and nothing would end it");
            self.settle();
        }
        if self.crashes == restarts {
            assert!(self.core.view.table.is_empty(), "closed, and not all is in the state file");
            self.restart(false);
        }
    }

    fn die(&mut self) {
        let how = if self.rng.random() { Crash::Kill } else { Crash::PowerCut };
        self.note(format!("{how:?}"));
        self.disk.crash(how);
        let place = self.stopped_in.take().unwrap_or("between steps");
        self.account(place);
    }

    /// Nothing waits, runs, or is being written.
    pub(super) fn quiet(&self) -> bool {
        self.core.status().queued == 0 && self.jobs.is_empty() && self.core.commit.idle()
    }

    /// No faults any more, neither of the disk nor of handlers.
    pub(super) fn calm(&mut self) {
        self.faults = false;
        self.disk.calm();
    }

    /// Goes on in whatever way there is; by the clock only when nothing else is left to do, and only as far as
    /// the machine asked for. False when nothing will ever happen again by itself.
    pub(super) fn go_on(&mut self) -> bool {
        let ready = [!self.jobs.is_empty(), self.append.is_some(), self.checkpoint.is_some()];
        let ready: Vec<usize> = (0..3).filter(|n| ready[*n]).collect();
        let chosen = (!ready.is_empty()).then(|| ready[self.rng.random_range(0..ready.len())]);
        match chosen {
            Some(0) => self.run_job(),
            Some(1) => self.append(),
            Some(_) => self.write_checkpoint(),
            None => {
                let Some(wait) = self.core.next_wait() else { return false };
                self.advance(wait);
            }
        }
        true
    }
}

fn open(
    disk: &SimDisk,
    clock: Arc<ManualClock>,
    apps: &Arc<dyn Apps>,
    bounds: Bounds,
) -> anyhow::Result<Opened> {
    let mut chance = [0; 32];
    clock.fill(&mut chance);
    let journal = Box::new(LocalJournal::over(disk.clone(), "".as_ref(), chance)?);
    let recovered = recover::recover(StateFile::simulated(disk)?, journal)?;
    let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
    let mut core = Core::new(clock, apps.clone(), (view, ledger), (receipt, mark));
    core.bounds = bounds;
    Ok((core, journal, file))
}

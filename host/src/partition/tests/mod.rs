//! The state machine under a simulator: one seed decides every interleaving of requests, guest calls, appends,
//! checkpoints, failures and crashes. Each file below has its own handlers in plain Rust, and a model that is
//! obviously right to compare with. Invariant: one seed gives one run.

mod migrations;
mod replies;
mod transfers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::checkpoint::{self, Checkpoint};
use super::commit::Append;
use super::core::{Apps, Core, Event, Output, Settings};
use super::executor::{Executed, Job, Verdict};
use super::recover;
use super::request::CallFailure;
use crate::clock::{Clock, ManualClock};
use crate::config::RetryPolicy;
use crate::engine::Trap;
use crate::ids::EntityRef;
use crate::journal::{Journal, MemoryDisk, MemoryJournal};
use crate::record::keys;
use crate::state::StateFile;

/// Gives up on a message after so many attempts.
#[derive(Clone, Copy)]
struct Patience(u32);

impl Apps for Patience {
    fn settings(&self, _app: &str) -> Settings {
        let retry = RetryPolicy { initial_ms: 5, max_ms: 40, attempts_max: self.0 };
        Settings { retry, ..Settings::default() }
    }
}

/// What a guest would do; the second argument says that no handler fails on purpose any more.
type Handlers = fn(&Job, bool, &dyn Clock) -> Verdict;

/// The machine, its disk, and what it asked for and did not get yet.
struct Machine {
    rng: StdRng,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
    disk: MemoryDisk,
    core: Core,
    journal: Option<Box<dyn Journal>>,
    file: Option<StateFile>,
    jobs: Vec<Job>,
    append: Option<Append>,
    checkpoint: Option<Checkpoint>,
    patience: Patience,
    handlers: Handlers,
    faults: bool,
    crashes: usize,
    trace: VecDeque<String>,
}

impl Machine {
    fn new(seed: u64, patience: Patience, handlers: Handlers) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000, seed));
        let folder = tempfile::tempdir().expect("folder");
        let disk = MemoryDisk::default();
        let (core, journal, file) = open(&folder, &disk, clock.clone(), patience);
        Self {
            rng: StdRng::seed_from_u64(seed),
            clock,
            folder,
            disk,
            core,
            journal: Some(journal),
            file: Some(file),
            jobs: vec![],
            append: None,
            checkpoint: None,
            patience,
            handlers,
            faults: true,
            crashes: 0,
            trace: VecDeque::new(),
        }
    }

    fn note(&mut self, line: String) {
        if self.trace.len() == 200 {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// Collects what the machine asks for; true when it had to be opened again.
    fn settle(&mut self) -> bool {
        self.core.step();
        for output in self.core.outputs() {
            match output {
                Output::Release(released) => released.deliver(),
                Output::Run(job) => self.jobs.push(job),
                Output::Append(append) => assert!(self.append.replace(append).is_none()),
                Output::Checkpoint(next) => assert!(self.checkpoint.replace(next).is_none()),
            }
        }
        if self.core.poisoned().is_none() {
            return false;
        }
        self.note("poisoned".into());
        self.crash();
        true
    }

    fn run_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.swap_remove(self.rng.random_range(0..self.jobs.len()));
        let fails = self.faults && self.rng.random_range(0..5u32) == 0;
        let line = format!(
            "run {} {} {:?} fails: {fails}",
            job.message.target, job.message.handler, job.message.input
        );
        self.note(line);
        let version = job.view.version(&keys::entity_prefix(&job.message.target)).expect("reads");
        let verdict = (self.handlers)(&job, !self.faults, &*self.clock);
        let failed = Verdict::Failed(CallFailure::Trap(Trap::Other("told to".into())));
        let verdict = if fails { failed } else { verdict };
        let Job { work, message, view, direct, .. } = job;
        let cause = view.cause;
        // A state file can be opened again only when every reader of the old one is gone.
        drop(view);
        let executed = Executed { work, message, verdict, version, cause, direct };
        self.core.event(Event::Executed(Box::new(executed)));
    }

    fn append(&mut self) {
        let Some(Append { position, batch, trim }) = self.append.take() else { return };
        let journal = self.journal.as_mut().expect("open");
        let appended = journal.append(position, batch.as_ref(), trim);
        self.note(format!("append {position:?} ok: {}", appended.is_ok()));
        self.core.event(Event::Appended(appended));
    }

    fn write_checkpoint(&mut self) {
        let Some(next) = self.checkpoint.take() else { return };
        let written = checkpoint::write(self.file.as_ref().expect("open"), &next);
        self.note(format!("checkpoint {:?}", next.mark.position));
        self.core.event(Event::Checkpointed(written));
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.random_range(0..400));
        self.clock.advance(by);
    }

    fn fail_append(&mut self) {
        let kept = self.rng.random();
        self.disk.fail_next(kept);
        self.note(format!("next append fails, kept: {kept}"));
    }

    /// Everything in memory is gone; an append in flight may or may not have reached the disk.
    fn crash(&mut self) {
        self.crashes += 1;
        if self.rng.random()
            && let (Some(append), Some(journal)) = (self.append.take(), &mut self.journal)
        {
            drop(journal.append(append.position, append.batch.as_ref(), append.trim));
        }
        self.note("crash".into());
        self.jobs.clear();
        (self.append, self.checkpoint) = (None, None);
        (self.journal, self.file) = (None, None);
        // The state file can be opened again only when every reader of the old one is gone.
        let nowhere = MemoryDisk::default();
        let spare = tempfile::tempdir().expect("folder");
        let (idle, _, _) = open(&spare, &nowhere, self.clock.clone(), self.patience);
        drop(std::mem::replace(&mut self.core, idle));
        let (core, journal, file) =
            open(&self.folder, &self.disk, self.clock.clone(), self.patience);
        (self.core, self.journal, self.file) = (core, Some(journal), Some(file));
    }

    /// Nothing waits, runs, or is being written.
    fn quiet(&self) -> bool {
        self.core.status().queued == 0 && self.jobs.is_empty() && self.core.commit.idle()
    }
}

fn open(
    folder: &tempfile::TempDir,
    disk: &MemoryDisk,
    clock: Arc<ManualClock>,
    patience: Patience,
) -> (Core, Box<dyn Journal>, StateFile) {
    let file = StateFile::open(folder.path()).expect("opens");
    let journal = Box::new(MemoryJournal::open(disk));
    let recovered = recover::recover(file, journal).expect("recovers");
    let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
    let core = Core::new(clock, Arc::new(patience), (view, ledger), (receipt, mark));
    (core, journal, file)
}

fn entity(app: &str, kind: &str, key: &str) -> EntityRef {
    EntityRef::new(app, kind, key).expect("valid")
}

/// Runs seeds, and says which one failed; the number of crashes among them.
fn every_seed(seeds: std::ops::Range<u64>, simulate: fn(u64) -> (usize, Vec<String>)) -> usize {
    let mut crashes = 0;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| simulate(seed));
        match run {
            Ok((count, _)) => crashes += count,
            Err(cause) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(cause);
            }
        }
    }
    crashes
}

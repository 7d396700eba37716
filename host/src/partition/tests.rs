//! The state machine under a simulator: one seed decides every interleaving of requests, guest calls, appends,
//! checkpoints, failures and crashes. Accounts move money by messages; afterwards a model that is obviously
//! right checks conservation, exactly once, order, and that no answered transfer is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use super::checkpoint::{self, Checkpoint};
use super::commit::Append;
use super::core::{Apps, Core, Event, Output, Settings};
use super::executor::{Executed, Job, Verdict};
use super::recover;
use super::request::{Answer, Answered, CallFailure, CallResult, Invocation};
use super::transaction::Draft;
use crate::clock::{Clock, ManualClock};
use crate::config::RetryPolicy;
use crate::engine::{Due, Failure, Trap};
use crate::ids::{EntityRef, MessageId};
use crate::journal::{Journal, MemoryDisk, MemoryJournal};
use crate::record::keys;
use crate::record::message::{Message, Origin};
use crate::state::StateFile;

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const START: i64 = 100;

struct Patient;

impl Apps for Patient {
    fn settings(&self, _app: &str) -> Settings {
        let retry = RetryPolicy { initial_ms: 5, max_ms: 40, attempts_max: 10_000 };
        Settings { retry, ..Settings::default() }
    }
}

struct Transfer {
    from: usize,
    to: usize,
    /// What the caller was told, if anything.
    told: Option<bool>,
    reply: Option<oneshot::Receiver<Answered<Answer>>>,
}

struct Sim {
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
    transfers: Vec<Transfer>,
    faults: bool,
    crashes: usize,
    trace: VecDeque<String>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(1_000_000, seed));
        let folder = tempfile::tempdir().expect("folder");
        let disk = MemoryDisk::default();
        let (core, journal, file) = open(&folder, &disk, clock.clone());
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
            transfers: vec![],
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

    fn ask(&mut self, number: usize) {
        let transfer = &mut self.transfers[number];
        let (to, reply) = oneshot::channel();
        transfer.reply = Some(reply);
        let entity = account(transfer.from);
        let input = format!("{number} {}", ACCOUNTS[transfer.to]);
        let invocation = Invocation {
            entity,
            handler: "transfer".into(),
            input: input.into(),
            content_type: None,
            trace: None,
            idempotency_key: Some(format!("transfer-{number}")),
        };
        self.core.call(invocation, to);
        self.note(format!("ask {number}"));
    }

    /// Hears what callers were told.
    fn listen(&mut self) {
        for (number, transfer) in self.transfers.iter_mut().enumerate() {
            let Some(reply) = &mut transfer.reply else { continue };
            match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) | Ok(Err(_)) => transfer.reply = None,
                Ok(Ok(answer)) => {
                    transfer.reply = None;
                    let said = match answer.into_inner().result {
                        CallResult::Reply(_) => true,
                        CallResult::Rejected(_) => false,
                        CallResult::Failed(_) => continue,
                    };
                    assert!(
                        transfer.told.is_none_or(|told| told == said),
                        "transfer {number} was answered twice, differently"
                    );
                    transfer.told = Some(said);
                }
            }
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100u32) {
            0..30 => self.run_job(),
            30..60 => self.append(),
            60..66 => self.write_checkpoint(),
            66..76 => {
                let by = Duration::from_millis(self.rng.random_range(0..400));
                self.clock.advance(by);
            }
            76..94 if self.faults && self.transfers.len() < 60 => {
                let from = self.rng.random_range(0..ACCOUNTS.len());
                let to = (from + self.rng.random_range(1..ACCOUNTS.len())) % ACCOUNTS.len();
                self.transfers.push(Transfer { from, to, told: None, reply: None });
                self.ask(self.transfers.len() - 1);
            }
            94..97 if !self.transfers.is_empty() => {
                let number = self.rng.random_range(0..self.transfers.len());
                if self.transfers[number].reply.is_none() {
                    self.ask(number);
                }
            }
            97 if self.faults => {
                let kept = self.rng.random();
                self.disk.fail_next(kept);
                self.note(format!("next append fails, kept: {kept}"));
            }
            98 if self.faults => self.crash(),
            _ => {}
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.core.step();
        for output in self.core.outputs() {
            match output {
                Output::Release(released) => released.deliver(),
                Output::Run(job) => self.jobs.push(job),
                Output::Append(append) => assert!(self.append.replace(append).is_none()),
                Output::Checkpoint(next) => assert!(self.checkpoint.replace(next).is_none()),
            }
        }
        self.listen();
        if self.core.poisoned().is_some() {
            self.note("poisoned".into());
            self.crash();
        }
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
        let executed = execute(job, fails, &*self.clock);
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
        let (idle, _, _) = open(&spare, &nowhere, self.clock.clone());
        drop(std::mem::replace(&mut self.core, idle));
        let (core, journal, file) = open(&self.folder, &self.disk, self.clock.clone());
        (self.core, self.journal, self.file) = (core, Some(journal), Some(file));
        for transfer in &mut self.transfers {
            transfer.reply = None;
        }
        self.settle();
    }

    /// No more faults: everything drains, and every transfer is asked again until it is answered.
    fn drain(&mut self) {
        self.faults = false;
        for _ in 0..20_000 {
            if let Some(number) = self.transfers.iter().position(|t| t.told.is_none()) {
                if self.transfers[number].reply.is_none() {
                    self.ask(number);
                }
            } else if self.core.status().queued == 0
                && self.jobs.is_empty()
                && self.core.commit.idle()
            {
                return;
            }
            self.step();
        }
        panic!("it does not drain: {:?}", self.core.status());
    }

    /// Every key says again what it said before.
    fn ask_again(&mut self) {
        for number in 0..self.transfers.len() {
            self.ask(number);
        }
        for _ in 0..20_000 {
            if self.transfers.iter().all(|transfer| transfer.reply.is_none()) {
                return;
            }
            self.step();
        }
        panic!("it does not answer again: {:?}", self.core.status());
    }

    fn check(&self) {
        let mut sum = 0;
        let mut sent = BTreeMap::new();
        let mut received: BTreeMap<String, u32> = BTreeMap::new();
        for number in 0..ACCOUNTS.len() {
            let entity = account(number);
            let view = self.core.view.entity(&entity);
            let prefix = keys::entity_prefix(&entity);
            sum += number_at(&view, &prefix, b"balance").unwrap_or(START);
            for (transfer, _) in self.transfers.iter().enumerate() {
                let out = number_at(&view, &prefix, format!("out/{transfer}").as_bytes());
                let times = number_at(&view, &prefix, format!("in/{transfer}").as_bytes());
                if let Some(out) = out {
                    sent.insert(transfer, out);
                }
                if let Some(times) = times {
                    *received.entry(transfer.to_string()).or_default() += times as u32;
                }
            }
        }
        assert_eq!(sum, START * ACCOUNTS.len() as i64, "money was made or lost");
        for (number, transfer) in self.transfers.iter().enumerate() {
            let done = transfer.told.expect("answered in the end");
            let expected = u32::from(done);
            let out = sent.get(&number).copied().unwrap_or(0) as u32;
            let into = received.get(&number.to_string()).copied().unwrap_or(0);
            assert_eq!((out, into), (expected, expected), "transfer {number} took effect so often");
        }
    }
}

fn open(
    folder: &tempfile::TempDir,
    disk: &MemoryDisk,
    clock: Arc<ManualClock>,
) -> (Core, Box<dyn Journal>, StateFile) {
    let file = StateFile::open(folder.path()).expect("opens");
    let journal = Box::new(MemoryJournal::open(disk));
    let recovered = recover::recover(file, journal).expect("recovers");
    let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
    let core = Core::new(clock, Arc::new(Patient), (view, ledger), (receipt, mark));
    (core, journal, file)
}

fn account(number: usize) -> EntityRef {
    EntityRef::new("bank", "account", ACCOUNTS[number]).expect("valid")
}

fn number_at(view: &super::view::EntityView, prefix: &[u8], key: &[u8]) -> Option<i64> {
    let value = view.get(prefix, key).expect("reads")?;
    Some(std::str::from_utf8(&value).expect("text").parse().expect("number"))
}

/// The account's handlers, in plain Rust: what a guest would do.
fn execute(job: Job, fails: bool, clock: &dyn Clock) -> Executed {
    let Job { work, message, view, now_ms, .. } = job;
    let (cause, prefix) = (view.cause, keys::entity_prefix(&message.target));
    let version = view.version(&prefix).expect("reads");
    let read = |key: &str| number_at(&view, &prefix, key.as_bytes());
    let mut draft = Draft::default();
    let mut write = |key: String, value: i64| {
        draft.writes.insert(key.into(), Some(value.to_string().into()));
    };
    let input = std::str::from_utf8(&message.input).expect("text");
    let (first, second) = input.split_once(' ').expect("two words");
    let balance = read("balance").unwrap_or(START);
    let verdict = if message.handler == "transfer" && balance < 10 {
        let (code, message) = ("insufficient_funds".into(), "no".into());
        Verdict::Rejected(Failure { code, message, details: None, retryable: false })
    } else if message.handler == "transfer" {
        let target = EntityRef::new("bank", "account", second).expect("valid");
        // Numbered per receiver, so that the receiver can tell order and gaps.
        let numbered = read(&format!("sent/{second}")).unwrap_or(0) + 1;
        write(format!("sent/{second}"), numbered);
        write("balance".into(), balance - 10);
        write(format!("out/{first}"), read(&format!("out/{first}")).unwrap_or(0) + 1);
        let credit = Message {
            id: MessageId::new(now_ms, &target, clock.chance()),
            target,
            handler: "credit".into(),
            input: format!("{first} {numbered}").into(),
            content_type: None,
            trace: None,
            origin: Origin::Entity(message.target.clone()),
        };
        draft.sends.push((Arc::new(credit), Due::Now));
        Verdict::Done(Bytes::new(), draft)
    } else {
        let sender = message.sender().expect("an entity").key().to_owned();
        let numbered: i64 = second.parse().expect("a number");
        let seen = read(&format!("seen/{sender}")).unwrap_or(0);
        if !fails {
            assert_eq!(numbered, seen + 1, "{sender} -> {}: out of order", message.target);
        }
        write(format!("seen/{sender}"), numbered);
        write("balance".into(), balance + 10);
        write(format!("in/{first}"), read(&format!("in/{first}")).unwrap_or(0) + 1);
        Verdict::Done(Bytes::new(), draft)
    };
    let failed = Verdict::Failed(CallFailure::Trap(Trap::Other("told to".into())));
    drop(view);
    let verdict = if fails { failed } else { verdict };
    Executed { work, message, verdict, version, cause, direct: None }
}

fn simulate(seed: u64) -> (usize, Vec<String>) {
    let mut sim = Sim::new(seed);
    for _ in 0..1_500 {
        sim.step();
    }
    sim.drain();
    sim.ask_again();
    sim.check();
    // What is on disk says the same as what is in memory.
    sim.crash();
    sim.check();
    (sim.crashes, sim.trace.into())
}

#[test]
fn every_promise_holds_under_crashes_at_any_point() {
    let mut crashes = 0;
    for seed in 0..24 {
        let run = std::panic::catch_unwind(|| simulate(seed));
        match run {
            Ok((count, _)) => crashes += count,
            Err(cause) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(cause);
            }
        }
    }
    assert!(crashes > 100, "only {crashes} crashes: the simulator is too kind");
}

#[test]
fn one_seed_gives_one_run() {
    assert_eq!(simulate(7), simulate(7));
}

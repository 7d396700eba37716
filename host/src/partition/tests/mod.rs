//! The state machine under a simulator: one seed decides every interleaving of requests, guest calls, appends,
//! checkpoints, clocks, failures and crashes, over the real journal and state file on a simulated disk. Each file
//! below has its own handlers in plain Rust, and a model that is obviously right to compare with; `model` holds for
//! all of them. Invariant: one seed gives one run. `KEYSTEAD_SEEDS=n` runs the first n seeds of each simulation,
//! `KEYSTEAD_SEED=n` runs that one and prints what happened; `seeds.txt` has those that failed once.

mod early;
mod fuzz;
mod late;
mod machine;
mod migrations;
mod model;
mod operated;
mod replies;
mod transfers;
mod world;

use std::collections::{BTreeMap, VecDeque};

use machine::{Machine, Patience};

use tokio::sync::oneshot;

use super::request::{Answer, Answered, Invocation};
use crate::ids::EntityRef;
use crate::storage;

impl super::core::Core {
    /// A call whose id is made when it is let in, so that a refused one draws no number.
    fn call(&mut self, invocation: Invocation, reply: oneshot::Sender<Answered<Answer>>) {
        self.call_as(None, invocation, reply);
    }
}

/// Lines of a run that are kept to be shown.
const TRACE_LINES: usize = 400;
/// Lines that a failed run of many shows; run it by hand to see more.
const TRACE_LINES_SHOWN: usize = 20;

/// What happened in a run: the last lines whole, all of them as a hash.
#[derive(Debug, Default, PartialEq, Eq)]
struct Trace {
    last: VecDeque<String>,
    hash: [u8; 32],
}

impl Trace {
    fn note(&mut self, line: String) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash).update(line.as_bytes());
        self.hash = *hasher.finalize().as_bytes();
        if self.last.len() == TRACE_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// A run that fails says how it came to that.
impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = if by_hand() { TRACE_LINES } else { TRACE_LINES_SHOWN };
            let from = self.last.len().saturating_sub(shown);
            self.last.iter().skip(from).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// How often what happened, by name and, for faults of the disk, where.
type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    crashes: usize,
    counts: Counts,
    /// Too few seeds for what is true of many.
    few: bool,
    trace: Trace,
}

impl Run {
    /// How often something happened, wherever.
    fn times(&self, what: &str) -> u64 {
        self.counts.iter().filter(|((name, _), _)| *name == what).map(|(_, times)| times).sum()
    }

    /// A suite in which something hardly ever happens is too kind.
    fn must_have(&self, what: &[&str], times_min: u64) {
        for name in what {
            let times = self.times(name);
            assert!(times >= times_min || self.few, "{name}: {times} times only");
        }
    }
}

fn entity(app: &str, kind: &str, key: &str) -> EntityRef {
    EntityRef::new(app, kind, key).expect("valid")
}

/// Runs seeds, those first that failed once; says which one failed and how to run it again, and what all of them
/// came to.
fn every_seed(name: &str, usual: u64, simulate: fn(u64) -> Run) -> Run {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("partition::tests").to_owned();
    let chosen = storage::simulated::seeds(usual);
    let count = chosen.end - chosen.start;
    let mut all = Run { few: count < usual, ..Run::default() };
    let before = failed_once(name).filter(|seed| !by_hand() && !chosen.contains(seed));
    for seed in before.chain(chosen.clone()) {
        let run = std::panic::catch_unwind(|| simulate(seed));
        let run = run.unwrap_or_else(|cause| {
            eprintln!("seed {seed} failed; again:");
            eprintln!("KEYSTEAD_SEED={seed} cargo test -p keystead --lib {test} -- --nocapture");
            std::panic::resume_unwind(cause);
        });
        if by_hand() {
            run.trace.last.iter().for_each(|line| eprintln!("{line}"));
        }
        all.crashes += run.crashes;
        for (what, times) in &run.counts {
            *all.counts.entry(*what).or_default() += times;
        }
    }
    eprintln!("{test}: {count} seeds from {}, {} restarts", chosen.start, all.crashes);
    for ((what, place), times) in &all.counts {
        eprintln!("{test}: {what} | {place} | {times}");
    }
    all
}

fn failed_once(name: &str) -> impl Iterator<Item = u64> {
    let lines = include_str!("seeds.txt").lines();
    lines.filter_map(move |line| {
        let (seed, _) = line.strip_prefix(name)?.strip_prefix(' ')?.split_once(' ')?;
        Some(seed.parse().expect("a number"))
    })
}

/// True when one seed runs, to be looked at.
fn by_hand() -> bool {
    std::env::var_os("KEYSTEAD_SEED").is_some()
}

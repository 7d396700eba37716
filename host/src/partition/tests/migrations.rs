//! Queries over entities whose state is of an older version: each entity is brought up to date once, however many
//! ask and whoever is faster, everybody hears what is true then, and a query that is never content ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::RngExt;
use tokio::sync::oneshot;

use super::super::executor::{Job, Verdict};
use super::super::request::{Answer, Answered, CallResult, Invocation};
use super::super::transaction::Draft;
use super::super::view::ReadError;
use super::{Machine, Patience, Run, entity, every_seed};
use crate::clock::Clock;
use crate::engine::Failure;
use crate::record::keys;

const THINGS: [&str; 5] = ["a", "b", "c", "d", "e"];

type Waiting = oneshot::Receiver<Answered<Answer>>;

struct Sim {
    machine: Machine,
    asked: Vec<Waiting>,
    /// Answers of queries: the version that they saw.
    seen: BTreeMap<String, u32>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(seed, Patience(3), handle);
        Self { machine, asked: vec![], seen: BTreeMap::new() }
    }

    fn ask(&mut self, handler: &str, query: bool) {
        let thing = THINGS[self.machine.rng.random_range(0..THINGS.len())];
        let (to, answer) = oneshot::channel();
        let invocation = Invocation {
            entity: entity("app", "thing", thing),
            handler: handler.into(),
            input: Bytes::new(),
            content_type: None,
            trace: None,
            idempotency_key: None,
        };
        self.machine.note(format!("{handler} {thing}"));
        if query {
            self.machine.core.read(invocation, to);
            self.asked.push(answer);
        } else {
            self.machine.core.call(invocation, to);
        }
    }

    fn step(&mut self) {
        match self.machine.rng.random_range(0..100u32) {
            0..40 => self.machine.run_job(),
            40..70 => self.machine.append(),
            70..74 => self.machine.write_checkpoint(),
            74..80 => self.machine.pass_time(),
            80..92 if self.machine.faults => self.ask("show", true),
            92..94 if self.machine.faults => self.ask("bump", false),
            94..97 if self.machine.faults => self.ask("grumble", true),
            97 if self.machine.faults => self.machine.spoil(),
            98 if self.machine.faults => self.machine.crash(),
            _ => {}
        }
        self.machine.settle();
        for thing in THINGS {
            let migrates =
                |job: &&Job| job.message.handler == "migrate" && job.message.target.key() == thing;
            let running = self.machine.jobs.iter().filter(migrates).count();
            assert!(running <= 1, "{thing} migrates {running} times at once");
        }
        self.listen();
    }

    fn listen(&mut self) {
        let seen = &mut self.seen;
        self.asked.retain_mut(|answer| match answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Ok(answer)) => {
                let said = match answer.into_inner().result {
                    CallResult::Reply(body) => String::from_utf8(body.into()).expect("text"),
                    CallResult::Failed(failure) => failure.to_string(),
                    CallResult::Rejected(failure) => panic!("{failure:?}"),
                };
                *seen.entry(said).or_default() += 1;
                false
            }
            // The machine was opened again.
            _ => false,
        });
    }
}

/// What things do.
fn handle(job: &Job, _calm: bool, _clock: &dyn Clock) -> Result<Verdict, ReadError> {
    let prefix = keys::entity_prefix(&job.message.target);
    let current = job.view.get(&prefix, b"version")?.is_some();
    let mut draft = Draft::default();
    let outdated = || {
        let (code, message) = ("state_outdated".to_owned(), "of version 1".to_owned());
        Verdict::Outdated(
            "migrate".into(),
            Failure { code, message, details: None, retryable: true },
        )
    };
    match job.message.handler.as_str() {
        "show" if !current => return Ok(outdated()),
        "grumble" => return Ok(outdated()),
        "show" => return Ok(Verdict::Done(Bytes::from_static(b"2"), draft)),
        "migrate" if current => return Ok(Verdict::Done(Bytes::new(), draft)),
        "migrate" | "bump" => {}
        other => panic!("{other}: no such handler"),
    }
    draft.writes.insert(Bytes::from_static(b"version"), Some(Bytes::from_static(b"2")));
    Ok(Verdict::Done(Bytes::new(), draft))
}

fn simulate(seed: u64) -> Run {
    let mut sim = Sim::new(seed);
    for _ in 0..600 {
        sim.step();
    }
    sim.machine.calm();
    for _ in THINGS {
        sim.ask("show", true);
    }
    for round in 0.. {
        if sim.asked.is_empty() && sim.machine.quiet() && sim.machine.core.migrating.is_empty() {
            break;
        }
        assert!(round < 10_000, "{} queries are never answered", sim.asked.len());
        sim.step();
    }
    let failures = ["told_to: fail", "trapped: told to", "ran longer than its deadline of 5000 ms"];
    let known = |said: &str| ["2", "state_outdated: of version 1"].contains(&said);
    let failed = |said: &str| failures.contains(&said) || said.starts_with("state.redb: ");
    assert!(sim.seen.keys().all(|said| known(said) || failed(said)), "{:?}", sim.seen);
    assert!(sim.seen.get("2").is_some_and(|times| *times >= THINGS.len() as u32), "{:?}", sim.seen);
    sim.machine.end()
}

#[test]
fn outdated_entities_are_migrated_once_whoever_asks() {
    let all = every_seed("migrations", 32, simulate);
    assert!(all.few || all.crashes > 20, "only {} crashes: the simulator is too kind", all.crashes);
}

/// Asks queries of one thing at the same time, and says how often each handler ran and what was answered.
fn ask_at_once(seed: u64, queries: &[&str]) -> (BTreeMap<String, u32>, Vec<bool>) {
    let mut machine = Machine::new(seed, Patience(3), handle);
    machine.faults = false;
    let mut asked = vec![];
    for handler in queries {
        let (to, answer) = oneshot::channel();
        let invocation = Invocation {
            entity: entity("app", "thing", "a"),
            handler: (*handler).into(),
            input: Bytes::new(),
            content_type: None,
            trace: None,
            idempotency_key: None,
        };
        machine.core.read(invocation, to);
        asked.push(answer);
    }
    machine.settle();
    let mut runs = BTreeMap::new();
    while let Some(at) = machine.jobs.len().checked_sub(1) {
        let waiting: Vec<_> = machine.jobs.iter().map(|job| job.message.handler.clone()).collect();
        machine.run_job();
        // Whichever ran is the one that is missing.
        let left: Vec<_> = machine.jobs.iter().map(|job| job.message.handler.clone()).collect();
        let ran = waiting.iter().find(|name| {
            let count = |names: &[String]| names.iter().filter(|other| other == name).count();
            count(&waiting) > count(&left)
        });
        *runs.entry(ran.expect("one ran").clone()).or_default() += 1;
        assert!(at < 10, "more and more");
        machine.settle();
    }
    assert!(asked[0].try_recv().is_err(), "told before the migration is durable");
    machine.append();
    machine.settle();
    let said = asked.iter_mut().map(|answer| {
        let answer = answer.try_recv().expect("answered").expect("answered").into_inner();
        matches!(answer.result, CallResult::Reply(_))
    });
    (runs, said.collect())
}

#[test]
fn many_queries_wait_for_one_migration() {
    for seed in 0..20 {
        let (runs, said) = ask_at_once(seed, &["show"; 4]);
        assert_eq!((runs["migrate"], runs["show"]), (1, 8), "seed {seed}");
        assert_eq!(said, [true; 4]);
    }
}

#[test]
fn a_query_that_is_never_content_ends() {
    for seed in 0..20 {
        let (runs, said) = ask_at_once(seed, &["show", "grumble"]);
        assert!(runs["grumble"] <= 3 && runs["migrate"] <= 2, "seed {seed}: {runs:?}");
        assert_eq!(said, [true, false]);
    }
}

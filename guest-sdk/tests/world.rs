//! What `testing::World` promises when it injects faults: what the host promises stays true, the same seed
//! does the same, and a handler that trusts its process is found.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{Faults, World, json};

/// How many seeds a promise holds for.
const SEEDS: std::ops::Range<u64> = 0..200;

#[entity]
pub struct Node {
    heard: Vec<(String, u64)>,
    attempts: u64,
    due_ms: u64,
    late_ms: u64,
}

#[handlers]
impl Node {
    /// Sends the numbers below `count` to each of the nodes.
    pub fn tell(&mut self, ctx: &Ctx, nodes: Vec<String>, count: u64) {
        for number in 0..count {
            for node in &nodes {
                Node::at(node).hear(number).send(ctx);
            }
        }
    }

    pub fn hear(&mut self, ctx: &Ctx, number: u64) {
        self.attempts += u64::from(ctx.attempt());
        self.heard.push((ctx.sender().unwrap_or_default().key, number));
    }

    pub fn add(&mut self, number: u64) -> u64 {
        self.heard.push((String::new(), number));
        self.heard.len() as u64
    }

    pub fn wake_in(&mut self, ctx: &Ctx, ms: u64) {
        self.due_ms = (ctx.now() + Duration::from_millis(ms)).as_ms();
        Node::timer("wake").wake().after(Duration::from_millis(ms)).set(ctx);
    }

    pub fn wake(&mut self, ctx: &Ctx) {
        assert!(ctx.now().as_ms() >= self.due_ms, "a timer never runs early");
        self.late_ms = ctx.now().as_ms() - self.due_ms;
    }

    pub fn refuse(&mut self) -> Result<()> {
        reject!(code = "never", "no");
    }

    pub fn ask_refusal(&mut self, ctx: &Ctx) {
        Node::at("b").refuse().send(ctx);
    }

    pub fn count(&self) -> usize {
        self.heard.len()
    }
}

fn heard(world: &World, key: &str) -> Vec<(String, u64)> {
    world.inspect(key, |node: &Node| node.heard.clone())
}

fn chatter(mut world: World) -> World {
    let tell = json!({"nodes": ["b", "c", "d"], "count": 6});
    for node in ["a", "b"] {
        world.keyed("tell").call::<()>("node", node, "tell", &tell).expect("tells");
    }
    world.settle();
    world
}

#[test]
fn messages_take_effect_once_and_in_the_order_of_their_pair_whatever_happens() {
    let mut orders = BTreeMap::new();
    for seed in SEEDS {
        // Half of the runs have no dead letters, so that order is told exactly.
        let faults = Faults::from_seed(seed).parking(if seed % 2 == 0 { 0 } else { 5 });
        let mut world = chatter(World::new().with::<Node>().with_faults(faults));
        let parked = world.retry_dead_letters();
        assert_eq!((world.dead_letters().len(), world.pending()), (0, 0), "seed {seed}");
        for node in ["b", "c", "d"] {
            let heard = heard(&world, node);
            for sender in ["a", "b"] {
                let mut numbers: Vec<_> =
                    heard.iter().filter(|(from, _)| from == sender).map(|(_, n)| *n).collect();
                // What was parked counts from its release.
                if parked > 0 {
                    numbers.sort_unstable();
                }
                assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "seed {seed}: {sender} to {node}");
            }
            *orders.entry(heard).or_insert(0) += 1;
        }
        assert_eq!(world.sent().len(), 36);
        assert_eq!(world.sent()[35].argument::<u64>("number"), 5);
    }
    assert!(orders.len() > 100, "messages of two pairs overtake each other: {}", orders.len());
}

/// Turns knobs.
type Change = fn(Faults) -> Faults;

#[test]
fn every_kind_of_fault_happens_and_each_can_be_switched_off() {
    let lines = |faults: Change| -> String {
        let worlds = SEEDS.map(|seed| {
            let faults = faults(Faults::from_seed(seed));
            let mut world = chatter(World::new().with::<Node>().with_faults(faults));
            world.call_typed(Node::at("a").wake_in(10)).expect("sets");
            world.send("node", "a", "add", json!({"number": 1}));
            world.advance(Duration::from_secs(1));
            world.trace().join("\n")
        });
        worlds.collect::<Vec<_>>().join("\n")
    };
    let none = |faults: Faults| faults.repeats(0).restarts(0).failures(0).parking(0);
    let calm = lines(none);
    let kinds: [(&str, Change); 5] = [
        ("the process dies before the commit", |faults| faults.restarts(20)),
        ("comes again: it is known", |faults| faults.repeats(20)),
        ("the answer is lost, and the client repeats node/a", |faults| faults.repeats(20)),
        ("a fault made this attempt fail", |faults| faults.failures(20)),
        ("is parked after 10 attempts", |faults| faults.parking(20)),
    ];
    for (line, with) in kinds {
        assert!(!calm.contains(line), "{line}");
        assert!(lines(with).contains(line), "{line}");
    }
}

#[test]
fn the_same_seed_does_the_same_and_without_reordering_all_do() {
    let run = |seed, ordered: bool| {
        let mut faults = Faults::from_seed(seed);
        if ordered {
            let none = faults.repeats(0).restarts(0).failures(0);
            faults = none.reordering(false).latency(Duration::ZERO);
        }
        let world = chatter(World::new().with::<Node>().with_faults(faults));
        (world.trace(), heard(&world, "b"))
    };
    assert_eq!(run(7, false), run(7, false));
    assert_ne!(run(7, false).0, run(8, false).0);
    assert_eq!(run(7, true).1, heard(&chatter(World::new().with::<Node>()), "b"));
    assert!(World::new().with::<Node>().trace().is_empty());
}

#[test]
fn attempts_that_fail_keep_nothing_and_count() {
    let mut repeated = 0;
    for seed in SEEDS {
        let faults = Faults::from_seed(seed).failures(50);
        let world = chatter(World::new().with::<Node>().with_faults(faults).attempts(2));
        assert!(world.dead_letters().is_empty(), "a last attempt is not made to fail");
        let attempts = world.inspect("c", |node: &Node| node.attempts);
        assert_eq!(heard(&world, "c").len(), 12);
        repeated += attempts - 12;
    }
    assert!(repeated > 100, "{repeated}");
}

#[test]
fn a_request_without_a_key_may_come_twice_and_one_with_a_key_never_does() {
    let mut lengths = BTreeMap::new();
    for seed in SEEDS {
        let mut world = World::new().with::<Node>().with_faults(Faults::from_seed(seed));
        let first = world.keyed("k").call_typed(Node::at("a").add(1)).expect("adds");
        assert_eq!(first, 1);
        let again = world.keyed("k").call_typed(Node::at("a").add(1)).expect("the first answer");
        assert_eq!(again, 1);
        let sent = world.keyed("s").send("node", "a", "add", json!({"number": 2}));
        assert_eq!(world.keyed("s").send("node", "a", "add", json!({"number": 2})), sent);
        world.settle();
        assert_eq!(heard(&world, "a").len(), 2, "seed {seed}");
        let error = world.keyed("k").call_typed(Node::at("a").add(3)).expect_err("another body");
        assert_eq!(error.code(), "idempotency_mismatch");
        world.call_typed(Node::at("a").add(4)).expect("adds");
        *lengths.entry(heard(&world, "a").len()).or_insert(0) += 1;
    }
    assert_eq!(lengths.keys().copied().collect::<Vec<_>>(), [3, 4], "{lengths:?}");
}

#[test]
fn timers_run_late_and_never_early() {
    let late = SEEDS.map(|seed| {
        let mut world = World::new().with::<Node>().with_faults(Faults::from_seed(seed));
        world.keyed("k").call_typed(Node::at("a").wake_in(1_000)).expect("sets");
        world.advance(Duration::from_secs(30));
        assert!(world.timers("node", "a").is_empty(), "by the end it has run");
        world.inspect("a", |node: &Node| node.late_ms)
    });
    let late: Vec<u64> = late.collect();
    assert!(late.iter().any(|ms| *ms > 1_000) && late.contains(&0), "{late:?}");
}

#[test]
fn a_rejection_that_nobody_hears_of_is_a_dead_letter() {
    let mut world = World::new().with::<Node>();
    world.call_typed(Node::at("a").ask_refusal()).expect("asks");
    world.send("node", "b", "refuse", json!({}));
    world.settle();
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!((dead.reason.code(), dead.attempts, dead.is_answered), ("never", 1, false));
    assert_eq!(world.rejections().len(), 1, "a send from outside can be asked for");
}

static CALLS: AtomicU64 = AtomicU64::new(0);

#[entity]
pub struct Careless {
    number: u64,
    names: std::collections::HashMap<String, u64>,
}

#[handlers]
impl Careless {
    /// The process counts, not the entity.
    pub fn count(&mut self) -> u64 {
        self.number = CALLS.fetch_add(1, Ordering::Relaxed);
        0
    }

    pub fn tell(&mut self, ctx: &Ctx) {
        let number = CALLS.fetch_add(1, Ordering::Relaxed);
        Careless::at("other").take(number).send(ctx);
    }

    pub fn take(&mut self, number: u64) {
        self.number = number;
    }

    /// Its JSON has another order each time, and the same meaning.
    pub fn name(&mut self, names: Vec<String>) {
        self.names = names.into_iter().zip(0..).collect();
    }
}

#[test]
fn a_handler_that_trusts_its_process_is_found() {
    for (handler, reason) in [
        (
            "count",
            "count of careless/a does something else when it runs again after a restart: it left",
        ),
        ("tell", "it sent [{\"due_ms\":"),
    ] {
        let found = World::search(SEEDS, |world| {
            let mut world = world.with::<Careless>();
            let _ = world.call::<serde_json::Value>("careless", "a", handler, json!({}));
        });
        let found = found.expect("it is found");
        assert!(found.reason.contains(reason), "{found}");
    }
    World::explore(SEEDS, |world| {
        let mut world = world.with::<Careless>().faults(|faults| faults.restarts(100));
        let names: Vec<_> = ('a'..='z').map(String::from).collect();
        world.call_typed(Careless::at("a").name(names)).expect("names");
    });
}

#[test]
fn a_failing_seed_is_told_with_what_happened_and_runs_again_alone() {
    let test = |world: World| {
        let mut world = world.with::<Node>();
        world.call_typed(Node::at("a").add(1)).expect("adds");
        let len: usize = world.read("node", "a", "count", json!({})).expect("reads");
        assert_eq!(len, 1, "one request, one effect");
    };
    let found = World::search(SEEDS, test).expect("a client repeats it");
    let text = found.to_string();
    assert!(text.starts_with(&format!("seed {} fails: assertion", found.seed)), "{text}");
    assert!(text.contains("one request, one effect"), "{text}");
    assert!(text.contains("    0.000 s  call node/a add {\"number\":1} -> 2"), "{text}");
    assert!(text.ends_with(&format!("KEYSTEAD_SEED={}", found.seed)), "{text}");
    let again = World::search([found.seed], test).expect("again");
    assert_eq!(again.to_string(), text);
    assert!(World::search(0..3, |_| ()).is_none());
}

#[test]
#[should_panic(expected = "no seeds to run")]
fn exploring_nothing_is_a_mistake() {
    World::explore(0..0, |_| ());
}

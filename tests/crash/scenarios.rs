//! One scenario for each kind of fault: a host under load meets it again and again, and every few times everything
//! is checked.
//!
//! `KEYSTEAD_CRASH_ROUNDS` says how many faults each scenario has (CI has few), `KEYSTEAD_CRASH_SEED` where chance
//! begins; a failure prints the command that repeats it. `KEYSTEAD_BINARY` names another host than cargo's.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::load::Load;
use super::nemesis::{Fault, start_killed};
use super::world::{Tally, World};

/// Faults that one data folder meets at most.
const ROUNDS_PER_WORLD: u64 = 24;
/// Faults between two checks at most.
const ROUNDS_PER_CHECK: u64 = 5;
/// Fewer may all have missed what they were meant for.
const ROUNDS_TO_JUDGE: u64 = 8;
/// How often a host over an empty folder is killed before it may live.
const FIRST_STARTS: u64 = 4;
const RETENTION_S: u64 = 3_600;

const LOAD: Load = Load { clients: 24, cells: 12, pause: Duration::from_millis(1), ballast: 12 };

/// A scenario, and how many faults it has in CI.
macro_rules! scenarios {
    ($($name:ident: $fault:ident, $rounds:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                scenario(stringify!($name), Fault::$fault, $rounds).await;
            }
        )*
    };
}

scenarios! {
    killed_at_random_moments: Kill, 10;
    killed_at_named_calls: KillAtCall, 10;
    killed_while_it_starts: KillAtStart, 8;
    a_disk_that_is_full_for_a_while: Full, 3;
    a_call_of_the_disk_that_fails_once: FailOnce, 4;
    syncs_that_fail_for_a_while: SyncsFail, 3;
    a_read_that_fails_once: ReadFails, 4;
    a_slow_disk: Slow, 2;
    a_process_that_is_stopped_and_goes_on: Pause, 2;
    stopped_in_order_under_load: Terminate, 3;
}

async fn scenario(name: &'static str, fault: Fault, rounds: u64) {
    let (seed, rounds, _repeat) = seeded(name, rounds);
    let (sum, requests, took) = rounds_of(fault, rounds, seed).await;
    println!("{name}: {sum:?}, {requests} requests, {took:?}");
    let few = rounds < ROUNDS_TO_JUDGE || !fault.is_counted();
    assert!(few || sum.struck * 3 >= rounds, "it hardly ever happened");
}

async fn rounds_of(fault: Fault, rounds: u64, seed: u64) -> (Tally, u64, Duration) {
    let (mut chance, began) = (StdRng::seed_from_u64(seed), Instant::now());
    let (mut left, mut sum, mut requests) = (rounds, Tally::default(), 0);
    while left > 0 {
        let here = left.min(ROUNDS_PER_WORLD);
        let mut world = World::new(chance.random(), LOAD, RETENTION_S);
        if fault == Fault::KillAtStart {
            for _ in 0..FIRST_STARTS {
                start_killed(&mut world).await;
            }
        }
        world.open().await;
        let mut until_check = 0;
        for round in 0..here {
            if until_check == 0 {
                until_check = world.chance.random_range(1..=ROUNDS_PER_CHECK);
            }
            world.begin();
            fault.strike(&mut world).await;
            world.recover().await;
            until_check -= 1;
            if until_check == 0 || round + 1 == here {
                world.check().await;
                until_check = 0;
            }
        }
        assert!(world.host.stop().await.success(), "a clean stop");
        world.examine().await;
        left -= here;
        sum.add(&world.tally);
        requests += world.book.pages().requests;
        println!("{fault:?}, {left} left: {sum:?}, {requests} requests, {:?}", began.elapsed());
    }
    (sum, requests, began.elapsed())
}

/// Says how to repeat a run, when it fails.
pub(crate) struct Repeat(String);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat it with\n{}", self.0);
        }
    }
}

/// The seed, and how many rounds: from the environment, or by chance, and as many as CI has.
pub(crate) fn seeded(name: &str, rounds: u64) -> (u64, u64, Repeat) {
    let rounds = number("KEYSTEAD_CRASH_ROUNDS").unwrap_or(rounds);
    let drawn = || RandomState::new().hash_one("seed") >> 32;
    let seed = number("KEYSTEAD_CRASH_SEED").unwrap_or_else(drawn);
    let variables = format!("KEYSTEAD_CRASH_SEED={seed} KEYSTEAD_CRASH_ROUNDS={rounds}");
    (seed, rounds, Repeat(format!("{variables} cargo test -p keystead --test crash {name}")))
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

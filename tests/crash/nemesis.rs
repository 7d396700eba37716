//! What goes wrong. Each fault is over when [`Fault::strike`] returns; whoever struck then has the host recover.
//! A fault that a host has to live through must not end it.

use std::time::Duration;

use rand::RngExt;
use rustix::process::Signal;
use tokio::time::Instant;

use super::world::World;
use crate::harness::PATIENCE;
use crate::harness::faults::{NAME, READ, Rule, SIZE, SYNC, Strike, WRITE};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL at a random moment.
    Kill,
    /// SIGKILL before, within or after the nth call of a kind on a kind of file.
    KillAtCall,
    /// The same at any of the calls that a start makes.
    KillAtStart,
    /// The disk is full, for a while.
    Full,
    /// One sync fails, or one write, or one change of a name or a length.
    FailOnce,
    /// All syncs fail, for a while.
    SyncsFail,
    /// One read fails, while it starts or later.
    ReadFails,
    /// Each sync takes 5 to 50 ms, for a while.
    Slow,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// SIGTERM in the middle of it.
    Terminate,
}

/// Where a process can be killed: the kinds of calls, a word of the path, and how many come before at most.
const POINTS: [(i64, &str, i64); 12] = [
    (WRITE, "/journal-", 60),
    (SYNC, "/journal-", 60),
    (NAME, "/journal-", 2),
    (WRITE, "/spare-", 300),
    (SYNC, "/spare-", 2),
    (NAME, "/spare-", 2),
    (WRITE, "/state.redb", 60),
    (SYNC, "/state.redb", 6),
    (SIZE, "/state.redb", 1),
    (WRITE, "/state.sums", 10),
    (SYNC, "/state.sums", 6),
    (SYNC | NAME, "", 20),
];
/// What fails once: the kinds of calls, a word of the path, how many come before at most, and how long one is
/// waited for, in milliseconds.
const FAILURES: [(i64, &str, i64, u64); 10] = [
    (SYNC, "/journal-", 40, 1_500),
    (WRITE, "/journal-", 40, 1_500),
    (SYNC, "", 40, 1_500),
    (WRITE, "", 40, 1_500),
    (WRITE, "/spare-", 200, 4_000),
    (SYNC, "/spare-", 0, 4_000),
    (NAME, "", 1, 4_000),
    (WRITE, "/state.", 30, 6_000),
    (SYNC, "/state.", 4, 6_000),
    (SIZE, "/state.", 0, 6_000),
];
/// How long a host lives between two kills.
const LIFE_MS: std::ops::Range<u64> = 20..450;
/// How long a call to be killed at is waited for. A checkpoint comes every five seconds, or when the host stops.
const CALL_WAIT: Duration = Duration::from_millis(1_500);
/// How long it is waited for that somebody needs room: mostly checkpoints do, and new files of the journal.
const FULL_WAIT: Duration = Duration::from_secs(8);
const KILLS: [Strike; 3] = [Strike::KillBefore, Strike::KillWithin, Strike::KillAfter];
/// Calls that a start over an existing folder makes, about.
const START_CALLS: i64 = 40;

impl Fault {
    /// Does it, to a host that runs and is busy.
    pub(crate) async fn strike(self, world: &mut World) {
        world.tally.faults += 1;
        let life = world.chance.random_range(LIFE_MS);
        tokio::time::sleep(Duration::from_millis(life)).await;
        match self {
            Self::Kill => kill(world).await,
            Self::KillAtCall => kill_at_call(world).await,
            Self::KillAtStart => kill_at_start(world).await,
            Self::Full => full(world).await,
            Self::FailOnce => fail_once(world).await,
            Self::SyncsFail => syncs_fail(world).await,
            Self::ReadFails => read_fails(world).await,
            Self::Slow => {
                world.faults.slow_down(world.chance.random_range(5_000..50_000));
                pause(world, 300..1_200).await;
            }
            Self::Pause => {
                world.host.signal(Signal::STOP);
                pause(world, 100..2_500).await;
                world.host.signal(Signal::CONT);
            }
            Self::Terminate => {
                assert!(world.host.stop().await.success(), "a clean stop");
                world.examine().await;
            }
        }
        world.faults.lift();
        if self.is_survived() {
            let end = world.host.ended(Duration::from_millis(1)).await;
            assert_eq!(end, None, "{self:?} ended the host:\n{}", world.host.log());
        }
    }

    /// Whether the disk says that it happened.
    pub(crate) fn is_counted(self) -> bool {
        !matches!(self, Self::Kill | Self::Slow | Self::Pause | Self::Terminate)
    }

    fn is_survived(self) -> bool {
        let survived = [Self::Full, Self::FailOnce, Self::SyncsFail, Self::Slow, Self::Pause];
        survived.contains(&self)
    }
}

async fn kill(world: &mut World) {
    world.host.kill().await;
    world.tally.kills += 1;
    if world.chance.random_ratio(1, 8) {
        world.examine().await;
    }
}

async fn kill_at_call(world: &mut World) {
    let (kinds, word, most) = POINTS[world.chance.random_range(0..POINTS.len())];
    let strike = KILLS[world.chance.random_range(0..KILLS.len())];
    let after = world.chance.random_range(0..=most);
    world.faults.strike(Rule { strike, kinds, word, after, times: 1 });
    // What only checkpoints do is done at once by a host that stops.
    if word.starts_with("/state") || world.chance.random_ratio(1, 4) {
        world.host.signal(Signal::TERM);
    }
    if world.host.ended(CALL_WAIT).await.is_some() {
        world.tally.struck += world.faults.struck();
        world.tally.kills += world.faults.struck();
    } else {
        kill(world).await;
    }
    // It may be killed while it recovers, too.
    if world.chance.random_ratio(1, 3) {
        start_killed(world).await;
    }
}

async fn kill_at_start(world: &mut World) {
    kill(world).await;
    start_killed(world).await;
}

/// Starts a host that does not live long.
pub(crate) async fn start_killed(world: &mut World) {
    if world.host.pid().is_some() {
        kill(world).await;
    }
    let strike = KILLS[world.chance.random_range(0..KILLS.len())];
    let after = world.chance.random_range(0..START_CALLS);
    let kinds = WRITE | SYNC | NAME | SIZE;
    world.faults.strike(Rule { strike, kinds, word: "", after, times: 1 });
    if world.host.try_spawn_with(&world.faults).await.is_ok() {
        // It got past its start; the rest is still to come.
        world.host.ended(CALL_WAIT).await;
    }
    world.tally.struck += world.faults.struck();
    world.tally.kills += world.faults.struck();
    world.faults.lift();
}

async fn full(world: &mut World) {
    world.faults.fill_up(world.chance.random_range(0..400_000));
    let began = Instant::now();
    while world.faults.full() == 0 && began.elapsed() < FULL_WAIT {
        pause(world, 20..30).await;
    }
    world.tally.struck += u64::from(world.faults.full() > 0);
    pause(world, 50..1_500).await;
}

async fn fail_once(world: &mut World) {
    let (kinds, word, most, wait_ms) = FAILURES[world.chance.random_range(0..FAILURES.len())];
    let after = world.chance.random_range(0..=most);
    world.faults.strike(Rule { strike: Strike::Fail, kinds, word, after, times: 1 });
    struck(world, Duration::from_millis(wait_ms)).await;
    world.tally.struck += world.faults.struck();
}

async fn syncs_fail(world: &mut World) {
    let word = ["/journal-", "/state.", ""][world.chance.random_range(0..3)];
    let rule = Rule { strike: Strike::Fail, kinds: SYNC, word, after: 0, times: i64::MAX };
    world.faults.strike(rule);
    struck(world, FULL_WAIT).await;
    pause(world, 50..2_000).await;
    world.tally.struck += u64::from(world.faults.struck() > 0);
}

async fn read_fails(world: &mut World) {
    kill(world).await;
    let rule = |word, after| Rule { strike: Strike::Fail, kinds: READ, word, after, times: 1 };
    // Half of them while it starts, which may end it; half when it serves, from a file of which nothing is in memory.
    if world.chance.random() {
        let word = ["/journal-", "/state.", ""][world.chance.random_range(0..3)];
        world.faults.strike(rule(word, world.chance.random_range(0..16)));
    }
    if world.host.try_spawn_with(&world.faults).await.is_ok() {
        if world.faults.struck() == 0 {
            world.faults.strike(rule("/state.", world.chance.random_range(0..6)));
        }
        struck(world, CALL_WAIT).await;
    }
    world.tally.struck += world.faults.struck();
}

/// Waits until the rule was carried out, for a while.
async fn struck(world: &mut World, within: Duration) {
    let began = Instant::now();
    while world.faults.struck() == 0 && began.elapsed() < within {
        pause(world, 20..30).await;
    }
}

async fn pause(world: &mut World, ms: std::ops::Range<u64>) {
    let pause = Duration::from_millis(world.chance.random_range(ms));
    assert!(pause < PATIENCE);
    tokio::time::sleep(pause).await;
}

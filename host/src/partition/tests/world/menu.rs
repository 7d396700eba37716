//! What a seed has to choose from: the usual things in their usual proportions for half of the seeds, and for the
//! others some of them never, some of them more often, so that what is rare together is met too. Invariant: what
//! makes anything happen at all is never left out.

use rand::RngExt;
use rand::rngs::StdRng;

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Run,
    Append,
    Checkpoint,
    PassTime,
    AskNew,
    AskAgain,
    Peek,
    AskStatus,
    Cancel,
    SettleDead,
    UseCallback,
    MisuseKey,
    Spoil,
    Crash,
    Jump,
    ShutDown,
}

/// What has to come about somewhere among the seeds that run by themselves.
pub(super) const MUST_HAPPEN: [&str; 25] = [
    "answered again",
    "backed off",
    "backlog full",
    "callback used",
    "cancelled from outside",
    "dequeued",
    "dropped by an operator",
    "due",
    "enqueued",
    "guest calls in progress",
    "key kept",
    "key refused",
    "mailbox full",
    "messages",
    "outcome kept",
    "parked",
    "query answered",
    "retried by an operator",
    "scheduled",
    "started over",
    "state outdated",
    "state unreadable",
    "turns over their rate",
    "unavailable",
    "unscheduled",
];

/// How often each thing happens, in a thousand steps or so. The first five are never left out.
const USUAL: [(Act, u32); 16] = [
    (Act::Run, 300),
    (Act::Append, 220),
    (Act::Checkpoint, 50),
    (Act::PassTime, 70),
    (Act::AskNew, 120),
    (Act::AskAgain, 80),
    (Act::Peek, 30),
    (Act::AskStatus, 20),
    (Act::Cancel, 20),
    (Act::SettleDead, 20),
    (Act::UseCallback, 30),
    (Act::MisuseKey, 10),
    (Act::Spoil, 12),
    (Act::Crash, 4),
    (Act::Jump, 0),
    (Act::ShutDown, 3),
];
const ALWAYS: usize = 5;
/// Seeds of which one has a wall clock that somebody sets, and how often it does.
const JUMPS_EVERY: u64 = 4;
const JUMP: u32 = 8;
/// How handlers end, and what their plans are made of.
const MODES: [&str; 8] = ["ok", "ok", "ok", "ok", "reject", "never", "flaky", "silent"];
const STEPS: [&str; 9] =
    ["send", "send", "send", "send", "timer", "timer", "untimer", "callback", "take back"];

/// A seed's choice.
pub(super) struct Menu {
    acts: Vec<(Act, u32)>,
    modes: Vec<&'static str>,
    steps: Vec<&'static str>,
}

impl Menu {
    pub(super) fn new(seed: u64, rng: &mut StdRng) -> Self {
        let mut acts = USUAL.to_vec();
        if seed % JUMPS_EVERY == 1 {
            acts.iter_mut().filter(|(act, _)| *act == Act::Jump).for_each(|(_, n)| *n = JUMP);
        }
        if rng.random() {
            return Self { acts, modes: MODES.to_vec(), steps: STEPS.to_vec() };
        }
        for (n, (_, often)) in acts.iter_mut().enumerate() {
            *often = match rng.random_range(0..4u32) {
                0 if n < ALWAYS => *often / 4 + 1,
                0 => 0,
                1 => *often * 4,
                _ => *often,
            };
        }
        Self { acts, modes: some(&MODES, rng), steps: some(&STEPS, rng) }
    }

    pub(super) fn act(&self, rng: &mut StdRng) -> Act {
        let mut at = rng.random_range(0..self.acts.iter().map(|(_, often)| often).sum());
        for (act, often) in &self.acts {
            match at.checked_sub(*often) {
                Some(rest) => at = rest,
                None => return *act,
            }
        }
        unreachable!("beyond the sum of all")
    }

    pub(super) fn mode(&self, rng: &mut StdRng) -> &'static str {
        self.modes[rng.random_range(0..self.modes.len())]
    }

    pub(super) fn step(&self, rng: &mut StdRng) -> &'static str {
        self.steps[rng.random_range(0..self.steps.len())]
    }
}

/// The first, for without it nothing happens, and some of the others.
fn some(all: &[&'static str], rng: &mut StdRng) -> Vec<&'static str> {
    let mut kept = all.to_vec();
    kept.retain(|name| *name == all[0] || rng.random());
    kept
}

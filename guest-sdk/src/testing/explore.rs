//! Many runs of one test, each with the faults of another seed, and how a world goes its way when it has
//! faults. Invariant: a run is a function of its seed and its test, so a failure can be run again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use super::World;
use super::delivery::Event;
use super::faults::Faults;
use super::sight::Trace;
use crate::Error;

/// The environment's name for a seed to run alone.
const SEED: &str = "KEYSTEAD_SEED";
/// Longest input or answer in a line of a trace; the rest is cut.
const SHOWN_CHARS_MAX: usize = 160;

/// A run that failed.
#[derive(Debug, Clone)]
pub struct Found {
    /// Whose faults it had.
    pub seed: u64,
    /// What the test said.
    pub reason: String,
    /// What had happened until then.
    pub trace: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, reason, trace } = self;
        writeln!(f, "seed {seed} fails: {reason}")?;
        writeln!(f, "what happened:")?;
        trace.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "to run this seed alone, set {SEED}={seed}")
    }
}

impl World {
    /// Runs `test` once for each seed, with a new world that has the faults of this seed:
    /// `World::explore(0..200, |world| { … })`. The test adds its entity types, and asserts what is true
    /// whatever goes wrong.
    ///
    /// ```
    /// use keystead_sdk::prelude::*;
    /// use keystead_sdk::testing::World;
    ///
    /// #[entity]
    /// pub struct Account { balance: u64 }
    ///
    /// #[handlers]
    /// impl Account {
    ///     pub fn deposit(&mut self, amount: u64) { self.balance += amount; }
    ///
    ///     pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<()> {
    ///         ensure!(self.balance >= amount, code = "insufficient_funds", "only {}", self.balance);
    ///         self.balance -= amount;
    ///         Account::at(to).deposit(amount).send(ctx);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// World::explore(0..50, |world| {
    ///     let mut world = world.with::<Account>();
    ///     // With a key, because clients whose answer is lost repeat their requests.
    ///     world.keyed("1").call_typed(Account::at("alice").deposit(10)).unwrap();
    ///     world.keyed("2").call_typed(Account::at("alice").transfer("bob", 4)).unwrap();
    ///     world.settle();
    ///     let balance = |key| world.inspect(key, |account: &Account| account.balance);
    ///     assert_eq!((balance("alice"), balance("bob")), (6, 4));
    /// });
    /// ```
    ///
    /// # Panics
    /// When the test does, with the seed and what had happened. With `KEYSTEAD_SEED` set in the environment,
    /// only that seed runs.
    #[track_caller]
    pub fn explore(seeds: impl IntoIterator<Item = u64>, test: impl Fn(Self)) {
        let alone = std::env::var(SEED).ok().map(|seed| {
            seed.parse().unwrap_or_else(|_| panic!("{SEED} is a number, not {seed:?}"))
        });
        let found = match alone {
            Some(seed) => Self::search([seed], test),
            None => Self::search(seeds, test),
        };
        if let Some(found) = found {
            panic!("{found}");
        }
    }

    /// The first of the seeds with which `test` panics.
    ///
    /// # Panics
    /// When there are no seeds: such a test can't fail.
    pub fn search(seeds: impl IntoIterator<Item = u64>, test: impl Fn(Self)) -> Option<Found> {
        let mut runs = 0u64;
        let found = seeds.into_iter().find_map(|seed| {
            runs += 1;
            let trace = Trace::default();
            let mut world = Self::new().with_faults(Faults::from_seed(seed));
            world.trace = Arc::clone(&trace);
            let panic = catch_unwind(AssertUnwindSafe(|| test(world))).err()?;
            let reason = super::panicked(panic.as_ref()).message().to_owned();
            let trace = trace.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Some(Found { seed, reason, trace })
        });
        assert!(runs > 0, "no seeds to run");
        found
    }

    /// The same with these faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = Some(faults);
        self
    }

    /// The same with its faults changed, `world.faults(|faults| faults.parking(20))`; a world without faults
    /// stays without.
    #[must_use]
    pub fn faults(mut self, change: impl FnOnce(Faults) -> Faults) -> Self {
        self.faults = self.faults.map(change);
        self
    }

    /// Delivers what is due by `until_ms`. With faults in any order, and while something could be delivered
    /// time may pass, at most until `late_ms`.
    pub(super) fn wander_until(&mut self, until_ms: u64, late_ms: u64) {
        if self.faults.is_none() {
            return self.deliver_until(until_ms);
        }
        let late_ms = late_ms.max(until_ms);
        loop {
            let (ready, later): (Vec<_>, Vec<_>) =
                self.events().into_iter().partition(|(due_ms, _)| *due_ms <= self.now_ms);
            let limit_ms = if ready.is_empty() { until_ms } else { late_ms };
            let next_ms = later.iter().map(|(due_ms, _)| *due_ms).min();
            let next_ms = next_ms.filter(|due_ms| *due_ms <= limit_ms);
            let Some(faults) = &mut self.faults else { return };
            match (next_ms, ready.is_empty()) {
                (None, true) => return,
                (Some(due_ms), is_idle) if is_idle || faults.lingers() => {
                    self.now_ms = due_ms + faults.late_ms(due_ms, limit_ms);
                }
                _ => self.step(ready),
            }
        }
    }

    /// Lets the world go on a little, as it does while a client is busy.
    pub(super) fn progress(&mut self) {
        let steps = self.faults.as_mut().map_or(0, Faults::progress);
        for _ in 0..steps {
            let ready = self.events().into_iter().filter(|(due_ms, _)| *due_ms <= self.now_ms);
            let ready: Vec<_> = ready.collect();
            if ready.is_empty() {
                return;
            }
            self.step(ready);
        }
    }

    /// One of these events happens.
    fn step(&mut self, mut ready: Vec<(u64, Event)>) {
        // In order of time, as without faults, for those who want no other.
        ready.sort_by_key(|(due_ms, _)| *due_ms);
        let Some(faults) = &mut self.faults else { return };
        let (_, event) = ready.swap_remove(faults.next(ready.len()));
        self.perform(event);
    }
}

/// How something ended, as the end of a line.
pub(super) fn outcome(ended: Result<&[u8], &Error>) -> String {
    match ended {
        Ok(b"null") => String::new(),
        Ok(value) => format!(" -> {}", shown(value)),
        Err(error) => format!(" -> {error:?}"),
    }
}

/// Bytes as text for people.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.contains(char::is_control) {
        shown = shown.escape_debug().to_string();
    }
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

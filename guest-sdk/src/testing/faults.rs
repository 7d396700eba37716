//! What goes wrong in a world, and when: chosen by a seed, so that the same seed does it again. It decides
//! only; delivery and requests do it. Invariant: nothing that the host promises is broken: no message is
//! lost, takes effect twice, or overtakes another one of its pair.

use std::time::Duration;

use crate::time;

/// The chances that a seed may have, in percent. Runs that have much of one fault and none of another find
/// more than runs that have a little of each.
const REPEATS: [u32; 4] = [0, 10, 20, 50];
const RESTARTS: [u32; 4] = [0, 10, 20, 50];
const FAILURES: [u32; 4] = [0, 5, 10, 30];
const LATE: [u32; 4] = [0, 10, 30, 60];
/// How often the world goes on before a request from outside is served, in percent.
const PROGRESS_PERCENT: u32 = 50;
/// Most steps that the world takes before a request from outside is served.
const PROGRESS_STEPS_MAX: u64 = 4;
/// Failures that are injected into one message, unless it is to be parked: apps set few attempts at times.
const FAILURES_MAX: u32 = 2;

/// Faults that a [`World`](super::World) injects between any two steps.
///
/// [`from_seed`](Self::from_seed) has all faults that a correct app survives on its own, some more and some
/// less often, as the seed has it. Parking is not among them, because a dead letter waits for an operator: ask
/// for it with [`parking`](Self::parking). Each knob is a chance in percent.
#[derive(Debug, Clone)]
pub struct Faults {
    seed: u64,
    chance: Chance,
    repeats: u32,
    restarts: u32,
    failures: u32,
    parking: u32,
    late: u32,
    reordering: bool,
    latency_ms: u64,
}

impl Faults {
    /// The faults of this seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance(seed);
        Self {
            seed,
            repeats: chance.one_of(REPEATS),
            restarts: chance.one_of(RESTARTS),
            failures: chance.one_of(FAILURES),
            late: chance.one_of(LATE),
            chance,
            parking: 0,
            reordering: true,
            latency_ms: 60_000,
        }
    }

    /// How often an answer or an acknowledgement is lost on its way. A client that gets no answer repeats
    /// its request, and without an idempotency key ([`World::keyed`](super::World::keyed)) that is a second
    /// one. A message that is not acknowledged is delivered again, and is known by its id: no effect.
    #[must_use]
    pub fn repeats(mut self, percent: u32) -> Self {
        self.repeats = checked(percent);
        self
    }

    /// How often the process dies before an attempt has committed: nothing is kept and it runs again. Both
    /// runs are compared: a handler that does something else the second time builds on memory that a restart
    /// takes away (a `static`), and the world panics and says what differs.
    #[must_use]
    pub fn restarts(mut self, percent: u32) -> Self {
        self.restarts = checked(percent);
        self
    }

    /// How often an attempt at a message fails, as by a trap: nothing is kept, and it is tried again after a
    /// pause. At most two attempts of a message.
    #[must_use]
    pub fn failures(mut self, percent: u32) -> Self {
        self.failures = checked(percent);
        self
    }

    /// How many messages between entities fail until they are parked as dead letters.
    #[must_use]
    pub fn parking(mut self, percent: u32) -> Self {
        self.parking = checked(percent);
        self
    }

    /// Whether any message that may be delivered next is: order is kept within a pair of sender and receiver
    /// only.
    #[must_use]
    pub fn reordering(mut self, is_on: bool) -> Self {
        self.reordering = is_on;
        self
    }

    /// How long messages and timers may take: a timer can run before a message that was sent long ago, and
    /// later than it is due.
    #[must_use]
    pub fn latency(mut self, longest: Duration) -> Self {
        self.latency_ms = time::millis(longest);
        self
    }

    pub(super) fn latency_ms(&self) -> u64 {
        self.latency_ms
    }

    /// Steps that the world takes before a request is served.
    pub(super) fn progress(&mut self) -> u64 {
        if self.chance.percent(PROGRESS_PERCENT) {
            self.chance.below(PROGRESS_STEPS_MAX) + 1
        } else {
            0
        }
    }

    /// Whether an answer or an acknowledgement is lost.
    pub(super) fn loses_answer(&mut self) -> bool {
        self.chance.percent(self.repeats)
    }

    /// Whether the process dies before the commit.
    pub(super) fn restarts_now(&mut self) -> bool {
        self.chance.percent(self.restarts)
    }

    /// Whether an attempt fails that is followed by another one.
    pub(super) fn fails(&mut self, injected: u32) -> bool {
        injected < FAILURES_MAX && self.chance.percent(self.failures)
    }

    /// Whether a new message will be parked.
    pub(super) fn parks(&mut self) -> bool {
        self.chance.percent(self.parking)
    }

    /// Which one of `count` things that may happen next does.
    pub(super) fn next(&mut self, count: usize) -> usize {
        if !self.reordering {
            return 0;
        }
        let chosen = self.chance.below(count as u64);
        usize::try_from(chosen).unwrap_or_default()
    }

    /// Whether time passes while something could happen.
    pub(super) fn lingers(&mut self) -> bool {
        self.latency_ms > 0 && self.chance.percent(self.late)
    }

    /// How much later than `due_ms` it happens, at most until `last_ms`.
    pub(super) fn late_ms(&mut self, due_ms: u64, last_ms: u64) -> u64 {
        let longest = last_ms.saturating_sub(due_ms).min(self.latency_ms);
        if self.lingers() { self.chance.below(longest + 1) } else { 0 }
    }

    /// A number for the randomness that handlers ask for.
    pub(super) fn salt(&self) -> u64 {
        Chance(self.seed).draw()
    }
}

fn checked(percent: u32) -> u32 {
    assert!(percent <= 100, "a chance is 0 to 100 percent, not {percent}");
    percent
}

/// SplitMix64: small, and every seed gives other numbers at once.
#[derive(Debug, Clone)]
struct Chance(u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    fn one_of<T: Copy>(&mut self, choices: [T; 4]) -> T {
        choices[usize::try_from(self.below(4)).unwrap_or_default()]
    }

    fn percent(&mut self, percent: u32) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_same_every_time_and_others_decide_otherwise() {
        let decisions = |seed| {
            let mut faults = Faults::from_seed(seed);
            (0..64).map(|_| faults.next(1000)).collect::<Vec<_>>()
        };
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
    }

    #[test]
    fn chances_are_about_what_they_say_and_zero_is_never() {
        let mut faults = Faults::from_seed(1).repeats(25).parking(0).restarts(100);
        let lost = (0..10_000).filter(|_| faults.loses_answer()).count();
        assert!((2_200..2_800).contains(&lost), "{lost}");
        assert!((0..1000).all(|_| !faults.parks() && faults.restarts_now()));
        let mut calm = Faults::from_seed(1).reordering(false).latency(Duration::ZERO);
        assert!((0..1000).all(|_| calm.next(9) == 0 && !calm.lingers() && calm.late_ms(0, 9) == 0));
    }

    #[test]
    #[should_panic(expected = "0 to 100 percent, not 101")]
    fn chances_end_at_a_hundred() {
        let _ = Faults::from_seed(1).failures(101);
    }
}

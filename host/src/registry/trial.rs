//! How a ramped version does beside the live one. Every call and message counts once, by its first attempt, for the
//! version that handled it. Decides whether the new one is worse, and that is all: ending the ramp is the
//! registry's. In memory: a restart begins to count anew. Invariant: it says so at most once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits;

/// The version that something was handled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The live one.
    Old,
    /// The ramped one.
    New,
}

/// What one version did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Calls and messages that ended a first attempt.
    pub(super) ended: u64,
    /// Those that failed, or are dead letters because nobody hears of their rejection.
    pub(super) failed: u64,
}

/// One ramp's counts.
#[derive(Debug, Default)]
pub struct Trial(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    began: Duration,
    now: [Sample; 2],
    before: [Sample; 2],
    halted: bool,
}

impl Trial {
    /// Counts one end. Gives the reason when the new version has turned out to be worse.
    pub fn ended(&self, side: Side, failed: bool, now: Duration) -> Option<String> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.turn(now);
        let sample = &mut counts.now[side as usize];
        sample.ended += 1;
        sample.failed += u64::from(failed);
        if counts.halted || !failed || side == Side::Old {
            return None;
        }
        let reason = worse(counts.sum(Side::Old), counts.sum(Side::New))?;
        counts.halted = true;
        Some(reason)
    }

    /// What both sides did in the window: the old one, the new one.
    pub(super) fn samples(&self) -> (Sample, Sample) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.sum(Side::Old), counts.sum(Side::New))
    }
}

impl Counts {
    /// Begins a new window when the present one is over.
    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed < limits::RAMP_WINDOW {
            return;
        }
        let next = passed < limits::RAMP_WINDOW * 2;
        self.before = if next { self.now } else { Default::default() };
        self.now = Default::default();
        self.began = now;
    }

    fn sum(&self, side: Side) -> Sample {
        let (now, before) = (self.now[side as usize], self.before[side as usize]);
        Sample { ended: now.ended + before.ended, failed: now.failed + before.failed }
    }
}

/// Why `new` is worse than `old`, if it is: enough failures, a rate that is a multiple of the old one's, and more than
/// chance explains (the two proportions compared by their pooled standard error). An old version that did
/// nothing in the window counts as one that did as much without a failure.
pub(super) fn worse(old: Sample, new: Sample) -> Option<String> {
    if new.failed < limits::RAMP_FAILURES_MIN {
        return None;
    }
    let idle = Sample { ended: new.ended, failed: 0 };
    let compared = if old.ended == 0 { idle } else { old };
    let (was, is) = (compared.rate(), new.rate());
    if is < was * limits::RAMP_RATIO_MAX {
        return None;
    }
    let all = Sample { ended: compared.ended + new.ended, failed: compared.failed + new.failed };
    let spread = all.rate() * (1.0 - all.rate());
    let error = (spread * (1.0 / compared.ended as f64 + 1.0 / new.ended as f64)).sqrt();
    if is - was <= limits::RAMP_DEVIATIONS_MAX * error {
        return None;
    }
    Some(format!(
        "{} of {} calls and messages failed on the new version, {} of {} on the live one",
        new.failed, new.ended, old.failed, old.ended
    ))
}

impl Sample {
    fn rate(self) -> f64 {
        if self.ended == 0 { 0.0 } else { self.failed as f64 / self.ended as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_worse(old: (u64, u64), new: (u64, u64)) -> bool {
        let sample = |(failed, ended)| Sample { ended, failed };
        worse(sample(old), sample(new)).is_some()
    }

    #[test]
    fn a_ramp_halts_on_what_chance_does_not_explain() {
        assert!(is_worse((0, 1_000), (5, 20)));
        assert!(is_worse((10, 1_000), (10, 100)));
        assert!(is_worse((0, 0), (5, 5)), "nothing to compare with");
        assert!(is_worse((1, 10_000), (15, 10_000)));
        assert!(!is_worse((0, 1_000), (4, 4)), "too few failures to say");
        assert!(!is_worse((0, 0), (0, 100)));
        assert!(!is_worse((2, 20), (5, 20)) && !is_worse((1, 10_000), (8, 10_000)), "chance");
        assert!(!is_worse((500, 1_000), (60, 100)), "both are bad");
        assert!(!is_worse((100, 100), (100, 100)), "both do nothing but fail");
        assert!(!is_worse((50, 1_000), (99, 1_000)), "worse, and not twice as bad");
    }

    #[test]
    fn equal_versions_go_on_in_nearly_every_run() {
        let mut state = 7_u64;
        let mut chance = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 100
        };
        let mut halted = 0;
        for _ in 0..200 {
            let trial = Trial::default();
            for _ in 0..1_000 {
                let side = if chance() < 10 { Side::New } else { Side::Old };
                let reason = trial.ended(side, chance() < 5, Duration::ZERO);
                halted += u32::from(reason.is_some());
            }
        }
        assert!(halted <= 10, "{halted} of 200 ramps of equal versions halted");
    }

    #[test]
    fn it_says_so_once_and_forgets_what_was_long_ago() {
        let (trial, window) = (Trial::default(), limits::RAMP_WINDOW);
        for n in 0..4 {
            assert_eq!(trial.ended(Side::New, true, Duration::from_secs(n)), None);
        }
        assert_eq!(trial.ended(Side::New, true, window * 3), None, "the four are forgotten");
        for n in 1..4 {
            assert_eq!(trial.ended(Side::New, true, window * 3 + window / 2 * n), None, "{n}");
        }
        let reason = trial.ended(Side::New, true, window * 5 - window / 4);
        let (_, new) = trial.samples();
        assert_eq!(new, Sample { ended: 5, failed: 5 });
        assert!(reason.expect("worse").starts_with("5 of 5"));
        assert_eq!(trial.ended(Side::New, true, window * 5), None, "said already");
    }
}

//! What a cell may answer: a register with a version that every change raises by one. One entity, one order.
//! Its tests are the histories that must be refused.

use super::history::Model;

/// The model of `cell` in `tests/guests/witness`.
pub(crate) struct Cell;

/// A value, and how many commands changed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) value: u64,
    pub(crate) version: u64,
}

/// What may be asked of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Put(u64),
    Add(u64),
    SwapIf { expected: u64, value: u64 },
    Read,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Value(u64),
    /// The handler's rejection.
    Rejected,
    /// A read's answer and its `ETag`.
    Held(Held),
    /// 304: it is still of the version that the client named.
    Version(u64),
    /// A read's answer that does not say the version.
    Sum(u64),
}

impl Model for Cell {
    type State = Held;
    type Input = Ask;
    type Output = Told;

    fn step(held: &Held, ask: &Ask, told: Option<&Told>) -> Option<Held> {
        let changed = |value| Held { value, version: held.version + 1 };
        let (next, answer) = match *ask {
            Ask::Put(value) => (changed(value), Told::Value(held.value)),
            Ask::Add(by) => {
                let sum = held.value.wrapping_add(by);
                (changed(sum), Told::Value(sum))
            }
            Ask::SwapIf { expected, value } if held.value == expected => {
                (changed(value), Told::Value(value))
            }
            Ask::SwapIf { .. } => (*held, Told::Rejected),
            Ask::Read => match told {
                Some(Told::Version(_)) => (*held, Told::Version(held.version)),
                Some(Told::Sum(_)) => (*held, Told::Sum(held.value)),
                _ => (*held, Told::Held(*held)),
            },
        };
        told.is_none_or(|told| *told == answer).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    use super::super::history::{End, Operation, Verdict, explain};
    use super::*;

    type Op = Operation<Ask, Told>;

    fn op(from: u64, until: u64, input: Ask, told: Told) -> Op {
        Operation { input, from, end: End::Answered(until, told) }
    }

    fn maybe(from: u64, input: Ask) -> Op {
        Operation { input, from, end: End::Maybe }
    }

    fn done(from: u64, until: u64, input: Ask) -> Op {
        Operation { input, from, end: End::Done(until) }
    }

    fn read(from: u64, until: u64, value: u64, version: u64) -> Op {
        op(from, until, Ask::Read, Told::Held(Held { value, version }))
    }

    fn is_explained(history: &[Op]) -> bool {
        match explain::<Cell>(Held::default(), history) {
            Verdict::Explained => true,
            Verdict::Refused(why) => {
                assert!(!why.is_empty());
                false
            }
            Verdict::TooHard => panic!("too hard"),
        }
    }

    #[test]
    fn what_happened_one_after_the_other_or_at_once_is_explained() {
        assert!(is_explained(&[]));
        assert!(is_explained(&[
            op(0, 1, Ask::Put(5), Told::Value(0)),
            op(2, 3, Ask::Add(2), Told::Value(7)),
            op(4, 5, Ask::SwapIf { expected: 7, value: 9 }, Told::Value(9)),
            op(6, 7, Ask::SwapIf { expected: 7, value: 1 }, Told::Rejected),
            read(8, 9, 9, 3),
            op(8, 9, Ask::Read, Told::Version(3)),
        ]));
        // They overlap, so any order will do, and each must see the other or not.
        let (one, two) = (Ask::Add(1), Ask::Add(2));
        assert!(is_explained(&[op(0, 9, one, Told::Value(3)), op(1, 8, two, Told::Value(2))]));
        assert!(is_explained(&[op(0, 9, one, Told::Value(1)), op(1, 8, two, Told::Value(3))]));
    }

    #[test]
    fn a_lost_update_is_refused() {
        let (one, two) = (Ask::Add(1), Ask::Add(2));
        // Both saw nothing of each other.
        assert!(!is_explained(&[op(0, 9, one, Told::Value(1)), op(1, 8, two, Told::Value(2))]));
        // It was answered, and is gone.
        assert!(!is_explained(&[op(0, 1, Ask::Put(5), Told::Value(0)), read(2, 3, 0, 0)]));
        assert!(!is_explained(&[done(0, 1, Ask::Put(5)), read(2, 3, 0, 0)]));
    }

    #[test]
    fn a_stale_read_is_refused() {
        let put =
            |from, until, value, before| op(from, until, Ask::Put(value), Told::Value(before));
        let history = [put(0, 1, 5, 0), put(2, 3, 6, 5), read(4, 5, 5, 1)];
        assert!(!is_explained(&history));
        // Unless it began before the change had ended.
        assert!(is_explained(&[put(0, 1, 5, 0), put(2, 6, 6, 5), read(4, 5, 5, 1)]));
        // The same by version: 304 although it changed.
        assert!(!is_explained(&[put(0, 1, 5, 0), op(2, 3, Ask::Read, Told::Version(0))]));
    }

    #[test]
    fn a_double_effect_is_refused() {
        assert!(!is_explained(&[op(0, 1, Ask::Add(5), Told::Value(5)), read(2, 3, 10, 2)]));
        assert!(!is_explained(&[maybe(0, Ask::Add(5)), read(2, 3, 10, 2)]));
        // The value is right, but something happened twice.
        assert!(!is_explained(&[op(0, 1, Ask::Put(5), Told::Value(0)), read(2, 3, 5, 2)]));
    }

    #[test]
    fn an_answer_that_is_taken_back_is_refused() {
        // A read showed what a crash then undid.
        assert!(!is_explained(&[maybe(0, Ask::Put(5)), read(1, 2, 5, 1), read(3, 4, 0, 0)]));
        // So did a rejection.
        let rejected = op(1, 2, Ask::SwapIf { expected: 0, value: 7 }, Told::Rejected);
        assert!(!is_explained(&[maybe(0, Ask::Put(5)), rejected.clone(), read(3, 4, 0, 0)]));
        assert!(is_explained(&[maybe(0, Ask::Put(5)), rejected, read(3, 4, 5, 1)]));
    }

    #[test]
    fn without_an_answer_it_may_happen_late_or_never_but_not_early() {
        let put = maybe(10, Ask::Put(5));
        assert!(is_explained(&[put.clone(), read(11, 12, 0, 0), read(13, 14, 5, 1)]));
        assert!(is_explained(&[put.clone(), read(11, 12, 0, 0)]));
        assert!(!is_explained(&[put, read(8, 9, 5, 1)]));
        // What was accepted happens.
        let sent = done(0, 20, Ask::Put(5));
        assert!(is_explained(&[sent.clone(), read(11, 12, 0, 0), read(21, 22, 5, 1)]));
        assert!(!is_explained(&[sent, read(21, 22, 0, 0)]));
    }

    #[test]
    fn what_came_from_nowhere_is_refused() {
        assert!(!is_explained(&[read(0, 1, 7, 1)]));
        assert!(!is_explained(&[op(0, 1, Ask::Put(5), Told::Value(3))]));
    }

    /// A register that several use at once, some without hearing an answer; and the same with one answer changed.
    #[test]
    fn histories_of_a_real_register_are_explained_and_their_spoilt_copies_mostly_not() {
        let mut refused = 0;
        for seed in 0..200 {
            let mut chance = StdRng::seed_from_u64(seed);
            let mut history = drawn(&mut chance);
            assert!(is_explained(&history), "seed {seed}: {history:#?}");
            history.shuffle(&mut chance);
            assert!(is_explained(&history), "seed {seed}: in another order");
            let answered = history.iter_mut().find_map(|op| match &mut op.end {
                End::Answered(_, Told::Value(value)) => Some(value),
                _ => None,
            });
            *answered.expect("some have a value") += 1_000_000;
            refused += u32::from(!is_explained(&history));
        }
        assert_eq!(refused, 200);
    }

    fn drawn(chance: &mut StdRng) -> Vec<Op> {
        let (mut held, mut history) = (Held::default(), vec![]);
        for number in 0..60 {
            let moment = number * 10;
            let ask = match chance.random_range(0..4) {
                0 => Ask::Put(number * 1_000),
                1 => Ask::Add(chance.random_range(1..5)),
                2 => Ask::SwapIf { expected: held.value, value: number * 1_000 + 1 },
                _ => Ask::Read,
            };
            let from = moment - chance.random_range(0..30_u64).min(moment);
            if chance.random_bool(0.1) {
                // Of these every second one took effect, unheard.
                if chance.random_bool(0.5) {
                    held = Cell::step(&held, &ask, None).expect("any answer");
                }
                history.push(maybe(from, ask));
                continue;
            }
            let told = answer(&held, &ask);
            held = Cell::step(&held, &ask, Some(&told)).expect("the answer");
            history.push(op(from, moment + chance.random_range(1..30), ask, told));
        }
        history
    }

    fn answer(held: &Held, ask: &Ask) -> Told {
        match *ask {
            Ask::Put(_) => Told::Value(held.value),
            Ask::Add(by) => Told::Value(held.value + by),
            Ask::SwapIf { expected, .. } if expected != held.value => Told::Rejected,
            Ask::SwapIf { value, .. } => Told::Value(value),
            Ask::Read => Told::Held(*held),
        }
    }
}

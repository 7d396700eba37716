//! Whether a history of calls has an order that explains it: each operation took effect at one moment between its
//! beginning and its end, as if they had come one after the other. The search of Wing and Gong, with Lowe's
//! memory of what was tried. An operation without an answer may have taken effect at any time after it
//! began, or never. Knows nothing of hosts, files or time.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// How many places a search may look at. A history that needs more is reported, never taken for right.
const PLACES_MAX: usize = 2_000_000;
/// How many operations a refusal shows.
const SHOWN: usize = 12;

/// What an entity does, one operation after the other.
pub(crate) trait Model {
    type State: Clone + Eq + Hash + Debug;
    type Input: Clone + Debug;
    type Output: Clone + Debug;

    /// The state after `input`, if `output` is what it may answer; any answer will do when there is none.
    fn step(
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;
}

/// One operation as its client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Operation<I, O> {
    pub(crate) input: I,
    /// Not before this.
    pub(crate) from: u64,
    pub(crate) end: End<O>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) enum End<O> {
    /// With this answer, then.
    Answered(u64, O),
    /// It took effect before then; its answer is not known.
    Done(u64),
    /// Nobody knows.
    Maybe,
}

impl<O> End<O> {
    fn until(&self) -> u64 {
        match self {
            Self::Answered(until, _) | Self::Done(until) => *until,
            Self::Maybe => u64::MAX,
        }
    }

    fn output(&self) -> Option<&O> {
        match self {
            Self::Answered(_, output) => Some(output),
            Self::Done(_) | Self::Maybe => None,
        }
    }

    fn is_sure(&self) -> bool {
        !matches!(self, Self::Maybe)
    }
}

/// What came of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Explained,
    /// No order explains it; this is how far the best try came.
    Refused(String),
    /// It would take too long to say.
    TooHard,
}

impl Verdict {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Explained => "explained",
            Self::Refused(why) => why,
            Self::TooHard => "the search takes too long to say",
        }
    }
}

/// A place in the search: which operations took effect, and what is there then.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place<S> {
    done: Vec<u64>,
    state: S,
}

impl<S> Place<S> {
    fn has(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }

    fn count(&self) -> u32 {
        self.done.iter().map(|word| word.count_ones()).sum()
    }
}

/// Looks for an order that explains `history`, whose entity began as `initial`.
pub(crate) fn explain<M: Model>(
    initial: M::State,
    history: &[Operation<M::Input, M::Output>],
) -> Verdict {
    let mut history = history.to_vec();
    history.sort_by_key(|operation| operation.from);
    let begin = Place { done: vec![0; history.len().div_ceil(64)], state: initial };
    let mut seen = HashSet::from([begin.clone()]);
    let (mut places, mut best) = (vec![begin.clone()], begin);
    while let Some(place) = places.pop() {
        if left(&place, &history).next().is_none() {
            return Verdict::Explained;
        }
        if place.count() > best.count() {
            best = place.clone();
        }
        for next in next_places::<M>(&place, &history) {
            if seen.insert(next.clone()) {
                places.push(next);
            }
        }
        if seen.len() > PLACES_MAX {
            return Verdict::TooHard;
        }
    }
    Verdict::Refused(told(&best, &history))
}

/// What surely took effect, and has not yet.
fn left<S, I, O>(place: &Place<S>, history: &[Operation<I, O>]) -> impl Iterator<Item = usize> {
    (0..history.len()).filter(|at| !place.has(*at) && history[*at].end.is_sure())
}

/// Where one more operation leads, the likeliest last: any that began before the first of those that are left
/// had ended.
fn next_places<M: Model>(
    place: &Place<M::State>,
    history: &[Operation<M::Input, M::Output>],
) -> Vec<Place<M::State>> {
    let (mut until, mut ready) = (u64::MAX, vec![]);
    for (at, operation) in history.iter().enumerate() {
        if operation.from > until {
            break;
        }
        if !place.has(at) {
            until = until.min(operation.end.until());
            ready.push(at);
        }
    }
    ready.retain(|at| history[*at].from <= until);
    ready.sort_by_key(|at| std::cmp::Reverse(history[*at].end.until()));
    let places = ready.into_iter().filter_map(|at| {
        let operation = &history[at];
        let state = M::step(&place.state, &operation.input, operation.end.output())?;
        let mut done = place.done.clone();
        done[at / 64] |= 1 << (at % 64);
        Some(Place { done, state })
    });
    places.collect()
}

fn told<S: Debug, I: Debug, O: Debug>(place: &Place<S>, history: &[Operation<I, O>]) -> String {
    let mut text = format!(
        "{} of {} operations lead to {:?}; then none of these can be next:\n",
        place.count(),
        history.len(),
        place.state
    );
    for at in left(place, history).take(SHOWN) {
        text.push_str(&format!("  {:?}\n", history[at]));
    }
    text
}

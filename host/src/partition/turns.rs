//! Entities whose turn came while it could not be given, in queues by app: apps take turns, each with as many as its
//! weight says (deficit round robin with a cost of one), so one app's backlog does not hold up another's call. An app
//! with a rate always queues, and rests when it is over it. Invariant: what is pushed comes out once, in its app's order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::core::Core;
use crate::ids::EntityRef;
use crate::limits;
use crate::metrics::{self, QuotaKind};
use crate::registry::next_due;

/// The queues.
#[derive(Default)]
pub(crate) struct Turns {
    apps: HashMap<String, VecDeque<EntityRef>>,
    /// Apps with waiting entities that do not rest; the first one's turn it is.
    ring: VecDeque<String>,
    /// How many more the first one may have before it goes to the end.
    left: u32,
    /// The first one's rate.
    per_s: Option<u32>,
    /// When the next turn of an app with a rate is due at it, in nanoseconds of the monotonic clock. In memory: after
    /// a restart a second's worth may come at once again.
    due: HashMap<String, u64>,
    /// Apps over their rate, by when they are back in the ring.
    resting: BTreeSet<(u64, String)>,
}

/// What an app may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// Turns before the next app has its own.
    pub(crate) weight: u32,
    /// Turns in a second.
    pub(crate) per_s: Option<u32>,
}

impl Turns {
    /// Puts an entity at the end of its app's queue.
    pub(crate) fn push(&mut self, entity: EntityRef) {
        if let Some(queue) = self.apps.get_mut(entity.app()) {
            return queue.push_back(entity);
        }
        let app = entity.app().to_owned();
        self.ring.push_back(app.clone());
        self.apps.insert(app, VecDeque::from([entity]));
    }

    /// The next entity at `now`. `share` says what an app may have, and `rests` hears which are over their rate.
    pub(crate) fn pop(
        &mut self,
        now: Duration,
        share: impl Fn(&str) -> Share,
        rests: impl Fn(&str),
    ) -> Option<EntityRef> {
        self.end_rests(now);
        loop {
            let app = self.ring.front()?;
            if self.left == 0 {
                let Share { weight, per_s } = share(app);
                (self.left, self.per_s) = (weight.max(1), per_s);
            }
            if let Some(pause) = self.pause(app, now) {
                rests(app);
                let back = (now + pause.max(limits::TURNS_PAUSE_MIN)).as_nanos() as u64;
                self.resting.extend(self.ring.pop_front().map(|app| (back, app)));
                self.left = 0;
                continue;
            }
            let queue = self.apps.get_mut(app)?;
            let entity = queue.pop_front();
            self.left -= 1;
            if queue.is_empty() {
                self.apps.remove(app);
                self.ring.pop_front();
                self.left = 0;
            } else if self.left == 0 {
                self.ring.rotate_left(1);
            }
            return entity;
        }
    }

    /// A command of an app with this rate starts. It was asked for before, so it is never early.
    pub(crate) fn count(&mut self, app: &str, per_s: u32, now: Duration) {
        let due = self.due.get(app).copied().unwrap_or_default();
        let Ok(next) = next_due(due, per_s, per_s, now.as_nanos() as u64) else { return };
        match self.due.get_mut(app) {
            Some(due) => *due = next,
            None => drop(self.due.insert(app.to_owned(), next)),
        }
    }

    /// When the next app has rested.
    pub(crate) fn next_back(&self) -> Option<Duration> {
        self.resting.first().map(|(back, _)| Duration::from_nanos(*back))
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn end_rests(&mut self, now: Duration) {
        let now = now.as_nanos() as u64;
        while self.resting.first().is_some_and(|(back, _)| *back <= now) {
            self.ring.extend(self.resting.pop_first().map(|(_, app)| app));
        }
    }

    /// How long the first app has to wait for its next turn, if it has to.
    fn pause(&self, app: &str, now: Duration) -> Option<Duration> {
        let per_s = self.per_s?;
        let due = self.due.get(app).copied().unwrap_or_default();
        next_due(due, per_s, per_s, now.as_nanos() as u64).err().map(Duration::from_nanos)
    }
}

impl Core {
    /// True of an entity whose app has a rate: its commands start from the queue only, so that none goes ahead of
    /// those that wait.
    pub(crate) fn paced(&self, entity: &EntityRef) -> bool {
        self.apps.paced() && self.apps.settings(entity.app()).turns_per_s.is_some()
    }

    /// The entity whose turn it is.
    pub(crate) fn next_turn(&mut self, now: Duration) -> Option<EntityRef> {
        let share = |app: &str| {
            let settings = self.apps.settings(app);
            Share { weight: settings.weight, per_s: settings.turns_per_s }
        };
        let rests = |app: &str| metrics::app(app).over_quota(QuotaKind::TurnsPerS);
        self.stalled.pop(now, share, rests)
    }

    /// One of its commands starts.
    pub(crate) fn count_turn(&mut self, entity: &EntityRef) {
        if self.apps.paced()
            && let Some(per_s) = self.apps.settings(entity.app()).turns_per_s
        {
            self.stalled.count(entity.app(), per_s, self.clock.monotonic());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(app: &str, n: u32) -> EntityRef {
        EntityRef::new(app, "t", &n.to_string()).expect("valid")
    }

    #[test]
    fn apps_take_turns_by_weight_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        for n in 0..1_000 {
            turns.push(entity("hog", n));
        }
        for n in 0..3 {
            turns.push(entity("heavy", n));
            turns.push(entity("light", n));
        }
        let share = |app: &str| Share { weight: if app == "heavy" { 2 } else { 1 }, per_s: None };
        let next = || turns.pop(Duration::ZERO, share, |_| {}).map(|entity| entity.to_string());
        let order: Vec<_> = std::iter::from_fn(next).collect();
        let first = ["hog/t/0", "heavy/t/0", "heavy/t/1", "light/t/0", "hog/t/1", "heavy/t/2"];
        assert_eq!(order[..6], first);
        assert_eq!(order[6..10], ["light/t/1", "hog/t/2", "light/t/2", "hog/t/3"]);
        assert_eq!(order.len(), 1_006);
        let hogs = order.iter().filter(|entity| entity.starts_with("hog")).count();
        assert!(hogs == 1_000 && order.ends_with(&["hog/t/998".into(), "hog/t/999".into()]));
    }

    #[test]
    fn an_app_over_its_rate_rests_while_others_go_on_and_loses_nothing() {
        let mut turns = Turns::default();
        for n in 0..30 {
            turns.push(entity("slow", n));
            turns.push(entity("free", n));
        }
        let share = |app: &str| Share { weight: 1, per_s: (app == "slow").then_some(10) };
        let rests = std::cell::Cell::new(0);
        let mut started = vec![];
        for ms in (0..=4_000).step_by(50) {
            let now = Duration::from_secs(9) + Duration::from_millis(ms);
            while let Some(entity) = turns.pop(now, share, |_| rests.set(rests.get() + 1)) {
                if entity.app() == "slow" {
                    turns.count("slow", 10, now);
                    started.push((ms, entity));
                } else {
                    assert_eq!(ms, 0, "a neighbour waits for nobody");
                }
            }
            if let Some(back) = turns.next_back() {
                assert!(back > now, "it wakes when it is due and not before");
            }
        }
        let order: Vec<_> = started.iter().map(|(_, entity)| entity.key().to_owned()).collect();
        assert_eq!(order, (0..30).map(|n| n.to_string()).collect::<Vec<_>>(), "all, in order");
        assert_eq!(started.iter().filter(|(ms, _)| *ms == 0).count(), 10, "a second's worth");
        let times: Vec<u64> = started[10..].iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, (1..=20).map(|n| n * 100).collect::<Vec<_>>(), "then its pace");
        assert_eq!(rests.get(), 20, "one rest for each that was late");
        assert!(turns.next_back().is_none() && turns.apps.is_empty(), "nothing is left");
    }

    #[test]
    fn an_app_that_loses_its_rate_while_it_rests_goes_on() {
        let mut turns = Turns::default();
        turns.push(entity("app", 0));
        turns.push(entity("app", 1));
        let slow = |_: &str| Share { weight: 5, per_s: Some(1) };
        assert!(turns.pop(Duration::ZERO, slow, |_| {}).is_some());
        turns.count("app", 1, Duration::ZERO);
        assert!(turns.pop(Duration::ZERO, slow, |_| {}).is_none(), "it rests");
        turns.push(entity("app", 2));
        let free = |_: &str| Share { weight: 5, per_s: None };
        let back = turns.next_back().expect("rests");
        assert!(back <= Duration::from_secs(1));
        let rest: Vec<_> = std::iter::from_fn(|| turns.pop(back, free, |_| {})).collect();
        assert_eq!(rest, [entity("app", 1), entity("app", 2)]);
    }
}

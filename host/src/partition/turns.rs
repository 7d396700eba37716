//! Entities whose turn came while it could not be given, in queues by app: apps take turns, each with as many as its
//! weight says (deficit round robin with a cost of one), so one app's backlog does not hold up another's call.
//! Invariant: what is pushed comes out once, in its app's order.

use std::collections::{HashMap, VecDeque};

use crate::ids::EntityRef;

/// The queues.
#[derive(Default)]
pub(crate) struct Turns {
    apps: HashMap<String, VecDeque<EntityRef>>,
    /// Apps with waiting entities; the first one's turn it is.
    ring: VecDeque<String>,
    /// How many more the first one may have before it goes to the end.
    left: u32,
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

    /// The next entity. `weight` says how many an app may have in a turn.
    pub(crate) fn pop(&mut self, weight: impl FnOnce(&str) -> u32) -> Option<EntityRef> {
        let app = self.ring.front()?;
        if self.left == 0 {
            self.left = weight(app).max(1);
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
        entity
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_take_turns_by_weight_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        let entity = |app: &str, n: u32| EntityRef::new(app, "t", &n.to_string()).expect("valid");
        for n in 0..1_000 {
            turns.push(entity("hog", n));
        }
        for n in 0..3 {
            turns.push(entity("heavy", n));
            turns.push(entity("light", n));
        }
        let weight = |app: &str| if app == "heavy" { 2 } else { 1 };
        let mut next = || turns.pop(weight).map(|entity| entity.to_string());
        let order: Vec<_> = std::iter::from_fn(&mut next).collect();
        let first = ["hog/t/0", "heavy/t/0", "heavy/t/1", "light/t/0", "hog/t/1", "heavy/t/2"];
        assert_eq!(order[..6], first);
        assert_eq!(order[6..10], ["light/t/1", "hog/t/2", "light/t/2", "hog/t/3"]);
        assert_eq!(order.len(), 1_006);
        let hogs = order.iter().filter(|entity| entity.starts_with("hog")).count();
        assert!(hogs == 1_000 && order.ends_with(&["hog/t/998".into(), "hog/t/999".into()]));
    }
}

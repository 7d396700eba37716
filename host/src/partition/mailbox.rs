//! Who runs next: one mailbox per entity that has anything waiting or running. Commands run one at a time in
//! arrival order; while a message backs off, later ones from the same sender to the same entity wait behind
//! it, and nobody else does. Pure bookkeeping: holds no time, no storage and no replies of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};

use crate::ids::EntityRef;

/// Something that waits in a mailbox.
pub(crate) trait Waiting {
    /// Its place in arrival order.
    fn seq(&self) -> u64;
    /// The entity whose order it must keep.
    fn sender(&self) -> Option<&EntityRef>;
}

/// All mailboxes of a partition.
pub(crate) struct Mailboxes<T> {
    slots: HashMap<EntityRef, Slot<T>>,
    /// Back-offs by when they end.
    wakes: BTreeSet<(u64, EntityRef, u64)>,
    /// Entries that wait at all entities.
    len: usize,
}

struct Slot<T> {
    busy: bool,
    ready: BTreeMap<u64, T>,
    /// Per backing-off message: when it ends, and what waits behind it (itself first).
    held: Vec<Held<T>>,
}

struct Held<T> {
    until_ms: u64,
    sender: Option<EntityRef>,
    /// The message that backs off.
    head: u64,
    entries: BTreeMap<u64, T>,
}

impl<T> Slot<T> {
    fn len(&self) -> usize {
        self.ready.len() + self.held.iter().map(|held| held.entries.len()).sum::<usize>()
    }
}

impl<T> Default for Mailboxes<T> {
    fn default() -> Self {
        Self { slots: HashMap::new(), wakes: BTreeSet::new(), len: 0 }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { busy: false, ready: BTreeMap::new(), held: vec![] }
    }
}

impl<T: Waiting> Mailboxes<T> {
    /// Adds an entry. It may have to wait behind one that backs off.
    pub(crate) fn push(&mut self, entity: &EntityRef, entry: T) {
        self.len += 1;
        let slot = match self.slots.get_mut(entity) {
            Some(slot) => slot,
            None => self.slots.entry(entity.clone()).or_default(),
        };
        let behind = entry.sender().and_then(|sender| {
            slot.held.iter_mut().find(|held| held.sender.as_ref() == Some(sender))
        });
        let queue = behind.map_or(&mut slot.ready, |held| &mut held.entries);
        queue.insert(entry.seq(), entry);
    }

    /// Makes an entity that has nothing waiting or running busy with `entry`; gives it back when it has.
    pub(crate) fn start(&mut self, entity: &EntityRef, entry: T) -> Result<T, T> {
        match self.slots.entry(entity.clone()) {
            hash_map::Entry::Occupied(_) => Err(entry),
            hash_map::Entry::Vacant(slot) => {
                slot.insert(Slot { busy: true, ..Slot::default() });
                Ok(entry)
            }
        }
    }

    /// Takes the next entry of an entity that is not busy, and makes it busy.
    pub(crate) fn take(&mut self, entity: &EntityRef) -> Option<T> {
        let slot = self.slots.get_mut(entity).filter(|slot| !slot.busy)?;
        let (_, entry) = slot.ready.pop_first()?;
        slot.busy = true;
        self.len -= 1;
        Some(entry)
    }

    /// The entity's command has ended.
    pub(crate) fn done(&mut self, entity: &EntityRef) {
        if let Some(slot) = self.slots.get_mut(entity) {
            slot.busy = false;
            self.drop_if_idle(entity);
        }
    }

    /// Adds an entry that backs off until `until_ms`; what its sender sent later waits behind it.
    pub(crate) fn hold(&mut self, entity: &EntityRef, entry: T, until_ms: u64) {
        self.len += 1;
        let slot = self.slots.entry(entity.clone()).or_default();
        let (head, sender) = (entry.seq(), entry.sender().cloned());
        let mut entries = BTreeMap::new();
        if sender.is_some() {
            let behind = |waiting: &T| waiting.sender() == sender.as_ref();
            entries = slot.ready.extract_if(head.., |_, waiting| behind(waiting)).collect();
        }
        entries.insert(head, entry);
        slot.held.push(Held { until_ms, sender, head, entries });
        self.wakes.insert((until_ms, entity.clone(), head));
    }

    /// When the next back-off ends.
    pub(crate) fn next_wake_ms(&self) -> Option<u64> {
        self.wakes.first().map(|wake| wake.0)
    }

    /// Ends the back-offs that are over, and says whose.
    pub(crate) fn wake(&mut self, now_ms: u64) -> Vec<EntityRef> {
        let mut woken = vec![];
        while self.next_wake_ms().is_some_and(|wake| wake <= now_ms) {
            let Some((_, entity, head)) = self.wakes.pop_first() else { break };
            self.unhold(&entity, head);
            woken.push(entity);
        }
        woken
    }

    /// Takes a waiting entry out. What waited behind it may go on.
    pub(crate) fn remove(&mut self, entity: &EntityRef, seq: u64) -> Option<T> {
        let slot = self.slots.get_mut(entity)?;
        let mut taken = slot.ready.remove(&seq);
        let mut over = None;
        for held in &mut slot.held {
            taken = taken.or_else(|| held.entries.remove(&seq));
            if held.head == seq {
                over = Some((held.until_ms, held.head));
            }
        }
        if let Some((until_ms, head)) = over {
            self.wakes.remove(&(until_ms, entity.clone(), head));
            self.unhold(entity, head);
        }
        self.len -= usize::from(taken.is_some());
        self.drop_if_idle(entity);
        taken
    }

    /// Everything that waits at an entity, in arrival order.
    pub(crate) fn entries(&self, entity: &EntityRef) -> impl Iterator<Item = &T> {
        let slot = self.slots.get(entity).into_iter();
        let mut all: Vec<&T> = slot
            .flat_map(|slot| {
                slot.ready.values().chain(slot.held.iter().flat_map(|held| held.entries.values()))
            })
            .collect();
        all.sort_unstable_by_key(|entry| entry.seq());
        all.into_iter()
    }

    /// Entities that have anything waiting or running, in no order.
    pub(crate) fn entities(&self) -> impl Iterator<Item = &EntityRef> {
        self.slots.keys()
    }

    /// Entries that wait at an entity.
    pub(crate) fn waiting(&self, entity: &EntityRef) -> usize {
        self.slots.get(entity).map_or(0, Slot::len)
    }

    /// True while a command of the entity runs.
    pub(crate) fn busy(&self, entity: &EntityRef) -> bool {
        self.slots.get(entity).is_some_and(|slot| slot.busy)
    }

    /// Entries that back off.
    pub(crate) fn backing_off(&self) -> usize {
        self.wakes.len()
    }

    /// The most entries that wait at one entity, of `among` entities.
    pub(crate) fn deepest(&self, among: usize) -> usize {
        self.slots.values().take(among).map(Slot::len).max().unwrap_or(0)
    }

    /// Entries that wait at all entities.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let slots = std::mem::take(self).slots;
        let slots = slots.into_values();
        slots
            .flat_map(|slot| {
                let held = slot.held.into_iter().flat_map(|held| held.entries.into_values());
                slot.ready.into_values().chain(held).collect::<Vec<_>>()
            })
            .collect()
    }

    fn unhold(&mut self, entity: &EntityRef, head: u64) {
        let Some(slot) = self.slots.get_mut(entity) else { return };
        if let Some(at) = slot.held.iter().position(|held| held.head == head) {
            slot.ready.append(&mut slot.held.swap_remove(at).entries);
        }
    }

    fn drop_if_idle(&mut self, entity: &EntityRef) {
        let idle = |slot: &Slot<T>| !slot.busy && slot.ready.is_empty() && slot.held.is_empty();
        if self.slots.get(entity).is_some_and(idle) {
            self.slots.remove(entity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(u64, Option<EntityRef>);

    impl Waiting for Entry {
        fn seq(&self) -> u64 {
            self.0
        }
        fn sender(&self) -> Option<&EntityRef> {
            self.1.as_ref()
        }
    }

    fn entity(key: &str) -> EntityRef {
        EntityRef::new("app", "kind", key).expect("valid")
    }

    fn run(boxes: &mut Mailboxes<Entry>) -> Option<u64> {
        let taken = boxes.take(&entity("e")).map(|entry| entry.0);
        boxes.done(&entity("e"));
        taken
    }

    #[test]
    fn one_at_a_time_in_arrival_order() {
        let mut boxes = Mailboxes::default();
        boxes.push(&entity("e"), Entry(2, None));
        boxes.push(&entity("e"), Entry(1, None));
        assert_eq!(boxes.take(&entity("e")).map(|e| e.0), Some(1));
        assert!(boxes.take(&entity("e")).is_none(), "busy");
        boxes.done(&entity("e"));
        assert_eq!(run(&mut boxes), Some(2));
        assert_eq!((boxes.len(), boxes.slots.len()), (0, 0));
    }

    #[test]
    fn only_the_same_sender_waits_behind_a_back_off() {
        let mut boxes = Mailboxes::default();
        let (a, b) = (Some(entity("a")), Some(entity("b")));
        for (seq, sender) in [(1, &a), (2, &b), (3, &a), (4, &None)] {
            boxes.push(&entity("e"), Entry(seq, sender.clone()));
        }
        let first = boxes.take(&entity("e")).expect("first");
        boxes.hold(&entity("e"), first, 50);
        boxes.push(&entity("f"), Entry(6, None));
        assert_eq!((boxes.deepest(9), boxes.backing_off()), (4, 1));
        boxes.remove(&entity("f"), 6);
        boxes.done(&entity("e"));
        boxes.push(&entity("e"), Entry(5, a.clone()));
        assert_eq!((run(&mut boxes), run(&mut boxes), run(&mut boxes)), (Some(2), Some(4), None));
        assert_eq!(boxes.next_wake_ms(), Some(50));
        assert!(boxes.wake(49).is_empty());
        assert_eq!(boxes.wake(50), [entity("e")]);
        assert_eq!(
            (run(&mut boxes), run(&mut boxes), run(&mut boxes)),
            (Some(1), Some(3), Some(5))
        );
        assert_eq!(boxes.len(), 0);
    }

    #[test]
    fn cancelling_what_backs_off_frees_its_sender() {
        let mut boxes = Mailboxes::default();
        let a = Some(entity("a"));
        boxes.hold(&entity("e"), Entry(1, a.clone()), 50);
        boxes.push(&entity("e"), Entry(2, a.clone()));
        assert_eq!(run(&mut boxes), None);
        assert_eq!(boxes.remove(&entity("e"), 1).map(|e| e.0), Some(1));
        assert_eq!(boxes.next_wake_ms(), None);
        assert_eq!(run(&mut boxes), Some(2));
        assert!(boxes.remove(&entity("e"), 9).is_none());
    }
}

//! What must be true of the log and of what callers were told, whatever happened: the promises, one by one. Knows the
//! handlers' rows and nothing of how the partition works.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::super::machine::Machine;
use super::super::model::{End, Facts};
use super::operators::Puts;
use crate::ids::{EntityRef, MessageId};
use crate::partition::request::{Answer, CallResult};
use crate::record::delta::Op;
use crate::record::message::Message;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Messages and calls that took effect.
    pub(super) did: HashSet<MessageId>,
    /// Those whose sender, caller or operator was told that they never will.
    pub(super) never: HashSet<MessageId>,
    /// Whoever asked an entity was told that these do not wait there any more.
    pub(super) gone: HashSet<MessageId>,
    /// What operators and callers asked to be taken away.
    pub(super) asked_away: HashSet<MessageId>,
    /// Callbacks that somebody outside tried to use.
    pub(super) using: HashSet<MessageId>,
    /// Dead letters, also those that were sent again.
    pub(super) dead_once: HashSet<MessageId>,
    /// Entities that an operator asked to remove.
    pub(super) removing: BTreeSet<EntityRef>,
    /// What operators asked to write, by the mark in it.
    pub(super) puts: Puts,
    /// Entities that were written whole.
    pub(super) rewritten: usize,
    /// Inputs of dead letters that operators changed.
    pub(super) edits: usize,
    /// The last number that a receiver had from a sender.
    order: BTreeMap<(EntityRef, EntityRef), u64>,
    /// When each key is forgotten.
    kept: BTreeMap<(EntityRef, String), u64>,
}

impl Audit {
    /// Looks at everything that became durable.
    pub(super) fn look(&mut self, machine: &mut Machine, attempts_max: impl Fn(&str) -> u32) {
        for facts in std::mem::take(&mut machine.facts) {
            self.operators(&facts);
            let did = self.effects(machine, &facts);
            let cancelled = rows(&facts, "cancelled/");
            for id in &cancelled {
                let taken = facts.ended.iter().any(|(message, _)| message.id == *id);
                // Somebody outside may have been faster.
                let before = self.asked_away.contains(id) && !machine.model.waits(*id);
                assert!((taken || before) && did != Some(*id), "a cancel of {id} was lost");
                assert!(!self.did.contains(id), "{id} was cancelled after it took effect");
                self.never.insert(*id);
            }
            self.ends(machine, &facts, did, &attempts_max);
            self.replies(&facts, did, &cancelled);
            self.ops(machine, &facts);
        }
    }

    /// A turn is whole and happens once: its rows with its message's end.
    fn effects(&mut self, machine: &Machine, facts: &Facts) -> Option<MessageId> {
        let did = rows(facts, "did/");
        assert!(did.len() <= 1, "two turns in one Delta: {did:?}");
        let id = did.first().copied()?;
        assert!(self.did.insert(id), "{id} took effect twice");
        assert!(!self.never.contains(&id), "{id} took effect after it was cancelled");
        if let Some(input) = machine.model.operated.edited.get(&id) {
            let input: Value = serde_json::from_slice(input).expect("JSON");
            let wanted = format!("{id}/{}", input["edited"]);
            let row = facts.delta.writes.iter().flat_map(|writes| &writes.rows);
            let mut row = row.filter_map(|(row, _)| row.strip_prefix(b"edited/"));
            assert!(row.any(|row| row == wanted.as_bytes()), "{id} ran with another input");
        }
        let ended = facts.ended.iter().any(|(m, end)| m.id == id && *end == End::Taken);
        assert!(ended || !machine.model.born.contains(&id), "{id} took effect and still waits");
        Some(id)
    }

    /// Nothing leaves without effect, unless its handler rejected it or somebody asked for it.
    fn ends(
        &mut self,
        machine: &Machine,
        facts: &Facts,
        did: Option<MessageId>,
        attempts_max: &impl Fn(&str) -> u32,
    ) {
        for (message, end) in &facts.ended {
            let id = message.id;
            // A timer makes way for the next of its name.
            let next = |arrived: &Arc<Message>| {
                arrived.timer() == message.timer() && arrived.target == message.target
            };
            if message.timer().is_some() && facts.arrived.iter().any(next) {
                self.asked_away.insert(id);
            }
            // A cancel is of a name: it takes away too what an operator sent again meanwhile.
            if message.timer().is_some_and(|name| untimes(facts, &message.target, name)) {
                self.asked_away.insert(id);
            }
            let again = facts.arrived.iter().any(|arrived| arrived.id == id);
            let excused = machine.excused.contains(&id) || self.asked_away.contains(&id);
            match end {
                End::Taken if did == Some(id) => self.in_order(machine, message),
                End::Withdrawn if again => assert!(self.using.contains(&id), "nobody used {id}"),
                End::Taken | End::Withdrawn => assert!(excused, "{id} was lost"),
                End::Dropped => {
                    assert!(self.asked_away.contains(&id), "nobody asked to drop {id}");
                }
                End::Parked => {
                    self.dead_once.insert(id);
                    let given_up = facts.delta.ops.iter().any(|op| match op {
                        Op::Park { attempts, reason, .. } => {
                            *attempts == attempts_max(message.target.app())
                                || reason.starts_with("rejected")
                        }
                        _ => false,
                    });
                    assert!(given_up, "{id} was given up on too early");
                }
            }
        }
    }

    /// What a sender sends to a receiver arrives in that order, but for what operators sent again.
    fn in_order(&mut self, machine: &Machine, message: &Message) {
        let input: Value = serde_json::from_slice(&message.input).expect("JSON");
        let (Some(sender), Some(nth)) = (message.sender(), input["nth"].as_u64()) else { return };
        // One whose sender was removed has a number of its life before.
        let orphan = machine.model.operated.orphans.contains(&message.id);
        if orphan || self.dead_once.contains(&message.id) {
            return;
        }
        let last = self.order.entry((sender.clone(), message.target.clone())).or_default();
        assert!(nth > *last, "{sender} -> {}: {nth} after {last}", message.target);
        *last = nth;
    }

    /// A sender that was removed counts from one again.
    pub(super) fn forget_order(&mut self, entity: &EntityRef) {
        self.order.retain(|(sender, _), _| sender != entity);
    }

    /// Whoever asked how a message ends is told in the Delta that ends it, once, and the truth.
    fn replies(&self, facts: &Facts, did: Option<MessageId>, cancelled: &BTreeSet<MessageId>) {
        let mut owed = BTreeMap::new();
        for (message, end) in &facts.ended {
            let ends = match end {
                End::Taken | End::Withdrawn => !cancelled.contains(&message.id),
                End::Parked => message.ends_when_parked(),
                End::Dropped => !message.ends_when_parked(),
            };
            let removed = facts.delta.ops.iter().any(|op| {
                let removed = |entity| message.sender() == Some(entity);
                matches!(op, Op::Rewrite { entity, removed: true, .. } if removed(entity))
            });
            if message.then.is_some() && ends && !removed {
                let (id, sender) = (message.id, message.sender().cloned());
                owed.insert(id.to_string(), (sender, did == Some(id)));
            }
        }
        let mut told = 0;
        for message in facts.arrived.iter().filter(|m| m.handler == "heard") {
            if message.callback().is_some() {
                continue;
            }
            let input: Value = serde_json::from_slice(&message.input).expect("JSON");
            let of = input["of"].as_str().expect("whose end it is");
            let (sender, worked) = owed.get(of).unwrap_or_else(|| panic!("{of} has not ended"));
            assert_eq!(sender.as_ref(), Some(&message.target), "somebody else is told");
            assert!(!worked || input["reply"].get("ok").is_some(), "{of} worked: {input}");
            told += 1;
        }
        assert_eq!(told, owed.len(), "an end and its reply are not in one Delta: {facts:?}");
    }

    /// Nothing is due early, and a key stands for one message as long as it is remembered.
    fn ops(&mut self, machine: &mut Machine, facts: &Facts) {
        for op in &facts.delta.ops {
            machine.count(match op {
                Op::Enqueue { .. } => "enqueued",
                Op::Dequeue { .. } => "dequeued",
                Op::Schedule { .. } => "scheduled",
                Op::Unschedule { .. } => "unscheduled",
                Op::Due { .. } => "due",
                Op::BackOff { .. } => "backed off",
                Op::Park { .. } => "parked",
                Op::Unpark { .. } => "retried by an operator",
                Op::DropDead { .. } => "dropped by an operator",
                Op::Outcome { .. } | Op::OldOutcome { .. } => "outcome kept",
                Op::Remember { .. } => "key kept",
                Op::Rewrite { removed: true, .. } => "entity removed",
                Op::Rewrite { .. } => "entity written whole",
                Op::Silence { .. } => "silenced",
                Op::Edit { .. } => "dead letter edited",
                Op::Pause { paused: true, .. } => "paused",
                Op::Pause { .. } => "resumed",
            });
            match op {
                Op::Due { due_ms, .. } => {
                    assert!(*due_ms <= machine.latest_ms, "{op:?} happens too early");
                }
                Op::Remember { entity, key, mark } => {
                    let place = (entity.clone(), key.clone());
                    let before = self.kept.insert(place, mark.expires_ms);
                    let over = before.is_none_or(|until| until <= machine.latest_ms);
                    assert!(over, "{key} stands for two messages");
                }
                _ => {}
            }
        }
    }

    /// What a caller was told of a command is durable.
    pub(super) fn told(&self, machine: &Machine, entity: &EntityRef, keyed: bool, answer: &Answer) {
        let version = machine.model.versions.get(entity).copied().unwrap_or(0);
        let id = answer.id;
        assert!(answer.version <= version, "{id} shows what is not durable");
        let known = match &answer.result {
            CallResult::Failed(_) => return,
            CallResult::Reply(_) => self.did.contains(&id) || machine.excused.contains(&id),
            CallResult::Rejected(_) => machine.excused.contains(&id),
        };
        assert!(known, "{id} was answered and did not happen");
        let kept = !keyed || machine.model.outcomes.contains_key(&id);
        assert!(kept, "{id} was answered before its outcome is durable");
    }

    /// After a crash, what was said to be gone is not back.
    pub(super) fn stays_gone(&self, machine: &Machine) {
        for entity in machine.model.rows.keys() {
            let back = machine.model.pending(entity).into_iter();
            let back = back.filter(|id| self.gone.contains(id) && !self.dead_once.contains(id));
            assert_eq!(back.count(), 0, "what was gone is back at {entity}");
        }
    }

    /// In the end every message took effect, was rejected, or was taken away by somebody.
    pub(super) fn conclude(&self, machine: &Machine) {
        for id in &machine.model.born {
            let ended = self.did.contains(id)
                || machine.excused.contains(id)
                || self.asked_away.contains(id);
            assert!(ended, "{id} vanished");
        }
    }
}

/// True when a Delta cancels an entity's timer of that name.
fn untimes(facts: &Facts, entity: &EntityRef, name: &str) -> bool {
    let row = format!("untimed/{name}");
    let writes = facts.delta.writes.as_ref().filter(|writes| writes.entity == *entity);
    writes.is_some_and(|writes| writes.rows.iter().any(|(key, _)| *key == row))
}

/// The ids in a Delta's rows of that name.
fn rows(facts: &Facts, name: &str) -> BTreeSet<MessageId> {
    let rows = facts.delta.writes.iter().flat_map(|writes| &writes.rows);
    let rows = rows.filter_map(|(row, _)| std::str::from_utf8(row).ok()?.strip_prefix(name));
    rows.map(|id| id.parse().expect("an id")).collect()
}

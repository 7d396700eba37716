//! What operators paused: its commands wait, its queries go on. Sends and messages are accepted within the bounds of
//! mailboxes, timers become due and wait too; calls are refused. Invariant: no command of a paused entity starts;
//! one that runs when the pause comes ends as it would have.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::core::{Core, Waiter};
use super::request::{Answered, Refusal, Scope};
use crate::ids::EntityRef;
use crate::limits;
use crate::record::delta::{Delta, Op};

/// All pauses of a partition.
#[derive(Debug, Default)]
pub(crate) struct Pauses(BTreeSet<Scope>);

impl Pauses {
    /// Notes a pause or its end.
    pub(crate) fn set(&mut self, scope: &Scope, paused: bool) {
        if paused {
            self.0.insert(scope.clone());
        } else {
            self.0.remove(scope);
        }
    }

    /// Whether an entity's commands wait.
    pub(crate) fn hold(&self, entity: &EntityRef) -> bool {
        // Nearly always there are none, and this is asked for every command.
        !self.0.is_empty() && self.holding(entity)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn holding(&self, entity: &EntityRef) -> bool {
        let (app, kind) = (entity.app().to_owned(), entity.kind().to_owned());
        self.0.contains(&Scope::All)
            || self.0.contains(&Scope::App(app.clone()))
            || self.0.contains(&Scope::Kind { app, kind })
            || self.0.contains(&Scope::Entity(entity.clone()))
    }
}

impl Core {
    /// Pauses or resumes; answers whether that changed anything.
    pub(crate) fn pause(
        &mut self,
        scope: &Scope,
        paused: bool,
        reply: oneshot::Sender<Answered<bool>>,
    ) {
        let full = || Refusal::Overloaded { what: "pauses" };
        let is = self.ledger.pauses.iter().any(|other| other == scope);
        let room = !paused || is || self.ledger.pauses.len() < limits::PAUSES_MAX;
        if let Err(refusal) = self.open().and_then(|()| room.then_some(()).ok_or_else(full)) {
            return drop(reply.send(Err(refusal)));
        }
        if is == paused {
            return self.commit.reply(self.commit.applied(), false, reply);
        }
        let op = Op::Pause { scope: scope.clone(), paused };
        let position = self.apply(Delta { writes: None, ops: vec![op] });
        let waiting = self.mailboxes.entities().filter(|entity| scope.holds(entity)).cloned();
        // In order, so that one seed gives one run.
        let waiting: BTreeSet<EntityRef> = waiting.collect();
        for entity in waiting {
            if self.ledger.pauses.hold(&entity) {
                self.refuse_calls(&entity);
            } else {
                self.wake(entity);
            }
        }
        self.commit.reply(position, true, reply);
    }

    /// What is paused.
    pub(crate) fn paused(&mut self, reply: oneshot::Sender<Answered<Vec<Scope>>>) {
        let all = self.ledger.pauses.iter().cloned().collect();
        self.commit.reply(self.commit.applied(), all, reply);
    }

    /// Everything is paused before anything starts.
    pub(crate) fn begin_paused(&mut self) {
        if self.ledger.pauses.iter().all(|scope| *scope != Scope::All) {
            let op = Op::Pause { scope: Scope::All, paused: true };
            self.apply(Delta { writes: None, ops: vec![op] });
        }
    }

    /// Refuses a call to a paused entity: its caller should not wait for an operator.
    pub(crate) fn running_allowed(&self, entity: &EntityRef) -> Result<(), Refusal> {
        if self.ledger.pauses.hold(entity) { Err(Refusal::Paused) } else { Ok(()) }
    }

    /// Callers and queries would wait for an operator: they are told.
    fn refuse_calls(&mut self, entity: &EntityRef) {
        let calls = self.mailboxes.entries(entity).filter(|entry| entry.call.is_some());
        let calls: Vec<u64> = calls.map(|entry| entry.seq).collect();
        for seq in calls {
            if let Some(entry) = self.mailboxes.remove(entity, seq) {
                self.refuse_call(entry, &Refusal::Paused);
            }
        }
    }

    /// A call that has not started ends without an effect.
    pub(crate) fn refuse_call(&mut self, entry: super::core::Entry, refusal: &Refusal) {
        let Some(caller) = entry.call else { return };
        self.late.forget(entry.message.id);
        if let Some(key) = caller.idempotency {
            self.keyed.remove(&key.row);
        }
        match caller.reply {
            Some(reply) => drop(reply.send(Err(refusal.clone()))),
            None => {
                let waiting = self.migrating.remove(&entry.message.target).unwrap_or_default();
                for (_, query) in waiting {
                    drop(query.reply.send(Err(refusal.clone())));
                }
            }
        }
        for waiter in self.waiters.remove(&entry.message.id).unwrap_or_default() {
            match waiter {
                Waiter::Answer(to) => drop(to.send(Err(refusal.clone()))),
                Waiter::Status(to) => drop(to.send(Err(refusal.clone()))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_holds_until_it_is_resumed() {
        let entity = EntityRef::new("app", "kind", "key").expect("valid");
        let other = EntityRef::new("app", "other", "key").expect("valid");
        let mut pauses = Pauses::default();
        let kind = Scope::Kind { app: "app".into(), kind: "kind".into() };
        for scope in [Scope::All, Scope::App("app".into()), kind, Scope::Entity(entity.clone())] {
            assert!(!pauses.hold(&entity));
            pauses.set(&scope, true);
            assert!(pauses.hold(&entity), "{scope}");
            assert_eq!(pauses.hold(&other), scope.holds(&other), "{scope}");
            pauses.set(&scope, false);
        }
        pauses.set(&Scope::All, true);
        pauses.set(&Scope::Entity(entity.clone()), true);
        pauses.set(&Scope::All, false);
        assert!(pauses.hold(&entity) && !pauses.hold(&other), "each pause ends by itself");
    }
}

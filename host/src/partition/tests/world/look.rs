//! People who look on while everything goes on: what ran lately, a message's journey, what is paused, and where
//! messages are that nobody was told of. They choose by numbers of their own, so that looking changes nothing of a run.
//! Invariant: what they are shown is in the durable prefix when they hear it, so no crash takes it back.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use super::{Sim, Waiting};
use crate::ids::MessageId;
use crate::partition::history::{Ended, Past, Turn};
use crate::partition::journey::{Live, Walk};
use crate::partition::request::{MessageStatus, Scope, Sees, StepInfo};

/// How many of the commands that started last are looked at.
const LATEST: usize = 8;

/// What they wait for.
enum Looked {
    /// What ran, and whose journey they follow then.
    Past(MessageId, Waiting<Past>),
    Live(Walk, Waiting<Vec<Live>>),
    Paused(Waiting<Vec<Scope>>),
    Status(MessageId, Waiting<MessageStatus>),
}

/// They, and what they know.
pub(super) struct Lookers {
    rng: StdRng,
    latest: VecDeque<MessageId>,
    waits: Vec<Looked>,
}

impl Lookers {
    pub(super) fn new(seed: u64) -> Self {
        // Anything but the numbers of the run itself.
        Self { rng: StdRng::seed_from_u64(!seed), latest: VecDeque::new(), waits: vec![] }
    }
}

impl Sim {
    /// Somebody looks, perhaps.
    pub(super) fn look(&mut self) {
        let lookers = &mut self.lookers;
        for job in &self.machine.jobs {
            if !lookers.latest.contains(&job.message.id) {
                lookers.latest.truncate(LATEST - 1);
                lookers.latest.push_front(job.message.id);
            }
        }
        if lookers.latest.is_empty() {
            return;
        }
        let id = lookers.latest[lookers.rng.random_range(0..lookers.latest.len())];
        let core = &mut self.machine.core;
        match lookers.rng.random_range(0..24u32) {
            0 | 1 => {
                let (to, past) = oneshot::channel();
                core.past(to);
                lookers.waits.push(Looked::Past(id, past));
            }
            2 => {
                let (to, paused) = oneshot::channel();
                core.paused(to);
                lookers.waits.push(Looked::Paused(paused));
            }
            3 | 4 => {
                let (to, status) = oneshot::channel();
                core.message(id, false, &Sees::All, to);
                lookers.waits.push(Looked::Status(id, status));
            }
            _ => {}
        }
    }

    /// Takes the answers that are there.
    pub(super) fn see(&mut self) {
        for looked in std::mem::take(&mut self.lookers.waits) {
            let again = self.see_one(looked);
            self.lookers.waits.extend(again);
        }
    }

    fn see_one(&mut self, looked: Looked) -> Option<Looked> {
        macro_rules! seen {
            ($again:expr, $answer:ident) => {
                match $answer.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => return Some($again),
                    Err(oneshot::error::TryRecvError::Closed) | Ok(Err(_)) => return None,
                    Ok(Ok(said)) => said.into_inner(),
                }
            };
        }
        match looked {
            Looked::Past(id, mut past) => {
                let past = seen!(Looked::Past(id, past), past);
                self.machine.count("looked at what ran");
                past.newest_first().for_each(|(_, turn)| self.check_turn(turn));
                let walk = Walk::new(&[past], id);
                let (to, live) = oneshot::channel();
                self.machine.core.tell_live(&walk.ids(), to);
                return Some(Looked::Live(walk, live));
            }
            Looked::Live(walk, mut live) => {
                let live = seen!(Looked::Live(walk, live), live);
                for step in walk.finish(live).into_iter().flat_map(|journey| journey.messages) {
                    self.machine.count("looked at a message's journey");
                    self.check_step(&step);
                }
            }
            Looked::Paused(mut paused) => {
                for scope in seen!(Looked::Paused(paused), paused) {
                    let paused = self.machine.model.operated.unheard.get(&(scope.clone(), true));
                    assert!(
                        paused.is_some(),
                        "{scope} is said to be paused and never was, durably"
                    );
                }
            }
            Looked::Status(id, mut status) => {
                let status = seen!(Looked::Status(id, status), status);
                self.hear_status(id, &status);
            }
        }
        None
    }

    /// What a turn is said to have come to did come about.
    fn check_turn(&self, turn: &Turn) {
        let (id, model) = (turn.id, &self.machine.model);
        let version = model.versions.get(&turn.entity).copied().unwrap_or(0);
        assert!(turn.version <= version, "{id} is shown at a version that is not durable");
        for sent in &turn.sent {
            assert!(model.born.contains(&sent.id), "{} is said to be sent, by {id}", sent.id);
        }
        match &turn.ended {
            Ended::Done(cancelled) => {
                let did = self.audit.did.contains(&id) || self.machine.excused.contains(&id);
                let migrated = &*turn.handler == "migrate";
                assert!(did || migrated, "{id} is said to be done and is not");
                for id in cancelled {
                    assert!(!model.waits(*id), "{id} is said to be cancelled and waits");
                }
                self.check_gone(id);
            }
            Ended::Rejected(_) => self.check_gone(id),
            Ended::Parked(_) => assert!(self.audit.dead_once.contains(&id), "{id} is not parked"),
            Ended::Failed(_) | Ended::Retried(_) => {}
        }
    }

    fn check_step(&self, step: &StepInfo) {
        let id: MessageId = step.id.parse().expect("an id");
        let born = self.machine.model.born.contains(&id);
        match step.status {
            "scheduled" | "queued" | "running" | "backing_off" => {
                assert!(born, "{id} is said to be {}", step.status);
            }
            "parked" => assert!(self.audit.dead_once.contains(&id), "{id} is not parked"),
            "done" | "rejected" | "cancelled" => self.check_gone(id),
            _ => {}
        }
    }

    /// It is over with a message, and for good.
    pub(super) fn check_gone(&self, id: MessageId) {
        assert!(!self.machine.model.waits(id), "{id} is said to be gone and waits");
    }
}

/// What is to be seen is seen in a few runs.
#[test]
fn people_look_at_all_that_there_is() {
    let mut all = super::Run::default();
    for seed in 0..4 {
        for (what, times) in super::simulate(seed).counts {
            *all.counts.entry(what).or_default() += times;
        }
    }
    all.must_have(&["looked at what ran", "looked at a message's journey"], 20);
}

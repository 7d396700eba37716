//! Operators who remove, write, pause, edit and settle in bulk while everything goes on, and what must be true of what
//! they are told. An entity that they wrote has a row that says so.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Sim, TIMERS, Wait, Waiting};
use crate::ids::{EntityRef, MessageId};
use crate::partition::letters::{Edit, Step};
use crate::partition::operate::Operation;
use crate::partition::request::{
    Bulk, Cancelled, Change, DeadFilter, DeadPage, DeadSettled, Expect, MessageFilter, MessagePage,
    Put, PutDone, Removed, Scope, Settle,
};
use crate::partition::tests::model::Facts;
use crate::record::delta::Op;

/// The row that a put leaves.
const MARK: &[u8] = b"put";

/// What an operator waits for.
#[derive(Debug)]
pub(super) enum Operated {
    Removed(EntityRef, Waiting<Option<Removed>>),
    Put(EntityRef, Expect, Waiting<PutDone>),
    Edited(MessageId, bool, Waiting<DeadSettled>),
    Paused(Scope, bool, Waiting<bool>),
    Bulk(Waiting<Bulk>),
    Timer(Waiting<Cancelled>),
    Dead(Waiting<DeadPage>),
    Messages(Waiting<MessagePage>),
}

/// Rows that were asked for by the mark among them.
pub(super) type Puts = BTreeMap<Bytes, (EntityRef, Change)>;

impl Sim {
    pub(super) fn operate(&mut self) {
        match self.chance(16) {
            0 => self.remove(),
            1..4 => self.put(),
            4..7 => self.pause(),
            7 | 8 => self.resume(),
            9..11 => self.edit(),
            11..13 => self.settle_many(),
            13 => self.cancel_timer(),
            _ => self.list(),
        }
    }

    fn remove(&mut self) {
        let entity = self.node();
        self.machine.note(format!("remove {entity}"));
        self.audit.removing.insert(entity.clone());
        let (to, removed) = oneshot::channel();
        self.machine.core.operate(entity.clone(), Operation::Remove(to));
        self.waits.push(Wait::Operated(Operated::Removed(entity, removed)));
    }

    /// Writes what is known to be there and a mark, whole; or the mark alone.
    fn put(&mut self) {
        let entity = self.node();
        let (version, whole) = (self.version(&entity), self.chance(2) == 0);
        let mark = Bytes::from(format!("{}", self.audit.puts.len()));
        let expect = match self.chance(4) {
            0 if !whole => Expect::Anything,
            1 if !whole => Expect::Absent,
            2 if !whole => Expect::Version(version + 1),
            _ => Expect::Version(version),
        };
        let key = Bytes::from_static(MARK);
        let change = if whole {
            let mut rows = self.machine.model.rows.get(&entity).cloned().unwrap_or_default();
            rows.insert(key, mark.clone());
            Change::Whole(rows.into_iter().collect())
        } else {
            Change::Some(vec![(key, Some(mark.clone()))])
        };
        self.machine.note(format!("put {entity} {expect:?} whole: {whole}"));
        self.audit.puts.insert(mark, (entity.clone(), change.clone()));
        let (to, done) = oneshot::channel();
        let (timers, version_min) = (None, 0);
        let put = Put { entity: entity.clone(), change, timers, expect, version_min };
        self.machine.core.operate(entity.clone(), Operation::Put(Box::new(put), to));
        self.waits.push(Wait::Operated(Operated::Put(entity, expect, done)));
    }

    fn pause(&mut self) {
        let entity = self.node();
        let scope = match self.chance(8) {
            0 => Scope::All,
            1 => Scope::App(entity.app().into()),
            2 => Scope::Kind { app: entity.app().into(), kind: entity.kind().into() },
            _ => Scope::Entity(entity),
        };
        self.set_pause(scope, true);
    }

    fn resume(&mut self) {
        let scopes: Vec<Scope> = self.machine.core.ledger.pauses.iter().cloned().collect();
        let all = self.chance(2) == 0;
        if all {
            scopes.into_iter().for_each(|scope| self.set_pause(scope, false));
        } else if let Some(scope) = self.pick(&scopes) {
            self.set_pause(scope, false);
        }
    }

    pub(super) fn resume_all(&mut self) {
        let scopes: Vec<Scope> = self.machine.core.ledger.pauses.iter().cloned().collect();
        scopes.into_iter().for_each(|scope| self.set_pause(scope, false));
    }

    fn set_pause(&mut self, scope: Scope, paused: bool) {
        self.machine.note(format!("pause {scope}: {paused}"));
        let (to, changed) = oneshot::channel();
        self.machine.core.pause(&scope, paused, to);
        self.waits.push(Wait::Operated(Operated::Paused(scope, paused, changed)));
    }

    /// A dead letter gets an input that works.
    fn edit(&mut self) {
        let dead = &self.machine.core.ledger.dead;
        let dead: Vec<_> = dead.values().map(|letter| letter.message.clone()).collect();
        let Some(message) = self.pick(&dead) else { return };
        let again = self.chance(3) > 0;
        let mut input: Value = serde_json::from_slice(&message.input).expect("JSON");
        let edit = self.audit.edits;
        self.audit.edits += 1;
        (input["mode"], input["edited"]) = ("ok".into(), json!(edit));
        self.machine.note(format!("edit {} again: {again}", message.id));
        let (to, settled) = oneshot::channel();
        let (id, input) = (message.id, Bytes::from(input.to_string()));
        self.machine.core.edit_dead(Edit { id, input, content_type: None, again }, to);
        let final_ = message.ends_when_parked();
        self.waits.push(Wait::Operated(Operated::Edited(id, final_, settled)));
    }

    fn settle_many(&mut self) {
        let settle = if self.chance(3) > 0 { Settle::Retry } else { Settle::Drop };
        let node = self.node();
        let app = (self.chance(2) == 0).then(|| node.app().to_owned());
        let reason = (self.chance(3) == 0).then(|| "rejected".to_owned());
        let filter = DeadFilter { app, reason, ..DeadFilter::default() };
        if settle == Settle::Drop {
            let dead = self.machine.core.ledger.dead.keys();
            self.audit.asked_away.extend(dead);
        }
        self.machine.note(format!("{settle:?} many {filter:?}"));
        let limit = 1 + self.chance(8);
        let (to, bulk) = oneshot::channel();
        let step = Step { settle, filter, after: None, through: None, limit };
        self.machine.core.settle_many(&step, to);
        self.waits.push(Wait::Operated(Operated::Bulk(bulk)));
    }

    fn cancel_timer(&mut self) {
        let (entity, name) = (self.node(), TIMERS[self.chance(TIMERS.len())]);
        let pending = self.machine.core.ledger.pending(&entity);
        let set = pending.and_then(|pending| pending.timers.get(name)).into_iter().flatten();
        self.audit.asked_away.extend(set.map(|timer| timer.message.id));
        let (to, cancelled) = oneshot::channel();
        self.machine.core.cancel_timer(&entity, name, to);
        self.waits.push(Wait::Operated(Operated::Timer(cancelled)));
    }

    fn list(&mut self) {
        let limit = 1 + self.chance(8);
        if self.chance(2) == 0 {
            let (to, page) = oneshot::channel();
            self.machine.core.dead_letters(&DeadFilter::default(), None, limit, to);
            return self.waits.push(Wait::Operated(Operated::Dead(page)));
        }
        let (to, page) = oneshot::channel();
        self.machine.core.messages(&MessageFilter::default(), None, limit, to);
        self.waits.push(Wait::Operated(Operated::Messages(page)));
    }

    fn version(&self, entity: &EntityRef) -> u64 {
        self.machine.model.versions.get(entity).copied().unwrap_or(0)
    }

    /// Takes an answer that is there; gives back what is to be waited for.
    pub(super) fn hear_operated(&mut self, operated: Operated) -> Option<Wait> {
        macro_rules! heard {
            ($again:expr, $answer:ident) => {
                match $answer.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => {
                        return Some(Wait::Operated($again));
                    }
                    Err(oneshot::error::TryRecvError::Closed) | Ok(Err(_)) => return None,
                    Ok(Ok(said)) => said.into_inner(),
                }
            };
        }
        let born = &self.machine.model.born;
        match operated {
            Operated::Removed(entity, mut removed) => {
                let said = heard!(Operated::Removed(entity, removed), removed);
                if let Some(removed) = said {
                    let durable = self.machine.model.operated.removed.get(&entity);
                    assert!(durable >= Some(&removed.version), "{entity}: {removed:?}");
                }
            }
            Operated::Put(entity, expect, mut done) => {
                let said = heard!(Operated::Put(entity, expect, done), done);
                let now = self.version(&entity);
                match (said, expect) {
                    (PutDone::Yes { version }, Expect::Version(wanted)) => {
                        assert!(version == wanted + 1 && version <= now, "{entity}: {said:?}");
                    }
                    (PutDone::Yes { version }, _) => assert!(version <= now, "{entity}: {said:?}"),
                    (PutDone::TooLarge { .. }, _) => panic!("{entity}: no app has such a quota"),
                    (PutDone::Otherwise { version }, _) => {
                        assert!(expect != Expect::Version(version), "{entity}: it was that");
                        assert!(version <= now, "{entity}: shows what is not durable");
                    }
                }
            }
            Operated::Edited(id, final_, mut settled) => {
                let said = heard!(Operated::Edited(id, final_, settled), settled);
                assert!(!(final_ && said == DeadSettled::Yes), "{id} may happen after all");
                let durable = self.machine.model.operated.edited.contains_key(&id);
                assert!(durable || said != DeadSettled::Yes, "{id} was edited and is not");
            }
            Operated::Paused(scope, paused, mut changed) => {
                let said: bool = heard!(Operated::Paused(scope, paused, changed), changed);
                let unheard = &mut self.machine.model.operated.unheard;
                let durable = unheard.get_mut(&(scope, paused)).filter(|count| **count > 0);
                if said {
                    *durable.expect("a pause is told before it is durable") -= 1;
                }
            }
            Operated::Bulk(mut bulk) => {
                let step = heard!(Operated::Bulk(bulk), bulk);
                assert!(step.done + step.answered > 0 || step.next.is_none(), "{step:?}");
            }
            Operated::Timer(mut cancelled) => {
                let _: Cancelled = heard!(Operated::Timer(cancelled), cancelled);
            }
            Operated::Dead(mut page) => {
                for letter in heard!(Operated::Dead(page), page).letters {
                    let id = letter.id.parse().expect("an id");
                    assert!(self.audit.dead_once.contains(&id), "{id} is not parked, durably");
                }
            }
            Operated::Messages(mut page) => {
                for message in heard!(Operated::Messages(page), page).messages {
                    assert!(born.contains(&message.id.parse().expect("an id")), "not durable");
                }
            }
        }
        None
    }
}

impl super::audit::Audit {
    /// Writes of operators are what they asked for, whole; what ends with its entity was asked away.
    pub(super) fn operators(&mut self, facts: &Facts) {
        for op in &facts.delta.ops {
            let Op::Rewrite { entity, rows, removed, .. } = op else { continue };
            if *removed {
                assert!(self.removing.contains(entity), "nobody asked to remove {entity}");
                for (message, _) in &facts.ended {
                    assert_eq!(message.target, *entity, "it was another's");
                    self.asked_away.insert(message.id);
                    self.never.insert(message.id);
                }
                self.forget_order(entity);
                continue;
            }
            let mark = rows.iter().find(|(key, _)| key == MARK).expect("a mark");
            let (of, change) = &self.puts[&mark.1];
            assert_eq!(of, entity, "written elsewhere");
            assert!(matches!(change, Change::Whole(asked) if asked == rows), "not as asked");
            self.rewritten += 1;
        }
        let writes = facts.delta.writes.iter();
        let mark = writes.flat_map(|writes| &writes.rows).find(|(key, _)| key == MARK);
        if let Some((_, mark)) = mark {
            let (_, change) = &self.puts[mark.as_ref().expect("nobody removes it")];
            let rows = facts.delta.writes.as_ref().map(|writes| &writes.rows);
            assert!(matches!(change, Change::Some(asked) if Some(asked) == rows), "not as asked");
        }
    }
}

/// All that operators do comes about in a few runs.
#[test]
fn operators_do_all_that_they_can() {
    let (mut removals, mut orphans, mut edited, mut bulks, mut whole) = (0, 0, 0, 0, 0);
    for seed in 0..16 {
        let sim = super::played(seed);
        let operated = &sim.machine.model.operated;
        removals += operated.removals;
        orphans += operated.orphans.len();
        bulks += operated.bulks;
        let did = |id: &&MessageId| sim.audit.did.contains(*id);
        edited += operated.edited.keys().filter(did).count();
        whole += sim.audit.rewritten;
    }
    // Several dead letters at once are rare here; the promises' tests see to their order.
    let counts = [removals, orphans, edited, whole];
    assert!(counts.iter().all(|count| *count > 2), "too few: {counts:?}");
    eprintln!("removals, orphans, edited, rewrites: {counts:?}; bulks: {bulks}");
}

//! Everything at once: two apps whose nodes send, delay, cancel, set timers, ask to hear of ends, hand out callbacks,
//! reject, fail, trap and migrate; clients that retry, with and without keys; operators who retry, drop and cancel;
//! disks that fail in every way, clocks that jump, and bounds so small that they are reached. `audit` says what must
//! be true.

mod audit;
mod handlers;
mod hear;
mod look;
mod menu;
mod operators;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use audit::Audit;
use look::Lookers;
use menu::{Act, Menu};
use operators::Operated;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::machine::Machine;
use super::{Run, entity, every_seed};
use crate::clock::Clock;
use crate::config::RetryPolicy;
use crate::engine::{Due, Failure};
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::partition::bounds::Bounds;
use crate::partition::callback::Use;
use crate::partition::core::{Apps, Settings};
use crate::partition::reply::{self, End};
use crate::partition::request::{
    Accepted, Answer, Answered, CallResult, CallbackUsed, Cancelled, DeadSettled, Invocation,
    MessageStatus, Sees, Send,
};
use crate::state::Table;

const APPS: [&str; 2] = ["left", "right"];
/// Keys that are near each other in every encoding.
const KEYS: [&str; 3] = ["a", "a\0", "b"];
const TIMERS: [&str; 2] = ["tick", "tock"];
const STEPS: u32 = 500;
const ASKS_MAX: usize = 70;
const ROUNDS_MAX: u32 = 30_000;
/// What has to come about somewhere among the seeds that run by themselves.
const MUST_HAPPEN: [&str; 25] = [
    "answered again",
    "backed off",
    "backlog full",
    "callback used",
    "cancelled from outside",
    "dequeued",
    "dropped by an operator",
    "due",
    "enqueued",
    "guest calls in progress",
    "key kept",
    "key refused",
    "mailbox full",
    "messages",
    "outcome kept",
    "parked",
    "query answered",
    "retried by an operator",
    "scheduled",
    "started over",
    "state outdated",
    "state unreadable",
    "turns over their rate",
    "unavailable",
    "unscheduled",
];
/// The faults: each of them has to come about so often.
const FAULTS: [&str; 16] = [
    "append slow",
    "checkpoint slow",
    "clock set back",
    "clock set forward",
    "disk full",
    "handler fails",
    "handler rejects",
    "handler times out",
    "handler traps",
    "name fails",
    "power cut",
    "process killed",
    "read fails",
    "shut down",
    "sync fails",
    "write fails",
];
const FAULT_TIMES_MIN: u64 = 50;
/// The same for what one app may have waiting.
const BACKLOG_MAX: usize = 8;
/// A limit's worth of everything, small enough to be reached.
const SMALL: Bounds = Bounds {
    messages: 12,
    running: 3,
    view_bytes: 40_000,
    view_bytes_checkpoint: 15_000,
    due_messages: 2,
    batch_transactions: 4,
};

/// One app forgets soon, gives up soon, has small mailboxes, and in some runs a rate of turns; in these
/// the other one may have few messages.
struct Two {
    paced: bool,
}

impl Apps for Two {
    fn settings(&self, app: &str) -> Settings {
        let left = app == APPS[0];
        let retry = RetryPolicy { initial_ms: 5, max_ms: 60, attempts_max: attempts_max(app) };
        let (retention_s, mailbox_max) = if left { (4, 4) } else { (600, 1_000) };
        let turns_per_s = (left && self.paced).then_some(5);
        let weight = 1 + app.len() as u32 % 3;
        let messages = if !left && self.paced { BACKLOG_MAX } else { 1_000 };
        let backlog_max = (messages, 100_000);
        let known = Settings { retry, retention_s, mailbox_max, weight, ..Settings::default() };
        Settings { turns_per_s, backlog_max, ..known }
    }

    fn paced(&self) -> bool {
        self.paced
    }
}

fn attempts_max(app: &str) -> u32 {
    if app == APPS[0] { 3 } else { 5 }
}

type Waiting<T> = oneshot::Receiver<Answered<T>>;

/// One thing that a client wants done.
struct Ask {
    invocation: Invocation,
    /// Set for a send: when it is due, in milliseconds from then.
    delay: Option<u64>,
    told: Option<Told>,
    waiting: usize,
}

#[derive(Debug, PartialEq)]
struct Told {
    id: MessageId,
    /// None for a send.
    result: Option<CallResult>,
    expires_ms: Option<u64>,
}

/// What somebody waits for.
enum Wait {
    Call(usize, Waiting<Answer>),
    Send(usize, Waiting<Accepted>),
    Query(EntityRef, BTreeSet<MessageId>, Waiting<Answer>),
    Status(MessageId, Waiting<MessageStatus>),
    Cancel(MessageId, Waiting<Cancelled>),
    Callback(MessageId, Vec<u8>, Waiting<CallbackUsed>),
    /// The dead letter's place, and whether it is final.
    Settled(MessageId, u64, bool, Waiting<DeadSettled>),
    Operated(Operated),
    /// A key with another body.
    Mismatch(u64, Waiting<Answer>),
}

struct Sim {
    machine: Machine,
    audit: Audit,
    asks: Vec<Ask>,
    waits: Vec<Wait>,
    ids: Vec<MessageId>,
    tokens: Vec<CallbackToken>,
    /// What users of a callback were told that it heard.
    accepted: BTreeMap<MessageId, Vec<u8>>,
    menu: Menu,
    lookers: Lookers,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let bounds = if seed.is_multiple_of(3) { SMALL } else { Bounds::default() };
        let two = Two { paced: seed % 4 == 3 };
        let mut machine = Machine::bounded(seed, two, handlers::handle, bounds);
        let menu = Menu::new(seed, &mut machine.rng);
        Self {
            machine,
            menu,
            lookers: Lookers::new(seed),
            audit: Audit::default(),
            asks: vec![],
            waits: vec![],
            ids: vec![],
            tokens: vec![],
            accepted: BTreeMap::new(),
        }
    }

    fn chance(&mut self, below: usize) -> usize {
        self.machine.rng.random_range(0..below)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.chance(from.len())].clone()) }
    }

    fn step(&mut self) {
        self.look();
        if self.chance(12) == 0 {
            self.operate();
            return self.settle();
        }
        match self.menu.act(&mut self.machine.rng) {
            Act::Run => self.machine.run_job(),
            Act::Append => self.machine.append(),
            Act::Checkpoint => self.machine.write_checkpoint(),
            Act::PassTime => self.machine.pass_time(),
            Act::AskNew if self.asks.len() < ASKS_MAX => self.ask_new(),
            Act::AskNew => {}
            Act::AskAgain => self.ask_again(),
            Act::Peek => self.peek(),
            Act::AskStatus => self.ask_status(),
            Act::Cancel => self.cancel(),
            Act::SettleDead => self.settle_dead(false),
            Act::UseCallback => self.use_callback(),
            Act::MisuseKey => self.misuse_key(),
            Act::Spoil => self.machine.spoil(),
            Act::Crash => self.machine.crash(),
            Act::Jump => self.machine.jump(),
            Act::ShutDown => self.machine.shut_down(),
        }
        self.settle();
    }

    fn settle(&mut self) {
        let before = self.machine.restarts();
        self.machine.settle();
        self.audit.look(&mut self.machine, attempts_max);
        if self.machine.restarts() != before {
            self.audit.stays_gone(&self.machine);
        }
        self.listen();
        self.see();
    }

    fn node(&mut self) -> EntityRef {
        let (app, key) = (APPS[self.chance(2)], KEYS[self.chance(KEYS.len())]);
        entity(app, "node", key)
    }

    /// What a command does: a few steps, each with what follows from it.
    fn plan(&mut self, depth: u32) -> Value {
        let mode = self.menu.mode(&mut self.machine.rng);
        let steps = if depth == 0 { 0 } else { self.chance(4) };
        let steps: Vec<Value> = (0..steps).map(|_| self.plan_step(depth)).collect();
        json!({"mode": mode, "plan": steps})
    }

    fn plan_step(&mut self, depth: u32) -> Value {
        let delay = if self.chance(2) == 0 { 0 } else { self.chance(2_000) };
        let (key, name) = (KEYS[self.chance(KEYS.len())], TIMERS[self.chance(TIMERS.len())]);
        let then = [None, Some(true), Some(false)][self.chance(3)];
        match self.menu.step(&mut self.machine.rng) {
            "send" => {
                let act = self.plan(depth - 1);
                json!({"do": "send", "to": key, "delay": delay, "then": then, "act": act})
            }
            "timer" => {
                let act = self.plan(depth - 1);
                json!({"do": "timer", "name": name, "delay": delay, "act": act})
            }
            "untimer" => json!({"do": "untimer", "name": name}),
            "callback" => json!({"do": "callback", "delay": delay}),
            _ => {
                let what = ["recall", "withdraw"][self.chance(2)];
                json!({ "do": what })
            }
        }
    }

    fn ask_new(&mut self) {
        let (entity, plan) = (self.node(), self.plan(2));
        let keyed = self.chance(3) > 0;
        let delay = match self.chance(4) {
            0 => Some(0),
            1 => Some(self.chance(2_000) as u64),
            _ => None,
        };
        self.ask_for(entity, &plan, keyed, delay);
    }

    fn ask_for(&mut self, entity: EntityRef, plan: &Value, keyed: bool, delay: Option<u64>) {
        let input = plan.to_string().into();
        let invocation = Invocation {
            entity,
            handler: "act".into(),
            input,
            content_type: None,
            trace: None,
            idempotency_key: keyed.then(|| format!("key-{}", self.asks.len())),
        };
        self.asks.push(Ask { invocation, delay, told: None, waiting: 0 });
        self.ask(self.asks.len() - 1);
    }

    /// Retries and duplicates: at any time, in any order, beside another try.
    fn ask_again(&mut self) {
        let keyed = |ask: &Ask| ask.invocation.idempotency_key.is_some();
        let keyed: Vec<_> = (0..self.asks.len()).filter(|n| keyed(&self.asks[*n])).collect();
        if let Some(n) = self.pick(&keyed) {
            self.ask(n);
        }
    }

    fn ask(&mut self, n: usize) {
        let ask = &mut self.asks[n];
        ask.waiting += 1;
        let invocation = ask.invocation.clone();
        let line = format!("ask {n} {} {:?}", invocation.entity, ask.delay);
        let core = &mut self.machine.core;
        if let Some(delay) = ask.delay {
            let (to, accepted) = oneshot::channel();
            let due_ms = self.machine.clock.now_ms() + delay;
            let due = if delay == 0 { Due::Now } else { Due::AtMs(due_ms) };
            core.send(Send { invocation, due }, to);
            self.waits.push(Wait::Send(n, accepted));
        } else {
            let (to, answer) = oneshot::channel();
            core.call(invocation, to);
            self.waits.push(Wait::Call(n, answer));
        }
        self.machine.note(line);
    }

    /// A key that is remembered, with another body.
    fn misuse_key(&mut self) {
        let latest_ms = self.machine.latest_ms;
        let kept = |ask: &&Ask| {
            let until = ask.told.as_ref().and_then(|told| told.expires_ms);
            until.is_some_and(|until| until > latest_ms)
        };
        let kept: Vec<_> =
            self.asks.iter().filter(kept).map(|ask| ask.invocation.clone()).collect();
        let Some(invocation) = self.pick(&kept) else { return };
        let input = json!({"mode": "poison"}).to_string().into();
        let (to, answer) = oneshot::channel();
        self.machine.core.call(Invocation { input, ..invocation }, to);
        self.waits.push(Wait::Mismatch(latest_ms, answer));
    }

    fn peek(&mut self) {
        let entity = self.node();
        let known = self.machine.model.pending(&entity);
        let invocation = Invocation {
            entity: entity.clone(),
            handler: "peek".into(),
            input: "{}".into(),
            content_type: None,
            trace: None,
            idempotency_key: None,
        };
        let (to, answer) = oneshot::channel();
        self.machine.core.read(invocation, to);
        self.waits.push(Wait::Query(entity, known, answer));
    }

    fn ask_status(&mut self) {
        let ids = self.ids.clone();
        let (Some(id), wait) = (self.pick(&ids), self.chance(2) == 0) else { return };
        let (to, status) = oneshot::channel();
        self.machine.core.message(id, wait, &Sees::All, to);
        self.waits.push(Wait::Status(id, status));
    }

    fn cancel(&mut self) {
        let ledger = &self.machine.core.ledger;
        let mut ids: Vec<_> = ledger.queued.values().map(|queued| queued.message.id).collect();
        ids.extend(ledger.scheduled.values().map(|message| message.id));
        ids.sort_unstable();
        let Some(id) = self.pick(&ids) else { return };
        self.machine.note(format!("cancel {id}"));
        let (to, cancelled) = oneshot::channel();
        self.machine.core.cancel(id, &Sees::All, to);
        self.audit.asked_away.insert(id);
        self.waits.push(Wait::Cancel(id, cancelled));
    }

    /// An operator looks at a dead letter; `clear` says that none may be left.
    fn settle_dead(&mut self, clear: bool) {
        let dead = &self.machine.core.ledger.dead;
        let dead: Vec<_> = dead.values().map(|dead| (dead.message.clone(), dead.seq)).collect();
        let Some((message, place)) = self.pick(&dead) else { return };
        let again = self.chance(3) > 0 && !(clear && message.ends_when_parked());
        self.machine.note(format!("settle {} again: {again}", message.id));
        if !again {
            self.audit.asked_away.insert(message.id);
        }
        let (to, settled) = oneshot::channel();
        self.machine.core.settle_dead(message.id, again, to);
        let final_ = message.ends_when_parked() && again;
        self.waits.push(Wait::Settled(message.id, place, final_, settled));
    }

    fn use_callback(&mut self) {
        let tokens = self.tokens.clone();
        let Some(token) = self.pick(&tokens) else { return };
        let (code, message) = ("refused".to_owned(), "no".to_owned());
        let failure = Failure { code, message, details: None, retryable: false };
        let way = self.chance(3);
        let reply = match way {
            0 => reply::of(End::Rejected(&failure)),
            _ => reply::of(End::Value(b"7")),
        };
        let using = Use { token, reply: reply.clone(), fingerprint: [u8::from(way == 0); 16] };
        let (to, used) = oneshot::channel();
        self.machine.note(format!("use {} {way}", token.id()));
        self.audit.using.insert(token.id());
        self.machine.core.use_callback(&using, to);
        self.waits.push(Wait::Callback(token.id(), reply, used));
    }

    /// No more faults: everything drains, by the machine's own clock alone.
    fn drain(&mut self) {
        self.machine.calm();
        self.resume_all();
        for _ in 0..ROUNDS_MAX {
            let open = |ask: &Ask| {
                ask.waiting == 0 && ask.told.is_none() && ask.invocation.idempotency_key.is_some()
            };
            // Whoever was told to come back later does.
            if let Some(n) = self.asks.iter().position(open)
                && self.chance(4) == 0
            {
                self.ask(n);
            }
            if !self.machine.core.ledger.dead.is_empty() {
                self.settle_dead(true);
            }
            self.settle();
            let status = self.machine.core.status();
            let settled = self.machine.quiet() && status.scheduled + status.dead == 0;
            if settled && self.waits.is_empty() && !self.asks.iter().any(open) {
                return;
            }
            let goes_on = self.machine.go_on();
            let ready = status.dead > 0 || self.asks.iter().any(open);
            assert!(goes_on || ready, "nothing would ever wake it: {status:?}");
            self.settle();
        }
        let left: Vec<_> = self.waits.iter().map(Wait::what).collect();
        panic!("it does not drain: {:?} {left:?}", self.machine.core.status());
    }

    /// What was kept to be asked for again is forgotten in its time, all of it.
    fn forget(&mut self) {
        let kept = Duration::from_millis(self.machine.latest_ms - self.machine.clock.now_ms());
        self.machine.advance(kept + Duration::from_secs(2 * 24 * 3600));
        for _ in 0..2 {
            let invocation = Invocation {
                entity: self.node(),
                handler: "act".into(),
                input: "{}".into(),
                content_type: None,
                trace: None,
                idempotency_key: None,
            };
            let (to, _) = oneshot::channel();
            self.machine.core.call(invocation, to);
            self.settle();
            while self.machine.go_on() {
                self.settle();
            }
        }
        let base = self.machine.core.view.base();
        for table in [Table::Outcomes, Table::Idempotency, Table::Expiry, Table::Mailbox] {
            let rows = base.range(table, b"", None).expect("reads").count();
            assert_eq!(rows, 0, "{table:?} is never reclaimed");
        }
    }

    fn check(&self) {
        self.audit.conclude(&self.machine);
        // An operator may have dropped what could not be told.
        let dropped = |id: &&MessageId| {
            let forgotten = &self.machine.model.operated.forgotten;
            let row = format!("heard/{id}");
            self.audit.asked_away.contains(*id) || forgotten.contains(row.as_bytes())
        };
        for id in self.accepted.keys().filter(|id| !dropped(id)) {
            let (row, said) = (format!("heard/{id}"), &self.accepted[id]);
            let heard = self.machine.model.rows.values().find_map(|rows| rows.get(row.as_bytes()));
            let heard: Value = serde_json::from_slice(heard.expect("heard")).expect("JSON");
            let said: Value = serde_json::from_slice(said).expect("JSON");
            assert_eq!(heard, said, "{id} heard something else");
        }
    }
}

impl Ask {
    /// As long as a key is remembered it has one answer.
    fn hears(&mut self, told: Told, latest_ms: u64) {
        let kept = |before: &&Told| before.expires_ms.is_some_and(|until| until > latest_ms);
        if let Some(before) = self.told.as_ref().filter(kept) {
            assert_eq!((before.id, &before.result), (told.id, &told.result), "two answers");
        }
        self.told = Some(told);
    }
}

impl Wait {
    fn what(&self) -> String {
        match self {
            Self::Call(n, _) => format!("call {n}"),
            Self::Send(n, _) => format!("send {n}"),
            Self::Query(entity, ..) => format!("query of {entity}"),
            Self::Status(id, _) => format!("status of {id}"),
            Self::Cancel(id, _) => format!("cancel of {id}"),
            Self::Callback(id, ..) => format!("use of {id}"),
            Self::Operated(operated) => format!("{operated:?}"),
            Self::Settled(id, ..) => format!("dead letter {id}"),
            Self::Mismatch(..) => "a key misused".into(),
        }
    }
}

fn simulate(seed: u64) -> Run {
    played(seed).machine.end()
}

fn played(seed: u64) -> Sim {
    let mut sim = Sim::new(seed);
    for _ in 0..STEPS {
        sim.step();
    }
    sim.drain();
    sim.check();
    sim.forget();
    // What is on disk says the same as what is in memory.
    sim.machine.crash();
    sim.settle();
    sim.check();
    sim
}

#[test]
fn every_promise_holds_whatever_happens() {
    let all = every_seed("world", 200, simulate);
    assert!(all.few || all.crashes > 400, "only {} crashes", all.crashes);
    all.must_have(&MUST_HAPPEN, 1);
    all.must_have(&FAULTS, FAULT_TIMES_MIN);
}

/// Found by the simulation: an operator sends a timer's dead letter again, and another timer of its name waits. After
/// a restart the entity saw the one that came first, and cancelled or replaced only that.
#[test]
fn a_timer_is_cancelled_with_all_that_waits_under_its_name() {
    let mut sim = Sim::new(1);
    sim.machine.calm();
    let node = entity(APPS[1], "node", "b");
    let act = |mode: &str, step: Value| json!({"mode": mode, "plan": [step]});
    let timer = |mode, delay: u64| {
        let then = json!({"mode": mode, "plan": []});
        act("ok", json!({"do": "timer", "name": "tick", "delay": delay, "act": then}))
    };
    sim.ask_for(node.clone(), &timer("reject", 0), false, None);
    while sim.machine.core.ledger.dead.is_empty() {
        sim.settle();
        assert!(sim.machine.go_on(), "a timer that rejects is parked");
    }
    sim.ask_for(node.clone(), &timer("ok", 60_000), false, None);
    while sim.machine.core.ledger.scheduled.is_empty() {
        sim.settle();
        assert!(sim.machine.go_on(), "the next timer is set");
    }
    // The cancel is queued before the dead letter, so it runs before it after the restart.
    let cancel = act("ok", json!({"do": "untimer", "name": "tick"}));
    sim.ask_for(node.clone(), &cancel, false, Some(0));
    sim.settle();
    let dead = *sim.machine.core.ledger.dead.first_key_value().expect("parked").0;
    sim.machine.core.settle_dead(dead, true, oneshot::channel().0);
    while sim.machine.append.is_some() || !sim.machine.core.commit.idle() {
        sim.machine.append();
        sim.settle();
    }
    assert_eq!(sim.machine.model.pending(&node).len(), 2, "both wait");
    sim.machine.crash();
    while !sim.machine.quiet() {
        sim.settle();
        sim.machine.go_on();
    }
    sim.settle();
    assert_eq!(sim.machine.model.pending(&node), BTreeSet::new(), "it was cancelled and waits");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..4 {
        assert_eq!(simulate(seed), simulate(seed));
    }
}

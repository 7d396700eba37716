//! Desks ask shops to work and hear of the end, and hand out callbacks: for each there is one reply, in the Delta
//! that ends it; none when the desk took it back itself; and a callback's user was told the truth.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::callback::{self, Use};
use super::super::executor::{Job, Verdict};
use super::super::reply::{self, End};
use super::super::request::{
    Answer, Answered, CallFailure, CallResult, CallbackUsed, Invocation, Sees,
};
use super::super::transaction::Draft;
use super::super::view::ReadError;
use super::{Machine, Patience, Run, entity, every_seed};
use crate::clock::Clock;
use crate::engine::{Continuation, Due, Failure};
use crate::ids::{CallbackToken, EntityRef, MessageId, Position};
use crate::record::delta::{Batch, Delta, Op};
use crate::record::message::{Message, Origin};
use crate::record::{self, keys};

const DESKS: [&str; 2] = ["a", "b"];
const SHOPS: [&str; 2] = ["x", "y"];
const ASKS_MAX: usize = 60;

fn desk(n: u64) -> EntityRef {
    entity("app", "desk", DESKS[n as usize % DESKS.len()])
}

/// Where every message is, by what was sealed: what ended, and who is owed a reply.
#[derive(Default)]
struct Books {
    queued: HashMap<u64, Arc<Message>>,
    scheduled: HashMap<(u64, u64), Arc<Message>>,
    dead: HashMap<MessageId, Arc<Message>>,
}

impl Books {
    fn of(machine: &Machine) -> Self {
        let ledger = &machine.core.ledger;
        let queued = ledger.queued.iter().map(|(seq, queued)| (*seq, queued.message.clone()));
        let dead = ledger.dead.iter().map(|(id, dead)| (*id, dead.message.clone()));
        let scheduled = ledger.scheduled.iter().map(|(key, message)| (*key, message.clone()));
        Self { queued: queued.collect(), scheduled: scheduled.collect(), dead: dead.collect() }
    }

    /// Every end that somebody hears of is in one Delta with its reply.
    fn audit(&mut self, delta: &Delta) {
        let (mut owed, mut told) = (vec![], vec![]);
        let mut ended = |message: &Message| {
            if message.then.is_some() || message.callback().is_some() {
                owed.push(number(message));
            }
        };
        for op in &delta.ops {
            match op {
                Op::Enqueue { seq, message } => {
                    if message.handler == "heard" {
                        assert_eq!(message.target, desk(number(message)), "somebody else is told");
                        told.push(number(message));
                    }
                    self.queued.insert(*seq, message.clone());
                }
                Op::Schedule { due_ms, seq, message } => {
                    self.scheduled.insert((*due_ms, *seq), message.clone());
                }
                Op::Dequeue { seq } => {
                    let message = self.queued.remove(seq).expect("queued");
                    if message.then.is_some() {
                        ended(&message);
                    }
                }
                Op::Unschedule { due_ms, seq } => {
                    ended(&self.scheduled.remove(&(*due_ms, *seq)).expect("scheduled"));
                }
                Op::Due { due_ms, seq, mailbox_seq } => {
                    let message = self.scheduled.remove(&(*due_ms, *seq)).expect("scheduled");
                    self.queued.insert(*mailbox_seq, message);
                }
                Op::Park { seq, .. } => {
                    let message = self.queued.remove(seq).expect("queued");
                    if message.ends_when_parked() {
                        ended(&message);
                    }
                    self.dead.insert(message.id, message);
                }
                Op::Unpark { id, seq } => {
                    let message = self.dead.remove(id).expect("dead");
                    assert!(!message.ends_when_parked(), "it may happen after all");
                    self.queued.insert(*seq, message);
                }
                Op::DropDead { id } => {
                    let message = self.dead.remove(id).expect("dead");
                    if message.then.is_some() && !message.ends_when_parked() {
                        ended(&message);
                    }
                }
                Op::BackOff { .. }
                | Op::Outcome { .. }
                | Op::OldOutcome { .. }
                | Op::Remember { .. } => {}
                other => unreachable!("{other:?}: no operator is here"),
            }
        }
        for (row, _) in delta.writes.iter().flat_map(|writes| &writes.rows) {
            let row = std::str::from_utf8(row).expect("text");
            let number =
                |name: &str| row.strip_prefix(name).map(|n| n.parse::<u64>().expect("a number"));
            owed.retain(|n| Some(*n) != number("cancelled/"));
            // A callback that had expired before it was sealed.
            owed.extend(number("asked/").filter(|n| told.contains(n)));
        }
        owed.sort_unstable();
        told.sort_unstable();
        assert_eq!(owed, told, "an end and its reply are not in one Delta: {delta:?}");
    }
}

#[derive(Clone, PartialEq)]
struct Said {
    reply: Vec<u8>,
    fingerprint: [u8; 16],
}

type Waiting<T> = oneshot::Receiver<Answered<T>>;

struct Sim {
    machine: Machine,
    books: Books,
    audited: Option<Position>,
    asks: u64,
    tokens: Vec<(u64, CallbackToken)>,
    opening: Vec<(u64, Waiting<Answer>)>,
    /// Uses of callbacks; none of what was said with a wrong secret.
    using: Vec<(u64, Option<Said>, Waiting<CallbackUsed>)>,
    /// What the users of a callback were told that it heard.
    accepted: BTreeMap<u64, Said>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(seed, Patience(3), handle);
        Self {
            books: Books::of(&machine),
            machine,
            audited: None,
            asks: 0,
            tokens: vec![],
            opening: vec![],
            using: vec![],
            accepted: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let machine = &mut self.machine;
        let faults = machine.faults;
        match machine.rng.random_range(0..100u32) {
            0..34 => machine.run_job(),
            34..58 => machine.append(),
            58..64 => machine.write_checkpoint(),
            64..74 => machine.pass_time(),
            74..83 if faults && self.asks < ASKS_MAX as u64 => self.ask(),
            83..86 if faults && self.asks > 0 => self.take_back(),
            86..88 if faults => self.cancel_from_outside(),
            88..91 if !machine.core.ledger.dead.is_empty() => self.settle_dead(),
            91..96 if !self.tokens.is_empty() => self.use_callback(),
            96 if faults => machine.spoil(),
            97 if faults => self.crash(),
            _ => {}
        }
        self.settle();
    }

    fn settle(&mut self) {
        if self.machine.settle() {
            self.forget();
        }
        if let Some(append) = &self.machine.append
            && self.audited != Some(append.position)
        {
            let batch: Batch = record::decode("batch", append.batch.as_ref()).expect("reads");
            batch.iter().for_each(|delta| self.books.audit(delta));
            self.audited = Some(append.position);
        }
        self.listen();
    }

    fn crash(&mut self) {
        self.machine.crash();
        self.forget();
        self.check_places();
        self.settle();
    }

    fn forget(&mut self) {
        self.books = Books::of(&self.machine);
        self.audited = None;
        self.opening.clear();
        self.using.clear();
    }

    fn call(&mut self, entity: EntityRef, handler: &str, input: &Value) -> Waiting<Answer> {
        let (to, answer) = oneshot::channel();
        let invocation = Invocation {
            entity,
            handler: handler.into(),
            input: input.to_string().into(),
            content_type: None,
            trace: None,
            idempotency_key: None,
        };
        self.machine.note(format!("{handler} {input}"));
        self.machine.core.call(invocation, to);
        answer
    }

    fn ask(&mut self) {
        let rng = &mut self.machine.rng;
        let n = self.asks;
        let delay = if rng.random() { 0 } else { rng.random_range(1..3_000) };
        if rng.random_range(0..3u32) == 0 {
            let answer = self.call(desk(n), "open", &json!({"n": n, "delay": delay + 1}));
            self.opening.push((n, answer));
        } else {
            let mode = ["ok", "bytes", "reject", "never"][rng.random_range(0..4usize)];
            let to = SHOPS[rng.random_range(0..SHOPS.len())];
            let patient: bool = rng.random();
            let input = json!({"n": n, "to": to, "delay": delay, "mode": mode, "patient": patient});
            drop(self.call(desk(n), "ask", &input));
        }
        self.asks += 1;
    }

    fn take_back(&mut self) {
        let mut n = self.machine.rng.random_range(0..self.asks);
        if let Some((open, _)) = self.tokens.last().filter(|_| n.is_multiple_of(2)) {
            n = *open;
        }
        drop(self.call(desk(n), "cancel", &json!({ "n": n })));
    }

    fn cancel_from_outside(&mut self) {
        let ledger = &self.machine.core.ledger;
        let queued = ledger.queued.values().map(|queued| &queued.message);
        let waiting = queued.chain(ledger.scheduled.values());
        let mut ids: Vec<_> =
            waiting.filter(|m| m.handler == "work").map(|message| message.id).collect();
        ids.sort_unstable();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.machine.rng.random_range(0..ids.len())];
        self.machine.note(format!("cancel {id}"));
        self.machine.core.cancel(id, &Sees::All, oneshot::channel().0);
    }

    fn settle_dead(&mut self) {
        let dead: Vec<_> = self.machine.core.ledger.dead.values().cloned().collect();
        let letter = &dead[self.machine.rng.random_range(0..dead.len())];
        let heard = letter.message.handler == "heard";
        // What is told is always told in the end; the rest is retried or dropped.
        let again = heard || self.machine.rng.random();
        self.machine.note(format!("settle {} again: {again}", letter.message.id));
        self.machine.core.settle_dead(letter.message.id, again, oneshot::channel().0);
    }

    fn use_callback(&mut self) {
        let (mut n, mut token) = self.tokens[self.machine.rng.random_range(0..self.tokens.len())];
        let withdrawn = self.machine.jobs.iter().find(|job| job.message.handler == "cancel");
        let withdrawn = withdrawn.map(|job| number(&job.message));
        if let Some(raced) = self.tokens.iter().find(|(n, _)| Some(*n) == withdrawn) {
            (n, token) = *raced;
        }
        let way = self.machine.rng.random_range(0..5u8);
        let failure = || Failure {
            code: "refused".into(),
            message: "no".into(),
            details: None,
            retryable: false,
        };
        let end = if way < 3 {
            reply::of(End::Value(b"7"))
        } else {
            reply::of(End::Rejected(&failure()))
        };
        let said = Said { reply: end, fingerprint: [way.min(3); 16] };
        let (to, used) = oneshot::channel();
        let Said { reply, fingerprint } = said.clone();
        self.machine.note(format!("use {n} {way}"));
        let wrong = way == 4;
        let token = if wrong { CallbackToken::new(token.id(), [0; 16]) } else { token };
        self.machine.core.use_callback(&Use { token, reply, fingerprint }, to);
        self.using.push((n, Some(said).filter(|_| !wrong), used));
    }

    /// Hears what users and openers of callbacks were told.
    fn listen(&mut self) {
        let tokens = &mut self.tokens;
        self.opening.retain_mut(|(n, answer)| match answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Ok(answer)) => {
                if let CallResult::Reply(token) = answer.into_inner().result {
                    let token =
                        std::str::from_utf8(&token).expect("text").parse().expect("a token");
                    tokens.push((*n, token));
                }
                false
            }
            _ => false,
        });
        let accepted = &mut self.accepted;
        self.using.retain_mut(|(n, said, used)| match used.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Ok(used)) => {
                let (used, before) = (used.into_inner(), accepted.get(n));
                let Some(said) = said else {
                    assert_eq!(used, CallbackUsed::Unknown, "a wrong secret does something");
                    return false;
                };
                match used {
                    CallbackUsed::Now => {
                        assert!(before.is_none(), "{n} was used twice");
                        accepted.insert(*n, said.clone());
                    }
                    CallbackUsed::Before => {
                        assert!(before.is_none_or(|b| b == said), "{n} was used otherwise");
                        accepted.insert(*n, said.clone());
                    }
                    CallbackUsed::Otherwise => assert!(before != Some(&*said), "{n} was used so"),
                    CallbackUsed::Unknown => assert!(before.is_none(), "{n} was forgotten"),
                }
                false
            }
            _ => false,
        });
    }

    /// No more faults: everything ends.
    fn drain(&mut self) {
        self.machine.calm();
        for _ in 0..40_000 {
            let patient =
                |dead: &&Arc<record::message::DeadLetter>| !dead.message.ends_when_parked();
            let status = self.machine.core.status();
            let stuck = self.machine.core.ledger.dead.values().filter(patient).count();
            if self.machine.quiet() && status.scheduled == 0 && stuck == 0 {
                return;
            }
            self.step();
        }
        panic!("it does not drain: {:?}", self.machine.core.status());
    }

    /// Each ask that took effect is in exactly one place: it waits, its reply waits, or it was heard of or
    /// taken back.
    fn check_places(&self) {
        // Looking is no step of the run.
        self.machine.disk.spare();
        let ledger = &self.machine.core.ledger;
        let mut places: BTreeMap<u64, u32> = BTreeMap::new();
        let dead = ledger.dead.values().map(|dead| &dead.message);
        let dead = dead.filter(|message| !message.ends_when_parked());
        let waiting = ledger.queued.values().map(|queued| &queued.message);
        for message in waiting.chain(ledger.scheduled.values()).chain(dead) {
            *places.entry(number(message)).or_default() += 1;
        }
        for n in 0..self.asks {
            let read = |row: &str| self.read(n, row);
            let ended = u32::from(read("cancelled").is_some())
                + read("heard").map_or(0, |times| times.parse::<u32>().expect("a number"));
            let everywhere = places.get(&n).copied().unwrap_or(0) + ended;
            assert_eq!(everywhere, u32::from(read("asked").is_some()), "{n} is in so many places");
        }
    }

    fn check(&self) {
        self.check_places();
        for n in 0..self.asks {
            let Some(end) = self.read(n, "end") else { continue };
            let end: Value = serde_json::from_str(&end).expect("JSON");
            match self.read(n, "mode").as_deref() {
                Some(mode @ ("ok" | "bytes" | "reject" | "never")) => {
                    let shop =
                        SHOPS.map(|shop| row(self, &entity("app", "shop", shop), n, "worked"));
                    let worked = shop.iter().flatten().count();
                    assert_eq!(end.get("ok").is_some(), worked == 1, "{n}: {end} of {worked}");
                    assert!(mode != "reject" || end.get("ok").is_none(), "{n}: {end}");
                    assert!(
                        mode != "bytes" || end.get("ok").is_none_or(|ok| ok == "/w=="),
                        "{end}"
                    );
                }
                other => assert_eq!(other, Some("callback")),
            }
        }
        for (n, said) in &self.accepted {
            let end = self.read(*n, "end").expect("a callback that was used is heard of");
            let end: Value = serde_json::from_str(&end).expect("JSON");
            let said: Value = serde_json::from_slice(&said.reply).expect("JSON");
            assert_eq!(end, said, "{n} heard something else");
        }
    }

    fn read(&self, n: u64, name: &str) -> Option<String> {
        row(self, &desk(n), n, name)
    }
}

fn row(sim: &Sim, entity: &EntityRef, n: u64, name: &str) -> Option<String> {
    let view = sim.machine.core.view.entity(entity);
    let key = format!("{name}/{n}");
    let value = view.get(&keys::entity_prefix(entity), key.as_bytes()).expect("reads")?;
    Some(String::from_utf8(value.into()).expect("text"))
}

fn input(message: &Message) -> Value {
    serde_json::from_slice(&message.input).expect("JSON")
}

fn number(message: &Message) -> u64 {
    input(message)["n"].as_u64().expect("a number")
}

/// What desks and shops do.
fn handle(job: &Job, calm: bool, clock: &dyn Clock) -> Result<Verdict, ReadError> {
    let message = &job.message;
    let (input, n) = (input(message), number(message));
    let read = |name: &str| {
        let prefix = keys::entity_prefix(&message.target);
        let value = job.view.get(&prefix, format!("{name}/{n}").as_bytes())?;
        Ok::<_, ReadError>(value.map(|value| String::from_utf8(value.into()).expect("text")))
    };
    let failure = |code: &str, retryable| {
        let (code, message) = (code.to_owned(), "no".to_owned());
        Failure { code, message, details: None, retryable }
    };
    let mut draft = Draft::default();
    let mut answer = Bytes::from_static(b"true");
    let mut rows = vec![];
    match (message.handler.as_str(), input["mode"].as_str().unwrap_or("callback")) {
        ("ask" | "open", mode) => {
            let (asked, token) = asked(job, &input, clock);
            rows = vec![("asked", asked.id.to_string()), ("mode", mode.to_owned())];
            draft.sends.push((Arc::new(asked), due(job, &input)));
            answer = token.map_or_else(Bytes::new, |token| token.to_string().into());
        }
        ("cancel", _) => {
            let asked: Option<MessageId> = read("asked")?.map(|id| id.parse().expect("an id"));
            let pending = job.pending.as_ref();
            let waits = |id: &MessageId| {
                pending.is_some_and(|p| p.delayed.contains_key(id) || p.callbacks.contains_key(id))
            };
            if let Some(id) = asked.filter(waits) {
                draft.cancels.insert(id);
                rows = vec![("cancelled", "1".to_owned())];
            }
        }
        ("work", "reject") => return Ok(Verdict::Rejected(failure("sold_out", false))),
        ("work", "never") if !calm => {
            return Ok(Verdict::Failed(CallFailure::Error(failure("broken", true))));
        }
        ("work", mode) => {
            assert_eq!(read("worked")?, None, "{n} worked twice");
            rows = vec![("worked", "1".to_owned())];
            if mode == "bytes" {
                answer = Bytes::from_static(&[0xff]);
                draft.replies_bytes = true;
            }
        }
        ("heard", _) => {
            let times: u32 = read("heard")?.map_or(0, |times| times.parse().expect("a number"));
            rows = vec![("heard", (times + 1).to_string()), ("end", input["reply"].to_string())];
        }
        (other, _) => panic!("{other}: no such handler"),
    }
    for (name, value) in rows {
        draft.writes.insert(format!("{name}/{n}").into(), Some(value.into()));
    }
    Ok(Verdict::Done(answer, draft))
}

fn due(job: &Job, input: &Value) -> Due {
    match input["delay"].as_u64() {
        None | Some(0) => Due::Now,
        Some(delay) => Due::AtMs(job.now_ms + delay),
    }
}

/// The message that `ask` sends, or `open` and its token.
fn asked(job: &Job, input: &Value, clock: &dyn Clock) -> (Message, Option<CallbackToken>) {
    let desk = job.message.target.clone();
    let context: Bytes = json!({ "n": number(&job.message) }).to_string().into();
    let handler = "heard".to_owned();
    let Some(shop) = input["to"].as_str() else {
        let mut secret = [0; 16];
        clock.fill(&mut secret);
        let id = MessageId::new(job.now_ms, &desk, clock.chance());
        let token = CallbackToken::new(id, secret);
        return (callback::expiry(&token, desk, (handler, &context), None), Some(token));
    };
    let target = entity("app", "shop", shop);
    let patient = input["patient"].as_bool().expect("a bool");
    let work = Message {
        id: MessageId::new(job.now_ms, &target, clock.chance()),
        target,
        handler: "work".into(),
        input: job.message.input.clone(),
        content_type: None,
        trace: None,
        origin: Origin::Entity(desk),
        then: Some(Box::new(Continuation { handler, context, patient })),
    };
    (work, None)
}

fn simulate(seed: u64) -> Run {
    let mut sim = Sim::new(seed);
    for step in 0..1_500 {
        sim.step();
        if step % 50 == 0 {
            sim.check_places();
        }
    }
    sim.drain();
    sim.check();
    sim.crash();
    sim.check();
    sim.machine.end()
}

#[test]
fn each_end_is_told_once_under_crashes_at_any_point() {
    let all = every_seed("replies", 48, simulate);
    assert!(
        all.few || all.crashes > 100,
        "only {} crashes: the simulator is too kind",
        all.crashes
    );
}

#[test]
fn one_seed_gives_one_run() {
    assert_eq!(simulate(5), simulate(5));
}

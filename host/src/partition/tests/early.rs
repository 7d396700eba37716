//! No answer of any kind leaves before what it may show is durable: the machine is asked everything that there is to
//! ask, each time right after a change that no append holds. What a change does is not looked at here; the simulations
//! do that. Invariant: every call of `commit.reply` is reached but that of
//! cuts, which wait for a checkpoint, and a checkpoint holds nothing else than what is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::callback::{self, Use};
use super::super::core::{Apps, Settings};
use super::super::executor::{Job, Verdict};
use super::super::letters::{Edit, Step};
use super::super::operate::Operation;
use super::super::request::{
    Answered, CallFailure, Change, DeadFilter, Expect, Invocation, MessageFilter, Put, PutDone,
    Refusal, Scope, Sees, Send, Settle,
};
use super::super::transaction::Draft;
use super::super::view::ReadError;
use super::entity;
use super::machine::Machine;
use crate::clock::Clock;
use crate::config::RetryPolicy;
use crate::engine::{Continuation, Due, Failure};
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::record::keys;
use crate::record::message::{Message, Origin};

/// Far enough away that nothing becomes due.
const LATER: Duration = Duration::from_secs(3_600);

/// Gives up at the first failure.
struct Hasty;

impl Apps for Hasty {
    fn settings(&self, _app: &str) -> Settings {
        let retry = RetryPolicy { initial_ms: 5, max_ms: 40, attempts_max: 1 };
        Settings { retry, ..Settings::default() }
    }
}

/// What things do: a handler's name says it. They write whatever they do, but for a query.
fn handle(job: &Job, _calm: bool, clock: &dyn Clock) -> Result<Verdict, ReadError> {
    let me = job.message.target.clone();
    let current = job.view.get(&keys::entity_prefix(&me), b"current")?.is_some();
    let mut draft = Draft::default();
    let failure = |code: &str| {
        let (code, message) = (code.to_owned(), "no".to_owned());
        Failure { code, message, details: None, retryable: false }
    };
    let failed = CallFailure::Error(failure("broken"));
    match job.message.handler.as_str() {
        "show" if !current => {
            return Ok(Verdict::Outdated("migrate".into(), failure("state_outdated")));
        }
        "show" => return Ok(Verdict::Done(Bytes::from_static(b"1"), draft)),
        "migrate" if me.key() == "rejects" => return Ok(Verdict::Rejected(failure("no"))),
        "migrate" | "fail" => return Ok(Verdict::Failed(failed)),
        "reject" => return Ok(Verdict::Rejected(failure("no"))),
        "wait" => {
            let due_ms = job.now_ms + LATER.as_millis() as u64;
            let token =
                CallbackToken::new(MessageId::new(job.now_ms, &me, clock.chance()), [7; 16]);
            let expiry = callback::expiry(&token, me.clone(), ("write".into(), b"{}"), None);
            draft.sends.push((Arc::new(expiry), Due::AtMs(due_ms)));
            let timer = message(job, clock, me, "write", Origin::Timer("tick".into()));
            draft.timers.insert("tick".into(), Some((Arc::new(timer), due_ms)));
        }
        "ask" => {
            let (handler, context) = ("write".to_owned(), Bytes::from_static(b"{}"));
            let then = Continuation { handler, context, patient: false };
            let asked = message(job, clock, thing("final"), "fail", Origin::Entity(me));
            let asked = Message { then: Some(Box::new(then)), ..asked };
            draft.sends.push((Arc::new(asked), Due::Now));
        }
        _ => {}
    }
    draft.writes.insert(Bytes::from_static(b"row"), Some(Bytes::from_static(b"1")));
    if job.message.handler == "renew" {
        draft.writes.insert(Bytes::from_static(b"current"), Some(Bytes::new()));
    }
    Ok(Verdict::Done(Bytes::from_static(b"1"), draft))
}

fn message(job: &Job, clock: &dyn Clock, to: EntityRef, handler: &str, origin: Origin) -> Message {
    Message {
        id: MessageId::new(job.now_ms, &to, clock.chance()),
        target: to,
        handler: handler.into(),
        input: Bytes::from_static(b"{}"),
        content_type: None,
        trace: None,
        origin,
        then: None,
    }
}

/// Says whether the answer is there.
type Heard = Box<dyn FnMut() -> bool>;

struct Scene {
    machine: Machine,
    asked: Vec<(&'static str, Heard)>,
    /// What was told before it was durable.
    early: Vec<&'static str>,
}

/// Asks the machine something and notes what for.
macro_rules! ask {
    ($scene:ident, $name:expr, |$core:ident, $to:ident| $ask:expr) => {{
        let ($to, mut heard) = oneshot::channel();
        let $core = &mut $scene.machine.core;
        $ask;
        let name = $name;
        let heard = move || match heard.try_recv() {
            Ok(Ok(_)) => true,
            Ok(Err(refusal)) => panic!("{name}: {refusal}"),
            Err(oneshot::error::TryRecvError::Empty) => false,
            Err(oneshot::error::TryRecvError::Closed) => panic!("{name}: nobody will answer"),
        };
        $scene.asked.push((name, Box::new(heard)));
    }};
}

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new(1, Hasty, handle);
        machine.calm();
        Self { machine, asked: vec![], early: vec![] }
    }

    /// Runs whatever is ready to run; nothing becomes durable.
    fn run(&mut self) {
        self.machine.settle();
        while !self.machine.jobs.is_empty() {
            self.machine.run_job();
            self.machine.settle();
        }
    }

    /// Notes what has been told; an append is still to be made.
    fn look(&mut self) {
        self.run();
        assert!(self.machine.append.is_some(), "all of it is durable");
        let early = &mut self.early;
        self.asked.retain_mut(|(name, heard)| {
            let told = heard();
            early.extend(told.then_some(*name));
            !told
        });
    }

    /// Everything becomes durable, and whoever asked is told.
    fn flush(&mut self) {
        self.run();
        while self.machine.append.is_some() {
            self.machine.append();
            self.run();
        }
        let untold = self.asked.extract_if(.., |(_, heard)| !heard());
        let untold: Vec<_> = untold.map(|(name, _)| name).collect();
        assert!(untold.is_empty(), "never told: {untold:?}");
        self.asked.clear();
    }

    /// A change that nobody is told of here.
    fn call(&mut self, key: &str, handler: &str, idempotency: Option<&str>) -> MessageId {
        let (to, _) = oneshot::channel();
        self.machine.core.call(invocation(key, handler, idempotency), to);
        self.machine.settle();
        let id = self.machine.jobs.last().expect("it runs").message.id;
        self.run();
        id
    }

    /// A message that waits.
    fn send(&mut self, key: &str, handler: &str, idempotency: Option<&str>) -> MessageId {
        let before: Vec<_> = self.machine.core.ledger.scheduled.keys().copied().collect();
        let (to, _) = oneshot::channel();
        self.machine.core.send(later(&self.machine, key, handler, idempotency), to);
        let now = &self.machine.core.ledger.scheduled;
        now.iter().find(|(place, _)| !before.contains(place)).expect("it waits").1.id
    }

    /// Its time has come.
    fn due(&mut self) {
        self.machine.advance(LATER + LATER);
        self.run();
    }

    /// One that was given up on.
    fn dead(&mut self, key: &str) -> MessageId {
        let id = self.send(key, "fail", None);
        self.due();
        assert!(self.machine.core.ledger.dead.contains_key(&id), "parked");
        id
    }
}

fn thing(key: &str) -> EntityRef {
    entity("app", "thing", key)
}

fn invocation(key: &str, handler: &str, idempotency: Option<&str>) -> Invocation {
    Invocation {
        entity: thing(key),
        handler: handler.into(),
        input: Bytes::from_static(b"{}"),
        content_type: None,
        trace: None,
        idempotency_key: idempotency.map(ToOwned::to_owned),
    }
}

fn later(machine: &Machine, key: &str, handler: &str, idempotency: Option<&str>) -> Send {
    let due = Due::AtMs(machine.clock.now_ms() + LATER.as_millis() as u64);
    Send { invocation: invocation(key, handler, idempotency), due }
}

/// Questions that change nothing: each may show what is not durable.
fn questions(early: &mut Vec<&'static str>) {
    let mut scene = Scene::new();
    let dead = scene.dead("dead");
    let later = scene.send("waits", "write", None);
    scene.flush();
    let called = scene.call("a", "write", None);
    let unknown = MessageId::new(1, &thing("a"), 1);
    ask!(scene, "the outcome of a call", |core, to| core.message(called, false, &Sees::All, to));
    ask!(scene, "where a message is", |core, to| core.message(later, false, &Sees::All, to));
    ask!(scene, "where a dead letter is", |core, to| core.message(dead, false, &Sees::All, to));
    ask!(scene, "where an unknown message is", |core, to| core.message(
        unknown,
        true,
        &Sees::All,
        to
    ));
    let others = Sees::Apps(["other".to_owned()].into());
    ask!(scene, "another's message", |core, to| core.message(later, false, &others, to));
    ask!(scene, "cancel another's", |core, to| core.cancel(later, &others, to));
    ask!(scene, "cancel what is not there", |core, to| core.cancel(unknown, &Sees::All, to));
    ask!(scene, "cancel a timer that is not set", |core, to| {
        core.cancel_timer(&thing("a"), "tick", to);
    });
    ask!(scene, "a listing", |core, to| core.listing("app", "thing", to));
    ask!(scene, "an app's types", |core, to| core.kinds("app".into(), to));
    ask!(scene, "a portrait", |core, to| core.portrait(thing("a"), to));
    ask!(scene, "messages", |core, to| core.messages(&MessageFilter::default(), None, 9, to));
    ask!(scene, "one message of many", |core, to| {
        core.messages(&MessageFilter::default(), None, 1, to);
    });
    ask!(scene, "one message", |core, to| core.message_info(later, to));
    ask!(scene, "dead letters", |core, to| {
        core.dead_letters(&DeadFilter::default(), None, 9, to);
    });
    ask!(scene, "one dead letter", |core, to| core.dead_letter(dead, to));
    ask!(scene, "settle what is not dead", |core, to| core.settle_dead(later, true, to));
    ask!(scene, "settle none of many", |core, to| core.settle_many(&step("nobody"), to));
    let edit = |id| Edit { id, input: Bytes::new(), content_type: None, again: false };
    ask!(scene, "edit what is not dead", |core, to| core.edit_dead(edit(later), to));
    ask!(scene, "what ran", |core, to| core.past(to));
    ask!(scene, "what lives", |core, to| core.tell_live(&[later], to));
    ask!(scene, "what is paused", |core, to| core.paused(to));
    ask!(scene, "resume what is not paused", |core, to| core.pause(&Scope::All, false, to));
    ask!(scene, "write another version", |core, to| {
        core.operate(thing("b"), put("b", Expect::Version(9), to));
    });
    ask!(scene, "remove what is not there", |core, to| {
        core.operate(thing("nobody"), Operation::Remove(to));
    });
    ask!(scene, "use a callback that is not there", |core, to| core
        .use_callback(&use_of(unknown), to));
    ask!(scene, "a query", |core, to| core.read(invocation("a", "query", None), to));
    scene.look();
    scene.flush();
    early.append(&mut scene.early);
}

fn step(reason: &str) -> Step {
    let filter = DeadFilter { reason: Some(reason.into()), ..DeadFilter::default() };
    Step { settle: Settle::Retry, filter, after: None, through: None, limit: 9 }
}

fn put(key: &str, expect: Expect, to: oneshot::Sender<Answered<PutDone>>) -> Operation {
    let change = Change::Whole(vec![]);
    let put = Put { entity: thing(key), change, timers: None, expect, version_min: 0 };
    Operation::Put(Box::new(put), to)
}

fn use_of(id: MessageId) -> Use {
    Use { token: CallbackToken::new(id, [7; 16]), reply: b"{}".to_vec(), fingerprint: [1; 16] }
}

/// Changes, and who waits for what they end.
fn changes(early: &mut Vec<&'static str>) {
    let mut scene = Scene::new();
    let [again, dropped, edited, many] =
        ["again", "dropped", "edited", "many"].map(|key| scene.dead(key));
    let [one, two] = ["one", "two"].map(|key| scene.send(key, "write", None));
    let removed = scene.send("removed", "write", None);
    scene.call("asker", "ask", None);
    let told = |id: &&MessageId| scene.machine.core.ledger.dead[*id].message.ends_when_parked();
    let told = *scene.machine.core.ledger.dead.keys().find(told).expect("a final one");
    scene.call("waits", "wait", None);
    let callbacks = scene.machine.core.ledger.pending(&thing("waits")).expect("pending");
    let callback = *callbacks.callbacks.keys().next().expect("a callback");
    scene.flush();
    ask!(scene, "a call", |core, to| core.call(invocation("a", "write", None), to));
    ask!(scene, "a rejection", |core, to| core.call(invocation("r", "reject", Some("r")), to));
    scene.run();
    let send = later(&scene.machine, "b", "write", Some("key"));
    ask!(scene, "a send", |core, to| core.send(send.clone(), to));
    ask!(scene, "a send again", |core, to| core.send(send, to));
    ask!(scene, "a pause", |core, to| core.pause(&Scope::App("no".into()), true, to));
    ask!(scene, "cancel", |core, to| core.cancel(one, &Sees::All, to));
    ask!(scene, "the end of what is cancelled", |core, to| core.message(two, true, &Sees::All, to));
    ask!(scene, "cancel what somebody waits for", |core, to| core.cancel(two, &Sees::All, to));
    ask!(scene, "cancel again", |core, to| core.cancel(two, &Sees::All, to));
    ask!(scene, "the end of what is removed", |core, to| core.message(
        removed,
        true,
        &Sees::All,
        to
    ));
    ask!(scene, "remove", |core, to| core.operate(thing("removed"), Operation::Remove(to)));
    ask!(scene, "retry a dead letter", |core, to| core.settle_dead(again, true, to));
    ask!(scene, "drop a dead letter", |core, to| core.settle_dead(dropped, false, to));
    let edit = Edit { id: edited, input: Bytes::new(), content_type: None, again: false };
    ask!(scene, "retry a final dead letter", |core, to| core.settle_dead(told, true, to));
    ask!(scene, "edit a dead letter", |core, to| core.edit_dead(edit, to));
    assert!(scene.machine.core.ledger.dead.contains_key(&many));
    ask!(scene, "retry many", |core, to| core.settle_many(&step(""), to));
    ask!(scene, "cancel a timer", |core, to| core.cancel_timer(&thing("waits"), "tick", to));
    ask!(scene, "cancel a callback", |core, to| core.cancel(callback, &Sees::All, to));
    ask!(scene, "use a callback", |core, to| core.use_callback(&use_of(callback), to));
    ask!(scene, "use it again", |core, to| core.use_callback(&use_of(callback), to));
    ask!(scene, "write", |core, to| core.operate(thing("p"), put("p", Expect::Absent, to)));
    scene.look();
    scene.flush();
    early.append(&mut scene.early);
}

/// Keys that stand for something already, and waiting for an end.
fn keys_and_waits(early: &mut Vec<&'static str>) {
    let mut scene = Scene::new();
    scene.call("removed", "write", Some("removed"));
    let cancelled = scene.send("cancelled", "write", Some("cancelled"));
    for key in ["parked", "attached", "done"] {
        scene.send(key, if key == "done" { "write" } else { "fail" }, Some(key));
    }
    scene.flush();
    let called = |key| invocation(key, "write", Some(key));
    ask!(scene, "a call that another joins", |core, to| core.call(called("joined"), to));
    ask!(scene, "a call that joins it", |core, to| core.call(called("joined"), to));
    scene.call("again", "write", Some("again"));
    ask!(scene, "a call again", |core, to| core.call(called("again"), to));
    let failing = || invocation("attached", "fail", Some("attached"));
    ask!(scene, "a call of a send that is given up", |core, to| core.call(failing(), to));
    let (mut given_up, mut done) = (None, None);
    for message in scene.machine.core.ledger.scheduled.values() {
        match message.target.key() {
            "attached" => given_up = Some(message.id),
            "done" => done = Some(message.id),
            _ => {}
        }
    }
    let (given_up, done) = (given_up.expect("it waits"), done.expect("it waits"));
    ask!(scene, "the end of what is given up", |core, to| core.message(
        given_up,
        true,
        &Sees::All,
        to
    ));
    ask!(scene, "the end of what is done", |core, to| core.message(done, true, &Sees::All, to));
    ask!(scene, "a call of a send that is done", |core, to| core.call(called("done"), to));
    scene.machine.core.operate(thing("removed"), Operation::Remove(oneshot::channel().0));
    ask!(scene, "a key of before a removal", |core, to| core.call(called("removed"), to));
    scene.machine.core.cancel(cancelled, &Sees::All, oneshot::channel().0);
    ask!(scene, "a key of what is cancelled", |core, to| core.call(called("cancelled"), to));
    scene.due();
    let parked = || invocation("parked", "fail", Some("parked"));
    ask!(scene, "a key of what is parked", |core, to| core.call(parked(), to));
    scene.look();
    scene.flush();
    early.append(&mut scene.early);
}

/// Queries of what must be brought up to date and cannot.
fn migrations(early: &mut Vec<&'static str>) {
    let mut scene = Scene::new();
    for (key, name) in [
        ("rejects", "a query of what is not brought up to date"),
        ("fails", "a query of what fails to be"),
    ] {
        scene.call(key, "write", None);
        ask!(scene, name, |core, to| core.read(invocation(key, "show", None), to));
    }
    scene.look();
    scene.flush();
    early.append(&mut scene.early);
}

#[test]
fn no_answer_leaves_before_what_it_shows_is_durable() {
    let mut early = vec![];
    for scene in [questions, changes, keys_and_waits, migrations] {
        scene(&mut early);
    }
    assert!(early.is_empty(), "told too early: {early:?}");
}

#[test]
fn who_waits_for_what_is_removed_is_told_when_that_is_durable() {
    let mut scene = Scene::new();
    scene.send("removed", "write", Some("key"));
    scene.flush();
    let (to, mut heard) = oneshot::channel();
    scene.machine.core.call(invocation("removed", "write", Some("key")), to);
    scene.run();
    scene.machine.core.operate(thing("removed"), Operation::Remove(oneshot::channel().0));
    scene.run();
    let early = heard.try_recv().map(drop);
    assert_eq!(early, Err(oneshot::error::TryRecvError::Empty), "a crash would bring it back");
    scene.flush();
    assert!(matches!(heard.try_recv(), Ok(Err(Refusal::Removed))));
}

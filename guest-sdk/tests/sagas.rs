//! `Saga` run by `testing::World`: every step failing in every way, what gets stuck and how it goes on, one saga
//! after another, and a deploy between any two steps.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};
use keystead_sdk::{EntityType, describe};

/// One that does what it is told, unless it was told to fail at that.
#[entity]
pub struct Service {
    log: Vec<String>,
    fails: Vec<(String, bool)>,
}

#[handlers]
impl Service {
    /// From now on `what` is rejected, or fails in a way that may pass.
    pub fn fail(&mut self, what: String, retryable: bool) {
        self.fails.push((what, retryable));
    }

    pub fn mend(&mut self) {
        self.fails.clear();
    }

    pub fn work(&mut self, ctx: &Ctx, order: String) -> Result<u64> {
        self.note(ctx, "do", &order)
    }

    pub fn revert(&mut self, ctx: &Ctx, order: String) -> Result<u64> {
        self.note(ctx, "undo", &order)
    }

    pub fn raw(&mut self, ctx: &Ctx, body: Bytes) -> Bytes {
        self.log.push(format!("{} {}", ctx.now().as_ms(), body.escape_ascii()));
        Bytes(vec![0xff])
    }

    pub fn log(&self) -> Vec<String> {
        self.log.clone()
    }
}

impl Service {
    fn note(&mut self, ctx: &Ctx, what: &str, order: &str) -> Result<u64> {
        match self.fails.iter().find(|(fails, _)| fails == what) {
            Some((_, true)) => return Err(Error::retryable("down").with_code("is_down")),
            Some(_) => {
                let error = Error::rejected(format!("can't {what}")).with_code("says_no");
                return Err(error.with_details(&json!({"at": ctx.key()})));
            }
            None => self.log.push(format!("{} {what} {order}", ctx.now().as_ms())),
        }
        Ok(7)
    }
}

const SERVICES: [&str; 3] = ["a", "b", "c"];

#[entity]
pub struct Order {
    ended: Vec<String>,
    /// How often the end says no before it says yes.
    picky: u32,
    again: bool,
    work: Saga,
    #[state(rename = "second")]
    other: Saga,
}

#[handlers]
impl Order {
    pub fn start(&mut self, ctx: &Ctx, name: String) -> Result<()> {
        let mut saga = self.work.start(ctx);
        for key in SERVICES {
            let (call, undo) = (Service::at(key).work(&*name), Service::at(key).revert(&*name));
            saga = saga.step(key, call).undo(undo);
        }
        saga.end(Order::reply().ended(name))
    }

    pub fn slowly(&mut self, ctx: &Ctx, name: String) -> Result<()> {
        let pause = Duration::from_secs(1);
        let step = |key: &str| Service::at(key).work(&*name).after(pause);
        let undo = |key: &str| Service::at(key).revert(&*name).after(pause);
        self.work
            .start(ctx)
            .step("a", step("a"))
            .undo(undo("a"))
            .step("b", step("b"))
            .undo(undo("b"))
            .step("c", step("c"))
            .end(Order::reply().ended(&*name))
    }

    /// Two fields, steps of other kinds: patient, with a raw body, and one that stays.
    pub fn mixed(&mut self, ctx: &Ctx) -> Result<()> {
        let raw = |body: &[u8]| Service::at("a").raw(Bytes(body.to_vec()));
        self.other
            .start(ctx)
            .step("binary", raw(b" {\"a\":1} "))
            .undo(raw(b"\xff\0"))
            .step("stays", Service::at("b").work("stays"))
            .no_undo()
            .step("patient", Service::at("c").work("patient").patient())
            .end(Order::reply().ended("mixed"))
    }

    pub fn empty(&mut self, ctx: &Ctx) -> Result<()> {
        self.work.start(ctx).end(Order::reply().ended("empty"))
    }

    pub fn large(&mut self, ctx: &Ctx, bytes: usize) -> Result<()> {
        let large = Service::at("a").work("x".repeat(bytes));
        self.work.start(ctx).step("large", large).end(Order::reply().ended("large"))
    }

    pub fn undo_again(&mut self, ctx: &Ctx) -> bool {
        self.work.undo_again(ctx)
    }

    pub fn be_picky(&mut self, times: u32) {
        self.picky = times;
    }

    pub fn go_on(&mut self) {
        self.again = true;
    }

    pub fn ended(&mut self, ctx: &Ctx, reply: Reply<()>, name: String) -> Result<()> {
        ensure!(ctx.attempt() > self.picky, code = "picky", "not like this");
        let line = match reply {
            Reply::Ok(()) => format!("{name} done"),
            Reply::Rejected(no) => {
                let at: serde_json::Value = no.details_as().unwrap_or_default();
                format!("{name} rejected: {} at {}", no.code, at["at"])
            }
            Reply::Failed(no) => format!("{name} failed: {}", no.code),
        };
        self.ended.push(line);
        if std::mem::take(&mut self.again) {
            self.start(ctx, "next".to_owned())?;
        }
        Ok(())
    }

    pub fn state(&self) -> (Vec<String>, SagaStatus, SagaStatus) {
        (self.ended.clone(), self.work.status(), self.other.status())
    }
}

/// A later version of the order's code: plain fields in another shape.
mod later {
    use super::*;

    #[derive(serde::Deserialize)]
    struct V1 {
        #[serde(default)]
        ended: Vec<String>,
    }

    #[entity(version = 2)]
    pub struct Order {
        ends: Vec<(String, bool)>,
        work: Saga,
        #[state(rename = "second")]
        other: Saga,
    }

    #[handlers]
    impl Order {
        #[migrate(from = 1)]
        fn with_marks(&mut self, old: V1) {
            self.ends = old.ended.into_iter().map(|line| (line, true)).collect();
        }

        pub fn ended(&mut self, reply: Reply<()>, name: String) {
            self.ends.push((name, reply.is_ok()));
        }

        pub fn ends(&self) -> (Vec<(String, bool)>, bool) {
            (self.ends.clone(), self.other.status() == SagaStatus::Idle)
        }
    }
}

fn world() -> World {
    World::new().with::<Order>().with::<Service>().attempts(2)
}

fn start(world: &mut World, name: &str) -> Result<()> {
    world.call_typed(Order::at("o").start(name))
}

fn state(world: &mut World) -> (Vec<String>, SagaStatus, SagaStatus) {
    world.read("order", "o", "state", json!({})).expect("reads")
}

/// All that was done and undone, in order of time, as `a do name`.
fn log(world: &mut World) -> Vec<String> {
    let mut lines = Vec::new();
    for key in SERVICES {
        let log: Vec<String> = world.read("service", key, "log", json!({})).expect("reads");
        lines.extend(log.into_iter().map(|line| {
            let (at, what) = line.split_once(' ').expect("a time");
            (at.to_owned(), format!("{key} {what}"))
        }));
    }
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The same without an order.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn all_steps_are_done_and_the_end_is_told_once() {
    let mut world = world();
    assert_eq!(state(&mut world).1, SagaStatus::Idle);
    start(&mut world, "x").expect("starts");
    assert_eq!(state(&mut world).1, SagaStatus::Running { step: "a".to_owned() });
    world.settle();
    assert_eq!(state(&mut world), (vec!["x done".to_owned()], SagaStatus::Done, SagaStatus::Idle));
    assert_eq!(log(&mut world), ["a do x", "b do x", "c do x"]);
    assert_eq!((world.pending(), world.dead_letters().len(), world.rejections().len()), (0, 0, 0));
    let record = String::from_utf8(world.state("order", "o")[b"s/work".as_slice()].clone());
    assert!(!record.expect("JSON").contains("revert"), "an ended saga keeps no steps");
}

#[test]
fn a_step_that_is_not_done_undoes_those_before_it() {
    for (at, failing) in SERVICES.iter().enumerate() {
        for (retryable, told) in [(false, "x rejected: says_no at "), (true, "x failed: parked")] {
            let mut world = world();
            world.call_typed(Service::at(*failing).fail("do", retryable)).expect("will fail");
            world.call_typed(Order::at("o").slowly("x")).expect("starts");
            world.advance(Duration::from_secs(60));
            let (ended, status, _) = state(&mut world);
            let told = if retryable { told.to_owned() } else { format!("{told}\"{failing}\"") };
            assert_eq!(ended, [told], "{failing}");
            let SagaStatus::Undone { failed, failure, given_up } = status else {
                panic!("{status:?}")
            };
            assert_eq!((failed.as_str(), given_up.len()), (*failing, 0));
            assert_eq!(failure.code, if retryable { "parked" } else { "says_no" });
            let done = SERVICES[..at].iter().map(|key| format!("{key} do x"));
            let undone = SERVICES[..at].iter().rev().map(|key| format!("{key} undo x"));
            assert_eq!(log(&mut world), done.chain(undone).collect::<Vec<_>>(), "{failing}");
            assert_eq!(world.pending(), 0);
            // The step itself, of which its sender was told: it can't be retried any more.
            assert_eq!(world.dead_letters().len(), usize::from(retryable));
            assert!(world.dead_letters().iter().all(|dead| dead.handler == "work"));
        }
    }
}

#[test]
fn an_undo_that_is_parked_is_a_dead_letter_and_goes_on_when_retried() {
    let mut world = world();
    world.call_typed(Service::at("c").fail("do", false)).expect("will fail");
    world.call_typed(Service::at("a").fail("undo", true)).expect("will fail");
    start(&mut world, "x").expect("starts");
    world.settle();
    let (ended, status, _) = state(&mut world);
    assert!(ended.is_empty());
    let SagaStatus::Undoing { step, failed, failure } = status else { panic!("{status:?}") };
    assert_eq!((step.as_str(), failed.as_str(), failure.code.as_str()), ("a", "c", "says_no"));
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!(
        (dead.target.to_string(), dead.handler.as_str()),
        ("service/a".to_owned(), "revert")
    );
    let id = dead.id.clone();

    world.retry_dead_letter(&id).expect("nobody was told");
    world.settle();
    assert_eq!(world.dead_letters().len(), 1, "still down");
    world.call_typed(Service::at("a").mend()).expect("mends");
    world.retry_dead_letter(&id).expect("nobody was told");
    world.settle();
    assert_eq!(state(&mut world).0, ["x rejected: says_no at \"c\""]);
    assert_eq!(sorted(log(&mut world)), ["a do x", "a undo x", "b do x", "b undo x"]);
    assert_eq!((world.dead_letters().len(), world.pending()), (0, 0));
}

#[test]
fn an_undo_that_an_operator_drops_is_given_up() {
    let mut world = world();
    world.call_typed(Service::at("c").fail("do", true)).expect("will fail");
    world.call_typed(Service::at("b").fail("undo", true)).expect("will fail");
    start(&mut world, "x").expect("starts");
    world.settle();
    let of_b = |world: &World| {
        let found = world.dead_letters().iter().find(|dead| dead.target.key == "b");
        found.expect("b's undo is parked").id.clone()
    };
    let id = of_b(&world);
    world.drop_dead_letter(&id).expect("drops");
    world.settle();
    let (ended, status, _) = state(&mut world);
    assert_eq!(ended, ["x failed: parked"]);
    let SagaStatus::Undone { given_up, .. } = status else { panic!("{status:?}") };
    assert_eq!(given_up, ["b"]);
    assert_eq!(sorted(log(&mut world)), ["a do x", "a undo x", "b do x"]);
}

#[test]
fn an_undo_that_is_rejected_is_a_dead_letter_of_the_sagas_own() {
    let mut world = world();
    world.call_typed(Service::at("c").fail("do", false)).expect("will fail");
    world.call_typed(Service::at("b").fail("undo", false)).expect("will fail");
    world.call_typed(Service::at("a").fail("undo", true)).expect("will fail");
    start(&mut world, "x").expect("starts");
    assert!(!world.call_typed(Order::at("o").undo_again()).expect("not stuck"));
    world.settle();
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!(
        (dead.target.to_string(), dead.handler.as_str(), dead.reason.code()),
        ("order/o".to_owned(), "keystead-saga", "saga_stuck")
    );
    let text = "saga `work` of order/o: undoing its step `b` was rejected: says_no: can't undo";
    assert_eq!(dead.reason.message(), text);
    let id = dead.id.clone();
    let (_, status, _) = state(&mut world);
    let SagaStatus::Stuck { step, undo, failed, failure } = status else { panic!("{status:?}") };
    assert_eq!((step.as_str(), undo.message.as_str()), ("b", "can't undo"));
    assert_eq!((failed.as_str(), failure.message.as_str()), ("c", "can't do"));
    assert_eq!(start(&mut world, "y").expect_err("has not ended").code(), "saga_running");

    // Rejected again, it is stuck again; the first dead letter is of the past.
    assert!(world.call_typed(Order::at("o").undo_again()).expect("sends"));
    world.settle();
    assert_eq!(world.dead_letters().len(), 2);
    world.retry_dead_letter(&id).expect("retries");
    world.settle();
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    let id = dead.id.clone();

    world.call_typed(Service::at("b").mend()).expect("mends");
    assert!(world.call_typed(Order::at("o").undo_again()).expect("sends"));
    assert!(!world.call_typed(Order::at("o").undo_again()).expect("is on its way"));
    // What complained is silent while the undo is on its way, and does not take its place.
    world.retry_dead_letter(&id).expect("retries");
    world.settle();
    assert!(matches!(state(&mut world).1, SagaStatus::Undoing { step, .. } if step == "a"));
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    let id = dead.id.clone();
    world.call_typed(Service::at("a").mend()).expect("mends");
    world.retry_dead_letter(&id).expect("retries");
    world.settle();
    assert_eq!(state(&mut world).0, ["x rejected: says_no at \"c\""]);
    assert_eq!(sorted(log(&mut world)), ["a do x", "a undo x", "b do x", "b undo x"]);
    assert_eq!((world.dead_letters().len(), world.pending()), (0, 0));
}

#[test]
fn one_saga_runs_in_a_field_at_a_time_and_the_next_one_after_it() {
    let mut world = world();
    start(&mut world, "x").expect("starts");
    let error = start(&mut world, "y").expect_err("runs");
    assert_eq!((error.code(), error.is_retryable()), ("saga_running", false));
    assert_eq!(error.message(), "saga `work` of order/o has not ended yet");
    world.call_typed(Order::at("o").go_on()).expect("goes on");
    world.settle();
    assert_eq!(state(&mut world).0, ["x done", "next done"], "the end may start the next one");
    world.call_typed(Service::at("b").fail("do", false)).expect("will fail");
    start(&mut world, "y").expect("starts");
    world.settle();
    world.call_typed(Service::at("b").mend()).expect("mends");
    start(&mut world, "z").expect("starts after one that was undone");
    world.settle();
    let (ended, status, _) = state(&mut world);
    assert_eq!(ended[2..], ["y rejected: says_no at \"b\"", "z done"]);
    assert_eq!(status, SagaStatus::Done);
}

#[test]
fn a_saga_goes_on_under_another_version_of_the_code() {
    // A new version is deployed before the reply to each step in turn, or to each undo.
    for fails in [false, true] {
        for steps_before in 0..5 {
            let mut world = world();
            if fails {
                world.call_typed(Service::at("c").fail("do", false)).expect("will fail");
            }
            world.call_typed(Order::at("o").slowly("x")).expect("starts");
            world.advance(Duration::from_secs(steps_before));
            world.deploy::<later::Order>();
            world.advance(Duration::from_secs(10));
            let found: (Vec<(String, bool)>, bool) =
                world.read("order", "o", "ends", json!({})).expect("reads");
            let ended_before = if fails { steps_before >= 5 } else { steps_before >= 3 };
            let end = if ended_before { "x done".to_owned() } else { "x".to_owned() };
            assert_eq!(found, (vec![(end, !fails)], true), "{steps_before}, {fails}");
            let done = ["a do x", "b do x"];
            let then: &[&str] = if fails { &["b undo x", "a undo x"] } else { &["c do x"] };
            assert_eq!(log(&mut world), [&done, then].concat());
            assert_eq!((world.pending(), world.dead_letters().len()), (0, 0));
        }
    }
}

#[test]
fn steps_may_be_patient_or_stay_and_take_raw_bodies() {
    let mut world = world();
    world.call_typed(Service::at("c").fail("do", true)).expect("will fail");
    world.call_typed(Order::at("o").mixed()).expect("starts");
    world.settle();
    let (_, one, other) = state(&mut world);
    let waits = SagaStatus::Running { step: "patient".to_owned() };
    assert_eq!((one, other), (SagaStatus::Idle, waits));
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    let id = dead.id.clone();
    world.drop_dead_letter(&id).expect("drops");
    world.settle();
    let (ended, _, status) = state(&mut world);
    assert_eq!(ended, ["mixed failed: dropped"]);
    assert!(matches!(status, SagaStatus::Undone { failed, given_up, .. }
        if failed == "patient" && given_up.is_empty()));
    let bodies = [r#"a  {\"a\":1} "#, r"a \xff\x00", "b do stays"];
    assert_eq!(sorted(log(&mut world)), bodies);
}

#[test]
fn an_end_that_says_no_is_tried_again_and_parked() {
    let mut world = world();
    world.call_typed(Order::at("o").be_picky(1)).expect("is picky");
    start(&mut world, "x").expect("starts");
    world.settle();
    assert_eq!(state(&mut world).0, ["x done"], "the second attempt");

    world.call_typed(Order::at("o").be_picky(9)).expect("is picky");
    start(&mut world, "y").expect("starts");
    world.settle();
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    let text = "saga `work` of order/o: its end `ended` failed: not like this";
    assert_eq!((dead.reason.code(), dead.reason.message()), ("picky", text));
    let id = dead.id.clone();
    assert!(matches!(state(&mut world).1, SagaStatus::Running { step } if step == "c"));
    world.call_typed(Order::at("o").be_picky(0)).expect("is content");
    world.retry_dead_letter(&id).expect("retries");
    world.settle();
    assert_eq!(state(&mut world).0, ["x done", "y done"]);
}

#[test]
fn what_can_not_be_a_saga_is_rejected() {
    let mut world = world();
    let error = world.call_typed(Order::at("o").empty()).expect_err("empty");
    assert_eq!(
        (error.code(), error.message()),
        ("saga_empty", "saga `work` of order/o has no step")
    );
    let error = world.call_typed(Order::at("o").large(256 * 1024)).expect_err("large");
    assert_eq!((error.code(), error.is_retryable()), ("saga_too_large", false));
    assert_eq!((world.pending(), world.state("order", "o").len()), (0, 0));
    world.call_typed(Order::at("o").large(255 * 1024)).expect("fits");
}

#[test]
fn the_describe_document_lists_the_sagas_handler() {
    let types = [EntityType::of::<Order>(), EntityType::of::<Service>()];
    let document: serde_json::Value = serde_json::from_str(&describe(&types)).expect("JSON");
    let own = |at: usize| {
        let handlers = document["entities"][at]["handlers"].as_array().expect("a list");
        handlers.iter().find(|one| one["name"] == "keystead-saga").cloned()
    };
    assert_eq!(own(0).expect("the order's")["kind"], "internal");
    assert_eq!(own(1), None);
    let fields = &document["entities"][0]["state"]["fields"];
    let status = &document["entities"][0]["handlers"].as_array().expect("a list").iter();
    let status = status.clone().find(|one| one["name"] == "state").expect("the query");
    let phases = status["output"]["json"]["prefixItems"][1]["oneOf"].as_array().expect("phases");
    assert_eq!(phases.len(), 6, "{status}");
    assert_eq!((&fields["second"]["kind"], &fields["other"]), (&json!("saga"), &json!(null)));
}

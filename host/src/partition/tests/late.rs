//! Calls whose callers left: until they end they can be asked for by their ids, by those who may know of them, and
//! afterwards as any other. And who may know of what an older build kept.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::executor::{Job, Verdict};
use super::super::late::Left;
use super::super::request::{Cancelled, Invocation, MessageStatus, Scope, Sees, Stage};
use super::super::transaction::Draft;
use super::super::view::ReadError;
use super::{Machine, Patience, entity};
use crate::clock::Clock;
use crate::ids::MessageId;
use crate::record::delta::{Delta, Op};
use crate::record::outcome::{Ending, OldOutcome};

fn handle(_job: &Job, _calm: bool, _clock: &dyn Clock) -> Result<Verdict, ReadError> {
    let mut draft = Draft::default();
    draft.writes.insert(Bytes::from_static(b"row"), Some(Bytes::from_static(b"1")));
    Ok(Verdict::Done(Bytes::from_static(b"1"), draft))
}

struct Scene(Machine);

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new(1, Patience(3), handle);
        machine.calm();
        Self(machine)
    }

    fn call(&mut self, id: MessageId, key: Option<&str>) {
        let invocation = Invocation {
            entity: entity("app", "thing", "a"),
            handler: "write".into(),
            input: Bytes::from_static(b"{}"),
            content_type: None,
            trace: None,
            idempotency_key: key.map(ToOwned::to_owned),
        };
        self.0.core.call_as(Some(id), invocation, oneshot::channel().0);
        self.0.settle();
    }

    fn leave(&mut self, id: MessageId, key: Option<&str>) -> MessageId {
        let (to, mut which) = oneshot::channel();
        let (entity, key) = (entity("app", "thing", "a"), key.map(ToOwned::to_owned));
        self.0.core.leave(Left { id, entity, key }, to);
        which.try_recv().expect("at once")
    }

    /// What somebody hears; the machine has nothing that is not durable.
    fn status(&mut self, id: MessageId, sees: &Sees) -> MessageStatus {
        let (to, mut status) = oneshot::channel();
        self.0.core.message(id, false, sees, to);
        self.0.settle();
        status.try_recv().expect("durable").expect("told").into_inner()
    }

    fn flush(&mut self) {
        self.0.settle();
        while !self.0.quiet() {
            assert!(self.0.go_on(), "it goes on");
            self.0.settle();
        }
    }
}

#[test]
fn a_call_that_was_left_can_be_asked_for_until_it_ends_and_after() {
    let (first, second, third) = (MessageId(1), MessageId(2), MessageId(3));
    let mut scene = Scene::new();
    scene.call(first, None);
    scene.call(second, Some("key"));
    let told = scene.status(first, &Sees::All);
    assert!(matches!(told, MessageStatus::Unknown), "its caller will be told: {told:?}");
    assert_eq!(scene.leave(first, None), first);
    scene.call(third, Some("key"));
    assert_eq!(scene.leave(third, Some("key")), second, "what the key stands for");
    for (id, stage) in [(first, Stage::Running), (second, Stage::Queued)] {
        let told = scene.status(id, &Sees::All);
        assert!(matches!(told, MessageStatus::Pending(at) if at == stage), "{id}: {told:?}");
        for (app, knows) in [("app", true), ("other", false)] {
            let sees = Sees::Apps([app.to_owned()].into());
            let told = scene.status(id, &sees);
            assert_eq!(matches!(told, MessageStatus::Pending(_)), knows, "{app}: {told:?}");
            let (to, mut cancelled) = oneshot::channel();
            scene.0.core.cancel(id, &sees, to);
            scene.0.settle();
            let cancelled = cancelled.try_recv().expect("durable").expect("told").into_inner();
            assert_eq!(cancelled == Cancelled::TooLate, knows, "{app}: {cancelled:?}");
        }
    }
    let (to, mut ended) = oneshot::channel();
    scene.0.core.message(second, true, &Sees::All, to);
    scene.0.settle();
    assert!(ended.try_recv().is_err(), "it has not ended");
    scene.flush();
    let ended = ended.try_recv().expect("ended").expect("told").into_inner();
    assert!(matches!(ended, MessageStatus::Done(_)), "{ended:?}");
    for id in [first, second] {
        assert!(scene.0.core.late.entity(id).is_none(), "{id} has ended");
        assert!(matches!(scene.status(id, &Sees::All), MessageStatus::Done(_)), "{id}");
    }
    assert_eq!(scene.leave(third, Some("key")), second, "by the key that is kept");
    assert!(scene.0.core.late.entity(second).is_none(), "it has ended before");
}

#[test]
fn a_call_that_was_left_and_is_refused_is_no_more() {
    let (first, second) = (MessageId(1), MessageId(2));
    let mut scene = Scene::new();
    scene.call(first, None);
    scene.call(second, None);
    assert_eq!(scene.leave(second, None), second);
    scene.0.core.pause(&Scope::All, true, oneshot::channel().0);
    scene.flush();
    let told = scene.status(second, &Sees::All);
    assert!(matches!(told, MessageStatus::Unknown), "nothing of it happened: {told:?}");
}

#[test]
fn what_an_older_build_kept_is_for_those_who_see_all() {
    let mut scene = Scene::new();
    let (id, ending) = (MessageId(1), Ending::Reply(Bytes::from_static(b"1")));
    let expires_ms = scene.0.clock.now_ms() + 3_600_000;
    let old = OldOutcome { ending, version: 0, expires_ms };
    let ops = vec![Op::OldOutcome { id, outcome: Arc::new(old) }];
    scene.0.core.apply(Delta { writes: None, ops });
    // From memory, from the journal, and from a row.
    for _ in 0..3 {
        scene.flush();
        let told = scene.status(id, &Sees::All);
        assert!(matches!(told, MessageStatus::Done(_)), "{told:?}");
        let told = scene.status(id, &Sees::Apps(["app".to_owned()].into()));
        assert!(matches!(told, MessageStatus::Unknown), "{told:?}");
        scene.0.crash();
        scene.0.shut_down();
    }
}

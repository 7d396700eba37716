//! Promise 1: state, messages, timers and reply of one invocation commit together or not at all. Every way
//! of failing is tried after a write, a send and a timer; the same handler ending well shows all three.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Guest, Host, PATIENCE, eventually};

/// How `misbehave` may end, and what its caller then sees.
const ENDINGS: [(&str, u16, &[&str]); 8] = [
    ("panic", 500, &["handler_panicked"]),
    ("error", 500, &["error"]),
    ("reject", 422, &["rejected"]),
    ("loop", 504, &["deadline_exceeded"]),
    // A guest's allocator panics when the host refuses it memory; the host may also trap first.
    ("memory", 500, &["handler_trapped", "handler_panicked"]),
    ("stack", 500, &["handler_trapped"]),
    ("wild", 500, &["handler_trapped"]),
    ("giant_value", 500, &["handler_trapped"]),
];

async fn impatient() -> Host {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 10, "max_ms": 50, "attempts_max": 2});
    host.deploy_with(Guest::Hostile, "app", json!({"deadline_ms": 400, "retry": retry})).await;
    host
}

fn ending(how: &str) -> Value {
    json!({"how": how, "to": format!("{how}-other")})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_well_leaves_all_of_it() {
    let host = impatient().await;
    let client = host.client();
    client.call("app/probe/fine", "misbehave", ending("fine")).ok().await;
    assert_eq!(client.value("app/probe/fine", "list").await[0], 1, "the write");
    eventually("the message and the timer take effect", PATIENCE, || async {
        let other = client.value("app/probe/fine-other", "count").await;
        let timer = client.value("app/probe/fine", "count").await;
        if other == 1 && timer == 1 { Ok(()) } else { Err(format!("{other} and {timer}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_leaves_nothing() {
    let host = impatient().await;
    let client = host.client();
    for (how, status, codes) in ENDINGS {
        let fresh = format!("app/probe/{how}");
        let used = format!("app/probe/{how}-used");
        client.call(&used, "append", json!({"n": 7})).ok().await;
        for entity in [&fresh, &used] {
            let answer = client.call(entity, "misbehave", ending(how)).answer().await;
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            assert!(codes.contains(&code.as_str()), "{how}: expected {codes:?}, got {answer:?}");
            let answer = answer.expect_problem(status, &code);
            assert_eq!(answer.json()["source"], "handler", "{how}: {answer:?}");
            // A rejection is an answer, and a value over the limit is over it the next time too.
            let in_vain = ["reject", "giant_value"].contains(&how);
            assert_eq!(answer.json()["retryable"], !in_vain, "{how}: {answer:?}");
        }
        nothing_is_left(&host, how).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_leaves_nothing_but_its_dead_letter() {
    let host = impatient().await;
    let client = host.client();
    for (how, _, _) in ENDINGS {
        client.call(&format!("app/probe/{how}-used"), "append", json!({"n": 7})).ok().await;
        for entity in [format!("app/probe/{how}"), format!("app/probe/{how}-used")] {
            let sent = client.send(&entity, "misbehave", ending(how)).answer().await;
            let done = host.finished(&sent.expect_status(202).id()).await;
            if how == "reject" {
                done.expect_problem(422, "rejected");
                continue;
            }
            let parked = done.expect_problem(500, "parked").json();
            assert_eq!(parked["dead_letter"]["attempts"], 2, "{how}: {parked}");
        }
        let dead = host.dead_letters().await;
        let parked = dead.iter().filter(|letter| {
            letter["entity"].as_str().is_some_and(|e| e.starts_with(&format!("app/probe/{how}")))
        });
        assert_eq!(parked.count(), if how == "reject" { 0 } else { 2 }, "{how}: {dead:?}");
        nothing_is_left(&host, how).await;
    }
}

/// Nothing of `misbehave` on the entities of `how`: neither state nor version, message nor timer.
async fn nothing_is_left(host: &Host, how: &str) {
    let totals = host.quiet().await;
    assert_eq!(totals.scheduled, 0, "{how} left a timer or a delayed message");
    let fresh = host.entity(&format!("app/probe/{how}")).await;
    assert_eq!(fresh, Value::Null, "{how} left something of the fresh entity");
    let other = host.entity(&format!("app/probe/{how}-other")).await;
    assert_eq!(other, Value::Null, "{how} let a message out");
    let used = host.entity(&format!("app/probe/{how}-used")).await;
    assert_eq!(used["version"], 1, "{how} moved the version of the used entity: {used}");
    let list = host.client().value(&format!("app/probe/{how}-used"), "list").await;
    assert_eq!(list, json!([7]), "{how} left a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_a_crash_cuts_short_leaves_nothing() {
    let mut host = Host::start().await;
    host.deploy_with(Guest::Hostile, "app", json!({"deadline_ms": 20_000})).await;
    let client = host.client();
    let call = client.call("app/probe/cut", "misbehave", json!({"how": "loop", "to": "other"}));
    let call = tokio::spawn(call.try_answer());
    eventually("the endless command runs", PATIENCE, || async {
        let running = host.totals().await.running;
        if running == 1 { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await;
    host.crash().await;
    call.await.expect("no panic").expect_err("the host died before it could answer");
    let totals = host.quiet().await;
    assert_eq!((totals.scheduled, totals.dead), (0, 0), "after the crash");
    assert_eq!(host.entity("app/probe/cut").await, Value::Null);
    assert_eq!(host.entity("app/probe/other").await, Value::Null);
    let again = client.call("app/probe/cut", "bump", json!({})).answer();
    let again = tokio::time::timeout(Duration::from_secs(10), again).await;
    assert_eq!(again.expect("the entity is free again").json(), 1);
}

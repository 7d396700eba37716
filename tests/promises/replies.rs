//! Promise 4, of replies: an entity that asks hears once how it ended, in one transaction with that end: done,
//! rejected, parked, dropped or cancelled. Kills change nothing of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Client, Guest, Host};

const DESKS: u64 = 4;
const CLIENTS: u64 = 8;
const KILLS: usize = 12;
/// How long the host lives between two kills.
const LIFE: Duration = Duration::from_millis(150);

async fn with_attempts(attempts_max: u32) -> Host {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 10, "max_ms": 20, "attempts_max": attempts_max});
    host.deploy_with(Guest::Desk, "app", json!({"retry": retry})).await;
    host
}

fn ask(n: u64, how: &str, patient: bool) -> Value {
    json!({"shop": "s", "n": n, "how": how, "patient": patient})
}

async fn heard(client: &Client, desk: &str) -> Vec<(u64, String)> {
    let heard = client.value(&format!("app/desk/{desk}"), "heard").await;
    serde_json::from_value(heard).expect("what it heard")
}

/// What `keystead dead retry` and `drop` ask for.
fn dead(client: &Client, id: &str, again: bool) -> crate::harness::Request {
    match again {
        true => client.admin(Method::POST, format!("/admin/v1/dead/{id}/retry")),
        false => client.admin(Method::DELETE, format!("/admin/v1/dead/{id}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_is_told_as_it_was() {
    let host = with_attempts(2).await;
    let client = host.client();
    client.call("app/shop/s", "set_broken", json!({"broken": true})).ok().await;
    client.call("app/desk/d", "ask", ask(1, "ok", false)).ok().await;
    client.call("app/desk/d", "ask", ask(2, "reject", true)).ok().await;
    client.call("app/desk/d", "ask_peek", json!({"shop": "s", "n": 3})).ok().await;
    host.quiet().await;
    let id = client.call("app/desk/d", "ask", ask(4, "break", false)).ok().await;
    let id = id.as_str().expect("an id").to_owned();
    let totals = host.quiet().await;
    assert_eq!(totals.dead, 1, "a rejected ask is told, not parked");
    let mut expected = vec![
        (1, "ok 1".to_owned()),
        (2, r#"rejected sold_out {"n":2}"#.to_owned()),
        (3, "2 bytes".to_owned()),
        (4, "failed parked".to_owned()),
    ];
    assert_eq!(heard(&client, "d").await, expected);

    let letter = client.admin(Method::GET, format!("/admin/v1/dead/{id}")).ok().await;
    assert_eq!(letter["answered"], true, "{letter}");
    client.call("app/shop/s", "set_broken", json!({"broken": false})).ok().await;
    let refused = dead(&client, &id, true).answer().await.expect_problem(409, "already_answered");
    assert!(refused.text().contains("was told"), "{refused:?}");
    dead(&client, &id, false).ok().await;
    host.quiet().await;
    assert_eq!(heard(&client, "d").await, expected, "an end was told again");
    assert_eq!(client.value("app/shop/s", "worked").await, 1, "it worked after it had failed");

    let later = json!({"shop": "s", "n": 5});
    let cancelled = client.call("app/desk/d", "ask_later", later.clone()).ok().await;
    let cancelled = cancelled.as_str().expect("an id");
    client.ingress(Method::DELETE, format!("/v1/messages/{cancelled}")).ok().await;
    let regretted = client.call("app/desk/d", "ask_later", later).ok().await;
    assert_eq!(client.call("app/desk/d", "regret", json!({"id": regretted})).ok().await, true);
    assert_eq!(client.call("app/desk/d", "regret", json!({"id": regretted})).ok().await, false);
    let totals = host.quiet().await;
    assert_eq!(totals.scheduled, 0);
    expected.push((5, "failed cancelled".to_owned()));
    assert_eq!(heard(&client, "d").await, expected, "one was cancelled, one taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_ask_is_told_when_an_operator_has_settled_it() {
    let mut host = with_attempts(2).await;
    let client = host.client();
    client.call("app/shop/s", "set_broken", json!({"broken": true})).ok().await;
    let mut ids = Vec::new();
    for n in [1, 2] {
        let id = client.call("app/desk/d", "ask", ask(n, "break", true)).ok().await;
        ids.push(id.as_str().expect("an id").to_owned());
    }
    assert_eq!(host.quiet().await.dead, 2);
    host.crash().await;
    assert_eq!(heard(&client, "d").await, [], "told before it has ended");
    dead(&client, &ids[0], true).ok().await;
    assert_eq!(host.quiet().await.dead, 2, "parked again");
    assert_eq!(heard(&client, "d").await, [], "told before it has ended");
    client.call("app/shop/s", "set_broken", json!({"broken": false})).ok().await;
    dead(&client, &ids[0], true).ok().await;
    host.quiet().await;
    dead(&client, &ids[1], false).ok().await;
    host.crash().await;
    assert_eq!(host.quiet().await.dead, 0);
    let expected = [(1, "ok 1".to_owned()), (2, "failed dropped".to_owned())];
    assert_eq!(heard(&client, "d").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_fails_is_a_dead_letter_of_its_own() {
    let mut host = with_attempts(2).await;
    let client = host.client();
    client.call("app/desk/d", "set_deaf", json!({"deaf": true})).ok().await;
    client.call("app/desk/d", "ask", ask(1, "ok", false)).ok().await;
    assert_eq!(host.quiet().await.dead, 1);
    host.crash().await;
    let letter = host.dead_letters().await.remove(0);
    assert_eq!((&letter["handler"], &letter["answered"]), (&json!("told"), &json!(false)));
    assert_eq!(letter["sender"], "app/shop/s", "{letter}");
    client.call("app/desk/d", "set_deaf", json!({"deaf": false})).ok().await;
    dead(&client, letter["id"].as_str().expect("an id"), true).ok().await;
    host.quiet().await;
    assert_eq!(heard(&client, "d").await, [(1, "ok 1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_come_once_whatever_is_killed() {
    let mut host = with_attempts(2).await;
    let client = host.client();
    client.call("app/shop/s", "set_broken", json!({"broken": true})).ok().await;
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(ask_until(done.clone(), client.clone(), number));
    }
    for _ in 0..KILLS {
        tokio::time::sleep(LIFE).await;
        host.crash().await;
    }
    done.store(true, Ordering::Relaxed);
    let asked: Vec<(u64, bool)> = tasks.join_all().await.into_iter().flatten().collect();
    let answered = asked.iter().filter(|(_, answered)| *answered).count();
    println!("{answered} of {} asks were answered", asked.len());
    assert!(answered > 20 && answered < asked.len(), "no kill cut a request short");

    let totals = host.quiet().await;
    assert_eq!(totals.scheduled, 0, "{totals:?}");
    let mut times: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for desk in 0..DESKS {
        for (n, said) in heard(&client, &desk.to_string()).await {
            assert_eq!(n % DESKS, desk, "another desk heard of {n}");
            times.entry(n).or_default().push(said);
        }
    }
    let mut worked = 0;
    for (n, answered) in asked {
        let said = times.remove(&n).unwrap_or_default();
        assert!(said.len() <= 1 && (said.len() == 1 || !answered), "{n} was heard of: {said:?}");
        let Some(said) = said.first() else { continue };
        let right = match how(n) {
            "ok" => *said == format!("ok {n}"),
            "reject" => said.starts_with("rejected sold_out"),
            _ => said == "failed parked",
        };
        assert!(right, "{n}: {said}");
        worked += u64::from(how(n) == "ok");
    }
    assert!(times.is_empty(), "nobody asked for {times:?}");
    assert_eq!(client.value("app/shop/s", "worked").await, worked, "work that nobody heard of");
}

fn how(n: u64) -> &'static str {
    ["ok", "reject", "break", "ok", "ok"][n as usize % 5]
}

/// One client's asks, each tried once, and whether it was answered.
async fn ask_until(done: Arc<AtomicBool>, client: Client, number: u64) -> Vec<(u64, bool)> {
    let mut asked = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let n = number + CLIENTS * asked.len() as u64;
        let input = ask(n, how(n), false);
        let desk = format!("app/desk/{}", n % DESKS);
        let answer = client.call(&desk, "ask", input).try_answer().await;
        asked.push((n, answer.as_ref().is_ok_and(|answer| answer.status == 200)));
        if answer.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_bounded_before_it_is_asked() {
    let host = with_attempts(2).await;
    let client = host.client();
    let large = |n: u64, context_bytes: u64| {
        let input = json!({"shop": "s", "n": n, "context_bytes": context_bytes});
        client.call("app/desk/d", "ask_large", input)
    };
    large(1, 65_000).ok().await;
    assert_eq!(host.quiet().await.dead, 0, "{:?}", host.dead_letters().await);
    assert_eq!(heard(&client, "d").await, [(1, "1048576 bytes and 65000".to_owned())]);
    let refused = large(2, 65_536).answer().await.expect_problem(500, "handler_trapped");
    let says = "continuation context bytes is over its limit of 65536";
    assert!(refused.text().contains(says), "{refused:?}");
    let wait_ms = 401_u64 * 24 * 3_600 * 1_000;
    let late = client.call("app/desk/d", "open", json!({"n": 3, "wait_ms": wait_ms}));
    let refused = late.answer().await.expect_problem(500, "handler_trapped");
    assert!(refused.text().contains("days until a callback expires"), "{refused:?}");
    assert_eq!(host.quiet().await.scheduled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_handlers_are_for_entities_only() {
    let host = Host::with(Guest::Desk, "app").await;
    let client = host.client();
    for request in [
        client.call("app/shop/s", "peek", json!({})),
        client.send("app/shop/s", "peek", json!({})),
        client.read("app/shop/s", "peek", json!({})),
        client.call("app/desk/d", "told", json!({"reply": {"ok": 1}, "n": 1})),
    ] {
        let refused = request.answer().await.expect_problem(404, "unknown_handler");
        assert!(refused.text().contains("internal"), "{refused:?}");
    }
    client.call("app/desk/d", "ask_peek", json!({"shop": "s", "n": 7})).ok().await;
    host.quiet().await;
    assert_eq!(heard(&client, "d").await, [(7, "2 bytes".to_owned())]);
}

//! Timers and delayed messages: they survive restarts, run once, and can be cancelled and replaced. What must
//! not happen is ordered before a timer that the test waits for; no test just waits and hopes.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Guest, Host, PATIENCE, eventually};

/// A time that no test lives to see.
const NEVER_MS: u64 = 24 * 3_600 * 1_000;

async fn arm(client: &Client, name: &str, n: u64, delay_ms: u64) {
    let timer = json!({"name": name, "n": n, "delay_ms": delay_ms});
    client.call("app/probe/a", "arm", timer).ok().await;
}

async fn timer_names(client: &Client) -> Value {
    client.value("app/probe/a", "timers").await
}

async fn list_of(client: &Client, entity: &str, length: usize) -> Vec<u64> {
    let list = eventually(&format!("{length} numbers at {entity}"), PATIENCE, || async {
        let list = client.value(entity, "list").await;
        let there = list.as_array().map_or(0, Vec::len);
        if there >= length { Ok(list) } else { Err(list.to_string()) }
    })
    .await;
    serde_json::from_value(list).expect("numbers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_runs_once_when_it_is_due() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    arm(&client, "soon", 1, 200).await;
    assert_eq!(timer_names(&client).await, json!(["soon"]));
    assert_eq!(host.totals().await.scheduled, 1);
    assert_eq!(list_of(&client, "app/probe/a", 1).await, [1]);
    assert_eq!(timer_names(&client).await, json!([]), "it ran and is still pending");
    // A later timer as the fence: what runs twice would have run again before it.
    arm(&client, "fence", 2, 100).await;
    assert_eq!(list_of(&client, "app/probe/a", 2).await, [1, 2]);
    assert_eq!(host.totals().await.scheduled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_is_never_early() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let timer = json!({"delay_ms": 700});
    client.call("app/probe/a", "arm_clock", timer).ok().await;
    let took = eventually("it runs", PATIENCE, || async {
        let took = client.value("app/probe/a", "clock").await;
        took.as_u64().filter(|ms| *ms > 0).ok_or_else(|| took.to_string())
    })
    .await;
    assert!(took >= 700, "it ran after {took} ms of its entity's time");
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_survive_restarts_and_run_once() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    arm(&client, "soon", 1, 1_500).await;
    arm(&client, "never", 9, NEVER_MS).await;
    host.crash().await;
    assert_eq!(timer_names(&client).await, json!(["never", "soon"]));
    assert_eq!(list_of(&client, "app/probe/a", 1).await, [1]);
    host.crash().await;
    assert_eq!(timer_names(&client).await, json!(["never"]), "it is pending again after a crash");
    host.stop().await;
    host.spawn().await;
    arm(&client, "fence", 2, 50).await;
    assert_eq!(list_of(&client, "app/probe/a", 2).await, [1, 2]);
    assert_eq!(host.totals().await.scheduled, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_came_due_while_the_host_was_down_runs_at_once() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    arm(&client, "soon", 1, 400).await;
    host.kill().await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    host.spawn().await;
    assert_eq!(list_of(&client, "app/probe/a", 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_timer_does_not_run() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    arm(&client, "cancelled", 1, 1_000).await;
    let cancel = || client.call("app/probe/a", "disarm", json!({"name": "cancelled"}));
    assert_eq!(cancel().ok().await, true);
    assert_eq!(cancel().ok().await, false, "it was cancelled before");
    host.crash().await;
    assert_eq!(timer_names(&client).await, json!([]));
    arm(&client, "fence", 2, 1_200).await;
    assert_eq!(list_of(&client, "app/probe/a", 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_timer_runs_as_its_replacement_only() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    arm(&client, "later", 1, NEVER_MS).await;
    arm(&client, "later", 2, 300).await;
    assert_eq!(timer_names(&client).await, json!(["later"]));
    assert_eq!(host.totals().await.scheduled, 1);
    assert_eq!(list_of(&client, "app/probe/a", 1).await, [2]);
    arm(&client, "sooner", 3, 600).await;
    arm(&client, "sooner", 4, NEVER_MS).await;
    host.crash().await;
    arm(&client, "fence", 5, 1_000).await;
    assert_eq!(list_of(&client, "app/probe/a", 2).await, [2, 5], "the replaced timer ran");
    assert_eq!(timer_names(&client).await, json!(["sooner"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_sends_wait_survive_and_can_be_cancelled() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let send = |query: &str, n: u64| {
        let path = format!("/v1/send/app/probe/a/append?{query}");
        client.ingress(Method::POST, path).json(json!({"n": n}))
    };
    let late = send("delay=24h", 9).answer().await.expect_status(202).id();
    let next_month = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    let at = send(&format!("at={next_month}"), 9).answer().await.expect_status(202).id();
    let soon = send("delay=1s", 1).answer().await.expect_status(202).id();
    let past = send("at=2001-01-01T00:00:00Z", 0).answer().await.expect_status(202).id();
    host.finished(&past).await.expect_status(200);
    host.crash().await;
    host.finished(&soon).await.expect_status(200);
    assert_eq!(client.value("app/probe/a", "list").await, json!([0, 1]));

    let message = |method, id: &str| client.ingress(method, format!("/v1/messages/{id}"));
    for id in [&late, &at] {
        let status = message(Method::GET, id).answer().await.expect_status(202);
        assert!(status.text().contains("scheduled"), "{status:?}");
        message(Method::DELETE, id).answer().await.expect_status(200);
    }
    assert_eq!(message(Method::DELETE, &soon).answer().await.status, 409);
    host.crash().await;
    assert_eq!(host.totals().await.scheduled, 0, "a cancelled message is back after a crash");
    let status = message(Method::GET, &late).answer().await;
    assert_ne!(status.status, 202, "a cancelled message is pending: {status:?}");
    assert_eq!(client.value("app/probe/a", "list").await, json!([0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_can_delay_and_cancel_its_own_messages() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let schedule = |n: u64, delay_ms: u64| {
        let message = json!({"to": "b", "n": n, "delay_ms": delay_ms});
        client.call("app/probe/a", "schedule", message).ok()
    };
    let late = schedule(9, NEVER_MS).await;
    schedule(1, 600).await;
    schedule(0, 0).await;
    host.crash().await;
    assert_eq!(list_of(&client, "app/probe/b", 2).await, [0, 1]);
    let cancel = || client.call("app/probe/a", "unschedule", json!({"id": late}));
    assert_eq!(cancel().ok().await, true);
    assert_eq!(cancel().ok().await, false);
    assert_eq!(host.totals().await.scheduled, 0);
}

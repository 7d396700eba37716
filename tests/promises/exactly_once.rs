//! Promise 4: each message takes effect once, across retries and crashes; so does a request with an
//! `Idempotency-Key`, and its first answer is given again.

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Guest, Host};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_a_hundred_times_at_once_is_one_effect_and_equal_answers() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let slowly = json!({"rounds": 100_000_000});
        let call = client.call("app/probe/a", "bump_slowly", slowly).key("the-same");
        tasks.spawn(call.answer());
    }
    let answers = tasks.join_all().await;
    let mut first = 0;
    for answer in &answers {
        let answer = answer.clone().expect_status(200);
        assert_eq!(answer.json(), 1, "an answer differs: {answer:?}");
        assert_eq!(answer.id(), answers[0].id(), "another message: {answer:?}");
        assert!(answer.header("idempotency-expires").is_some(), "no expiry in {answer:?}");
        first += u32::from(answer.header("idempotency-replayed").is_none());
    }
    assert!(first >= 1, "all of them say that they are replayed");
    assert_eq!(client.value("app/probe/a", "count").await, 1, "more than one effect");

    let other = client.call("app/probe/a", "bump_slowly", json!({"rounds": 1})).key("the-same");
    let other = other.answer().await.expect_problem(422, "idempotency_mismatch");
    assert_eq!(other.json()["source"], "ingress", "{other:?}");
    let other = client.call("app/probe/a", "bump", json!({})).key("the-same");
    other.answer().await.expect_problem(422, "idempotency_mismatch");
    assert_eq!(client.value("app/probe/a", "count").await, 1, "a refused request had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_entity() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    for entity in ["app/probe/a", "app/probe/b"] {
        let answer = client.call(entity, "bump", json!({})).key("k").answer().await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.json(), 1, "{entity}");
        assert_eq!(answer.header("idempotency-replayed"), None, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_replayed_after_a_crash() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let bump = || client.call("app/probe/a", "bump", json!({})).key("bump");
    let reject = || {
        let ending = json!({"how": "reject", "to": "other"});
        client.call("app/probe/a", "misbehave", ending).key("reject")
    };
    let send = || client.send("app/probe/a", "append", json!({"n": 5})).key("send");
    let first = bump().answer().await.expect_status(200);
    let rejected = reject().answer().await.expect_problem(422, "rejected");
    let sent = send().answer().await.expect_status(202);
    assert_eq!(sent.json()["status"], "accepted", "{sent:?}");
    for restart in 1..=2 {
        host.crash().await;
        let again = bump().answer().await.expect_status(200);
        assert_eq!(again.body, first.body, "restart {restart}: {again:?}");
        assert_eq!(again.id(), first.id(), "restart {restart}: {again:?}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
        let again = reject().answer().await.expect_problem(422, "rejected");
        assert_eq!(again.id(), rejected.id(), "restart {restart}: {again:?}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
        let again = send().answer().await.expect_status(202);
        assert_eq!(again.json()["status"], "previously_accepted", "{again:?}");
        assert_eq!(again.id(), sent.id(), "restart {restart}: {again:?}");
    }
    host.quiet().await;
    assert_eq!(client.value("app/probe/a", "count").await, 1);
    assert_eq!(client.value("app/probe/a", "list").await, json!([5]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_may_be_tried_again_with_its_key() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    client.call("app/probe/a", "set_broken", json!({"broken": true})).ok().await;
    let call = || client.call("app/probe/a", "fragile", json!({})).key("again");
    let failed = call().answer().await.expect_problem(500, "error");
    assert_eq!(failed.json()["retryable"], true, "{failed:?}");
    client.call("app/probe/a", "set_broken", json!({"broken": false})).ok().await;
    let done = call().answer().await.expect_status(200);
    assert_eq!(done.header("idempotency-replayed"), None, "{done:?}");
    let again = call().answer().await.expect_status(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
    assert_eq!(client.value("app/probe/a", "count").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_needs_attempts_takes_effect_once() {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 10, "max_ms": 50, "attempts_max": 6});
    host.deploy_with(Guest::Hostile, "app", json!({"retry": retry})).await;
    let client = host.client();
    let sent = client.send("app/probe/a", "flaky", json!({"until": 4, "n": 1})).answer().await;
    let done = host.finished(&sent.id()).await.expect_status(200);
    assert_eq!(done.json(), 4, "it took effect in another attempt: {done:?}");
    assert_eq!(client.value("app/probe/a", "list").await, json!([1]));
    let page = client.ingress(Method::GET, format!("/v1/messages/{}", sent.id())).answer().await;
    page.expect_status(200);
}

//! Promise 3: what was answered survives `kill -9`, and a clean stop. The heavier proof is in `crash`.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, Host};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_kill_9_at_once() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    for n in 1..=8 {
        assert_eq!(client.call("app/probe/a", "bump", json!({})).ok().await, n, "call {n}");
        host.crash().await;
        assert_eq!(client.value("app/probe/a", "count").await, n, "after crash {n}");
    }
    assert_eq!(host.entity("app/probe/a").await["version"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_send_survives_kill_9_at_once() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let mut ids = Vec::new();
    for n in 0..8 {
        let sent = client.send("app/probe/a", "append", json!({"n": n})).answer().await;
        ids.push(sent.expect_status(202).id());
        host.crash().await;
    }
    host.quiet().await;
    assert_eq!(client.value("app/probe/a", "list").await, json!([0, 1, 2, 3, 4, 5, 6, 7]));
    for id in ids {
        let status = client.ingress(Method::GET, format!("/v1/messages/{id}")).answer().await;
        status.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_well_and_loses_nothing() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    let later = client.ingress(Method::POST, "/v1/send/app/probe/a/append?delay=1h");
    let later = later.json(json!({"n": 1})).answer().await.expect_status(202).id();
    let before = host.entity("app/probe/a").await;
    let status = host.stop().await;
    assert!(status.success(), "SIGTERM ended with {status}");
    host.spawn().await;
    assert_eq!(host.entity("app/probe/a").await, before, "the entity after a clean stop");
    assert_eq!(host.totals().await.scheduled, 1);
    let status = client.ingress(Method::GET, format!("/v1/messages/{later}")).answer().await;
    status.expect_status(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_survives_kill_9_and_is_idempotent() {
    let mut host = Host::start().await;
    let first = host.deploy(Guest::Hostile, "app").await.json();
    assert_eq!(first["changed"], true, "{first}");
    host.crash().await;
    let apps = host.client().admin(Method::GET, "/admin/v1/apps").ok().await;
    assert_eq!(apps["apps"][0]["app"], "app", "{apps}");
    assert_eq!(apps["apps"][0]["version"], first["version"], "{apps}");
    let again = host.deploy(Guest::Hostile, "app").await.json();
    assert_eq!(again["changed"], false, "the same bytes were deployed again: {again}");
    let nothing = host.entity("app/probe/a").await;
    assert_eq!(nothing, Value::Null, "a deploy made an entity");
}

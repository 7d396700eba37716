//! Promise 3: what was answered survives `kill -9`, and a clean stop. The heavier proof is in `crash`.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, Host, PATIENCE, eventually};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_costs_no_answered_call() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    host.stop().await;
    host.spawn_on_small_disk(16 * 1024 * 1024 / 512).await;
    let text = "x".repeat(500_000);
    let mut answered = Vec::new();
    let mut refused = 0;
    for n in 0..80 {
        let call = client.call(&format!("app/probe/{n}"), "note", json!({"text": text}));
        let answer = call.answer().await;
        if answer.status == 200 {
            answered.push(n);
        } else {
            answer.expect_problem(503, "unavailable");
            refused += 1;
        }
    }
    assert!(refused > 0, "40 MB fit into a journal of 16 MiB: {} answered", answered.len());
    assert!(answered.len() > 3, "only {answered:?} were answered before the disk was full");
    // What is on disk is served again while the disk is still full.
    let first = format!("app/probe/{}", answered[0]);
    eventually("the partition is open again", PATIENCE, || async {
        let answer = client.read(&first, "count", json!({})).answer().await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    host.kill().await;
    host.spawn().await;
    for n in answered {
        let version = &host.entity(&format!("app/probe/{n}")).await["version"];
        assert_eq!(version, 1, "call {n} was answered");
    }
    client.call("app/probe/0", "bump", json!({})).ok().await;
}

/// A killed process leaves what it wrote in the kernel, so only a disk that says no shows who asked it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_yes_before_the_disk_says_so() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    host.stop().await;
    let syncs_fail = host.spawn_with_failing_syncs().await;
    let asked = AtomicU64::new(0);
    let bump = || {
        asked.fetch_add(1, Ordering::Relaxed);
        client.call("app/probe/a", "bump", json!({}))
    };
    assert_eq!(bump().ok().await, 1);
    std::fs::write(&syncs_fail, "").expect("written");
    for _ in 0..3 {
        bump().answer().await.expect_problem(503, "unavailable");
        let send = client.send("app/probe/b", "bump", json!({})).answer().await;
        send.expect_problem(503, "unavailable");
    }
    std::fs::remove_file(&syncs_fail).expect("removed");
    eventually("the partition is open again", PATIENCE, || async {
        let answer = bump().answer().await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // What was refused may have happened, once each; what was answered has.
    let count = client.value("app/probe/a", "count").await.as_u64().expect("a number");
    let asked = asked.load(Ordering::Relaxed);
    assert!((2..=asked).contains(&count), "{count} of {asked}");
}

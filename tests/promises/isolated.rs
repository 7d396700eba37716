//! Promise 7: a guest can't stall, crash or exhaust the host or another entity, and apps share nothing. Each
//! hostile call ends as a typed error within its limit while another entity keeps answering.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Answer, Client, Guest, Host};

const DEADLINE_MS: u64 = 1_000;
/// What a hostile call may take on a loaded machine: its deadline and a generous rest.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// How a guest attacks, and how that may end.
const ATTACKS: [(&str, u16, &[&str]); 9] = [
    ("loop", 504, &["deadline_exceeded"]),
    ("memory", 500, &["handler_trapped", "handler_panicked"]),
    ("stack", 500, &["handler_trapped"]),
    ("panic", 500, &["handler_panicked"]),
    ("wild", 500, &["handler_trapped"]),
    ("giant_reply", 500, &["handler_trapped"]),
    ("giant_key", 500, &["handler_trapped"]),
    ("giant_value", 500, &["handler_trapped"]),
    ("flood", 500, &["handler_trapped"]),
];

async fn host() -> Host {
    let host = Host::start().await;
    host.deploy_with(Guest::Hostile, "app", json!({"deadline_ms": DEADLINE_MS})).await;
    host
}

async fn attack(client: &Client, entity: &str, how: &str) -> Answer {
    let attack = client.call(entity, "misbehave", json!({"how": how, "to": "other"})).answer();
    match tokio::time::timeout(ENDS_WITHIN, attack).await {
        Ok(answer) => answer,
        Err(_) => panic!("{how} did not end within {ENDS_WITHIN:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_ends_as_a_typed_error_while_others_are_answered() {
    let host = host().await;
    let client = host.client();
    let mut expected = 0;
    for (how, status, codes) in ATTACKS {
        let started = Instant::now();
        let attack = tokio::spawn({
            let client = client.clone();
            async move { attack(&client, &format!("app/probe/{how}"), how).await }
        });
        let mut answered = 0;
        while !attack.is_finished() || answered == 0 {
            let bump = client.call("app/probe/bystander", "bump", json!({})).answer();
            let bump = tokio::time::timeout(ENDS_WITHIN, bump).await;
            let bump = bump.unwrap_or_else(|_| panic!("the bystander waits during {how}"));
            expected += 1;
            answered += 1;
            assert_eq!(bump.expect_status(200).json(), expected, "during {how}");
        }
        let answer = attack.await.expect("no panic");
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        assert!(codes.contains(&code.as_str()), "{how}: expected {codes:?}, got {answer:?}");
        answer.expect_problem(status, &code);
        if how == "loop" {
            let took = started.elapsed();
            assert!(took >= Duration::from_millis(DEADLINE_MS), "it ended after {took:?}");
            assert!(answered > 3, "only {answered} answers in {took:?}: the bystander stood still");
        }
        assert_eq!(host.entity(&format!("app/probe/{how}")).await, Value::Null, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_in_its_own_words_and_a_limit_by_its_name() {
    let host = host().await;
    let client = host.client();
    for (how, words) in [
        ("panic", "told to panic"),
        ("loop", "deadline of 1000 ms"),
        ("giant_value", "limit"),
        ("giant_key", "limit"),
        ("giant_reply", "limit"),
        ("flood", "limit"),
    ] {
        let problem = attack(&client, "app/probe/a", how).await.json();
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(words), "{how}: {problem} does not say {words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_endless_calls_than_threads_end_and_leave_the_host_well() {
    let host = host().await;
    let client = host.client();
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let client = client.clone();
        tasks.spawn(async move {
            let call = json!({"how": "loop", "to": "other"});
            client.call(&format!("app/probe/loop-{n}"), "misbehave", call).answer().await
        });
    }
    let bump = client.call("app/probe/bystander", "bump", json!({})).answer();
    let bump = tokio::time::timeout(ENDS_WITHIN * 2, bump).await.expect("its turn comes");
    bump.expect_status(200);
    for answer in tasks.join_all().await {
        answer.expect_problem(504, "deadline_exceeded");
    }
    let bump = client.call("app/probe/bystander", "bump", json!({})).ok().await;
    assert_eq!(bump, 2);
}

/// A call may begin on the thread that brought it and start over on another when it takes long; what it did
/// before never happened, not even its log lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_turns_out_long_happens_once() {
    let host = host().await;
    let client = host.client();
    let noisily =
        |rounds: u64| client.call("app/probe/n", "bump_noisily", json!({"rounds": rounds}));
    assert_eq!(noisily(1).ok().await, 1, "quick so far, so the next one is trusted");
    assert_eq!(noisily(100_000_000).ok().await, 2);
    assert_eq!(noisily(1).ok().await, 3, "and no longer trusted, it runs all the same");
    let logs = client.admin(Method::GET, "/admin/v1/apps/app/logs").ok().await;
    let lines = logs["lines"].as_array().expect("lines");
    let lines: Vec<_> = lines.iter().map(|line| line["line"].as_str().expect("text")).collect();
    assert_eq!(lines, ["before", "after"].repeat(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_by_query_are_no_better() {
    let host = host().await;
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    for how in ["loop", "memory", "stack", "panic", "wild", "giant_reply"] {
        let answer = client.read("app/probe/a", "misread", json!({"how": how})).answer().await;
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        let known = ["deadline_exceeded", "handler_trapped", "handler_panicked"];
        assert!(known.contains(&code.as_str()), "{how}: {answer:?}");
        assert_eq!(answer.json()["source"], "handler", "{how}: {answer:?}");
        assert_eq!(client.value("app/probe/a", "count").await, 1, "after {how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_run_as_a_query_nor_a_query_as_a_command() {
    let host = host().await;
    let client = host.client();
    let read = client.read("app/probe/a", "bump", json!({})).answer().await;
    assert!((400..500).contains(&read.status), "a command was read: {read:?}");
    let call = client.call("app/probe/a", "count", json!({})).answer().await;
    assert!((400..500).contains(&call.status), "a query was called: {call:?}");
    assert_eq!(host.entity("app/probe/a").await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_share_nothing() {
    let host = host().await;
    host.deploy(Guest::Hostile, "neighbour").await;
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    client.call("app/probe/a", "remember", json!({"word": "secret"})).ok().await;
    assert_eq!(client.value("neighbour/probe/a", "count").await, 0);
    for _ in 0..8 {
        let recalled = client.call("neighbour/probe/a", "recall", json!({})).ok().await;
        assert_eq!(recalled, Value::Null, "guest memory crossed apps");
    }
    assert_eq!(host.entity("neighbour/probe/a").await["state"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_instances_forget_everything_but_state() {
    let host = Host::start().await;
    host.deploy_with(Guest::Hostile, "app", json!({"isolation": "invocation"})).await;
    let client = host.client();
    for _ in 0..4 {
        client.call("app/probe/a", "remember", json!({"word": "secret"})).ok().await;
        assert_eq!(client.call("app/probe/a", "recall", json!({})).ok().await, Value::Null);
    }
}

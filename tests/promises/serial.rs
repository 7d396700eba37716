//! Promise 2: commands on one entity are serial; queries run beside them on a consistent view.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Guest, Host, PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_lose_no_update() {
    const CLIENTS: u64 = 16;
    const CALLS: u64 = 20;
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..CALLS {
                let slowly = json!({"rounds": 500_000});
                let value = client.call("app/probe/hot", "bump_slowly", slowly).ok().await;
                seen.push(value.as_u64().expect("a count"));
            }
            assert!(seen.is_sorted(), "a client saw the count fall: {seen:?}");
            seen
        });
    }
    let mut seen: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    seen.sort_unstable();
    let expected: Vec<u64> = (1..=CLIENTS * CALLS).collect();
    assert_eq!(seen, expected, "each command saw the effect of all before it");
    assert_eq!(host.entity("app/probe/hot").await["version"], CLIENTS * CALLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_see_whole_transactions_and_never_go_back() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    client.call("app/probe/pair", "set_pair", json!({"n": 0})).ok().await;
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let client = client.clone();
        readers.spawn(async move {
            let mut last = 0;
            while last < 200 {
                let pair = client.value("app/probe/pair", "pair").await;
                assert_eq!(pair[0], pair[1], "half of a transaction was seen: {pair}");
                let now = pair[0].as_u64().expect("a number");
                assert!(now >= last, "a query went back from {last} to {now}");
                last = now;
            }
        });
    }
    for n in 1..=200 {
        client.call("app/probe/pair", "set_pair", json!({"n": n})).ok().await;
        let pair = client.value("app/probe/pair", "pair").await;
        assert_eq!(pair, json!([n, n]), "a query did not see the command answered before it");
    }
    readers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_answered_while_a_command_of_its_entity_runs() {
    let host = Host::start().await;
    host.deploy_with(Guest::Hostile, "app", json!({"deadline_ms": 3_000})).await;
    let client = host.client();
    client.call("app/probe/busy", "bump", json!({})).ok().await;
    let endless = client.call("app/probe/busy", "misbehave", json!({"how": "loop", "to": "x"}));
    let endless = tokio::spawn(endless.answer());
    eventually("the command runs", PATIENCE, || async {
        let running = host.totals().await.running;
        if running > 0 { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await;
    let count = client.value("app/probe/busy", "count").await;
    assert_eq!(count, 1, "the query saw a command that has not committed");
    assert!(!endless.is_finished(), "the query waited for the command");
    endless.await.expect("no panic").expect_problem(504, "deadline_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_has_an_etag_that_moves_with_the_entity() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    client.call("app/probe/tag", "bump", json!({})).ok().await;
    let read = || client.read("app/probe/tag", "count", json!({}));
    let first = read().answer().await.expect_status(200);
    let tag = first.header("etag").expect("an ETag").to_owned();
    let same = read().header("If-None-Match", &tag).answer().await.expect_status(304);
    assert_eq!(same.json(), Value::Null, "304 has no body");
    client.call("app/probe/tag", "bump", json!({})).ok().await;
    let moved = read().header("If-None-Match", &tag).answer().await.expect_status(200);
    assert_eq!(moved.json(), 2);
    assert_ne!(moved.header("etag"), Some(tag.as_str()));
}

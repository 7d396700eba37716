//! Promise 6: a message that cannot be processed is retried with backoff, then parked whole with its reason.
//! While it backs off nobody but its own sender waits behind it, and it never vanishes.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Guest, Host, PATIENCE, eventually};

async fn with_retry(initial_ms: u64, max_ms: u64, attempts_max: u32) -> Host {
    let host = Host::start().await;
    let retry = json!({"initial_ms": initial_ms, "max_ms": max_ms, "attempts_max": attempts_max});
    host.deploy_with(Guest::Hostile, "app", json!({"retry": retry})).await;
    host
}

async fn dead_letter_ids(client: &Client, query: &str) -> Vec<String> {
    let page = client.admin(Method::GET, format!("/admin/v1/dead{query}")).ok().await;
    let letters = page["dead_letters"].as_array().expect("dead_letters").clone();
    letters.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_message_is_parked_whole() {
    let mut host = with_retry(10, 40, 3).await;
    let client = host.client();
    let sent = client.send("app/probe/a", "poison", json!({"note": "keep me"})).answer().await;
    let id = sent.expect_status(202).id();
    let parked = host.finished(&id).await.expect_problem(500, "parked").json();
    for restart in 0..2 {
        let letter = client.admin(Method::GET, format!("/admin/v1/dead/{id}")).ok().await;
        assert_eq!(letter["id"], id.as_str(), "restart {restart}: {letter}");
        assert_eq!(letter["entity"], "app/probe/a", "{letter}");
        assert_eq!(letter["handler"], "poison", "{letter}");
        assert_eq!(letter["input"], json!({"note": "keep me"}), "{letter}");
        assert_eq!(letter["attempts"], 3, "{letter}");
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.contains("poison"), "the reason does not say why: {letter}");
        assert_eq!(parked["dead_letter"], letter, "restart {restart}");
        assert_eq!(host.totals().await.dead, 1);
        host.crash().await;
    }
    assert_eq!(host.entity("app/probe/a").await, Value::Null, "the parked message left a trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_message_is_parked_with_its_words() {
    let host = with_retry(10, 40, 2).await;
    let client = host.client();
    let ending = json!({"how": "panic", "to": "other"});
    let id = client.send("app/probe/a", "misbehave", ending).answer().await.id();
    let parked = host.finished(&id).await.expect_problem(500, "parked").json();
    let reason = parked["dead_letter"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("told to panic"), "the panic's words are lost: {parked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_backs_off_others_pass() {
    let host = with_retry(60_000, 60_000, 10).await;
    let client = host.client();
    let behind = json!({"to": "sink", "count": 3});
    client.call("app/probe/source", "emit_behind_poison", behind).ok().await;
    eventually("the poisoned message backs off", PATIENCE, || async {
        let totals = host.totals().await;
        if totals.queued == 4 && totals.running == 0 { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await;
    let other = json!({"to": "sink", "first": 100, "count": 3});
    client.call("app/probe/other", "emit", other).ok().await;
    client.send("app/probe/sink", "append", json!({"n": 200})).answer().await.expect_status(202);
    client.call("app/probe/sink", "append", json!({"n": 300})).ok().await;
    let list = eventually("what others sent takes effect", PATIENCE, || async {
        let list = client.value("app/probe/sink", "list").await;
        if list.as_array().is_some_and(|list| list.len() >= 5) {
            Ok(list)
        } else {
            Err(list.to_string())
        }
    })
    .await;
    let mut list: Vec<u64> = serde_json::from_value(list).expect("numbers");
    list.sort_unstable();
    assert_eq!(list, [100, 101, 102, 200, 300], "only messages of other senders may pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_it_is_parked_its_sender_goes_on() {
    let host = with_retry(10, 40, 3).await;
    let client = host.client();
    let behind = json!({"to": "sink", "count": 3});
    client.call("app/probe/source", "emit_behind_poison", behind).ok().await;
    let totals = host.quiet().await;
    assert_eq!(totals.dead, 1);
    assert_eq!(client.value("app/probe/sink", "list").await, json!([0, 1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backing_off_message_survives_a_crash() {
    let mut host = with_retry(2_000, 2_000, 3).await;
    let client = host.client();
    client.call("app/probe/a", "set_broken", json!({"broken": true})).ok().await;
    let id = client.send("app/probe/a", "fragile", json!({})).answer().await.id();
    eventually("its first attempt fails", PATIENCE, || async {
        let status = client.ingress(Method::GET, format!("/v1/messages/{id}")).answer().await;
        let text = status.text();
        if text.contains("backing_off") { Ok(()) } else { Err(text) }
    })
    .await;
    host.crash().await;
    client.call("app/probe/a", "set_broken", json!({"broken": false})).ok().await;
    host.finished(&id).await.expect_status(200);
    assert_eq!(client.value("app/probe/a", "count").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_can_be_sent_again_or_dropped() {
    let mut host = with_retry(10, 20, 2).await;
    let client = host.client();
    client.call("app/probe/a", "set_broken", json!({"broken": true})).ok().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = client.send("app/probe/a", "fragile", json!({})).answer().await.id();
        host.finished(&id).await.expect_problem(500, "parked");
        ids.push(id);
    }
    assert_eq!(dead_letter_ids(&client, "?app=app").await, ids);
    assert_eq!(dead_letter_ids(&client, "?app=nobody").await, Vec::<String>::new());
    assert_eq!(dead_letter_ids(&client, "?limit=1").await, ids[..1]);
    assert_eq!(dead_letter_ids(&client, &format!("?after={}", ids[0])).await, ids[1..]);

    let dead = |id: &str| format!("/admin/v1/dead/{id}");
    let retry = |id: &str| client.admin(Method::POST, format!("/admin/v1/dead/{id}/retry"));
    retry(&ids[0]).answer().await;
    host.finished(&ids[0]).await.expect_problem(500, "parked");
    client.call("app/probe/a", "set_broken", json!({"broken": false})).ok().await;
    let answer = retry(&ids[0]).answer().await;
    assert!(answer.status < 300, "{answer:?}");
    host.finished(&ids[0]).await.expect_status(200);
    let answer = client.admin(Method::DELETE, dead(&ids[1])).answer().await;
    assert!(answer.status < 300, "{answer:?}");
    host.crash().await;
    assert_eq!(dead_letter_ids(&client, "").await, ids[2..], "one retried, one dropped, one kept");
    assert_eq!(client.value("app/probe/a", "count").await, 1, "only the retried one took effect");
    assert_eq!(retry(&ids[1]).answer().await.status, 404);
    assert_eq!(client.admin(Method::DELETE, dead(&ids[0])).answer().await.status, 404);
}

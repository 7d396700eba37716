//! Callbacks: a token is used once, by whoever has it, and what was accepted arrives, whatever is killed.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Guest, Host, PATIENCE, Request, eventually};

async fn host() -> Host {
    let host = Host::start().await;
    let retry = json!({"initial_ms": 20, "max_ms": 50, "attempts_max": 1000});
    host.deploy_with(Guest::Desk, "app", json!({"retry": retry})).await;
    host
}

async fn open(client: &Client, n: u64, wait_ms: u64) -> String {
    let token = client.call("app/desk/d", "open", json!({"n": n, "wait_ms": wait_ms})).ok().await;
    token.as_str().expect("a token").to_owned()
}

async fn heard(client: &Client) -> Value {
    client.value("app/desk/d", "heard").await
}

fn settle(client: &Client, token: &str, verb: &str, body: Value) -> Request {
    client.ingress(Method::POST, format!("/v1/callbacks/{token}/{verb}")).json(body)
}

fn rejection() -> Value {
    json!({"code": "too_dear", "message": "no", "details": {"most": 5}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_used_once() {
    let mut host = host().await;
    let client = host.client();
    let token = open(&client, 1, 600_000).await;
    let accepted = settle(&client, &token, "resolve", json!(7)).answer().await.expect_status(202);
    let id = accepted.id();
    assert!(token.starts_with(&id), "{token} is not of {id}");
    assert_eq!(accepted.json(), json!({"id": id, "status": "accepted"}));
    host.quiet().await;
    for restart in 0..2 {
        let again = settle(&client, &token, "resolve", json!(7)).answer().await.expect_status(202);
        assert_eq!(again.json(), json!({"id": id, "status": "previously_accepted"}), "{restart}");
        let other = settle(&client, &token, "resolve", json!(8)).answer().await;
        other.expect_problem(409, "callback_settled");
        let other = settle(&client, &token, "reject", rejection()).answer().await;
        other.expect_problem(409, "callback_settled");
        host.crash().await;
    }
    let token = open(&client, 2, 600_000).await;
    settle(&client, &token, "reject", rejection()).answer().await.expect_status(202);
    host.quiet().await;
    let expected = json!([[1, "ok 7"], [2, r#"rejected too_dear {"most":5}"#]]);
    assert_eq!(heard(&client).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_guesses_a_token() {
    let host = host().await;
    let client = host.client();
    let token = open(&client, 1, 600_000).await;
    let digit = if token.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{digit}", &token[..token.len() - 1]);
    let (id, secret) = token.split_once('-').expect("two parts");
    let other = format!("msg_00000000000000000000000000000001-{secret}");
    for wrong in [&wrong, id, secret, &other, "x", &token.to_uppercase(), &format!("{token}0")] {
        for verb in ["resolve", "reject"] {
            let refused = settle(&client, wrong, verb, rejection()).answer().await;
            refused.expect_problem(404, "unknown_callback");
        }
    }
    let cancelled = client.ingress(Method::DELETE, format!("/v1/messages/{id}")).answer().await;
    cancelled.expect_problem(404, "unknown_message");
    for (path, method, status, code) in [
        (format!("/v1/callbacks/{token}"), Method::POST, 404, "unknown_route"),
        (format!("/v1/callbacks/{token}/cancel"), Method::POST, 404, "unknown_route"),
        (format!("/v1/callbacks/{token}/resolve"), Method::GET, 405, "method_not_allowed"),
    ] {
        client.ingress(method, path).answer().await.expect_problem(status, code);
    }
    let broken = client.ingress(Method::POST, format!("/v1/callbacks/{token}/resolve"));
    broken.body("{").answer().await.expect_problem(400, "malformed");
    settle(&client, &token, "reject", json!(1)).answer().await.expect_problem(400, "malformed");
    assert_eq!(heard(&client).await, json!([]), "something was heard");
    settle(&client, &token, "resolve", json!(1)).answer().await.expect_status(202);
    host.quiet().await;
    assert_eq!(heard(&client).await, json!([[1, "ok 1"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_by_itself_and_can_be_withdrawn() {
    let mut host = host().await;
    let client = host.client();
    let withdrawn = open(&client, 1, 600_000).await;
    let withdraw = |token: &str| client.call("app/desk/d", "withdraw", json!({ "token": token }));
    assert_eq!(withdraw(&withdrawn).ok().await, true);
    assert_eq!(withdraw(&withdrawn).ok().await, false);
    let used = open(&client, 2, 600_000).await;
    settle(&client, &used, "resolve", json!(2)).answer().await.expect_status(202);
    assert_eq!(withdraw(&used).ok().await, false, "what was accepted was taken back");
    let expired = open(&client, 3, 300).await;
    host.crash().await;
    eventually("the third one expires", PATIENCE, || async {
        let heard = heard(&client).await;
        if heard == json!([[2, "ok 2"], [3, "failed expired"]]) {
            Ok(())
        } else {
            Err(heard.to_string())
        }
    })
    .await;
    for token in [&withdrawn, &expired] {
        let refused = settle(&client, token, "resolve", json!(1)).answer().await;
        refused.expect_problem(404, "unknown_callback");
    }
    assert_eq!(host.quiet().await.scheduled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_arrives_after_kill_9() {
    let mut host = host().await;
    let client = host.client();
    client.call("app/desk/d", "set_deaf", json!({"deaf": true})).ok().await;
    let mut expected = Vec::new();
    for n in 0..6 {
        let token = open(&client, n, 600_000).await;
        settle(&client, &token, "resolve", json!(n)).answer().await.expect_status(202);
        // Between the yes and its effect: the desk does not take it yet.
        host.crash().await;
        assert_eq!(heard(&client).await, json!([]), "it was heard too early");
        let again = settle(&client, &token, "resolve", json!(n)).answer().await.expect_status(202);
        assert_eq!(again.json()["status"], "previously_accepted", "{again:?}");
        expected.push(json!([n, format!("ok {n}")]));
    }
    client.call("app/desk/d", "set_deaf", json!({"deaf": false})).ok().await;
    host.quiet().await;
    let mut heard = heard(&client).await.as_array().expect("a list").clone();
    heard.sort_unstable_by_key(|line| line[0].as_u64());
    assert_eq!(heard, expected, "lost or doubled");
}

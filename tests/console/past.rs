//! What the host remembers of what ran: an entity's turns, a message's journey, and the way through admin to a handler.
//! All of it over HTTP and by the command line.

use http::Method;
use serde_json::{Value, json};

use crate::harness::transcript::{root, run};
use crate::harness::{Guest, Host};

/// A message is parked after this few attempts.
pub(super) fn impatient() -> Value {
    json!({"retry": {"attempts_max": 2, "initial_ms": 10, "max_ms": 10}})
}

async fn journey(host: &Host, id: &str) -> Value {
    let path = format!("/admin/v1/messages/{id}/journey");
    host.client().admin(Method::GET, path).ok().await
}

fn steps(journey: &Value) -> Vec<(String, String, String)> {
    let text = |step: &Value, name: &str| step[name].as_str().expect(name).to_owned();
    let all = journey["messages"].as_array().expect("messages").iter();
    all.map(|step| (text(step, "entity"), text(step, "handler"), text(step, "status"))).collect()
}

fn step(entity: &str, handler: &str, status: &str) -> (String, String, String) {
    (entity.into(), handler.into(), status.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journey_is_followed_over_entities_into_a_dead_letter_and_out_of_it() {
    let host = Host::start().await;
    host.deploy_with(Guest::Bank, "bank", impatient()).await;
    let client = host.client();
    client.call("bank/account/alice", "deposit", json!({"amount": 100})).ok().await;
    client.call("bank/account/full", "deposit", json!({"amount": u64::MAX})).ok().await;
    let both = json!({"to": "full", "amount": 7});
    let sent = client.call("bank/account/alice", "transfer", both).answer().await;
    let id = sent.expect_status(200).id();
    host.quiet().await;

    let found = journey(&host, &id).await;
    let expected = [
        step("bank/account/alice", "transfer", "done"),
        step("bank/account/full", "deposit", "parked"),
    ];
    assert_eq!(steps(&found), expected, "{found:#}");
    assert_eq!((&found["cut_above"], &found["cut_below"]), (&json!(false), &json!(false)));
    let parked = &found["messages"][1];
    assert_eq!((&parked["attempts"], &parked["cause"]["message"]), (&json!(2), &json!(id)));
    assert_eq!(parked["reason"], "account_full: the account is full");
    let below = parked["id"].as_str().expect("an id").to_owned();
    assert_eq!(steps(&journey(&host, &below).await), expected, "from its end too");

    client.call("bank/account/full", "transfer", json!({"to": "bob", "amount": 50})).ok().await;
    let again = format!("/admin/v1/dead/{below}/retry");
    client.admin(Method::POST, again).ok().await;
    host.quiet().await;
    assert_eq!(steps(&journey(&host, &id).await)[1].2, "done");

    let tree = run(&host, &root(), &["message", "journey", &id]).await.expect("keystead message");
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("bank/account/alice transfer done, "), "{tree}");
    assert!(lines[1].starts_with("└─ bank/account/full deposit done"), "{tree}");
    let unknown = "msg_000000000000000000000000000000ff";
    let path = format!("/admin/v1/messages/{unknown}/journey");
    client.admin(Method::GET, path).answer().await.expect_problem(404, "unknown_message");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_listed_newest_first_page_by_page_until_a_restart() {
    let mut host = Host::with(Guest::Bank, "bank").await;
    let client = host.client();
    for amount in 1..=5 {
        client.call("bank/account/a%2Fb", "deposit", json!({"amount": amount})).ok().await;
    }
    let too_much = json!({"to": "x", "amount": 99});
    client.call("bank/account/a%2Fb", "transfer", too_much).answer().await.expect_status(422);
    client.call("bank/account/other", "deposit", json!({"amount": 1})).ok().await;
    let list = |path: &str| client.admin(Method::GET, path.to_owned()).ok();
    let of_one = "/admin/v1/entities/bank/account/a%2Fb/history";
    let page = list(&format!("{of_one}?limit=4")).await;
    let turns = page["turns"].as_array().expect("turns");
    let outcomes: Vec<_> = turns.iter().map(|turn| turn["outcome"].as_str()).collect();
    assert_eq!(outcomes, [Some("rejected"), Some("done"), Some("done"), Some("done")]);
    assert_eq!(turns[0]["reason"], "insufficient_funds: only 15 left");
    assert_eq!((&turns[1]["version"], &turns[1]["cause"]["kind"]), (&json!(5), &json!("ingress")));
    let rest = list(&format!("{of_one}?limit=4&after={}", page["next"])).await;
    assert_eq!(rest["turns"].as_array().expect("turns").len(), 2);
    assert_eq!(rest["next"], Value::Null);
    let all = list("/admin/v1/turns?app=bank").await;
    assert_eq!(all["turns"][0]["entity"], "bank/account/other");
    assert_eq!(all["turns"].as_array().expect("turns").len(), 7);
    assert!(
        list("/admin/v1/turns?app=nobody").await["turns"].as_array().expect("turns").is_empty()
    );
    let wrong = client.admin(Method::GET, "/admin/v1/turns?after=x").answer().await;
    wrong.expect_problem(400, "malformed");

    host.crash().await;
    let page = host.client().admin(Method::GET, of_one).ok().await;
    assert!(page["turns"].as_array().expect("turns").is_empty(), "{page}");
    assert!(page["since_ms"].as_u64() > turns[0]["at_ms"].as_u64(), "it says since when");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_through_admin_is_checked_and_answered_as_by_ingress() {
    let host = Host::with(Guest::Bank, "bank").await;
    let client = host.client();
    let ask = |path: &str, input: Value| {
        client
            .admin(Method::POST, format!("/admin/v1/try/bank/account/{path}"))
            .json(input)
            .answer()
    };
    let answer = ask("a%2Fb/deposit", json!({"amount": 5})).await.expect_status(200);
    assert_eq!((answer.json(), answer.id().len()), (json!(5), 36));
    let read = ask("a%2Fb/balance", json!({})).await.expect_status(200);
    assert_eq!((read.json(), read.header("etag")), (json!(5), Some("\"1\"")));
    let sent = ask("a%2Fb/deposit?how=send&delay=1h", json!({"amount": 5})).await;
    assert_eq!(sent.expect_status(202).json()["status"], "accepted");
    assert_eq!(host.totals().await.scheduled, 1);
    let much = ask("a%2Fb/transfer", json!({"to": "x", "amount": 6})).await;
    much.expect_problem(422, "insufficient_funds");
    ask("a/deposit", json!({"amount": -1})).await.expect_problem(400, "invalid_input");
    ask("a/deposit?how=shout", json!({"amount": 1})).await.expect_problem(400, "malformed");
    ask("a/deposit?delay=1h", json!({"amount": 1})).await.expect_problem(400, "malformed");
    ask("a/none", json!({})).await.expect_problem(404, "unknown_handler");
    ask("a/balance?how=call", json!({})).await.expect_problem(400, "wrong_kind");
    let status = client.admin(Method::GET, "/admin/v1/status").ok().await;
    let ingress = host.addresses().ingress;
    assert_eq!(status["ingress"].as_str(), ingress.strip_prefix("http://"));
    // Another page's scripts get nowhere here either.
    let foreign = client.admin(Method::POST, "/admin/v1/try/bank/account/a/deposit");
    let foreign = foreign.json(json!({"amount": 1})).header("Origin", "http://evil.example");
    foreign.answer().await.expect_problem(403, "cross_origin");
}

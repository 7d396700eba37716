//! The audit log: every admin change is in it, with who, what, before and after, before it is answered; a change that
//! cannot be announced is not made.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::harness::{Guest, Host, keystead};
use crate::people::People;

async fn entries(people: &People) -> Vec<Value> {
    let page = people.admin(Method::GET, "/admin/v1/audit?limit=1000", &people.root).ok().await;
    assert_eq!(page["damage"], json!([]));
    page["entries"].as_array().expect("entries").clone()
}

/// The end of the last change, after its announcement.
async fn last(people: &People) -> Value {
    let entries = entries(people).await;
    let [.., begun, ended] = &entries[..] else { panic!("too few: {entries:?}") };
    assert_eq!((&begun["event"], &ended["of"]), (&json!("begun"), &begun["seq"]));
    assert_eq!((&begun["who"], &begun["target"]), (&ended["who"], &ended["target"]));
    ended.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_in_the_log_with_who_and_what() {
    let mut people = People::over(Host::start().await).await;
    let first = entries(&people).await;
    assert_eq!(first[0]["who"], "loopback", "before there was a token: {first:?}");
    let (id, token) = people.made(json!(["admin"]), json!(["bank"]), Value::Null).await;
    let made = last(&people).await;
    assert_eq!((&made["what"], &made["event"]), (&json!("TokenCreate"), &json!("done")));
    assert_eq!((&made["after"]["id"], &made["after"]["apps"]), (&json!(id), &json!(["bank"])));

    let config = json!({"values": {"api_key": "very-secret-value"}}).to_string();
    let config = utf8_percent_encode(&config, NON_ALPHANUMERIC);
    let path = format!("/admin/v1/apps/bank?config={config}");
    let component = Guest::Hostile.component().await;
    people.admin(Method::PUT, &path, &token).body(component).answer().await.expect_status(200);
    let deployed = last(&people).await;
    assert_eq!((&deployed["who"], &deployed["name"]), (&json!(id), &json!("test")));
    assert_eq!(deployed["target"], "PUT /admin/v1/apps/bank");
    assert_eq!((&deployed["status"], &deployed["parameters"]), (&json!(200), &json!(["config"])));
    assert_eq!(deployed["before"]["config"]["values"], json!([]));
    assert_eq!(deployed["after"]["config"]["values"], json!(["api_key"]));
    assert_ne!(deployed["before"]["config"]["hash"], deployed["after"]["config"]["hash"]);

    let bad = people.admin(Method::PUT, "/admin/v1/apps/bank", &token).body("no component");
    bad.answer().await.expect_problem(422, "bad_component");
    let refused = last(&people).await;
    assert_eq!((&refused["event"], &refused["status"]), (&json!("refused"), &json!(422)));

    let dead = format!("/admin/v1/dead/{}", people.dead);
    people.admin(Method::DELETE, &dead, &token).answer().await.expect_status(200);
    let dropped = last(&people).await;
    assert_eq!(dropped["before"]["entity"], "bank/probe/p", "{dropped}");

    let count = entries(&people).await.len();
    people.admin(Method::DELETE, &dead, "").answer().await.expect_problem(401, "unauthenticated");
    let other = people.admin(Method::PUT, "/admin/v1/apps/shop", &token).answer().await;
    other.expect_problem(403, "forbidden");
    assert_eq!(entries(&people).await.len(), count, "who is not let in changes nothing");

    people.host.crash().await;
    assert_eq!(entries(&people).await.len(), count, "what was answered is there");
    let mut command = tokio::process::Command::new(keystead());
    let admin = people.host.addresses().admin;
    command.args(["audit", "--admin", &admin]);
    let output = command.env("KEYSTEAD_TOKEN", &people.root[7..]).output().await.expect("runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("DeadDrop"), "{output:?}");
    let log = std::fs::read_to_string(people.host.data().join("access/audit-000001.jsonl"));
    let log = log.expect("the log");
    assert!(log.contains("api_key") && !log.contains("very-secret-value"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_announced_is_not_made() {
    let mut people = People::over(Host::start().await).await;
    people.host.kill().await;
    let flag = people.host.spawn_with_failing_syncs_of("/audit-").await;
    let before = people.shown().await;
    std::fs::write(&flag, "").expect("the flag");
    let dead = format!("/admin/v1/dead/{}", people.dead);
    let asked = json!({"name": "x", "roles": ["read"], "apps": "all"});
    for (method, path) in [
        (Method::DELETE, dead.as_str()),
        (Method::PUT, "/admin/v1/apps/bank"),
        (Method::POST, "/admin/v1/tokens"),
    ] {
        let request = people.admin(method, path, &people.root).json(asked.clone());
        request.answer().await.expect_problem(503, "audit_unavailable");
    }
    assert_eq!(people.shown().await, before, "something was changed");
    let count = entries(&people).await.len();
    std::fs::remove_file(&flag).expect("the flag goes");
    people.admin(Method::DELETE, &dead, &people.root).answer().await.expect_status(200);
    let entries = entries(&people).await;
    assert!(entries.len() > count && entries.last().is_some_and(|last| last["event"] == "done"));
}

//! State versions: a new version of a component reads what an old one left, whoever asks first, and one that would
//! not is refused.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Guest, Host};

const READERS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn queries_read_old_state_and_bring_it_up_to_date_once() {
    let mut host = Host::with(Guest::FirstPurse, "app").await;
    let client = host.client();
    for purse in ["a", "b"] {
        client.call(&format!("app/purse/{purse}"), "put", json!({"euros": 3})).ok().await;
    }
    assert_eq!(client.value("app/purse/a", "worth").await, 3);
    host.deploy(Guest::SecondPurse, "app").await;
    let mut tasks = JoinSet::new();
    for _ in 0..READERS {
        let client = client.clone();
        tasks.spawn(async move { client.value("app/purse/a", "worth").await });
    }
    for worth in tasks.join_all().await {
        assert_eq!(worth, 300, "somebody read something else");
    }
    let migrated = host.entity("app/purse/a").await;
    assert_eq!(migrated["version"], 2, "it was not migrated once: {migrated}");
    assert_eq!(host.entity("app/purse/b").await["version"], 1, "nobody asked this one yet");
    host.crash().await;
    assert_eq!(host.entity("app/purse/a").await, migrated, "the migration was not durable");
    assert_eq!(client.value("app/purse/a", "worth").await, 300);
    client.call("app/purse/b", "put", json!({"euros": 1})).ok().await;
    assert_eq!(client.value("app/purse/b", "worth").await, 400);
    assert_eq!(host.entity("app/purse/b").await["version"], 2, "a command migrates as it runs");
    assert_eq!(client.value("app/purse/new", "worth").await, 0);
    assert_eq!(host.totals().await.dead, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_read_what_is_there_is_refused() {
    let mut host = Host::with(Guest::FirstPurse, "app").await;
    let client = host.client();
    host.deploy(Guest::SecondPurse, "app").await;
    host.crash().await;
    let config = utf8_percent_encode("{}", NON_ALPHANUMERIC).to_string();
    let component = Guest::FirstPurse.component().await;
    let deploy = |breaking: bool| {
        let path = format!("/admin/v1/apps/app?config={config}&breaking={breaking}");
        let request = client.admin(Method::PUT, path).body(component.clone());
        request.header("Content-Type", "application/wasm")
    };
    let refused = deploy(false).answer().await.expect_problem(422, "breaking_change");
    for part in ["purse", "version 2", "--breaking"] {
        assert!(refused.text().contains(part), "{part} is not in {refused:?}");
    }
    deploy(true).answer().await.expect_status(200);
}

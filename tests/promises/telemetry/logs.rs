//! The host's own log: each line within a turn says whose it is, guests' lines are among them and bounded, and
//! nothing that is secret is in any, however much it is told to say.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::page::Page;
use crate::harness::{Guest, Host};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// In every secret below.
const SECRET: &str = "hush";
/// `HOST_LOG_GUEST_LINES_MAX` of the host.
const LINES_PER_S: u64 = 50;
const NOISY_CALLS: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn lines_say_whose_they_are_and_nothing_secret() {
    let mut host = Host::start_with(&["--log", "trace", "--log-format", "json"]).await;
    let config = json!({"values": {"api_key": "hush-config"}, "retry": {"attempts_max": 1}});
    host.deploy_with(Guest::Hostile, "app", config).await;
    host.deploy(Guest::Desk, "desk").await;
    let client = host.client();
    let place = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let call = |handler: &str, input: Value, key: &str| {
        let call = client.call("app/probe/e", handler, input).key(key);
        call.header("traceparent", &place).header("authorization", "Bearer hush-token")
    };
    let noisy = call("bump_noisily", json!({"rounds": 1}), "hush-1").answer().await;
    call("poison", json!({"note": "n"}), "hush-2").answer().await.expect_status(500);
    call("no_such_handler", json!({}), "hush-3").answer().await.expect_status(404);
    let poison = json!({"note": "n"});
    let parked = client.send("app/probe/e", "poison", poison).header("traceparent", &place);
    let parked = parked.key("hush-4").answer().await.expect_status(202).id();
    host.finished(&parked).await.expect_status(500);
    let open = json!({"n": 1, "wait_ms": 3_600_000});
    let token = client.call("desk/desk/d", "open", open).ok().await;
    let token = token.as_str().expect("a token").to_owned();
    let resolve = client.ingress(Method::POST, format!("/v1/callbacks/{token}/resolve"));
    resolve.json(json!(1)).answer().await.expect_status(202);
    host.quiet().await;
    assert!(host.stop().await.success());

    let log = host.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("no line {message:?} in {log}"))
    };
    for (message, level, id) in
        [("before", "INFO", noisy.id()), ("after", "INFO", noisy.id()), ("parked", "WARN", parked)]
    {
        let line = find(message);
        let said = ["level", "app", "entity", "message_id", "trace_id", "attempt"];
        let said = said.map(|name| line[name].clone());
        let expected = [level, "app", "app/probe/e", &id, TRACE].map(Value::from);
        assert_eq!((&said[..5], &said[5]), (&expected[..], &json!(1)), "{line}");
    }
    assert_eq!(find("before")["target"], "guest");
    let (_, secret) = token.rsplit_once('-').expect("a token");
    for word in [SECRET, secret] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_app_does_not_fill_the_log() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let began = tokio::time::Instant::now();
    for _ in 0..NOISY_CALLS {
        client.call("app/probe/e", "bump_noisily", json!({"rounds": 1})).ok().await;
    }
    let seconds = began.elapsed().as_secs() + 2;
    // Until a second with room in it has come.
    crate::harness::eventually(
        "it says how many were left out",
        Duration::from_secs(20),
        || async {
            client.call("app/probe/e", "bump_noisily", json!({"rounds": 1})).ok().await;
            let said = host.log().contains("lines of this app were left out here");
            if said { Ok(()) } else { Err(host.log()) }
        },
    )
    .await;
    let log = host.log();
    let shown = log.lines().filter(|line| line.contains(" INFO guest: before ")).count() as u64;
    assert!(shown > 0 && shown <= (seconds + 2) * LINES_PER_S, "{shown} in {seconds} s");
    let page = client.admin(Method::GET, "/metrics").answer().await.text();
    let left_out = Page::read(&page).sum("keystead_guest_log_lines_left_out_total", &[]);
    assert!(left_out > 0.0, "{shown} lines were shown");
    let kept = client.admin(Method::GET, "/admin/v1/apps/app/logs?limit=1000").ok().await;
    let kept = kept["lines"].as_array().expect("lines").len() as u64;
    assert!(kept >= 2 * NOISY_CALLS, "`keystead logs` has all: {kept}");
}

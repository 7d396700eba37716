//! An app that wants more than its share gets its share: what is beyond its quotas is refused at once with the time to come
//! back, nothing accepted is lost, and its neighbours hardly notice, whether it floods the door or has a backlog within.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Client, Guest, Host, PATIENCE, eventually};

/// Rounds that no deadline lets through.
const ENDLESS: u64 = 100_000_000_000;

async fn two_apps(quotas: Value) -> Host {
    let host = Host::start().await;
    host.deploy_with(Guest::Hostile, "noisy", json!({"quotas": quotas})).await;
    host.deploy_with(Guest::Hostile, "quiet", json!({})).await;
    host
}

/// Bumps as fast as answers come, until told; gives how many were taken and how many refused.
async fn flood(client: Client, key: String, until: Instant) -> (u32, u32) {
    let (mut taken, mut refused) = (0, 0);
    while Instant::now() < until {
        let answer = client.call(&format!("noisy/probe/{key}"), "bump", json!({})).answer().await;
        if answer.status == 200 {
            taken += 1;
            continue;
        }
        let answer = answer.expect_problem(429, "over_quota");
        assert_eq!(answer.json()["retryable"], true, "{answer:?}");
        let after: u64 =
            answer.header("retry-after").and_then(|s| s.parse().ok()).expect("seconds");
        assert!((1..=2).contains(&after), "{answer:?}");
        refused += 1;
    }
    (taken, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_rate_an_app_is_refused_and_what_was_taken_is_there() {
    let host = two_apps(json!({"requests_per_s": 50, "requests_burst": 10})).await;
    let began = Instant::now();
    let until = began + Duration::from_secs(2);
    let mut floods = JoinSet::new();
    for key in 0..4 {
        floods.spawn(flood(host.client(), key.to_string(), until));
    }
    let all = floods.join_all().await;
    let (taken, refused) = all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let most = 10 + 50 * (began.elapsed().as_secs() as u32 + 1);
    assert!(taken >= 10 && taken <= most && refused > 0, "{taken} taken, {refused} refused");
    let mut there = 0;
    for key in 0..4 {
        let shown =
            host.client().admin(Method::GET, format!("/admin/v1/entities/noisy/probe/{key}"));
        there += shown.ok().await["version"].as_u64().expect("a version");
    }
    assert_eq!(there, u64::from(taken), "as many effects as yeses");
    host.client().call("quiet/probe/a", "bump", json!({})).ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_entity_and_many_requests_at_once_have_quotas_of_their_own() {
    let host = two_apps(json!({"entity_requests_per_s": 5})).await;
    let client = host.client();
    let mut refused = 0;
    for _ in 0..40 {
        let answer = client.call("noisy/probe/hot", "bump", json!({})).answer().await;
        refused += u32::from(answer.status == 429);
    }
    assert!(refused > 0, "40 calls were not over 5 a second");
    client.call("noisy/probe/cold", "bump", json!({})).ok().await;

    let at_once = json!({"quotas": {"requests_at_once_max": 1}, "deadline_ms": 1500});
    host.deploy_with(Guest::Hostile, "noisy", at_once).await;
    let slow = client.clone();
    let slow = tokio::spawn(async move {
        // The place may be taken by one of the quick calls below.
        loop {
            let call = slow.call("noisy/probe/slow", "bump_slowly", json!({"rounds": ENDLESS}));
            let status = call.answer().await.status;
            if status != 429 {
                return status;
            }
        }
    });
    let mut refused = 0;
    while !slow.is_finished() {
        let answer = client.call("noisy/probe/other", "bump", json!({})).answer().await;
        if answer.status == 429 {
            refused += 1;
            answer.expect_problem(429, "over_quota");
        }
    }
    assert_eq!(slow.await.expect("joined"), 504, "it ran to its deadline");
    assert!(refused > 0, "nothing was refused beside the slow call");
    client.call("noisy/probe/other", "bump", json!({})).ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_over_an_apps_size_are_refused_from_outside_and_within() {
    let host = two_apps(json!({"message_bytes_max": 200})).await;
    let client = host.client();
    let text = "x".repeat(300);
    let answer = client.call("noisy/probe/a", "note", json!({"text": text})).answer().await;
    answer.expect_problem(413, "too_large");
    client.call("quiet/probe/a", "note", json!({"text": text})).ok().await;
    client.call("noisy/probe/a", "note", json!({"text": "short"})).ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_grows_to_its_apps_size_and_no_further() {
    let host = two_apps(json!({"state_bytes_max": 2000})).await;
    let client = host.client();
    let note = |bytes: usize| {
        let text = "x".repeat(bytes);
        client.call("noisy/probe/a", "note", json!({"text": text})).answer()
    };
    note(1_000).await.expect_status(200);
    let refused = note(2_100).await.expect_problem(500, "handler_trapped");
    let said = refused.json();
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("2000")), "{said}");
    assert_eq!(said["retryable"], false);
    let mut appended = 0;
    while client.call("noisy/probe/a", "append", json!({"n": 1})).answer().await.status == 200 {
        appended += 1;
        assert!(appended < 1_000, "nothing bounds it");
    }
    assert!(appended > 5, "{appended} were appended to 1 000 bytes");
    // Less is always allowed, and makes room.
    note(10).await.expect_status(200);
    client.call("noisy/probe/a", "append", json!({"n": 1})).ok().await;
    client.call("noisy/probe/b", "append", json!({"n": 1})).ok().await;
}

/// Two entities that write to each other for ever take what their app may have, whatever that does not come from outside,
/// and its neighbour has all the rest.
#[tokio::test(flavor = "multi_thread")]
async fn entities_that_never_stop_take_their_apps_turns_and_no_more() {
    const PER_S: u32 = 20;
    let mut host = two_apps(json!({"turns_per_s": PER_S})).await;
    let client = host.client();
    let began = Instant::now();
    for (a, b) in [("a", "b"), ("c", "d")] {
        client.call(&format!("noisy/probe/{a}"), "volley", json!({"to": b})).ok().await;
    }
    let mut beside = 0_u32;
    let mut taken = 0;
    while taken < 3 * u64::from(PER_S) {
        // The neighbour takes as many turns as it likes: none of its calls is refused.
        client.call("quiet/probe/a", "bump", json!({})).ok().await;
        beside += 1;
        taken = volleys(&client).await;
        let most = f64::from(PER_S) * (1.0 + began.elapsed().as_secs_f64());
        assert!(taken as f64 <= most, "{taken} turns in {:?}", began.elapsed());
    }
    assert!(beside > PER_S, "{beside} calls of the neighbour beside {taken} turns");
    let page = client.admin(Method::GET, "/metrics").answer().await.text();
    let waited = r#"keystead_over_quota_total{app="noisy",quota="turns_per_s"}"#;
    assert!(page.contains(waited), "nobody is told: {page}");

    // A call waits for its turn like all else, and is answered. So it is after a crash, and when the rate is gone.
    client.call("noisy/probe/e", "bump", json!({})).ok().await;
    host.crash().await;
    let before = volleys(&host.client()).await;
    host.deploy_with(Guest::Hostile, "noisy", json!({"quotas": {}})).await;
    while volleys(&host.client()).await < before + 10 * u64::from(PER_S) {}
    host.client().call("noisy/probe/e", "bump", json!({})).ok().await;
}

/// Turns that the four have taken.
async fn volleys(client: &Client) -> u64 {
    let mut sum = 0;
    for key in ["a", "b", "c", "d"] {
        sum +=
            client.value(&format!("noisy/probe/{key}"), "count").await.as_u64().expect("a number");
    }
    sum
}

/// An app whose messages multiply is stopped at its own bound, far below the host's: its calls are refused, and its
/// neighbour's are not. What it has is there, and goes on when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_has_so_many_messages_and_no_more() {
    let host = two_apps(json!({"backlog_max": 50})).await;
    let client = host.client();
    let later = |n: u32| {
        let input = json!({"to": "sink", "n": n, "delay_ms": 3_600_000});
        client.call("noisy/probe/a", "schedule", input).answer()
    };
    for n in 0..50 {
        later(n).await.expect_status(200);
    }
    let refused = later(50).await.expect_problem(429, "over_quota");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let said = refused.json();
    assert!(said["detail"].as_str().is_some_and(|detail| detail.contains("50 messages")), "{said}");
    let sent = client.send("noisy/probe/a", "bump", json!({})).answer().await;
    sent.expect_problem(429, "over_quota");
    // Queries add nothing, and the neighbour has a bound of its own.
    client.value("noisy/probe/a", "count").await;
    for n in 0..60 {
        let input = json!({"to": "sink", "n": n, "delay_ms": 3_600_000});
        client.call("quiet/probe/a", "schedule", input).ok().await;
    }
    assert_eq!(host.totals().await.scheduled, 110);

    let more = json!({"quotas": {"backlog_max": 51}});
    host.deploy_with(Guest::Hostile, "noisy", more).await;
    // There is room for one: this fills it, and its own turn cannot send two for one.
    let sent = client.send("noisy/probe/b", "emit", json!({"to": "c", "first": 0, "count": 2}));
    let id = sent.answer().await.expect_status(202).id();
    let retried = || async {
        let page = client.admin(Method::GET, "/metrics").answer().await.text();
        let line = "keystead_retries_total{app=\"noisy\"} ";
        let retries = page.lines().find_map(|found| found.strip_prefix(line)?.parse::<u64>().ok());
        retries.filter(|retries| *retries > 0).ok_or(page)
    };
    eventually("it is tried again", PATIENCE, retried).await;
    host.deploy_with(Guest::Hostile, "noisy", json!({"quotas": {}})).await;
    host.finished(&id).await;
    host.quiet().await;
    assert_eq!(client.value("noisy/probe/c", "list").await, json!([0, 1]));
}

/// An operator may not make an entity larger than its handlers may.
#[tokio::test(flavor = "multi_thread")]
async fn operators_hold_to_the_size_of_a_state_too() {
    let host = two_apps(json!({"state_bytes_max": 2000})).await;
    let client = host.client();
    let note = |app: &str, bytes: usize| {
        client.call(&format!("{app}/probe/a"), "note", json!({"text": "x".repeat(bytes)})).ok()
    };
    note("noisy", 1_000).await;
    note("quiet", 3_000).await;
    let large = host.entity("quiet/probe/a").await;
    let put = |app: &str, query: &str, body: &Value| {
        let path = format!("/admin/v1/entities/{app}/probe/a?if_version=any{query}");
        client.admin(Method::PUT, path).json(body.clone()).answer()
    };
    for mode in ["", "&mode=merge", "&mode=import"] {
        let refused = put("noisy", mode, &large).await.expect_problem(413, "too_large").json();
        assert_eq!(refused["details"]["field"], "quotas.state_bytes_max", "{mode}: {refused}");
        assert_eq!(refused["details"]["max"], 2000);
    }
    assert_eq!(host.entity("noisy/probe/a").await["version"], 1, "nothing of it was written");
    put("quiet", "", &large).await.expect_status(200);
    // What makes it no larger is allowed, also when it is too large already.
    host.deploy_with(Guest::Hostile, "quiet", json!({"quotas": {"state_bytes_max": 2000}})).await;
    put("quiet", "", &large).await.expect_status(200);
    put("quiet", "&mode=merge", &large).await.expect_status(200);
    let small = host.entity("noisy/probe/a").await;
    put("quiet", "", &small).await.expect_status(200);
    put("quiet", "", &large).await.expect_problem(413, "too_large");
    put("noisy", "&mode=merge", &small).await.expect_status(200);
    // What handlers may write is what an operator left them: the size is not that of before.
    for bytes in [1_500, 500] {
        let text = "x".repeat(bytes);
        let row = json!({"state": [{"key": note_key(&small), "value": text}]});
        put("noisy", "&mode=merge", &row).await.expect_status(200);
        let append = || client.call("noisy/probe/a", "append", json!({"n": 1})).answer();
        let mut appended = 0;
        while append().await.status == 200 {
            appended += 1;
            assert!(appended < 1_000, "nothing bounds it");
        }
        assert!(appended > 3, "{appended} were appended beside {bytes}");
    }
}

/// The key of the row with the note.
fn note_key(shown: &Value) -> &str {
    let rows = shown["state"].as_array().expect("rows");
    let note =
        rows.iter().find(|row| row["value"].as_str().is_some_and(|text| text.starts_with("xx")));
    note.and_then(|row| row["key"].as_str()).expect("a note")
}

/// A backlog of one app does not hold up another's calls: turns go round the apps.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_one_app_does_not_hold_up_another() {
    let host = two_apps(json!({})).await;
    let client = host.client();
    let alone = slowest(&client, 100).await;
    for n in 0..40 {
        let input = json!({"to": format!("sink{n}"), "first": n * 1000, "count": 900});
        client.call(&format!("noisy/probe/e{n}"), "emit", input).ok().await;
    }
    let waiting = host.totals().await.queued;
    let beside = slowest(&client, 100).await;
    let left = host.totals().await.queued;
    println!("{waiting} waited, {left} were left; slowest call alone {alone:?}, beside {beside:?}");
    assert!(waiting > 1_000, "there was no backlog: {waiting}");
    // Far less than the backlog takes; a bound of time, not a measurement (see BENCH.md for that).
    assert!(beside < Duration::from_secs(3), "alone {alone:?}, beside a backlog {beside:?}");
    host.quiet().await;
}

async fn slowest(client: &Client, calls: u32) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..calls {
        let began = Instant::now();
        client.call(&format!("quiet/probe/{}", n % 7), "bump", json!({})).ok().await;
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

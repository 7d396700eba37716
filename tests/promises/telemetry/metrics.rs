//! `GET /metrics`: it counts what was done, it does not grow with keys, and the dashboard is made of it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::page::Page;
use crate::harness::{Guest, Host, transcript};

/// Distinct entities and idempotency keys that must leave no trace in the page.
const KEYS: usize = 10_000;
const CLIENTS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_done() {
    let host = worked().await;
    let page = read(&host).await;
    let is = |name: &str, labels: &[(&str, &str)], wanted: f64| {
        let found = page.sum(name, labels);
        assert!((found - wanted).abs() < 0.5, "{name}{labels:?} is {found}, not {wanted}");
    };
    let app = ("app", "app");
    is("keystead_requests_total", &[app, ("kind", "call"), ("status", "2xx")], 42.0);
    is("keystead_requests_total", &[app, ("kind", "call"), ("status", "5xx")], 1.0);
    is("keystead_requests_total", &[app, ("kind", "read"), ("status", "2xx")], 7.0);
    is("keystead_requests_total", &[app, ("kind", "send"), ("status", "2xx")], 5.0);
    is("keystead_requests_total", &[("app", ""), ("status", "4xx")], 3.0);
    is("keystead_requests_total", &[("app", "_other")], 0.0);
    is("keystead_request_seconds_count", &[app, ("kind", "call")], 43.0);
    is("keystead_refusals_total", &[("reason", "unknown_route")], 3.0);
    // Calls, sends, the two messages of `emit`, and the last attempt of `flaky`.
    let command = ("kind", "command");
    is("keystead_guest_calls_total", &[app, command, ("outcome", "done")], 42.0 + 4.0 + 2.0 + 1.0);
    is("keystead_guest_calls_total", &[app, ("kind", "query"), ("outcome", "done")], 7.0);
    // The call of `poison`, and two attempts of `flaky`.
    is("keystead_guest_calls_total", &[app, command, ("outcome", "failed")], 1.0 + 2.0);
    is("keystead_guest_seconds_count", &[app], 49.0 + 7.0 + 3.0);
    is("keystead_retries_total", &[app], 2.0);
    is("keystead_dead_letters_total", &[app], 0.0);
    is("keystead_dead_letters_total", &[("app", "strict")], 1.0);
    is("keystead_messages", &[("stage", "dead")], 1.0);
    is("keystead_messages", &[("stage", "timer")], 1.0);
    is("keystead_messages", &[("stage", "queued")], 0.0);
    is("keystead_over_quota_total", &[("app", "bounded"), ("quota", "entity_requests_per_s")], 1.0);
    is("keystead_apps", &[], 3.0);
    is("keystead_partitions", &[("state", "open")], 1.0);
    is("keystead_deploys_total", &[("outcome", "changed")], 3.0);
    is("keystead_compile_cache_total", &[("result", "miss")], 1.0);
    is("keystead_compile_cache_total", &[("result", "hit")], 2.0);
    // A batch each at most; an append without a transaction is none.
    let transactions = page.sum("keystead_transactions_total", &[]);
    let appends = page.sum("keystead_journal_batch_transactions_count", &[]);
    assert!(transactions >= 42.0 && appends > 0.0 && appends <= transactions);
    is("keystead_journal_batch_transactions_sum", &[], transactions);
    is("keystead_journal_append_seconds_count", &[], appends);
    assert!(page.sum("keystead_journal_bytes_total", &[]) > 0.0);
    assert!(page.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(page.sum("keystead_connections", &[("listener", "ingress")]) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_add_no_series() {
    let host = worked().await;
    let before = read(&host).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let ask = host.client();
        clients.spawn(async move {
            for n in (client..KEYS).step_by(CLIENTS) {
                let entity = format!("app/probe/needle-{n}");
                ask.call(&entity, "bump", json!({})).key(&format!("pin-{n}")).ok().await;
            }
        });
    }
    clients.join_all().await;
    host.quiet().await;
    let (after, text) = (read(&host).await, text(&host).await);
    assert_eq!(after.series(), before.series());
    for word in ["needle", "pin-", "bump", "probe", "strict/"] {
        assert!(!text.contains(word), "{word} occurs in the metrics");
    }
    let called = [("app", "app"), ("kind", "call"), ("status", "2xx")];
    let more = after.sum("keystead_requests_total", &called)
        - before.sum("keystead_requests_total", &called);
    assert!((more - KEYS as f64).abs() < 0.5, "{more} calls were counted, {KEYS} were made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_what_exists_and_leaves_nothing_out() {
    let host = worked().await;
    let page = read(&host).await;
    let file = transcript::root().join("host/grafana.json");
    let dashboard = std::fs::read_to_string(file).expect("host/grafana.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().expect("expr")).collect();
    assert!(queries.len() > 30, "{} queries", queries.len());
    let asked: BTreeSet<String> = queries.iter().flat_map(|query| asked(&page, query).0).collect();
    let unasked = page.families.iter().filter(|(_, family)| !asked.contains(&family.help));
    let unasked: Vec<&String> = unasked.map(|(name, _)| name).collect();
    assert!(unasked.is_empty(), "no panel shows {unasked:?}");
}

/// What a query asks for is on the page: gives the help of its metrics, and the labels that they have.
pub(super) fn asked(page: &Page, query: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let found = metrics_of(query);
    assert!(!found.is_empty(), "no metric in {query}");
    let (mut helps, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (name, matchers) in found {
        let family = page.families.get(&name).or_else(|| {
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().find_map(|part| name.strip_suffix(part))?;
            page.families.get(base).filter(|family| family.kind == "histogram")
        });
        let family = family.unwrap_or_else(|| panic!("{query}: there is no {name}"));
        let has = |label: &str, value: Option<&str>| {
            let mut labels = family.samples.keys().filter_map(|(_, labels)| labels.get(label));
            labels.any(|found| value.is_none_or(|value| found == value))
        };
        // What Prometheus adds is not on the page.
        for (label, values) in matchers.iter().filter(|(l, _)| l != "instance" && l != "job") {
            assert!(has(label, None), "{query}: {name} has no label {label}");
            for value in values.split('|').filter(|value| !value.starts_with('$')) {
                assert!(has(label, Some(value)), "{query}: {name} has no {label} {value}");
            }
        }
        all.extend(family.samples.keys().flat_map(|(_, labels)| labels.keys().cloned()));
        helps.insert(family.help.clone());
    }
    (helps, all)
}

/// A host on which one of everything has happened.
pub(super) async fn worked() -> Host {
    let host = Host::start().await;
    let retry = json!({"retry": {"initial_ms": 1, "max_ms": 1}});
    host.deploy_with(Guest::Hostile, "app", retry).await;
    host.deploy_with(Guest::Hostile, "strict", json!({"retry": {"attempts_max": 1}})).await;
    let client = host.client();
    for n in 0..40 {
        client.call(&format!("app/probe/e{n}"), "bump", json!({})).ok().await;
    }
    let emit = json!({"to": "e1", "first": 0, "count": 2});
    client.call("app/probe/e0", "emit", emit).ok().await;
    let arm = json!({"name": "t", "n": 1, "delay_ms": 3_600_000});
    client.call("app/probe/e0", "arm", arm).ok().await;
    let poison = json!({"note": "no"});
    client.call("app/probe/e0", "poison", poison.clone()).answer().await.expect_status(500);
    for n in 0..7 {
        client.value(&format!("app/probe/e{n}"), "count").await;
    }
    for n in 0..4 {
        let sent = client.send(&format!("app/probe/e{n}"), "bump", json!({}));
        host.finished(&sent.answer().await.expect_status(202).id()).await;
    }
    let flaky = client.send("app/probe/e0", "flaky", json!({"until": 3, "n": 1}));
    host.finished(&flaky.answer().await.expect_status(202).id()).await;
    let spoilt = client.send("strict/probe/e0", "poison", poison);
    host.finished(&spoilt.answer().await.expect_status(202).id()).await;
    for _ in 0..3 {
        client.ingress(Method::GET, "/v1/nonsense").answer().await.expect_status(404);
    }
    // A host whose app is bounded has its quota in its way.
    let bounded = json!({"quotas": {"entity_requests_per_s": 1}});
    host.deploy_with(Guest::Hostile, "bounded", bounded).await;
    let mut refused = false;
    while !refused {
        let call = client.call("bounded/probe/e", "bump", json!({}));
        refused = call.answer().await.status == 429;
    }
    // A page of metrics on the way, so that reading one is not what makes a series appear.
    read(&host).await;
    host.quiet().await;
    host
}

async fn text(host: &Host) -> String {
    let answer = host.client().admin(Method::GET, "/metrics").answer().await.expect_status(200);
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    answer.text()
}

pub(super) async fn read(host: &Host) -> Page {
    Page::read(&text(host).await)
}

/// The metrics of a query, each with the labels that it selects by and their values.
fn metrics_of(query: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = vec![];
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for prefix in ["keystead_", "process_"] {
        for (at, _) in query.match_indices(prefix) {
            let rest = &query[at..];
            let name = &rest[..rest.find(|c| !inside(c)).unwrap_or(rest.len())];
            let labels = rest[name.len()..].strip_prefix('{').and_then(|l| l.split_once('}'));
            let labels = labels.map_or("", |(labels, _)| labels).split(',');
            let labels = labels.filter_map(|label| label.split_once(['=', '!', '~']));
            let value = |text: &str| text.trim_matches(['=', '!', '~', '"']).to_owned();
            let labels =
                labels.map(|(label, text)| (label.trim().to_owned(), value(text))).collect();
            found.push((name.to_owned(), labels));
        }
    }
    found
}

//! What somebody who is paged needs: a series for each thing that runs out or goes wrong, a ramped version beside the live
//! one, and alerts that ask for what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::metrics::{asked, read, worked};
use super::page::Page;
use crate::harness::{Client, Guest, Host, PATIENCE, eventually, transcript};

#[tokio::test(flavor = "multi_thread")]
async fn a_ramped_version_is_seen_beside_the_live_one() {
    let host = Host::with(Guest::FirstEdition, "app").await;
    let client = host.client();
    let path = "/admin/v1/apps/app?activate=false";
    let second = Guest::SecondEdition.component().await;
    let kept = client.admin(Method::PUT, path).body(second).ok().await;
    let second = kept["hash"].as_str().expect("a hash").to_owned();
    look(&client).await;
    let page = read(&host).await;
    let calls = |page: &Page, track| page.sum("keystead_guest_calls_total", &[("track", track)]);
    is(calls(&page, "live"), PAGES, "calls");
    is(calls(&page, "ramp"), 0, "calls of no ramp");
    assert_eq!(served(&page).len(), 1);

    let ramp = format!("/admin/v1/apps/app/versions/{second}/ramp?percent=50");
    client.admin(Method::POST, ramp).ok().await;
    let on_second = look(&client).await;
    let page = read(&host).await;
    is(calls(&page, "ramp"), on_second, "calls of the new version");
    is(calls(&page, "live"), 2 * PAGES - on_second, "calls of the live one");
    for name in ["keystead_requests_total", "keystead_request_seconds_count"] {
        let requests = page.sum(name, &[("track", "ramp"), ("kind", "read")]);
        is(requests, on_second, name);
    }
    is(page.sum("keystead_guest_seconds_count", &[("track", "ramp")]), on_second, "times");
    is(page.sum("keystead_ramp_percent", &[("app", "app")]), 50, "percent");
    let versions = served(&page);
    assert_eq!(versions["ramp"], second[..16], "{versions:?}");
    assert_ne!(versions["live"], versions["ramp"]);

    // It is worse, so it is taken back: one of its versions is served, and it is counted.
    for key in 0..PAGES {
        let call = client.call(&format!("app/page/p{key}"), "fail_in", json!({"edition": 2}));
        call.answer().await;
    }
    let page = read(&host).await;
    is(page.sum("keystead_ramps_halted_total", &[("app", "app")]), 1, "halted");
    is(page.sum("keystead_ramp_percent", &[("app", "app")]), 0, "percent");
    assert_eq!(served(&page), BTreeMap::from([("live".to_owned(), versions["live"].clone())]));
    assert!(
        page.sum("keystead_guest_calls_total", &[("track", "ramp"), ("outcome", "trapped")]) > 4.0
    );
    // Once it is live it is no ramp any more, whatever it was before.
    let activate = format!("/admin/v1/apps/app/versions/{second}/activate");
    client.admin(Method::POST, activate).ok().await;
    let before = read(&host).await;
    look(&client).await;
    let after = read(&host).await;
    is(calls(&after, "live") - calls(&before, "live"), PAGES, "calls of what is live now");
    assert_eq!(served(&after)["live"], second[..16]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_out_and_what_waits_is_told() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    let page = read(&host).await;
    let of = |page: &Page, name: &str| page.sum(name, &[]);
    let (free, all) = (of(&page, "keystead_disk_free_bytes"), of(&page, "keystead_disk_bytes"));
    assert!(free > 0.0 && free <= all && all > 1e6, "{free} of {all}");
    is(of(&page, "keystead_snapshot_timestamp_seconds"), 0, "no snapshot");
    is(of(&page, "keystead_certificate_expiry_timestamp_seconds"), 0, "no certificate");
    is(of(&page, "keystead_oldest_message_seconds"), 0, "no message");

    let made = client.admin(Method::POST, "/admin/v1/snapshots?name=one").answer().await;
    made.expect_status(201);
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    let at = of(&read(&host).await, "keystead_snapshot_timestamp_seconds");
    assert!((now - at).abs() < PATIENCE.as_secs_f64(), "made at {at}, it is {now}");
    client.admin(Method::DELETE, "/admin/v1/snapshots/one").ok().await;
    is(of(&read(&host).await, "keystead_snapshot_timestamp_seconds"), 0, "the only one is gone");

    client.admin(Method::PUT, "/admin/v1/pauses?app=app&type=probe&key=a").ok().await;
    let sent_after = Instant::now();
    let sent = client.send("app/probe/a", "bump", json!({})).answer().await.expect_status(202);
    let oldest = || async {
        let age = of(&read(&host).await, "keystead_oldest_message_seconds");
        // Others' turns are the machine's clock; this one cannot be older than it is.
        client.call("app/probe/b", "bump", json!({})).ok().await;
        assert!(age <= sent_after.elapsed().as_secs_f64(), "{age}");
        if age > 1.5 { Ok(()) } else { Err(age.to_string()) }
    };
    eventually("its age is seen", PATIENCE, oldest).await;
    client.admin(Method::DELETE, "/admin/v1/pauses?app=app&type=probe&key=a").ok().await;
    host.finished(&sent.id()).await;
    is(of(&read(&host).await, "keystead_oldest_message_seconds"), 0, "nothing waits");
    assert!(sent_after.elapsed() > Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_ask_for_what_exists() {
    let page = read(&worked().await).await;
    let text = std::fs::read_to_string(transcript::root().join("host/alerts.yaml"));
    let rules = rules(&text.expect("host/alerts.yaml"));
    assert!(rules.len() > 10, "{} rules", rules.len());
    let names: BTreeSet<&String> = rules.iter().map(|rule| &rule["alert"]).collect();
    assert_eq!(names.len(), rules.len(), "a name is there twice");
    for rule in &rules {
        let (name, expr) = (&rule["alert"], &rule["expr"]);
        assert!(["page", "ticket"].contains(&&rule["severity"][..]), "{name}");
        let depth = expr.chars().fold(0_i32, |depth, c| {
            assert!(depth >= 0, "{expr}");
            depth + i32::from("({[".contains(c)) - i32::from(")}]".contains(c))
        });
        assert_eq!(depth, 0, "{name}: {expr}");
        // A condition that compares with a number, or it would fire for ever.
        let compared = [" > ", " < ", " == "].iter().any(|with| expr.contains(with));
        assert!(compared, "{name}: {expr}");
        if expr.starts_with("up{") {
            continue;
        }
        let labels = asked(&page, expr).1;
        // What a summary names, the alert has: the labels that are summed by, or all of the metric's.
        let by = expr.split_once("sum by (").and_then(|(_, by)| by.split_once(')'));
        let by = by.map(|(by, _)| by.split(", ").map(str::to_owned).collect());
        let by: BTreeSet<String> = by.unwrap_or(labels);
        for text in [&rule["summary"], &rule["description"]] {
            assert!(!text.is_empty(), "{name}");
            for (_, label) in
                text.split("{{").skip(1).filter_map(|part| part.split_once("$labels."))
            {
                let label = label.split(' ').next().expect("a label");
                assert!(label == "instance" || by.contains(label), "{name} names {label}: {text}");
            }
        }
    }
}

const PAGES: u64 = 100;

/// Reads each page; gives how many were on the second edition.
async fn look(client: &Client) -> u64 {
    let mut on_second = 0;
    for key in 0..PAGES {
        let stamp = client.value(&format!("app/page/p{key}"), "look").await;
        on_second += u64::from(stamp["by"] == 2);
    }
    on_second
}

fn is(found: f64, wanted: u64, what: &str) {
    assert!((found - wanted as f64).abs() < 0.5, "{what}: {found}, not {wanted}");
}

/// The version of each track.
fn served(page: &Page) -> BTreeMap<String, String> {
    let samples = &page.families["keystead_version_info"].samples;
    let of =
        |labels: &BTreeMap<String, String>| (labels["track"].clone(), labels["version"].clone());
    samples.keys().map(|(_, labels)| of(labels)).collect()
}

/// The rules of the file, by the names of their fields. It reads as much of YAML as the file is written in, and panics at
/// anything else.
fn rules(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut rules: Vec<BTreeMap<String, String>> = vec![];
    let mut folds: Option<(String, usize)> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let indent = line.len() - line.trim_start().len();
        assert!(!line.contains('\t') && indent % 2 == 0, "{line:?}");
        if let Some((field, of)) = &folds
            && indent > *of
        {
            let rule = rules.last_mut().expect("a rule");
            let folded = format!("{} {}", rule[field], line.trim());
            rule.insert(field.clone(), folded.trim().to_owned());
            continue;
        }
        folds = None;
        let (field, value) = line.trim().split_once(':').unwrap_or_else(|| panic!("{line:?}"));
        let (field, value) = (field.trim_start_matches("- "), value.trim());
        match field {
            "groups" | "name" | "rules" => continue,
            "alert" => rules.push(BTreeMap::new()),
            "labels" | "annotations" => assert_eq!(value, "", "{line}"),
            "expr" | "for" | "severity" | "summary" | "description" => {}
            _ => panic!("{line:?}: no field of a rule"),
        }
        if value == ">-" {
            folds = Some((field.to_owned(), indent));
        }
        let quoted = value.strip_prefix('"').map(|value| value.strip_suffix('"').expect("an end"));
        // Plain text with these is something else in YAML.
        assert!(quoted.is_some() || !value.contains(": ") && !value.contains(" #"), "{line}");
        assert!(quoted.is_none_or(|text| !text.contains(['"', '\\'])), "{line}");
        let value = if value == ">-" { "" } else { quoted.unwrap_or(value) };
        let before = rules.last_mut().expect("a rule").insert(field.to_owned(), value.to_owned());
        assert!(before.is_none(), "twice: {line}");
    }
    rules
}

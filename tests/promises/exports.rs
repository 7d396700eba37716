//! An app that the command line exports from one host and imports into another is there as it was, however large its
//! entities are; a slip of the pen in an operator's command is said, and changes nothing.

use std::process::{Output, Stdio};

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, Host, keystead};

async fn entity(host: &Host, args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(keystead());
    command.arg("entity").args(args).args(["--admin", &host.addresses().admin]);
    command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("keystead runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Gives an entity more state than one answer shows.
async fn grow(host: &Host, name: &str, rows: usize) {
    let row = |n: usize| json!({"key": format!("row/{n:06}"), "value": n});
    for first in (0..rows).step_by(30_000) {
        let state: Vec<Value> = (first..rows.min(first + 30_000)).map(row).collect();
        let path = format!("/admin/v1/entities/{name}?mode=merge&if_version=any");
        host.client().admin(Method::PUT, path).json(json!({ "state": state })).ok().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_exported_whole_and_imported_elsewhere_however_large_its_entities_are() {
    let host = Host::with(Guest::Hostile, "app").await;
    let client = host.client();
    for key in ["a", "b/c", "z"] {
        client
            .call(&format!("app/probe/{}", key.replace('/', "%2F")), "bump", json!({}))
            .ok()
            .await;
    }
    grow(&host, "app/probe/large", 120_000).await;
    let exported = entity(&host, &["export", "app"]).await;
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let lines: Vec<Value> = exported
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect();
    let of = |name: &str| lines.iter().filter(|line| line["entity"] == name).collect::<Vec<_>>();
    assert_eq!((of("app/probe/a").len(), of("app/probe/b/c").len()), (1, 1));
    let parts: Vec<_> = of("app/probe/large").iter().map(|line| line["part"].clone()).collect();
    assert_eq!(parts, [json!(1), json!(2), json!(3)]);
    let rows: usize =
        of("app/probe/large").iter().map(|line| line["state"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(rows, 120_000);

    let file = tempfile::NamedTempFile::new().expect("a scratch file");
    std::fs::write(file.path(), &exported.stdout).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let other = Host::with(Guest::Hostile, "app").await;
    let imported = entity(&other, &["import", path]).await;
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    assert_eq!(text(&imported.stdout), "4 entities are imported");
    let again = entity(&other, &["export", "app"]).await;
    let state = |lines: &[u8]| -> Vec<Value> {
        let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let whole = lines.map(|line| serde_json::from_slice::<Value>(line).expect("JSON"));
        whole.flat_map(|line| line["state"].as_array().cloned().unwrap_or_default()).collect()
    };
    assert_eq!(state(&again.stdout), state(&exported.stdout));
    assert_eq!(other.client().value("app/probe/b%2Fc", "count").await, 1);

    // Without its last part it is said that something is missing, and what.
    let end = exported.stdout.iter().rposition(|&byte| byte == b'\n').expect("lines");
    let cut: Vec<&[u8]> = exported.stdout[..end].split(|&byte| byte == b'\n').collect();
    let cut: Vec<_> = cut.into_iter().filter(|line| !text(line).contains("\"part\":3")).collect();
    std::fs::write(file.path(), cut.join(&b'\n')).expect("written");
    let refused = entity(&other, &["import", path, "--replace"]).await;
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("part 3 of app/probe/large"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_of_the_pen_is_said_and_pauses_nothing() {
    let host = Host::with(Guest::Hostile, "app").await;
    host.client().call("app/probe/a", "bump", json!({})).ok().await;
    for (args, said) in [
        (["pause", "ap"], "unknown_app"),
        (["pause", "app/prob"], "app \"app\" has no entity type \"prob\"; it has: "),
        (["pause", "app/prob/a"], "unknown_type"),
        (["ls", "app/prob"], "unknown_type"),
        (["ls", "ap"], "unknown_app"),
        (["export", "ap"], "unknown_app"),
    ] {
        let refused = entity(&host, &args).await;
        let error = text(&refused.stderr);
        assert!(!refused.status.success() && error.contains(said), "{args:?}: {error}");
    }
    assert_eq!(text(&entity(&host, &["pause"]).await.stdout), "PAUSED");
    assert!(entity(&host, &["pause", "app/probe/new"]).await.status.success(), "not there yet");
    assert!(entity(&host, &["pause", "app/probe"]).await.status.success());
    let listed = text(&entity(&host, &["pause"]).await.stdout);
    assert_eq!(listed, "PAUSED\napp/probe\napp/probe/new");
    assert_eq!(text(&entity(&host, &["ls", "app"]).await.stdout), "TYPE\napp/probe");

    let config = host.client().admin(Method::PATCH, "/admin/v1/apps/app/config");
    let wrong = config.json(json!({"retry": {"attempts_max": "many"}})).answer().await;
    let problem = wrong.expect_problem(400, "malformed");
    let detail = problem.json()["detail"].to_string();
    assert!(detail.contains("retry.attempts_max: invalid type"), "{detail}");
}

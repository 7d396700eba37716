//! What the documentation shows is what happens: the transcripts in the examples' READMEs are run against a real
//! host, command by command, and so is the way of a new project from `keystead new` to a durable call. So are the pages
//! that people look at, in a browser. The examples in other languages than Rust have a test of their own, `languages.rs`.

#[path = "console/mod.rs"]
mod console;
#[path = "harness/mod.rs"]
mod harness;
#[path = "openapi/mod.rs"]
mod openapi;

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use harness::transcript::{Step, deploy, matches, readme, replay, root, run, transcript, words};
use harness::{Guest, Host, cargo_environment};

/// Examples that the project promises; there may be more.
const EXPECTED: [&str; 8] =
    ["approvals", "bank", "chat", "counter", "inventory", "ledger", "reminder", "shop"];

#[tokio::test(flavor = "multi_thread")]
async fn the_transcripts_of_the_examples_are_true() {
    let folder = root().join("examples");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the examples")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| folder.join(name).join("Cargo.toml").is_file())
        .collect();
    names.sort();
    for expected in EXPECTED {
        assert!(names.iter().any(|name| name == expected), "there is no example {expected}");
    }
    for name in names {
        let dir = folder.join(&name);
        let steps = readme(&dir);
        assert!(steps.len() >= 3, "the README of {name} shows only {} commands", steps.len());
        let host = Host::start().await;
        deploy(&host, &dir, &name).await;
        replay(&host, &dir, &name, &steps).await;
        openapi::check(&host, &name).await;
    }
}

/// The README's way from nothing to a durable call and over a crash, command by command.
#[tokio::test(flavor = "multi_thread")]
async fn the_five_minutes_of_the_readme_are_true() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut host = Host::start().await;
    let mut dir = folder.path().to_owned();
    let mut alive = true;
    let steps = readme(&root());
    assert!(steps.len() > 10, "the README shows only {} commands", steps.len());
    for step in steps {
        match step.command.as_str() {
            // What it makes is under test already.
            "cargo install --path host" => {}
            "keystead new counting" => {
                run(&host, &dir, &["new", "counting"]).await.expect("keystead new");
                let again = run(&host, &dir, &["new", "counting"]).await.expect_err("it exists");
                assert!(again.contains("exists"), "{again}");
            }
            "cd counting" => {
                dir.push("counting");
                // The same versions as everything else here, so that cargo has nothing to look up.
                let lock = std::fs::copy(root().join("Cargo.lock"), dir.join("Cargo.lock"));
                lock.expect("a lock file");
            }
            "cargo test" => cargo_test(&dir).await,
            "keystead dev" if alive => deploy(&host, &dir, "counting").await,
            "keystead dev" => host.spawn().await,
            command if command.starts_with("kill -9 ") => {
                host.kill().await;
                alive = false;
            }
            _ => replay(&host, &dir, "the project", &[step]).await,
        }
    }
    let all = ["call", "counting/counter/b", "give", r#"{"to": "a", "amount": 4}"#];
    let refused = run(&host, &dir, &all).await.expect_err("only 3 are left");
    assert!(refused.contains("only 3 left"), "{refused}");
}

async fn cargo_test(dir: &Path) {
    let mut cargo = Command::new("cargo");
    let output = cargo.arg("test").current_dir(dir).envs(cargo_environment()).output().await;
    let output = output.expect("cargo");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo test in {}:\n{said}", dir.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_clients_are_made_of_what_hosts_and_components_say() {
    let host = Host::with(Guest::Bank, "bank").await;
    let sdk = root().join("guest-sdk");
    let expected = |name: &str| {
        std::fs::read_to_string(sdk.join("tests/typed").join(name)).expect("what is compiled")
    };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("bank.component.wasm");
    std::fs::write(&file, Guest::Bank.component().await).expect("the component");
    for (source, name) in [
        ("bank", "bank.rs"),
        (file.to_str().expect("a UTF-8 path"), "bank.rs"),
        ("tests/typed/odd.json", "odd.rs"),
    ] {
        let made = run(&host, &sdk, &["client", source]).await.expect("keystead client");
        assert_eq!(made, expected(name), "{source}: write guest-sdk/tests/typed/{name} again");
    }
    let path = folder.path().join("bank.rs");
    let out = path.to_str().expect("a UTF-8 path");
    let told = run(&host, &sdk, &["client", "bank", "--out", out]).await.expect("written");
    assert_eq!(told.trim(), format!("{out}: account"));
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), expected("bank.rs"));
    let unknown = run(&host, &sdk, &["client", "bnak"]).await.expect_err("no such app");
    assert!(unknown.contains("there is no app"), "{unknown}");
}

#[test]
fn transcripts_are_read_as_they_are_written() {
    let readme = "text\n```console\n$ keystead call a/b/c d '{\"x\": 1}'\n1\n$ curl -s \\\n    \
                  http://h/ # eventually\n{\n}\n\n```\n```\n$ not this\n```\n$ nor this\n";
    let step = |command: &str, eventually, output: &[&str]| Step {
        command: command.into(),
        eventually,
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [
        step("keystead call a/b/c d '{\"x\": 1}'", false, &["1"]),
        step("curl -s http://h/", true, &["{", "}"]),
    ];
    assert_eq!(transcript(readme), expected);
    let expected = ["keystead", "call", "a/b/c", "{\"x\": \"y z\"}", "a b", "c"];
    assert_eq!(words(r#"keystead call a/b/c '{"x": "y z"}' "a b" c # why"#), expected);
    assert_eq!(json!(words(r#"-d "{\"a\":1}""#)), json!(["-d", "{\"a\":1}"]));
}

#[test]
fn outputs_match_only_what_is_shown() {
    let check = |shown: &[&str], output: &[&str]| {
        let owned = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        matches(&owned(shown), &owned(output))
    };
    assert!(check(&["5"], &["5"]) && !check(&["5"], &["6"]) && !check(&["5"], &["5", "6"]));
    assert!(check(&["id msg_... done"], &["id msg_07 done"]));
    assert!(!check(&["id msg_... done"], &["id msg_07 failed"]));
    assert!(check(&["HTTP/1.1 200 OK", "...", "", "5"], &["HTTP/1.1 200 OK", "a: b", "", "5"]));
    assert!(!check(&["HTTP/1.1 200 OK", "...", "5"], &["HTTP/1.1 200 OK", "a: b"]));
    assert!(check(&["{...}"], &["{}"]) && !check(&["{...}"], &["{"]));
    assert!(check(&["a...b...c"], &["a1b2c"]) && !check(&["a...b...c"], &["a1c"]));
    assert!(check(&[], &["anything"]) && !check(&["5"], &[]));
}

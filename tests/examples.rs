//! What the documentation shows is what happens: the transcripts in the examples' READMEs are run against a real
//! host, command by command, and so is the way of a new project from `keystead new` to a durable call.
//!
//! A transcript is a fenced block marked `console`. `$ ` opens a command, the lines below are its output; `...`
//! in a line stands for any text, alone on a line for any lines. `# eventually` behind a command means that it
//! is tried again until its output is as shown. Lines that start the host (`keystead dev`, `keystead serve`) are
//! not run: a host is there, with the example deployed.

#[path = "harness/mod.rs"]
mod harness;
#[path = "openapi/mod.rs"]
mod openapi;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::process::Command;

use harness::{Answer, Guest, Host, cargo_environment, eventually, keystead};

const EVENTUALLY: Duration = Duration::from_secs(20);
/// Examples that the project promises; there may be more.
const EXPECTED: [&str; 4] = ["bank", "counter", "inventory", "reminder"];

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
        let readme = std::fs::read_to_string(dir.join("README.md"))
            .unwrap_or_else(|error| panic!("{}/README.md: {error}", dir.display()));
        let steps = transcript(&readme);
        assert!(steps.len() >= 3, "the README of {name} shows only {} commands", steps.len());
        let host = Host::start().await;
        deploy(&host, &dir, &name).await;
        for step in steps {
            replay(&host, &dir, &name, &step).await;
        }
        openapi::check(&host, &name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_builds_deploys_and_answers() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let host = Host::start().await;
    run(&host, folder.path(), &["new", "hello"]).await.expect("keystead new");
    let again = run(&host, folder.path(), &["new", "hello"]).await.expect_err("it exists");
    assert!(again.contains("exists"), "{again}");
    let project = folder.path().join("hello");
    // The same versions as everything else here, so that cargo has nothing to look up.
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).expect("a lock file");
    deploy(&host, &project, "hello").await;

    let call = ["call", "hello/counter/a", "add", r#"{"amount": 5}"#];
    assert_eq!(run(&host, &project, &call).await.expect("call").trim(), "5");
    let give = ["call", "hello/counter/a", "give", r#"{"to": "b", "amount": 2}"#];
    assert_eq!(run(&host, &project, &give).await.expect("call").trim(), "3");
    eventually("what was given arrives", EVENTUALLY, || async {
        let read = run(&host, &project, &["read", "hello/counter/b", "count"]).await;
        if read.as_deref().map(str::trim) == Ok("2") { Ok(()) } else { Err(format!("{read:?}")) }
    })
    .await;
    let all = ["call", "hello/counter/b", "give", r#"{"to": "a", "amount": 3}"#];
    let refused = run(&host, &project, &all).await.expect_err("only 2 are left");
    assert!(refused.contains("only 2 left"), "{refused}");
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// Builds and deploys as an author does, with the two commands.
async fn deploy(host: &Host, dir: &Path, app: &str) {
    let here = dir.to_str().expect("a UTF-8 path");
    let built = run(host, dir, &["build", here, "--json"]).await;
    let built = built.unwrap_or_else(|error| panic!("{here} does not build:\n{error}"));
    let built: serde_json::Value = serde_json::from_str(&built).expect("JSON of keystead build");
    let component = built["component"].as_str().expect("the component's path");
    let mut deploy = vec!["deploy", component, "--app", app];
    if dir.join("keystead.toml").is_file() {
        deploy.extend(["--config", "keystead.toml"]);
    }
    let deployed = run(host, dir, &deploy).await;
    deployed.unwrap_or_else(|error| panic!("{app} does not deploy:\n{error}"));
}

/// Runs the binary in `dir` against `host`: what it prints, or, when it fails, all that it prints.
async fn run(host: &Host, dir: &Path, args: &[&str]) -> Result<String, String> {
    let addresses = host.addresses();
    let output = Command::new(keystead())
        .args(args)
        .current_dir(dir)
        .envs(cargo_environment())
        .env("KEYSTEAD_INGRESS", addresses.ingress)
        .env("KEYSTEAD_ADMIN", addresses.admin)
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary under test");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(stdout + &String::from_utf8_lossy(&output.stderr))
}

/// One command of a transcript.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    eventually: bool,
    output: Vec<String>,
}

/// All commands of the `console` blocks of a README.
fn transcript(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut goes_on = false;
    for line in readme.lines() {
        let fence = line.trim_start().starts_with("```");
        if fence {
            inside = !inside && line.trim() == "```console";
            goes_on = false;
        } else if inside && goes_on {
            let step = steps.last_mut().expect("a command goes on");
            goes_on = append(&mut step.command, line.trim());
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            let (command, eventually) = match command.trim_end().strip_suffix("# eventually") {
                Some(command) => (command.trim_end(), true),
                None => (command, false),
            };
            let mut step = Step { command: String::new(), eventually, output: Vec::new() };
            goes_on = append(&mut step.command, command);
            steps.push(step);
        } else if inside && let Some(step) = steps.last_mut() {
            step.output.push(line.trim_end().to_owned());
        }
    }
    for step in &mut steps {
        while step.output.last().is_some_and(String::is_empty) {
            step.output.pop();
        }
        if let Some(command) = step.command.strip_suffix("# eventually") {
            (step.command, step.eventually) = (command.trim_end().to_owned(), true);
        }
    }
    steps
}

/// Adds a line of a command; true when a backslash says that it goes on.
fn append(command: &mut String, line: &str) -> bool {
    let (line, goes_on) = match line.strip_suffix('\\') {
        Some(line) => (line.trim_end(), true),
        None => (line, false),
    };
    if !command.is_empty() {
        command.push(' ');
    }
    command.push_str(line);
    goes_on
}

async fn replay(host: &Host, dir: &Path, example: &str, step: &Step) {
    let words = words(&step.command);
    if words[0] == "keystead" && matches!(words.get(1).map(String::as_str), Some("dev" | "serve")) {
        return;
    }
    let what = format!("in the README of {example}: $ {}", step.command);
    let attempt = || async {
        let output = execute(host, dir, &words).await;
        if matches(&step.output, &output) {
            return Ok(());
        }
        let (expected, output) = (step.output.join("\n"), output.join("\n"));
        Err(format!("{what}\nshows:\n{expected}\nbut this came:\n{output}"))
    };
    if step.eventually {
        eventually(&what, EVENTUALLY, attempt).await;
    } else if let Err(difference) = attempt().await {
        panic!("{difference}");
    }
}

/// Runs one command against `host`; its output with the host's addresses put back to the default ones.
async fn execute(host: &Host, dir: &Path, words: &[String]) -> Vec<String> {
    let addresses = host.addresses();
    let bare = |url: &str| url.trim_start_matches("http://").to_owned();
    let places = [
        ("127.0.0.1:7070", bare(&addresses.ingress)),
        ("127.0.0.1:7071", bare(&addresses.admin)),
        ("localhost:7070", bare(&addresses.ingress)),
        ("localhost:7071", bare(&addresses.admin)),
    ];
    let output = match words[0].as_str() {
        "curl" => curl(host, &words[1..]).await,
        "keystead" => {
            let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            run(host, dir, &args).await.unwrap_or_else(|output| output)
        }
        other => panic!("{other:?}: a transcript may hold curl and keystead only"),
    };
    let put_back = places[..2].iter().fold(output, |text, (shown, real)| text.replace(real, shown));
    put_back.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The part of curl that transcripts use.
async fn curl(host: &Host, words: &[String]) -> String {
    let mut method = None;
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut body = None;
    let mut with_head = false;
    let mut url = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} without a value"));
        match word.as_str() {
            "-s" | "-S" | "-sS" => {}
            "-i" | "-si" | "-is" => with_head = true,
            "-X" | "--request" => method = Some(value().clone()),
            "-d" | "--data" => {
                body = Some(value().clone());
                let form = "application/x-www-form-urlencoded";
                headers.insert(0, ("Content-Type".into(), form.into()));
            }
            "--json" => {
                body = Some(value().clone());
                headers.insert(0, ("Content-Type".into(), "application/json".into()));
            }
            "-H" | "--header" => {
                let (name, value) = value().split_once(':').expect("a header has a colon");
                headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            option if option.starts_with('-') => panic!("curl {option}: not for transcripts"),
            text => url = Some(text.to_owned()),
        }
    }
    let url = url.expect("curl has a URL");
    let default = if body.is_some() { Method::POST } else { Method::GET };
    let method = method.map_or(default, |method| method.parse().expect("a method"));
    let path = url.strip_prefix("http://").unwrap_or(&url);
    let (place, path) = path.split_at(path.find('/').unwrap_or(path.len()));
    let client = host.client();
    let request = match place.rsplit_once(':').map(|(_, port)| port) {
        Some("7070") => client.ingress(method, path),
        Some("7071") => client.admin(method, path),
        _ => panic!("{url}: neither of the two default addresses"),
    };
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    shown(&request.body(body.unwrap_or_default()).answer().await, with_head)
}

/// An answer as curl prints it.
fn shown(answer: &Answer, with_head: bool) -> String {
    if !with_head {
        return answer.text();
    }
    let status = http::StatusCode::from_u16(answer.status).expect("a status");
    let headers: String = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    format!("HTTP/1.1 {status}\n{headers}\n{}", answer.text())
}

/// Splits a command as a shell does: blanks, quotes and backslashes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' => words.extend(word.take()),
            '\'' => {
                let text: String = chars.by_ref().take_while(|char| *char != '\'').collect();
                word.get_or_insert_default().push_str(&text);
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(char) = chars.next().filter(|char| *char != '"') {
                    word.push(if char == '\\' { chars.next().unwrap_or(char) } else { char });
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '|' | ';' | '&' | '>' | '<' | '$' if word.is_none() => {
                panic!("{command}: a transcript has no shell, so no {char}")
            }
            '#' if word.is_none() => break,
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Whether an output is the one shown. Nothing shown: any output will do.
fn matches(shown: &[String], output: &[String]) -> bool {
    fn lines(shown: &[String], output: &[String]) -> bool {
        match shown.split_first() {
            None => output.is_empty(),
            Some((first, rest)) if first == "..." => {
                (0..=output.len()).any(|skipped| lines(rest, &output[skipped..]))
            }
            Some((first, rest)) => output
                .split_first()
                .is_some_and(|(line, more)| line_matches(first, line) && lines(rest, more)),
        }
    }
    shown.is_empty() || lines(shown, output)
}

fn line_matches(shown: &str, line: &str) -> bool {
    let Some((start, wild)) = shown.split_once("...") else { return shown == line };
    let Some(mut rest) = line.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = wild.split("...").collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
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

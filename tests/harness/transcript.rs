//! Transcripts in READMEs, read and run command by command against a real host, so that what the documentation
//! shows is what happens.
//!
//! A transcript is a fenced block marked `console`. `$ ` opens a command, the lines below are its output; `...`
//! in a line stands for any text, alone on a line for any lines. `# eventually` behind a command means that it
//! is tried again until its output is as shown. `NAME=$(command | tr -d '"')` keeps what a command prints for later
//! commands, as `$NAME`. Lines that start the host (`keystead dev`, `keystead serve`) are
//! not run: a host is there, with the example deployed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use tokio::process::Command;

use super::client::Answer;
use super::guests::{cargo_environment, keystead};
use super::{Host, eventually};

const EVENTUALLY: Duration = Duration::from_secs(20);

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_path_buf()
}

/// The transcript of the README in `dir`.
pub(crate) fn readme(dir: &Path) -> Vec<Step> {
    let path = dir.join("README.md");
    let text = std::fs::read_to_string(&path);
    transcript(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Builds and deploys as an author does, with the two commands.
pub(crate) async fn deploy(host: &Host, dir: &Path, app: &str) {
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
pub(crate) async fn run(host: &Host, dir: &Path, args: &[&str]) -> Result<String, String> {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) eventually: bool,
    pub(crate) output: Vec<String>,
}

/// All commands of the `console` blocks of a README.
pub(crate) fn transcript(readme: &str) -> Vec<Step> {
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

/// Runs all commands against `host` in `dir`; panics when the output of one is not as shown.
pub(crate) async fn replay(host: &Host, dir: &Path, example: &str, steps: &[Step]) {
    let mut kept = Vec::new();
    for step in steps {
        let named = |text: &str| {
            kept.iter().fold(text.to_owned(), |text, (name, value): &(String, String)| {
                text.replace(&format!("${name}"), value)
            })
        };
        let step = Step { command: named(&step.command), ..step.clone() };
        match assignment(&step.command) {
            Some((name, command)) => {
                let printed = execute(host, dir, &words(command)).await.concat();
                kept.push((name.to_owned(), printed.replace('"', "")));
            }
            None => replay_one(host, dir, example, &step).await,
        }
    }
}

/// The name and the command of `NAME=$(command | tr -d '"')`.
fn assignment(command: &str) -> Option<(&str, &str)> {
    let (name, rest) = command.split_once("=$(")?;
    let command = rest.strip_suffix(r#" | tr -d '"')"#)?;
    name.bytes().all(|letter| letter.is_ascii_uppercase()).then_some((name, command))
}

async fn replay_one(host: &Host, dir: &Path, example: &str, step: &Step) {
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
                // A header that is given wins over the option's, wherever it stands.
                if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                    headers.insert(0, ("Content-Type".into(), form.into()));
                }
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
pub(crate) fn words(command: &str) -> Vec<String> {
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
pub(crate) fn matches(shown: &[String], output: &[String]) -> bool {
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

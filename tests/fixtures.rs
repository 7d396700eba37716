//! Data folders that earlier builds wrote, in `tests/fixtures/`: each opens in this build, says what it said then,
//! and goes on. There must be one of the format that this build writes.
//!
//! `KEYSTEAD_WRITE_FIXTURE=NAME cargo test --test fixtures` writes `NAME.tar.gz` with this build, if there is none
//! of that name: a fixture is never written again, for only the build of its time can make it.

#[path = "harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::sample::{self, Kept};
use harness::{Guest, Host, files_with, keystead};
use http::Method;
use serde_json::{Value, json};

/// What the secret `token` of the app `pages` is, in fixtures whose names say that they have one.
const SECRET: &str = "what only its app may know";
/// A quarter of the key that they are sealed with.
const KEY: &str = "0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn what_earlier_builds_wrote_opens_and_goes_on() {
    if let Ok(name) = std::env::var("KEYSTEAD_WRITE_FIXTURE") {
        make(&name).await;
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("tests/fixtures") {
        let name = entry.expect("there").file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".tar.gz").map(ToOwned::to_owned));
    }
    names.sort();
    for name in &names {
        println!("fixture {name}");
        opens(name).await;
    }
    let format = format();
    let of_it = |name: &&String| name.split('-').nth(1) == Some(&*format);
    let hint =
        format!("write one: KEYSTEAD_WRITE_FIXTURE=format-{format} cargo test --test fixtures");
    assert!(names.iter().any(|name| of_it(&name)), "no fixture of format {format}; {hint}");
}

async fn opens(name: &str) {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    tar(&["-xzf", &folder().join(format!("{name}.tar.gz")).to_string_lossy()], scratch.path());
    let kept = std::fs::read(scratch.path().join("kept.json")).expect("what the client kept");
    let kept: Kept = serde_json::from_slice(&kept).expect("as written");
    let from = scratch.path().join("data");
    let keys = scratch.path().join("keys");
    std::fs::write(&keys, KEY.repeat(4)).expect("written");
    let keys = keys.display().to_string();
    let args: &[&str] = if name.contains("secret") { &["--secrets-key", &keys] } else { &[] };
    let over = |to: &Path| std::fs::rename(&from, to).expect("moved");
    let host = Host::try_start_with(args, over).await;
    let mut host = host.unwrap_or_else(|why| panic!("{name}: {why}"));
    holds(&host, &kept).await;
    if name.contains("secret") {
        let asked = host.client().call("pages/page/a", "length_of", json!({"name": "token"}));
        assert_eq!(asked.ok().await, SECRET.len(), "{name}: the secret");
        assert_eq!(files_with(&host.data(), SECRET), [] as [PathBuf; 0], "{name}: it is sealed");
    }
    if !name.starts_with("format-2-") {
        operated(&host).await;
    }
    let client = host.client();
    for (count, entity) in [(6, "e0"), (5, "e1")] {
        let entity = format!("app/probe/{entity}");
        assert_eq!(client.call(&entity, "bump", json!({})).ok().await, count, "{name}: {entity}");
        let sent = client.send(&entity, "append", json!({"n": 7})).answer().await;
        host.finished(&sent.expect_status(202).id()).await.expect_status(200);
    }
    let letter = host.dead_letters().await[0]["id"].as_str().expect("an id").to_owned();
    let dropped = client.admin(Method::DELETE, format!("/admin/v1/dead/{letter}")).answer().await;
    assert!(dropped.status < 300, "{name}: {dropped:?}");
    host.stop().await;
    host.spawn().await;
    assert_eq!(client.value("app/probe/e0", "count").await, 6, "{name}: after a restart");
    assert_eq!(host.dead_letters().await.len(), 1, "{name}: after a restart");
    host.stop().await;
    let doctor = Command::new(keystead()).args(["doctor", "--data"]).arg(host.data()).output();
    let doctor = doctor.expect("keystead doctor");
    assert!(doctor.status.success(), "{name}: {}", String::from_utf8_lossy(&doctor.stdout));
}

/// Entities, timers, messages and dead letters are as they were written.
async fn holds(host: &Host, kept: &Kept) {
    let client = host.client();
    for n in 0..6_u64 {
        let entity = format!("app/probe/e{n}");
        let count = client.value(&entity, "count").await;
        assert_eq!(count, 4 + u64::from(n == 0), "{entity}");
        let list = client.value(&entity, "list").await;
        let mut list: Vec<u64> = serde_json::from_value(list).expect("numbers");
        list.sort_unstable();
        let mut wanted = vec![n, 100 + n, 0, 1, 1_000, 1_001];
        wanted.sort_unstable();
        assert_eq!(list, wanted, "{entity}");
        let timers = client.value(&entity, "timers").await;
        assert_eq!(timers, if n < 3 { json!(["t0", "t1"]) } else { json!([]) }, "{entity}");
    }
    for round in 0..2 {
        let large = host.entity(&format!("app/probe/large{round}")).await;
        let note =
            large["state"].as_array().expect("rows").iter().find(|row| row["key"] == "v/note");
        assert_eq!(note.expect("a note")["value"], format!("{round}-").repeat(30_000));
    }
    let totals = host.totals().await;
    assert_eq!((totals.scheduled, totals.queued + totals.running, totals.dead), (12, 2, 2));
    let letters = host.dead_letters().await;
    let notes: Vec<&Value> = letters.iter().map(|letter| &letter["input"]["note"]).collect();
    assert_eq!(notes, ["strict 0", "strict 1"]);
    let mut pending = 0;
    for id in &kept.ids {
        let answer = client.ingress(Method::GET, format!("/v1/messages/{id}")).answer().await;
        pending += u64::from(answer.status == 202);
    }
    // Three delayed ones and one that backs off, of each round.
    assert_eq!(pending, 8);
}

/// What operators did from format 3 on is as they left it.
async fn operated(host: &Host) {
    let paused = host.client().admin(Method::GET, "/admin/v1/pauses").ok().await;
    let scopes = paused["paused"].as_array().expect("scopes").iter();
    // An app or an entity: that an app must be there was not always asked.
    let names: Vec<_> = scopes.map(|scope| scope.as_str()?.rsplit('/').next()).collect();
    assert_eq!(names, [Some("nobody0"), Some("nobody1")]);
    for round in 0..2 {
        let gone = host.entity(&format!("app/probe/gone{round}")).await;
        assert_eq!((&gone["removed"], &gone["version"]), (&json!(true), &json!(2)), "{gone}");
    }
}

/// Writes a fixture: the folder of a host that was killed, without the code that any host compiles anew.
async fn make(name: &str) {
    let archive = folder().join(format!("{name}.tar.gz"));
    assert!(!archive.exists(), "{} is there; a fixture is never written again", archive.display());
    let (mut host, kept) = sample::make().await;
    let scratch = tempfile::tempdir().expect("a scratch folder");
    if name.contains("secret") {
        let keys = scratch.path().join("keys");
        std::fs::write(&keys, KEY.repeat(4)).expect("written");
        host.tell(&["--secrets-key", &keys.display().to_string()]);
        host.spawn().await;
        host.deploy(Guest::FirstEdition, "pages").await;
        let set = host.client().admin(Method::PUT, "/admin/v1/apps/pages/secrets/token");
        set.body(SECRET).answer().await.expect_status(200);
        host.kill().await;
    }
    std::fs::remove_dir_all(host.data().join("cache")).expect("the compiled code");
    std::fs::rename(host.data(), scratch.path().join("data")).expect("moved");
    let kept = serde_json::to_vec(&kept).expect("JSON");
    std::fs::write(scratch.path().join("kept.json"), kept).expect("written");
    tar(&["-czf", &archive.to_string_lossy(), "data", "kept.json"], scratch.path());
}

fn tar(args: &[&str], at: &Path) {
    let done = Command::new("tar").args(args).current_dir(at).status();
    assert!(done.expect("tar").success(), "tar {args:?}");
}

/// The format that this build writes.
fn format() -> String {
    let data = tempfile::tempdir().expect("a scratch folder");
    std::fs::create_dir(data.path().join("partitions")).expect("made");
    let mut doctor = Command::new(keystead());
    doctor.args(["doctor", "--json", "--data"]).arg(data.path());
    let doctor = doctor.output().expect("keystead doctor");
    let report: Value = serde_json::from_slice(&doctor.stdout).expect("a report");
    report["format"].to_string()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

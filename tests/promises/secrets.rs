//! Secrets on disk: with a key of the operator's they are in no file that the host writes, also those that were readable
//! before; without the right key the host does not start, and what was moved or changed is not served.

use std::path::{Path, PathBuf};
use std::process::Output;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, Host, files_with, keystead};

const OLD: &str = "a-secret-of-before-there-was-a-key";
const NEW: &str = "a-secret-of-after-there-was-a-key";
const SECRETS: &str = "apps/apps/app.secrets";

/// The operator's file of keys.
struct Keys(tempfile::TempDir);

impl Keys {
    /// With a key of each digit, the first on top.
    fn of(digits: &[&str]) -> Self {
        let keys = Self(tempfile::tempdir().expect("a scratch folder"));
        keys.become_these(digits);
        keys
    }

    fn become_these(&self, digits: &[&str]) {
        let text: String = digits.iter().map(|digit| digit.repeat(64) + "\n").collect();
        std::fs::write(self.0.path().join("keys"), text).expect("written");
    }

    fn path(&self) -> String {
        self.0.path().join("keys").display().to_string()
    }
}

async fn set(host: &Host, name: &str, value: &str) -> Value {
    let path = format!("/admin/v1/apps/app/secrets/{name}");
    let value = value.to_owned();
    host.client().admin(Method::PUT, path).body(value).answer().await.expect_status(200).json()
}

async fn length_of(host: &Host, name: &str) -> Value {
    host.client().call("app/page/a", "length_of", json!({ "name": name })).ok().await
}

fn holding(folder: &Path) -> Vec<PathBuf> {
    [files_with(folder, OLD), files_with(folder, NEW)].concat()
}

fn run(args: &[&str], data: &Path) -> Output {
    let mut command = std::process::Command::new(keystead());
    command.args(args).arg("--data").arg(data).output().expect("it runs")
}

/// A host that has an old secret from before it had a key, and a new one from after.
async fn sealed(keys: &Keys) -> Host {
    let mut host = Host::with(Guest::FirstEdition, "app").await;
    assert_eq!(set(&host, "old", OLD).await["sealed"], false);
    let before = "/admin/v1/snapshots?name=before";
    host.client().admin(Method::POST, before).answer().await.expect_status(201);
    host.stop().await;
    let copy = host.data().join("snapshots/before").join(SECRETS);
    let mut found = holding(&host.data());
    found.sort();
    assert_eq!(found, [host.data().join(SECRETS), copy.clone()], "the search finds them");
    host.tell(&["--secrets-key", &keys.path()]);
    host.spawn().await;
    // What was copied before is the operator's to remove.
    let log = host.log();
    assert!(
        log.contains("secrets are readable") && log.contains(&*copy.to_string_lossy()),
        "{log}"
    );
    let before = "/admin/v1/snapshots/before";
    host.client().admin(Method::DELETE, before).answer().await.expect_status(200);
    assert_eq!(length_of(&host, "old").await, OLD.len());
    assert_eq!(set(&host, "new", NEW).await["sealed"], true);
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_secrets_are_in_no_file_and_a_restart_reads_them() {
    let keys = Keys::of(&["1"]);
    let mut host = sealed(&keys).await;
    assert_eq!(length_of(&host, "new").await, NEW.len(), "from its next turn on");
    let made = host.client().admin(Method::POST, "/admin/v1/snapshots?name=one").answer().await;
    made.expect_status(201);
    host.crash().await;
    for (name, value) in [("old", OLD), ("new", NEW)] {
        assert_eq!(length_of(&host, name).await, value.len(), "{name}, after a crash");
    }
    host.stop().await;
    assert!(host.data().join("snapshots/one").join(SECRETS).exists());
    assert_eq!(holding(&host.data()), [] as [PathBuf; 0]);
    assert!(!host.log().contains(OLD) && !host.log().contains(NEW));

    // What works on a folder needs no key.
    let doctor = run(&["doctor"], &host.data());
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success() && said.contains("nobody can tell"), "{said}");
    let doctor = run(&["doctor", "--secrets-key", &keys.path()], &host.data());
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success() && said.contains("they open with it"), "{said}");
    assert!(run(&["token", "ls"], &host.data()).status.success());

    // And a snapshot needs the same one as its host.
    let snapshot = host.data().join("snapshots/one").display().to_string();
    let restore = |to: &Path| {
        assert!(run(&["snapshot", "restore", &snapshot], to).status.success());
    };
    let refused = Host::try_start_with(&[], restore).await.err().expect("it has no key");
    assert!(refused.contains("--secrets-key"), "{refused}");
    let restored = Host::try_start_with(&["--secrets-key", &keys.path()], restore).await;
    assert_eq!(length_of(&restored.expect("it starts"), "old").await, OLD.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_key_nothing_starts_and_says_why() {
    let keys = Keys::of(&["1"]);
    let mut host = sealed(&keys).await;
    host.stop().await;
    let before = std::fs::read(host.data().join(SECRETS)).expect("there");
    host.tell(&[]);
    let refused = host.try_spawn().await.expect_err("no key");
    assert!(refused.contains("without --secrets-key FILE"), "{refused}");
    let (path, wrong) = (keys.path(), Keys::of(&["2"]));
    host.tell(&["--secrets-key", &wrong.0.path().join("keys").display().to_string()]);
    let refused = host.try_spawn().await.expect_err("another key");
    assert!(refused.contains("the file of --secrets-key does not have it"), "{refused}");
    keys.become_these(&["x"]);
    host.tell(&["--secrets-key", &path]);
    let refused = host.try_spawn().await.expect_err("no key at all");
    assert!(refused.contains("line 1 is no key") && !refused.contains("xxx"), "{refused}");
    let inside = host.data().join("keys").display().to_string();
    std::fs::write(&inside, "1".repeat(64)).expect("written");
    host.tell(&["--secrets-key", &inside]);
    let refused = host.try_spawn().await.expect_err("beside what it seals");
    assert!(refused.contains("within the data folder"), "{refused}");
    assert_eq!(std::fs::read(host.data().join(SECRETS)).expect("there"), before, "as it was");
    keys.become_these(&["1"]);
    host.tell(&["--secrets-key", &path]);
    host.spawn().await;
    assert_eq!(length_of(&host, "old").await, OLD.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_on_top_seals_all_anew_and_the_old_one_can_go() {
    let keys = Keys::of(&["1"]);
    let mut host = sealed(&keys).await;
    for digits in [&["2", "1"][..], &["2"]] {
        host.stop().await;
        keys.become_these(digits);
        host.spawn().await;
        assert_eq!(length_of(&host, "old").await, OLD.len(), "{digits:?}");
        assert_eq!(length_of(&host, "new").await, NEW.len(), "{digits:?}");
    }
    host.stop().await;
    assert_eq!(holding(&host.data()), [] as [PathBuf; 0]);
    keys.become_these(&["1"]);
    let refused = host.try_spawn().await.expect_err("the key of before");
    assert!(refused.contains("does not have it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_for_another_name_is_not_served() {
    let mut host = sealed(&Keys::of(&["1"])).await;
    let (keys, file) = (Keys::of(&["1"]), host.data().join(SECRETS));
    host.tell(&["--secrets-key", &keys.path()]);
    host.stop().await;
    let text = std::fs::read_to_string(&file).expect("there");
    let (_, rest) = text.split_once('\n').expect("a checksum and what it is of");
    let swapped = rest.replace("\"old\"", "\"x\"").replace("\"new\"", "\"old\"");
    let swapped = swapped.replace("\"x\"", "\"new\"");
    assert_ne!(swapped, rest);
    // Whoever may write the file can make this right.
    let hash = blake3::hash(swapped.as_bytes()).to_hex();
    std::fs::write(&file, format!("{{\"check\":\"{hash}\",\n{swapped}")).expect("written");
    host.spawn().await;
    assert!(host.log().contains("is not what was sealed"), "{}", host.log());
    let asked = host.client().call("app/page/a", "length_of", json!({"name": "old"}));
    asked.answer().await.expect_problem(404, "unknown_app");
    host.stop().await;
    let doctor = run(&["doctor", "--repair", "--secrets-key", &keys.path()], &host.data());
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success() && said.contains("set the secrets of app app aside"), "{said}");
    host.spawn().await;
    assert_eq!(length_of(&host, "old").await, Value::Null, "to be set anew");
    assert_eq!(set(&host, "old", OLD).await["sealed"], true);
    host.crash().await;
    assert_eq!(length_of(&host, "old").await, OLD.len());
}

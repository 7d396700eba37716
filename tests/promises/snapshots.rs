//! A snapshot of a live host is one moment of it: whole, restored with everything that waits, and nobody who calls
//! meanwhile notices. What is damaged is not restored.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::crash::{
    ACCOUNTS, CLIENTS, OPENING, Transfer, account, check_effects, check_money, check_quiet,
    statements, transfer_until,
};
use crate::harness::{Guest, Host, PATIENCE, eventually, keystead, sample};

const ROUNDS: usize = 2;

async fn snapshot(host: &Host, name: &str) -> (PathBuf, Value) {
    let path = format!("/admin/v1/snapshots?name={name}");
    let made = host.client().admin(Method::POST, path).answer().await.expect_status(201).json();
    (PathBuf::from(made["path"].as_str().expect("a path")), made)
}

/// What `keystead snapshot restore` says.
fn restore(from: &Path, to: &Path) -> Result<String, String> {
    let mut command = std::process::Command::new(keystead());
    said(command.args(["snapshot", "restore"]).arg(from).arg("--data").arg(to))
}

/// What `keystead snapshot` says to a host.
async fn ask(host: &Host, args: &[&str], to: &Path) -> Result<String, String> {
    let mut command = std::process::Command::new(keystead());
    command.arg("snapshot").args(args).arg("--to").arg(to);
    command.args(["--admin", &host.addresses().admin]);
    tokio::task::spawn_blocking(move || said(&mut command)).await.expect("it runs")
}

fn said(command: &mut std::process::Command) -> Result<String, String> {
    let done = command.output().expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(said(&done.stdout)) } else { Err(said(&done.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_waits_is_restored_and_goes_on() {
    let (mut host, kept) = sample::make().await;
    host.spawn().await;
    let expected = sample::served(&host.client(), &kept).await;
    let (folder, made) = snapshot(&host, "whole").await;
    assert!(made["rows"].as_u64() > Some(50), "{made}");
    let listed = host.client().admin(Method::GET, "/admin/v1/snapshots").ok().await;
    assert_eq!(listed["snapshots"], json!([made]));
    let again = host.client().admin(Method::POST, "/admin/v1/snapshots?name=whole").answer().await;
    again.expect_problem(409, "snapshot_exists");
    // What comes after it is not in it.
    host.client().call("app/probe/later", "bump", json!({})).ok().await;

    let restored = Host::start_over(|data| drop(restore(&folder, data).expect("restored"))).await;
    assert_eq!(sample::served(&restored.client(), &kept).await, expected);
    let later = restored.client().admin(Method::GET, "/admin/v1/entities/app/probe/later");
    later.answer().await.expect_problem(404, "unknown_entity");
    restored.client().call("app/probe/e0", "bump", json!({})).ok().await;

    let removed = host.client().admin(Method::DELETE, "/admin/v1/snapshots/whole");
    removed.answer().await.expect_status(200);
    assert!(!folder.exists());
    let removed = host.client().admin(Method::DELETE, "/admin/v1/snapshots/whole").answer().await;
    removed.expect_problem(404, "unknown_snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_load_is_one_moment_and_costs_no_call() {
    let host = Host::with(Guest::Ledger, "ledger").await;
    let scratch = tempfile::tempdir().expect("a folder");
    let client = host.client();
    for key in 0..ACCOUNTS {
        client.call(&account(key), "open", json!({"amount": OPENING})).ok().await;
    }
    let (done, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let rng = StdRng::seed_from_u64(number);
        tasks.spawn(transfer_until(done.clone(), answers.clone(), client.clone(), number, rng));
    }
    let mut moments = Vec::new();
    for round in 0..ROUNDS {
        let before = answers.load(Ordering::Relaxed);
        eventually("transfers are answered", PATIENCE, || async {
            let more = answers.load(Ordering::Relaxed) - before;
            if more > 300 { Ok(()) } else { Err(format!("{more} more")) }
        })
        .await;
        // Told before the snapshot was asked for, so in it.
        let told = statements(&client).await;
        let name = format!("moment{round}");
        let copy = match round {
            0 => snapshot(&host, &name).await.0,
            // The same, taken from the host as one file.
            _ => {
                let archive = scratch.path().join(&name);
                ask(&host, &["create", &name], &archive).await.expect("made and fetched");
                archive
            }
        };
        moments.push((copy, told));
    }
    done.store(true, Ordering::Relaxed);
    let mut transfers: Vec<Transfer> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(transfers.iter().all(|transfer| transfer.answered), "a call was refused or lost");
    check_quiet(&host).await;
    check_effects(&transfers, &statements(&client).await);

    // Of each snapshot some are there and some are not, and all of them whole.
    transfers.iter_mut().for_each(|transfer| transfer.answered = false);
    for (folder, told) in moments {
        let restored =
            Host::start_over(|data| drop(restore(&folder, data).expect("restored"))).await;
        check_quiet(&restored).await;
        let found = statements(&restored.client()).await;
        check_money(&found);
        check_effects(&transfers, &found);
        for (key, statement) in &told {
            let lost = statement.entries.iter().find(|entry| !found[key].entries.contains(entry));
            assert_eq!(lost, None, "account {key} had it before the snapshot was asked for");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_half_made_is_not_restored() {
    let mut host = Host::with(Guest::Hostile, "app").await;
    host.client().call("app/probe/a", "bump", json!({})).ok().await;
    let (folder, _) = snapshot(&host, "sound").await;
    let scratch = tempfile::tempdir().expect("a folder");
    let to = scratch.path().join("data");
    let file = folder.join("partitions/0/state.redb");
    let sound = std::fs::read(&file).expect("there");
    let mut bad = sound.clone();
    bad[5000] ^= 4;
    std::fs::write(&file, bad).expect("damaged");
    let refused = restore(&folder, &to).expect_err("it is damaged");
    assert!(refused.contains("partitions/0/state.redb") && !to.exists(), "{refused}");
    std::fs::write(&file, sound).expect("mended");
    std::fs::create_dir(&to).expect("made");
    std::fs::write(to.join("mine"), b"").expect("written");
    let refused = restore(&folder, &to).expect_err("something is there");
    assert!(refused.contains("not empty"), "{refused}");
    std::fs::remove_file(to.join("mine")).expect("removed");
    restore(&folder, &to).expect("restored");

    // A host that is killed in the middle leaves none, and the next one can be made.
    let client = host.client();
    let making = tokio::spawn(async move {
        let made = client.admin(Method::POST, "/admin/v1/snapshots?name=half").try_answer().await;
        made.is_ok_and(|answer| answer.status == 201)
    });
    tokio::time::sleep(Duration::from_millis(3)).await;
    host.crash().await;
    let told = making.await.expect("joined");
    let listed = host.client().admin(Method::GET, "/admin/v1/snapshots").ok().await;
    let half =
        listed["snapshots"].as_array().expect("a list").iter().find(|one| one["name"] == "half");
    assert!(half.is_some() || !told, "it was answered and is gone: {listed}");
    if let Some(half) = half {
        let other = scratch.path().join("other");
        restore(Path::new(half["path"].as_str().expect("a path")), &other).expect("it is whole");
    }
    let (folder, _) = snapshot(&host, "next").await;
    std::fs::remove_dir_all(&to).expect("removed");
    restore(&folder, &to).expect("restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_whole_or_is_refused() {
    let host = Host::with(Guest::Hostile, "app").await;
    host.client().call("app/probe/a", "bump", json!({})).ok().await;
    let (folder, _) = snapshot(&host, "one").await;
    let scratch = tempfile::tempdir().expect("a folder");
    let (archive, to) = (scratch.path().join("one.tar"), scratch.path().join("data"));
    ask(&host, &["get", "one"], &archive).await.expect("fetched");
    let file = std::fs::metadata(&archive).expect("there");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let path = "/admin/v1/snapshots/one";
    let answer = host.client().admin(Method::GET, path).answer().await.expect_status(200);
    assert_eq!(answer.headers["content-type"], "application/x-tar");
    let sound = std::fs::read(&archive).expect("there");
    assert!(answer.body == sound, "the same, whoever asks");
    let again = ask(&host, &["get", "one"], &archive).await.expect_err("it is there");
    assert!(again.contains("there already"), "{again}");
    let unknown = ask(&host, &["get", "none"], &scratch.path().join("none")).await;
    assert!(unknown.expect_err("there is none").contains("unknown_snapshot"));
    let audit = host.client().admin(Method::GET, "/admin/v1/audit?limit=1000").ok().await;
    assert!(audit.to_string().contains("SnapshotGet"), "{audit}");

    // It comes back: as it is, through a pipe, and by any other program's tar.
    let counted = async |data: &Path| {
        let restored = Host::start_over(|to| std::fs::rename(data, to).expect("moved")).await;
        assert_eq!(restored.client().value("app/probe/a", "count").await, 1);
    };
    restore(&archive, &to).expect("restored");
    counted(&to).await;
    let mut piped = std::process::Command::new(keystead());
    let stdin = std::fs::File::open(&archive).expect("there");
    piped.args(["snapshot", "restore", "-", "--data"]).arg(&to).stdin(stdin);
    said(&mut piped).expect("restored");
    counted(&to).await;
    let mut tar = std::process::Command::new("tar");
    said(tar.arg("-xf").arg(&archive).arg("-C").arg(scratch.path())).expect("unpacked");
    restore(&scratch.path().join("one"), &to).expect("restored");
    counted(&to).await;

    let bad = scratch.path().join("bad.tar");
    let refused = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).expect("written");
        let refused = restore(&bad, &to).expect_err("it is not whole");
        assert!(!to.exists(), "{refused}");
        refused
    };
    let cut = refused(&sound[..sound.len() * 2 / 3]);
    assert!(cut.contains("was cut"), "{cut}");
    let mut tampered = sound.clone();
    let row = sound.windows(5).rposition(|bytes| bytes == b"probe").expect("a row");
    tampered[row] ^= 1;
    let changed = refused(&tampered);
    assert!(changed.contains("is not what was written"), "{changed}");

    // A host notices that what it sends is not what it wrote, and whoever asked that the end is missing.
    let state = folder.join("partitions/0/state.redb");
    let mut bytes = std::fs::read(&state).expect("there");
    bytes[5_000] ^= 4;
    std::fs::write(&state, bytes).expect("damaged");
    let half = scratch.path().join("half.tar");
    let broken = ask(&host, &["get", "one"], &half).await.expect_err("it ends early");
    assert!(broken.contains("broke"), "{broken}");
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("there").flatten().collect();
    assert!(
        left.iter().all(|file| !file.file_name().to_string_lossy().contains("half")),
        "{left:?}"
    );
    assert!(host.log().contains("partitions/0/state.redb of the snapshot"), "{}", host.log());
}

//! What a host listens on and for whom: open on loopback, not elsewhere; and the command line's tokens, with and
//! without a running host.

use std::path::Path;
use std::process::Output;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, Host, keystead};

const ANYWHERE: [&str; 2] = ["--listen", "0.0.0.0:0"];

async fn run(args: &[&str], token: &str) -> Output {
    let mut command = tokio::process::Command::new(keystead());
    command.args(args).env("KEYSTEAD_TOKEN", token).kill_on_drop(true);
    command.output().await.expect("keystead runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a token in the folder of a host that does not run.
pub(crate) fn make(data: &Path, args: &[&str]) -> String {
    let mut command = std::process::Command::new(keystead());
    command.args(["token", "create"]).args(args).arg("--data").arg(data);
    let output = command.output().expect("keystead runs");
    assert!(output.status.success(), "{output:?}");
    stdout(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_beyond_loopback_needs_a_token_or_a_word() {
    let refused = Host::try_start_with(&ANYWHERE, |_| {}).await.err().expect("it must not start");
    assert!(refused.contains("not a loopback address"), "{refused}");
    assert!(refused.contains("token create") && refused.contains("--open-ingress"), "{refused}");

    let open = [&ANYWHERE[..], &["--open-ingress"]].concat();
    let host = Host::try_start_with(&open, |_| {}).await.expect("it was told to");
    host.deploy(Guest::Hostile, "bank").await;
    host.client().call("bank/probe/a", "bump", json!({})).ok().await;

    let mut secret = String::new();
    let root = ["--name", "root", "--role", "admin", "--all-apps"];
    let host = Host::try_start_with(&ANYWHERE, |data| secret = make(data, &root)).await;
    let host = host.expect("it has a token");
    let call = || host.client().call("bank/probe/a", "bump", json!({}));
    call().answer().await.expect_problem(401, "unauthenticated");
    let known = call().header("Authorization", &format!("Bearer {secret}")).answer().await;
    known.expect_problem(404, "unknown_app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_may_be_one_word_and_stand_where_others_may_not_read() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let outer = folder.path().join("outer");
    std::fs::create_dir(&outer).expect("made");
    let named = |how: &str| {
        let mut command = std::process::Command::new(keystead());
        command.args(["token", "create", "--name", "root", "--role", "admin", "--all-apps"]);
        command.args(["--data", how]).current_dir(&outer);
        let output = command.output().expect("keystead runs");
        assert!(output.status.success(), "--data {how}: {output:?}");
    };
    for how in ["word", "./dotted", "deep/er"] {
        named(how);
        assert!(outer.join(how).join("access/tokens.json").exists(), "{how}");
    }
    // Who may do everything may read this too; others may pass through it only.
    let passing = std::os::unix::fs::PermissionsExt::from_mode(0o300);
    std::fs::set_permissions(&outer, passing).expect("permissions");
    named(outer.join("unread").to_str().expect("UTF-8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_beyond_loopback_is_refused() {
    let elsewhere = ["--admin", "0.0.0.0:0"];
    let refused = Host::try_start_with(&elsewhere, |_| {}).await.err().expect("it must not start");
    assert!(refused.contains("loopback") && refused.contains("--tls-cert"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn required_tokens_are_asked_for_before_there_is_one() {
    let host = Host::try_start_with(&["--require-tokens"], |_| {}).await.expect("it starts");
    let client = host.client();
    client.admin(Method::GET, "/admin/v1/health").ok().await;
    client
        .admin(Method::GET, "/admin/v1/apps")
        .answer()
        .await
        .expect_problem(401, "unauthenticated");
    client.call("a/b/c", "d", json!({})).answer().await.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_ingress_asks_nobody_while_admin_asks() {
    let mut host = Host::try_start_with(&["--open-ingress"], |_| {}).await.expect("it starts");
    host.deploy(Guest::Hostile, "bank").await;
    let root = json!({"name": "root", "roles": ["admin"], "apps": "all"});
    let made = host.client().admin(Method::POST, "/admin/v1/tokens").json(root).answer().await;
    made.expect_status(201);
    for _ in 0..2 {
        let client = host.client();
        client.call("bank/probe/a", "bump", json!({})).ok().await;
        let refused = client.admin(Method::GET, "/admin/v1/apps").answer().await;
        refused.expect_problem(401, "unauthenticated");
        host.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_uses_and_revokes_tokens() {
    let mut host = Host::with(Guest::Hostile, "bank").await;
    let (admin, ingress) = (host.addresses().admin, host.addresses().ingress);
    let create = ["token", "create", "--admin", &admin, "--name", "x", "--all-apps", "--role"];
    let refused = run(&[&create[..], &["invoke"]].concat(), "").await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("first_token"), "{told}");

    let root = run(&[&create[..], &["admin"]].concat(), "").await;
    let note = String::from_utf8_lossy(&root.stderr).into_owned();
    let root = stdout(&root);
    assert!(root.starts_with("ks_") && !note.contains(&root), "{note}");
    let denied = run(&["apps", "--admin", &admin], "").await;
    let told = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(denied.status.code() == Some(1) && told.contains("unauthenticated"), "{told}");
    assert!(run(&["apps", "--admin", &admin], &root).await.status.success());
    let by_flag = run(&["apps", "--admin", &admin, "--token", &root], "").await;
    assert!(by_flag.status.success(), "{by_flag:?}");

    let caller = ["--json", "token", "create", "--admin", &admin, "--name", "caller"];
    let rest = ["--role", "invoke", "--app", "bank", "--expires", "30d"];
    let made = run(&[&caller[..], &rest].concat(), &root).await;
    let made: Value = serde_json::from_str(&stdout(&made)).expect("JSON");
    let secret = made["token"].as_str().expect("a secret");
    let call = ["call", "bank/probe/a", "bump", "--ingress", &ingress];
    assert_eq!(stdout(&run(&call, secret).await), "1");
    let id = made["id"].as_str().expect("an id");
    let revoked = run(&["token", "revoke", id, "--admin", &admin], &root).await;
    assert_eq!(stdout(&revoked), format!("{id} revoked"));
    assert_eq!(run(&call, secret).await.status.code(), Some(1));
    assert_eq!(stdout(&run(&call, &root).await), "2", "an admin calls, too");

    host.crash().await;
    let admin = host.addresses().admin;
    let listed = stdout(&run(&["token", "ls", "--admin", &admin], &root).await);
    assert!(
        listed.contains("admin") && !listed.contains(id) && !listed.contains("ks_"),
        "{listed}"
    );
}

//! The registry over a real folder and a real engine: deploys, and what operators change of them.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::config::AppConfig;
use crate::engine::testing;

const DEPOSIT: &str = r#"{"entities":[{"type":"account","handlers":[{"name":"deposit","kind":"command",
    "input":{"json":{"type":"object","properties":{"amount":{"type":"integer"}}}},
    "output":{"json":{"type":"integer"}}}]}]}"#;
const NOTHING: &str = r#"{"entities":[{"type":"account","handlers":[]}]}"#;

fn open(dir: &Path) -> Registry {
    let clock = Arc::new(ManualClock::new(5_000, 1));
    Registry::open(dir, testing::engine(&dir.join("cache")), clock, None).expect("registry")
}

fn with(config: AppConfig) -> Deploy {
    Deploy { config: Some(config), ..Deploy::default() }
}

fn deploy(registry: &Registry, document: &str, breaking: bool) -> Result<Deployed, DeployError> {
    let how = Deploy { breaking, ..Deploy::default() };
    registry.deploy("bank", &testing::component(document), &how)
}

#[test]
fn a_deploy_is_live_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    assert!(registry.app("bank").is_none());
    let deployed = deploy(&registry, DEPOSIT, false).expect("deployed");
    assert!(deployed.changed);
    for registry in [registry, open(dir.path())] {
        let app = registry.app("bank").expect("live");
        assert_eq!((app.version, app.deployed_at_ms), (deployed.version, 5_000));
        assert!(app.contract.handler("account", "deposit").is_some());
        assert_eq!(registry.apps().len(), 1);
        assert!(!deploy(&registry, DEPOSIT, false).expect("again").changed, "idempotent");
    }
}

#[test]
fn a_break_must_be_said_and_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, DEPOSIT, false).expect("deployed");
    let before = registry.app("bank").expect("live");
    let error = deploy(&registry, NOTHING, false).expect_err("breaks");
    let DeployError::Breaking(refused) = &error else { panic!("{error}") };
    assert_eq!(refused.breaking, ["- account.deposit: the handler is gone"]);
    assert_eq!(registry.app("bank").expect("live").version, before.version);
    assert_eq!(open(dir.path()).app("bank").expect("live").version, before.version);

    assert!(deploy(&registry, NOTHING, true).expect("deployed").changed);
    let after = registry.app("bank").expect("live");
    assert!(Arc::ptr_eq(&before.logs, &after.logs));
    assert!(deploy(&registry, DEPOSIT, false).expect("deployed").changed, "adds only");
}

#[test]
fn state_that_may_be_there_must_be_read_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("tempdir");
    let state = |state: &str| {
        format!(r#"{{"entities":[{{"type":"account","handlers":[],"state":{state}}}]}}"#)
    };
    let first = state(r#"{"fields":{"balance":{"kind":"plain","schema":{"type":"integer"}}}}"#);
    let retyped = state(r#"{"fields":{"balance":{"kind":"plain","schema":{"type":"string"}}}}"#);
    let second = r#"{"version":2,"migrates_from":1,
        "fields":{"balance":{"kind":"plain","schema":{"type":"string"}}}}"#;
    let second = state(second);
    deploy(&open(dir.path()), &first, false).expect("deployed");
    let error = deploy(&open(dir.path()), &retyped, false).expect_err("unreadable");
    let text = error.to_string();
    assert!(text.contains("account.balance") && text.contains("--breaking"), "{text}");
    deploy(&open(dir.path()), &second, false).expect("migrates");
    let record = dir.path().join("apps/bank.json");
    let kept = std::fs::read(&record).expect("there");
    std::fs::write(&record, b"{").expect("damaged");
    let error = deploy(&open(dir.path()), &second, false).expect_err("nobody knows");
    assert!(matches!(&error, DeployError::Storage(why) if why.contains("--breaking")), "{error}");
    std::fs::write(&record, kept).expect("mended");
    let error = deploy(&open(dir.path()), &first, false).expect_err("an older version");
    assert!(
        matches!(&error, DeployError::Breaking(refused) if refused.breaking.len() == 1),
        "{error}"
    );
    assert!(deploy(&open(dir.path()), &first, true).expect("it was said").changed);
}

#[test]
fn another_configuration_is_a_change() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let component = testing::component(DEPOSIT);
    let config = AppConfig { deadline_ms: 77, ..AppConfig::default() };
    deploy(&registry, DEPOSIT, false).expect("deployed");
    assert!(registry.deploy("bank", &component, &with(config)).expect("deployed").changed);
    assert_eq!(open(dir.path()).app("bank").expect("live").config.deadline_ms, 77);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let good = testing::component(DEPOSIT);
    let error = registry.deploy("1bank", &good, &Deploy::default()).expect_err("name");
    assert!(matches!(error, DeployError::Name(_)));
    let bad = AppConfig { deadline_ms: 0, ..AppConfig::default() };
    let error = registry.deploy("bank", &good, &with(bad)).expect_err("config");
    assert!(matches!(error, DeployError::Config(_)));
    let error = registry.deploy("bank", &good[..99], &Deploy::default()).expect_err("cut");
    assert!(matches!(error, DeployError::Component(_)));
    let error = deploy(&registry, "{}", false).expect_err("document");
    assert!(matches!(error, DeployError::Contract(_)), "{error}");
    assert!(registry.apps().is_empty() && open(dir.path()).apps().is_empty());
}

#[test]
fn a_damaged_component_leaves_its_app_out_and_others_in() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, DEPOSIT, false).expect("deployed");
    let other = testing::component(NOTHING);
    registry.deploy("other", &other, &Deploy::default()).expect("deployed");
    let hash = blake3::Hash::from_bytes(VersionId::of(&other).0).to_hex();
    let file = dir.path().join(format!("components/{hash}.wasm"));
    std::fs::write(file, b"not it").expect("write");
    let registry = open(dir.path());
    assert!(registry.app("other").is_none() && registry.app("bank").is_some());
    registry.deploy("other", &other, &Deploy::default()).expect("deployed again");
    assert!(open(dir.path()).app("other").is_some());
}

/// A contract with one more handler for each letter, so that each is another component.
fn with_handlers(names: &str) -> String {
    let handler = |name: char| {
        json!({"name": name.to_string(), "kind": "command", "input": {"json": {"type": "object"}},
               "output": {"json": true}})
    };
    let handlers: Vec<_> = names.chars().map(handler).collect();
    json!({"entities": [{"type": "account", "handlers": handlers}]}).to_string()
}

/// The same type with state of a version.
fn with_state(version: u32, oldest: u32) -> String {
    let state = json!({"version": version, "migrates_from": oldest, "fields": {}});
    json!({"entities": [{"type": "account", "handlers": [], "state": state}]}).to_string()
}

fn id(document: &str) -> VersionId {
    VersionId::of(&testing::component(document))
}

fn live(registry: &Registry) -> VersionId {
    registry.app("bank").expect("live").version
}

#[test]
fn a_dry_run_and_an_inactive_deploy_leave_what_is_live() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let how = Deploy { inactive: true, ..Deploy::default() };
    let component = testing::component(&with_handlers("ab"));
    let error = registry.deploy("bank", &component, &how).expect_err("nothing is live");
    assert!(matches!(error, DeployError::NothingLive(_)), "{error}");
    deploy(&registry, &with_handlers("a"), false).expect("deployed");
    let dry = Deploy { dry_run: true, ..Deploy::default() };
    let said = registry.deploy("bank", &component, &dry).expect("dry");
    assert_eq!((said.diff.len(), said.breaking.len(), said.changed), (1, 0, true));
    assert_eq!(registry.versions("bank").expect("listed").versions.len(), 1);
    let said = registry.deploy("bank", &testing::component(NOTHING), &dry).expect("dry");
    assert_eq!(said.breaking, ["- account.a: the handler is gone"]);
    assert!(registry.deploy("bank", &component, &how).expect("kept").changed);
    assert!(!registry.deploy("bank", &component, &how).expect("kept").changed);
    assert_eq!(live(&registry), id(&with_handlers("a")));
    let registry = open(dir.path());
    let prefix = &id(&with_handlers("ab")).hex()[..6];
    assert!(registry.activate("bank", prefix, false).expect("activated").changed);
    assert_eq!(live(&registry), id(&with_handlers("ab")));
}

#[test]
fn rolling_back_retraces_and_needs_no_compiler() {
    let dir = tempfile::tempdir().expect("tempdir");
    let all = ["a", "ab", "abc"].map(with_handlers);
    for document in &all {
        deploy(&open(dir.path()), document, false).expect("deployed");
    }
    // A compiler that does not exist: everything has to come from what is kept.
    let clock = Arc::new(ManualClock::new(5_000, 1));
    let engine = testing::engine_without_compiler(&dir.path().join("cache"));
    let registry = Registry::open(dir.path(), engine, clock, None).expect("registry");
    let rolled = registry.roll_back("bank", false).expect("back");
    assert_eq!((rolled.version, rolled.replaced), (id(&all[1]), id(&all[2])));
    assert_eq!(rolled.diff.len(), 1, "a handler less does not hold it up");
    assert_eq!(registry.roll_back("bank", false).expect("further").version, id(&all[0]));
    let error = registry.roll_back("bank", false).expect_err("the first");
    assert!(matches!(error, ChangeError::NoPrevious(_)), "{error}");
    let error = deploy(&registry, &with_handlers("xy"), true).expect_err("needs the compiler");
    assert!(matches!(error, DeployError::Component(_)), "the control: {error}");
    assert_eq!(live(&open(dir.path())), id(&all[0]));
    registry.activate("bank", &id(&all[2]).hex(), false).expect("activated");
    let error = registry.activate("bank", &id(&all[0]).hex(), false).expect_err("breaks");
    assert!(matches!(&error, ChangeError::Breaking(breaks) if breaks.len() == 2), "{error}");
    registry.activate("bank", &id(&all[0]).hex(), true).expect("it was said");
}

#[test]
fn versions_that_cannot_read_what_is_there_are_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let (first, second) = (with_state(1, 1), with_state(2, 1));
    deploy(&registry, &first, false).expect("deployed");
    let inactive = Deploy { inactive: true, ..Deploy::default() };
    registry.deploy("bank", &testing::component(&second), &inactive).expect("kept");
    let hex = id(&second).hex();
    let error = registry.ramp("bank", &hex, 10, true).expect_err("not beside each other");
    let text = error.to_string();
    assert!(text.contains("state's version only grows") && text.contains("version 2"), "{text}");
    assert_eq!(live(&registry), id(&first));
    registry.activate("bank", &hex, false).expect("reads version 1");
    for error in [
        registry.roll_back("bank", false).expect_err("it may be of version 2"),
        registry.activate("bank", &id(&first).hex(), false).expect_err("the same"),
    ] {
        assert!(matches!(error, ChangeError::Breaking(_)), "{error}");
        assert!(error.to_string().contains("version 2"), "{error}");
    }
    assert_eq!(live(&registry), id(&second));
    assert_eq!(registry.roll_back("bank", true).expect("it was said").version, id(&first));
}

#[test]
fn versions_are_named_by_their_beginning() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, &with_handlers("a"), false).expect("deployed");
    let hex = id(&with_handlers("a")).hex();
    assert!(!registry.activate("bank", &hex[..4], false).expect("found").changed);
    assert!(!registry.activate("bank", &hex.to_uppercase(), false).expect("found").changed);
    for prefix in ["", "0", &hex[..3], "zzzz", &format!("{hex}0")] {
        let error = registry.activate("bank", prefix, false).expect_err("not named");
        assert!(matches!(error, ChangeError::UnknownVersion { .. }), "{prefix}: {error}");
    }
    assert!(matches!(registry.versions("shop"), Err(ChangeError::UnknownApp(_))));
}

#[test]
fn a_ramp_takes_its_share_survives_a_restart_and_ends() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let (old, new) = (with_handlers("a"), with_handlers("ab"));
    deploy(&registry, &old, false).expect("deployed");
    let inactive = Deploy { inactive: true, ..Deploy::default() };
    registry.deploy("bank", &testing::component(&new), &inactive).expect("kept");
    let hex = id(&new).hex();
    let entity = |n: u32| EntityRef::new("bank", "account", &format!("k{n}")).expect("valid");
    let on = |registry: &Registry, n, handler: &str| {
        registry.serving(&entity(n), handler).expect("served").version
    };
    let taken = |registry: &Registry| {
        (0..1_000).filter(|n| on(registry, *n, "a") == id(&new)).collect::<Vec<_>>()
    };
    registry.ramp("bank", &hex, 20, false).expect("ramped");
    let first = taken(&registry);
    assert!((150..250).contains(&first.len()), "{}", first.len());
    assert!((0..1_000).all(|n| on(&registry, n, "b") == id(&new)), "only the new one has b");
    assert_eq!(taken(&open(dir.path())), first, "after a restart");
    registry.ramp("bank", &hex, 60, false).expect("raised");
    let second = taken(&registry);
    assert!(second.len() > 500 && first.iter().all(|n| second.contains(n)));
    assert_eq!(live(&registry), id(&old));
    let listed = registry.versions("bank").expect("listed");
    assert_eq!(listed.versions[0].percent, Some(60));
    for (version, percent) in [(&hex, 101), (&id(&old).hex(), 10)] {
        assert!(registry.ramp("bank", version, percent, false).is_err());
    }
    registry.ramp("bank", &hex, 0, false).expect("ended");
    assert!(taken(&registry).is_empty() && taken(&open(dir.path())).is_empty());
    registry.ramp("bank", &hex, 100, false).expect("all");
    registry.activate("bank", &hex, false).expect("activated");
    assert_eq!((live(&registry), registry.ramped("bank")), (id(&new), None));
}

#[test]
fn a_ramp_that_is_halted_is_over_for_good_and_says_why() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, &with_handlers("a"), false).expect("deployed");
    deploy(&registry, &with_handlers("ab"), false).expect("deployed");
    registry.roll_back("bank", false).expect("back");
    let hex = id(&with_handlers("ab")).hex();
    registry.ramp("bank", &hex, 50, false).expect("ramped");
    let entity = EntityRef::new("bank", "account", "k").expect("valid");
    let ramped = registry.serving(&entity, "b").expect("served");
    registry.halt(&ramped, "it was worse".into());
    registry.halt(&ramped, "a second time".into());
    for registry in [registry, open(dir.path())] {
        assert_eq!(registry.ramped("bank"), None);
        let halted = registry.versions("bank").expect("listed").halted.expect("halted");
        assert_eq!((halted.percent, halted.reason.as_str()), (50, "it was worse"));
        assert_eq!(halted.version, ramped.version);
    }
}

#[test]
fn settings_change_one_by_one_and_outlive_deploys_and_restarts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, &with_handlers("a"), false).expect("deployed");
    let patch =
        json!({"deadline_ms": 250, "retry": {"attempts_max": 3}, "values": {"a": "1", "b": "2"}});
    registry.configure("bank", &patch).expect("set");
    let patch = json!({"deadline_ms": null, "values": {"a": null}});
    let config = registry.configure("bank", &patch).expect("unset");
    assert_eq!(config.deadline_ms, AppConfig::default().deadline_ms);
    assert_eq!((config.retry.attempts_max, config.values.len()), (3, 1));
    for patch in [json!({"deadline": 1}), json!({"deadline_ms": 0}), json!({"values": {"a": 1}})] {
        assert!(registry.configure("bank", &patch).is_err(), "{patch}");
    }
    deploy(&registry, &with_handlers("ab"), false).expect("deployed");
    registry.roll_back("bank", false).expect("back");
    for registry in [registry, open(dir.path())] {
        assert_eq!(registry.app("bank").expect("live").config, config);
    }
}

#[test]
fn secrets_outlive_restarts_and_share_no_name_with_a_value() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    deploy(&registry, &with_handlers("a"), false).expect("deployed");
    let secret = || Secret::new(b"hunter2".to_vec()).ok();
    registry.set_secret("bank", "token", secret()).expect("set");
    let patch = json!({"values": {"token": "x"}});
    assert!(registry.configure("bank", &patch).is_err(), "a secret has this name");
    let config =
        AppConfig { values: [("token".into(), "x".into())].into(), ..AppConfig::default() };
    let error = registry.deploy("bank", &testing::component(NOTHING), &with(config));
    assert!(error.is_err(), "the same in a deploy");
    registry.configure("bank", &json!({"values": {"plain": "x"}})).expect("another name");
    assert!(registry.set_secret("bank", "plain", secret()).is_err(), "a value has this name");
    let file = dir.path().join("apps/bank.secrets");
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for entry in std::fs::read_dir(dir.path().join("apps")).expect("listed") {
        let path = entry.expect("there").path();
        let text = String::from_utf8(std::fs::read(&path).expect("reads")).expect("text");
        assert_eq!(text.contains("hunter2"), path == file, "{}", path.display());
    }
    let registry = open(dir.path());
    let app = registry.app("bank").expect("live");
    assert_eq!(app.secrets.get("token").expect("kept").reveal(), "hunter2");
    registry.set_secret("bank", "token", None).expect("unset");
    assert!(registry.app("bank").expect("live").secrets.get("token").is_none());
    std::fs::write(&file, b"{").expect("damaged");
    assert!(open(dir.path()).app("bank").is_none(), "not served without what it may need");
}

#[test]
fn what_no_record_names_is_removed_and_what_runs_goes_on() {
    let dir = tempfile::tempdir().expect("tempdir");
    let registry = open(dir.path());
    let names: Vec<String> = ('a'..='z').map(String::from).collect();
    for name in &names {
        deploy(&registry, &with_handlers(name), true).expect("deployed");
    }
    let files = |folder: &str, ending: &str| {
        let entries = std::fs::read_dir(dir.path().join(folder)).expect("listed");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("there").file_name().to_string_lossy().into_owned()
        };
        entries.map(name).filter(|name| name.ends_with(ending)).count()
    };
    let kept = crate::limits::APP_VERSIONS_KEPT;
    assert_eq!((files("components", ".wasm"), files("cache", ".cwasm")), (kept, kept));
    assert_eq!(registry.versions("bank").expect("listed").versions.len(), kept);
    let oldest = with_handlers(&names[names.len() - kept]);
    registry.activate("bank", &id(&oldest).hex(), true).expect("still there");
    let gone = id(&with_handlers("a")).hex();
    let error = registry.activate("bank", &gone, true).expect_err("forgotten");
    assert!(matches!(error, ChangeError::UnknownVersion { .. }), "{error}");
}

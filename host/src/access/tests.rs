//! Tokens and doors, with a clock of their own.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir, clock: Arc::new(ManualClock::new(1_000, 7)) }
    }

    fn open(&self) -> Arc<Access> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        Arc::new(Access::open(&self.dir.path().join("access"), clock, false).expect("opens"))
    }
}

fn new(roles: &[Role], apps: &[&str]) -> NewToken {
    let roles = roles.iter().copied().collect();
    let apps: BTreeSet<_> = apps.iter().map(|&app| app.to_owned()).collect();
    let apps = if apps.is_empty() { Apps::All } else { Apps::These(apps) };
    NewToken { name: "test".into(), roles, apps, lasts: None }
}

fn admit(door: &Door, secret: &Secret, role: Role, scope: Scope<'_>) -> Result<(), Denied> {
    let presented = Ok(Secret::parse(&secret.text()).expect("its own text"));
    door.admit(Some(&presented), &[role], scope).map(drop)
}

#[test]
fn roles_imply_what_they_say_and_no_more() {
    let implied = |role: Role| {
        Role::ALL.iter().filter(|&&other| role.implies(other)).map(|r| r.name()).collect::<Vec<_>>()
    };
    assert_eq!(implied(Role::Invoke), ["invoke"]);
    assert_eq!(implied(Role::Read), ["read"]);
    assert_eq!(implied(Role::Operate), ["read", "operate"]);
    assert_eq!(implied(Role::Admin), ["invoke", "read", "operate", "admin"]);
}

#[test]
fn without_tokens_the_door_is_open_and_never_again_after_the_first() {
    let world = World::new();
    let access = world.open();
    let door = Door::new(Arc::clone(&access), false);
    assert!(door.admit(None, &[Role::Admin], Scope::Host).is_ok());
    assert!(!world.dir.path().join("access/tokens.json").exists());

    let refused = access.create(new(&[Role::Invoke], &[])).expect_err("nobody could make another");
    assert!(matches!(refused, ChangeError::First), "{refused}");
    let refused = access.create(new(&[Role::Admin], &["bank"])).expect_err("for one app only");
    assert!(matches!(refused, ChangeError::First), "{refused}");
    assert!(!door.asks(), "a refused token changes nothing");

    let (secret, token) = access.create(new(&[Role::Admin], &[])).expect("the first");
    let missing = door.admit(None, &[Role::Read], Scope::Shown).expect_err("no token");
    assert_eq!(missing, Denied::Missing);
    assert_eq!(admit(&door, &secret, Role::Admin, Scope::Host), Ok(()));
    access.revoke(&token.id).expect("stored").expect("was there");
    assert_eq!(admit(&door, &secret, Role::Admin, Scope::Host), Err(Denied::Unknown));
    let door = Door::new(world.open(), false);
    assert!(door.asks(), "taking the last one away does not open the door");
    let open = Door::new(world.open(), true);
    assert!(open.admit(None, &[Role::Invoke], Scope::App("bank")).is_ok(), "it was told to be");
}

#[test]
fn a_token_opens_its_roles_for_its_apps_until_it_ends() {
    let world = World::new();
    let access = world.open();
    access.create(new(&[Role::Admin], &[])).expect("the first");
    let lasting =
        NewToken { lasts: Some(Duration::from_secs(10)), ..new(&[Role::Read], &["bank"]) };
    let (secret, token) = access.create(lasting).expect("made");
    let door = Door::new(world.open(), false);
    assert_eq!(admit(&door, &secret, Role::Read, Scope::App("bank")), Ok(()));
    assert_eq!(admit(&door, &secret, Role::Read, Scope::Shown), Ok(()));
    let (needs, has) = (vec![Role::Invoke], vec![Role::Read]);
    let lacking = Denied::Role { needs, has };
    assert_eq!(lacking.to_string(), "this needs the role invoke; the token has read");
    assert_eq!(admit(&door, &secret, Role::Invoke, Scope::App("bank")), Err(lacking));
    let other = Denied::App("shop".into());
    assert_eq!(admit(&door, &secret, Role::Read, Scope::App("shop")), Err(other));
    assert_eq!(admit(&door, &secret, Role::Read, Scope::Host), Err(Denied::Host));

    let presented = Ok(Secret::parse(&secret.text()).expect("valid"));
    let caller = door.admit(Some(&presented), &[Role::Read], Scope::Shown).expect("let in");
    assert!(caller.sees("bank") && !caller.sees("shop") && !caller.sees_all());
    assert_eq!(door.still(&caller), Ok(()));
    world.clock.advance(Duration::from_secs(10));
    let expired = Err(Denied::Expired(token.id.clone()));
    assert_eq!(door.still(&caller), expired);
    assert_eq!(admit(&door, &secret, Role::Read, Scope::App("bank")), expired);
}

#[test]
fn a_wait_that_began_before_a_revocation_is_told_of_it() {
    let world = World::new();
    let access = world.open();
    let (secret, token) = access.create(new(&[Role::Admin], &[])).expect("made");
    let door = Door::new(Arc::clone(&access), false);
    let caller = door.admit(Some(&Ok(secret)), &[Role::Read], Scope::Host).expect("let in");
    access.revoke(&token.id).expect("stored");
    assert_eq!(door.still(&caller), Err(Denied::Unknown));
    assert!(access.revoke(&token.id).expect("stored").is_none(), "once");
}

#[test]
fn only_the_hash_is_kept_and_damage_opens_nothing() {
    let world = World::new();
    let (secret, token) = world.open().create(new(&[Role::Admin], &[])).expect("made");
    let text = secret.text();
    assert_eq!(text.len(), 3 + 43);
    assert!(!format!("{secret:?} {token:?}").contains(&text[3..]), "a secret in a log");
    let path = world.dir.path().join("access/tokens.json");
    let stored = fs::read_to_string(&path).expect("stored");
    assert!(!stored.contains(&text[3..]) && stored.contains(&token.id), "{stored}");
    fs::write(&path, stored.replace("admin", "Admin")).expect("damaged");
    let clock: Arc<dyn Clock> = Arc::clone(&world.clock) as _;
    let error = Access::open(&world.dir.path().join("access"), clock, false).map(drop);
    assert!(error.expect_err("damaged").to_string().contains("tokens.json"));
}

#[test]
fn secrets_are_read_in_one_way_only() {
    let world = World::new();
    let (secret, _) = world.open().create(new(&[Role::Admin], &[])).expect("made");
    let text = secret.text();
    assert!(Secret::parse(&text).is_ok());
    let longer = format!("{text}A");
    for bad in ["", "ks_", &text[3..], &text[..45], &longer, &text.to_uppercase(), "ks_\u{e9}"] {
        assert!(Secret::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn tokens_that_make_no_sense_are_not_made() {
    let world = World::new();
    let access = world.open();
    let bad = |new: NewToken| access.create(new).map(drop).expect_err("bad").to_string();
    let good = || new(&[Role::Admin], &[]);
    assert!(bad(NewToken { name: String::new(), ..good() }).contains("name"));
    assert!(bad(NewToken { name: "a\nb".into(), ..good() }).contains("name"));
    assert!(bad(NewToken { roles: BTreeSet::new(), ..good() }).contains("role"));
    assert!(bad(NewToken { apps: Apps::These(BTreeSet::new()), ..good() }).contains("apps"));
    assert!(bad(new(&[Role::Admin], &["a/b"])).contains("app"));
    assert!(bad(NewToken { lasts: Some(Duration::ZERO), ..good() }).contains("lasts"));
    let long = limits::TOKEN_TIME_MAX + Duration::from_secs(1);
    assert!(bad(NewToken { lasts: Some(long), ..good() }).contains("days"));
}

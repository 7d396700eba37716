//! Deploys are invisible to work in flight: whatever version is made live, ramped or taken back meanwhile, every call
//! is answered, every message arrives once, and no turn runs on two versions. `KEYSTEAD_DEPLOY_SECONDS` says how long
//! the loop goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Client, Guest, Host, PATIENCE, eventually, files_with};

const CLIENTS: u64 = 64;
const PAGES: u64 = 200;
const SECONDS: u64 = 8;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    calls: AtomicU64,
    sends: AtomicU64,
    stamps: AtomicU64,
    /// Answers by the edition that gave them.
    by: [AtomicU64; 3],
}

impl Seen {
    fn all(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Notes an answer of one turn, which must be of one edition.
    fn stamp(&self, stamp: &Value, wrote: bool) {
        let by = stamp["by"].as_u64().expect("an edition");
        assert!(stamp["plain"] == stamp["row"] || stamp["count"] == 0, "mixed: {stamp}");
        assert!(!wrote || stamp["plain"] == by, "mixed: {stamp}");
        assert_eq!(stamp["mixed"], 0, "a mixed turn was heard of: {stamp}");
        self.by[usize::try_from(by).expect("small")].fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deploys_ramps_and_rollbacks_lose_nothing_and_mix_nothing() {
    let host = Arc::new(Host::with(Guest::FirstEdition, "app").await);
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(client(host.client(), number, seen.clone()));
    }
    let seconds = std::env::var("KEYSTEAD_DEPLOY_SECONDS")
        .map_or(SECONDS, |text| text.parse().expect("KEYSTEAD_DEPLOY_SECONDS is a number"));
    let operated = operate(&host, &seen, Duration::from_secs(seconds)).await;
    seen.stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    host.quiet().await;
    let client = host.client();
    let (mut stamped, mut heard) = (0, 0);
    for page in 0..PAGES {
        let stamp = client.value(&format!("app/page/p{page}"), "look").await;
        stamped += stamp["count"].as_u64().expect("a count");
        heard += stamp["heard"].as_u64().expect("a count");
        assert_eq!(stamp["mixed"], 0, "a mixed turn was heard of: {stamp}");
    }
    let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (stamps, sends) = (load(&seen.stamps), load(&seen.sends));
    println!(
        "{seconds} s: {} calls and {sends} sends, none failed; by edition {} and {}; {operated}",
        seen.all(),
        load(&seen.by[1]),
        load(&seen.by[2])
    );
    assert_eq!(stamped, stamps, "a call was lost or took effect twice");
    assert_eq!(heard, stamps + sends, "a message was lost or took effect twice");
    assert_eq!(host.totals().await.dead, 0);
    assert!(load(&seen.by[1]) > 0 && load(&seen.by[2]) > 0, "one edition answered nothing");
}

/// Stamps, looks and sends until it is told to stop. Every answer must be a good one.
async fn client(client: Client, number: u64, seen: Arc<Seen>) {
    let mut state = number + 1;
    let mut page = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("p{}", (state >> 33) % PAGES)
    };
    let mut turn = number;
    while !seen.stop.load(Ordering::SeqCst) {
        let (entity, to) = (format!("app/page/{}", page()), page());
        turn += 1;
        match turn % 4 {
            0 => {
                let sent = client.send(&entity, "hear", json!({"by": 1, "plain": 1, "row": 1}));
                sent.answer().await.expect_status(202);
                seen.sends.fetch_add(1, Ordering::SeqCst);
            }
            1 => seen.stamp(&client.value(&entity, "look").await, false),
            _ => {
                let rounds = if turn.is_multiple_of(16) { 2_000_000 } else { 100 };
                let input = json!({"rounds": rounds, "to": to});
                seen.stamp(&client.call(&entity, "stamp", input).ok().await, true);
                seen.stamps.fetch_add(1, Ordering::SeqCst);
            }
        }
        seen.calls.fetch_add(1, Ordering::SeqCst);
    }
}

/// Deploys, ramps, goes back and deploys again, each time under calls that have begun before and after. Gives how
/// often, and how long going back took.
async fn operate(host: &Host, seen: &Seen, time: Duration) -> String {
    let versions = [Guest::FirstEdition, Guest::SecondEdition];
    let mut ids = vec![];
    for guest in versions {
        ids.push(version(&host.deploy(guest, "app").await.json()));
    }
    let (mut rounds, mut back) = (0, vec![]);
    let ends = Instant::now() + time;
    while rounds < 2 || Instant::now() < ends {
        // One of them is live; the other one is tried, taken back, and put into its place.
        let other = rounds % 2;
        passed(seen).await;
        for percent in [10, 50, 100] {
            post(host, &format!("versions/{}/ramp?percent={percent}", ids[other])).await;
            passed(seen).await;
        }
        post(host, &format!("versions/{}/activate", &ids[other][..8])).await;
        passed(seen).await;
        let began = Instant::now();
        let now = post(host, "rollback").await;
        back.push(began.elapsed());
        assert_eq!(now["replaced"], short(&ids[other]));
        passed(seen).await;
        let again = host.deploy(versions[other], "app").await.json();
        assert_eq!((&again["changed"], version(&again)), (&json!(true), ids[other].clone()));
        let again = host.deploy(versions[other], "app").await.json();
        assert_eq!(again["changed"], false);
        rounds += 1;
    }
    back.sort();
    let (median, most) = (back[back.len() / 2], back[back.len() - 1]);
    format!("{rounds} rounds; rollback {median:?} in the median, {most:?} at most")
}

/// Waits until calls have ended, so that some run on what is live now.
async fn passed(seen: &Seen) {
    let before = seen.all();
    eventually("calls go on", PATIENCE, || async {
        let now = seen.all();
        if now >= before + CLIENTS / 2 { Ok(()) } else { Err(format!("{now} calls")) }
    })
    .await;
}

async fn post(host: &Host, what: &str) -> Value {
    let path = format!("/admin/v1/apps/app/{what}");
    host.client().admin(Method::POST, path).ok().await
}

/// All of a version's hash.
fn version(answer: &Value) -> String {
    answer["hash"].as_str().expect("a hash").to_owned()
}

fn short(hash: &str) -> &str {
    &hash[..16]
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_takes_less_than_a_second_and_compiles_nothing() {
    let mut host = Host::with(Guest::FirstEdition, "app").await;
    host.deploy(Guest::SecondEdition, "app").await;
    let client = host.client();
    let edition = || async {
        let stamp = client.value("app/page/a", "look").await;
        stamp["by"].as_u64().expect("an edition")
    };
    assert_eq!(edition().await, 2);
    // After a restart the version before is on disk only, and its compiled code beside it.
    host.crash().await;
    let mut times = vec![];
    for (went, now) in [("rollback", 1), ("activate", 2), ("rollback", 1)] {
        let listed = client.admin(Method::GET, "/admin/v1/apps/app/versions").ok().await;
        let second = listed["versions"][0]["version"].as_str().expect("a version").to_owned();
        let began = Instant::now();
        match went {
            "rollback" => post(&host, "rollback").await,
            _ => post(&host, &format!("versions/{second}/activate")).await,
        };
        times.push(began.elapsed());
        assert_eq!(edition().await, now);
    }
    let quickest = times.iter().min().expect("three");
    assert!(*quickest < Duration::from_secs(1), "{times:?}");
    assert!(!host.log().contains("compiling again"), "{}", host.log());
    let nowhere = client.admin(Method::POST, "/admin/v1/apps/app/rollback").answer().await;
    nowhere.expect_problem(409, "no_previous_version");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_ends_on_its_version_and_what_is_tried_again_runs_on_the_new_one() {
    let host = Host::start().await;
    let config = json!({"deadline_ms": 20_000, "retry": {"initial_ms": 50, "max_ms": 200, "attempts_max": 1_000}});
    host.deploy_with(Guest::FirstEdition, "app", config).await;
    let client = host.client();
    let second = keep(&host, Guest::SecondEdition).await;
    let broken = client.send("app/page/retried", "fail_in", json!({"edition": 1})).answer().await;
    let broken = broken.expect_status(202).id();
    let mut slow = JoinSet::new();
    for page in 0..2 {
        let client = client.clone();
        let input = json!({"rounds": 1_500_000_000_u64, "to": "other"});
        slow.spawn(async move {
            client.call(&format!("app/page/slow{page}"), "stamp", input).ok().await
        });
    }
    // A call that waits for a thread, or that is about to start over on one, has not begun; the one that is tried again
    // and again holds a thread for a moment only.
    let looks = AtomicU64::new(0);
    eventually("both slow calls run", PATIENCE, || async {
        let (busy, queue) = threads(&host).await;
        let in_a_row = if busy >= 2 && queue == 0 { looks.load(Ordering::Relaxed) + 1 } else { 0 };
        looks.store(in_a_row, Ordering::Relaxed);
        if in_a_row >= 4 { Ok(()) } else { Err(format!("{busy} threads busy, {queue} calls wait")) }
    })
    .await;
    post(&host, &format!("versions/{second}/activate")).await;
    assert_eq!(client.value("app/page/slow0", "look").await["by"], 2, "a query beside it");
    assert_eq!(slow.len(), 2);
    for stamp in slow.join_all().await {
        assert_eq!(
            (&stamp["by"], &stamp["plain"], &stamp["row"]),
            (&json!(1), &json!(1), &json!(1))
        );
    }
    let stamp = client.value("app/page/slow0", "look").await;
    assert_eq!((&stamp["by"], &stamp["plain"]), (&json!(2), &json!(1)));
    let done = host.finished(&broken).await.expect_status(200).json();
    assert!(done.to_string().contains('2'), "the retry did not run on the new version: {done}");
    assert_eq!(host.totals().await.dead, 0);
}

/// Executor threads that run a handler, and calls that wait for one.
async fn threads(host: &Host) -> (u64, u64) {
    let page = host.client().admin(Method::GET, "/metrics").answer().await.text();
    let gauge = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect(name)
    };
    let busy = gauge("keystead_executor_threads{state=\"busy\"}");
    (busy, gauge("keystead_executor_queue"))
}

/// Deploys beside the live version; gives the hash.
async fn keep(host: &Host, guest: Guest) -> String {
    let path = "/admin/v1/apps/app?activate=false";
    let kept = host.client().admin(Method::PUT, path).body(guest.component().await).ok().await;
    version(&kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ramp_is_sticky_and_halts_itself_when_the_new_version_is_worse() {
    let mut host = Host::with(Guest::FirstEdition, "app").await;
    let client = host.client();
    let second = keep(&host, Guest::SecondEdition).await;
    let editions = || async {
        let mut by = BTreeMap::new();
        for page in 0..100 {
            let stamp = client.value(&format!("app/page/p{page}"), "look").await;
            by.insert(page, stamp["by"].as_u64().expect("an edition"));
        }
        by
    };
    let on_second = |by: &BTreeMap<u64, u64>| by.values().filter(|edition| **edition == 2).count();
    assert_eq!(on_second(&editions().await), 0);
    post(&host, &format!("versions/{second}/ramp?percent=30")).await;
    let few = editions().await;
    assert!((10..50).contains(&on_second(&few)), "{few:?}");
    host.crash().await;
    assert_eq!(editions().await, few, "not sticky over a restart");
    post(&host, &format!("versions/{second}/ramp?percent=60")).await;
    let more = editions().await;
    assert!(few.iter().all(|(page, edition)| *edition == 1 || more[page] == 2), "{few:?} {more:?}");
    // Commands and messages are on the same side as queries.
    for (page, edition) in &more {
        let call = client.call(&format!("app/page/p{page}"), "fail_in", json!({"edition": 9}));
        assert_eq!(call.ok().await, *edition);
    }
    let mut failed = 0;
    for page in 0..100 {
        let call = client.call(&format!("app/page/p{page}"), "fail_in", json!({"edition": 2}));
        let answer = call.answer().await;
        assert!(answer.status == 200 || (answer.status == 500 && more[&page] == 2), "{answer:?}");
        failed += u64::from(answer.status == 500);
    }
    assert!((5..40).contains(&failed), "{failed} failed: it did not halt when it had seen enough");
    assert_eq!(on_second(&editions().await), 0, "it goes on");
    host.crash().await;
    let listed = client.admin(Method::GET, "/admin/v1/apps/app/versions").ok().await;
    assert_eq!(listed["halted"]["version"], short(&second));
    assert!(listed["halted"]["reason"].as_str().expect("a reason").contains("failed"), "{listed}");
    assert!(host.log().contains("the ramp is halted"));
    assert_eq!(on_second(&editions().await), 0, "it goes on after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_secrets_are_there_for_the_next_turn_and_secrets_nowhere_else() {
    const SECRET: &str = "a-secret-that-no-file-but-one-may-hold";
    let mut host = Host::with(Guest::FirstEdition, "app").await;
    let client = host.client();
    let ask = |handler: &'static str, name: &'static str| {
        client.call("app/page/a", handler, json!({ "name": name })).ok()
    };
    let patch = |patch: Value| {
        client.admin(Method::PATCH, "/admin/v1/apps/app/config").body(patch.to_string()).answer()
    };
    assert_eq!(ask("setting", "greeting").await, Value::Null);
    patch(json!({"values": {"greeting": "hello"}})).await.expect_status(200);
    assert_eq!(ask("setting", "greeting").await, "hello");
    let path = "/admin/v1/apps/app/secrets/token";
    client.admin(Method::PUT, path).body(SECRET).answer().await.expect_status(200);
    assert_eq!(ask("length_of", "token").await, SECRET.len());
    patch(json!({"values": {"token": "x"}})).await.expect_problem(400, "malformed");
    patch(json!({"mailbox": 1})).await.expect_problem(400, "malformed");
    for path in ["/admin/v1/apps/app", "/admin/v1/apps/app/config"] {
        let shown = client.admin(Method::GET, path).answer().await.expect_status(200).text();
        assert!(shown.contains("token") && shown.contains("hello"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    host.crash().await;
    assert_eq!(ask("length_of", "token").await, SECRET.len(), "after a restart");
    host.stop().await;
    let holding = files_with(&host.data(), SECRET);
    assert_eq!(holding, [host.data().join("apps/apps/app.secrets")]);
    assert!(!host.log().contains(SECRET));
    host.spawn().await;
    client.admin(Method::DELETE, path).answer().await.expect_status(200);
    assert_eq!(ask("length_of", "token").await, Value::Null);
}

//! Deploys whose disk fails or whose host is killed: what was told to be live is live after a restart, and of what
//! nobody was told it is the one or the other, whole.

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::scenarios::seeded;
use crate::harness::faults::{Faults, NAME, Rule, SYNC, Strike, WRITE};
use crate::harness::{Answer, Broken, Guest, Host};

/// Calls that change files of the registry, when an app is deployed again and for the first time.
const CALLS: [i64; 2] = [4, 8];

async fn deploy(host: &Host, app: &str, number: u64) -> Result<Answer, Broken> {
    let config = json!({"values": {"number": number.to_string()}});
    host.deploying(Guest::Witness, app, config).await.try_answer().await
}

/// The number of the deploy that is live.
async fn live(host: &Host) -> u64 {
    let app = host.client().admin(Method::GET, "/admin/v1/apps/app").ok().await;
    let number = app["config"]["values"]["number"].as_str().expect("a number");
    host.client().call("app/cell/a", "add", json!({"by": 1})).ok().await;
    number.parse().expect("a number")
}

async fn restarted(host: &mut Host, faults: &Faults) {
    if host.pid().is_some() {
        host.kill().await;
    }
    faults.lift();
    host.try_spawn_with(faults).await.expect("it starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_live_after_a_failed_deploy_is_live_after_a_restart() {
    let (mut host, faults) = Host::with_faults();
    host.try_spawn_with(&faults).await.expect("it starts");
    deploy(&host, "app", 1).await.expect("an answer").expect_status(200);
    for after in 0..3 {
        let rule =
            Rule { strike: Strike::Fail, kinds: SYNC | NAME, word: "/apps/apps", after, times: 1 };
        faults.strike(rule);
        deploy(&host, "app", 2).await.expect("an answer").expect_problem(500, "internal");
        assert_eq!((faults.struck(), live(&host).await), (1, 1));
        faults.lift();
        // The first again: it is live, and must be recorded as that.
        deploy(&host, "app", 1).await.expect("an answer").expect_status(200);
        restarted(&mut host, &faults).await;
        assert_eq!(live(&host).await, 1, "the call of its disk that failed was number {after}");
    }
}

/// `KEYSTEAD_CRASH_ROUNDS` deploys, each killed at one of the calls that write the registry.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_deploys() {
    let (seed, rounds, _repeat) = seeded("deploys::killed_while_it_deploys", 8);
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut host, faults) = Host::with_faults();
    host.try_spawn_with(&faults).await.expect("it starts");
    deploy(&host, "app", 0).await.expect("an answer").expect_status(200);
    let (mut told, mut struck, mut others) = (0, 0, 0);
    for number in 1..=rounds {
        let strike = [Strike::KillBefore, Strike::KillWithin, Strike::KillAfter];
        let strike = strike[chance.random_range(0..strike.len())];
        let is_new = chance.random_ratio(1, 3);
        let after = chance.random_range(0..CALLS[usize::from(is_new)]);
        let kinds = WRITE | SYNC | NAME;
        faults.strike(Rule { strike, kinds, word: "/apps/", after, times: 1 });
        let app = if is_new { format!("app{number}") } else { "app".into() };
        let answer = deploy(&host, &app, number).await;
        let is_told = answer.is_ok_and(|answer| answer.expect_status(200).status == 200);
        struck += faults.struck();
        restarted(&mut host, &faults).await;
        let found = live(&host).await;
        let apps: Value = host.client().admin(Method::GET, "/admin/v1/apps").ok().await;
        let count = apps["apps"].as_array().map_or(0, Vec::len);
        if is_new {
            assert!(count == others + 2 || (count == others + 1 && !is_told), "{app}: {apps}");
            assert_eq!(found, told, "the other app changed");
        } else {
            assert!(found == number || (found == told && !is_told), "{told}, {number}: {found}");
            assert_eq!(count, others + 1, "{apps}");
        }
        (told, others) = (found, count - 1);
    }
    println!(
        "killed_while_it_deploys: {rounds} deploys, {struck} killed within, {others} other apps"
    );
    assert!(struck * 2 >= rounds, "it hardly ever happened");
}

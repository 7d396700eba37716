//! Power cuts, made from what the host did to its disk. A host under load is recorded; then, for many moments, a
//! disk is made as it may be found if the power went at that moment, a host is started over it, and what it had
//! answered before must be there: durable before visible, atomic, exactly once.
//!
//! `KEYSTEAD_POWER_CUTS` says how many (40), `KEYSTEAD_POWER_SECONDS` how long the load lasts (6: longer than a
//! checkpoint takes to come; in 60 files of the journal are used again), `KEYSTEAD_POWER_SEED` where chance
//! begins; a failure prints it.

#[path = "harness/mod.rs"]
mod harness;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::disk::{Disk, Trace};
use harness::{Guest, Host};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

const ACCOUNTS: [&str; 5] = ["ada", "bob", "cy", "dee", "eve"];
const MONEY: u64 = 1_000;
const CLIENTS: usize = 6;

/// What was answered, and how long the trace was then.
#[derive(Debug, Default)]
struct Answered {
    deployed: Option<usize>,
    /// An account and a command on it.
    commands: Vec<(usize, &'static str)>,
    funded: Option<usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_power_cut_at_any_moment() {
    let cuts = number("KEYSTEAD_POWER_CUTS").unwrap_or(40);
    let seed = number("KEYSTEAD_POWER_SEED").unwrap_or(1);
    let time = Duration::from_secs(number("KEYSTEAD_POWER_SECONDS").unwrap_or(6));
    let (mut host, trace) = Host::start_recorded().await;
    let answered = Arc::new(Mutex::new(Answered::default()));
    host.deploy(Guest::Bank, "bank").await;
    answered.lock().expect("held").deployed = Some(length(&trace));
    for account in ACCOUNTS {
        let deposit = json!({"amount": MONEY});
        host.client().call(&format!("bank/account/{account}"), "deposit", deposit).ok().await;
        answered.lock().expect("held").commands.push((length(&trace), account));
    }
    answered.lock().expect("held").funded = Some(length(&trace));
    load(&host, &trace, &answered, (time, seed)).await;
    // The last checkpoint, a recovery, and no time for another.
    host.stop().await;
    host.spawn_recorded().await;
    load(&host, &trace, &answered, (time / 6, seed + 1)).await;
    host.kill().await;

    let data = host.data();
    let recorded = Trace::read(&trace);
    let answered = std::mem::take(&mut *answered.lock().expect("held"));
    let mut chance = StdRng::seed_from_u64(seed);
    let mut disk = Disk::new(&recorded);
    for moment in moments(&recorded, cuts as usize, &mut chance) {
        disk.run_to(moment);
        let image_seed = chance.random();
        let image = disk.image(image_seed);
        let what = format!("KEYSTEAD_POWER_SEED={seed}, moment {moment}, image {image_seed}");
        let data = data.clone();
        let started = Host::start_over(move |folder| image.write(&data, folder));
        let found = tokio::spawn(started).await;
        let found = found.unwrap_or_else(|_| panic!("{what}: the host does not start"));
        check(&found, &answered, moment, &what).await;
    }
}

/// Everybody gives to everybody.
async fn load(
    host: &Host,
    trace: &Path,
    answered: &Arc<Mutex<Answered>>,
    (time, seed): (Duration, u64),
) {
    let clients = (0..CLIENTS).map(|number| {
        let (client, trace, answered) = (host.client(), trace.to_owned(), answered.clone());
        let mut chance = StdRng::seed_from_u64(seed * 1_000 + number as u64);
        tokio::spawn(async move {
            let end = tokio::time::Instant::now() + time;
            while tokio::time::Instant::now() < end {
                let from = ACCOUNTS[chance.random_range(0..ACCOUNTS.len())];
                let to = ACCOUNTS[chance.random_range(0..ACCOUNTS.len())];
                let gift = json!({"to": to, "amount": 1});
                let call = client.call(&format!("bank/account/{from}"), "transfer", gift);
                let answer = call.answer().await;
                let moment = length(&trace);
                match answer.status {
                    200 => answered.lock().expect("held").commands.push((moment, from)),
                    // There was nothing left to give.
                    422 => {}
                    status => panic!("{status}: {answer:?}"),
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client");
    }
}

/// Moments all over the trace, and more of them where names and sizes change.
fn moments(trace: &Trace, count: usize, chance: &mut StdRng) -> Vec<usize> {
    let (all, turns) = (trace.moments(), trace.turning_points());
    let mut moments: Vec<usize> = (0..count)
        .map(|number| {
            let from = if number % 2 == 0 { &all } else { &turns };
            from[chance.random_range(0..from.len())]
        })
        .collect();
    moments.extend(all.last());
    moments.sort_unstable();
    moments
}

async fn check(host: &Host, answered: &Answered, moment: usize, what: &str) {
    if answered.deployed.is_none_or(|deployed| deployed > moment) {
        return;
    }
    host.quiet().await;
    let mut total = 0;
    for account in ACCOUNTS {
        let entity = format!("bank/account/{account}");
        let before = |(at, of): &&(usize, &str)| *at <= moment && *of == account;
        let commands = answered.commands.iter().filter(before).count() as u64;
        let version = host.entity(&entity).await["version"].as_u64().unwrap_or(0);
        assert!(version >= commands, "{what}: {account}: {commands} answered, {version} there");
        total += host.client().value(&entity, "balance").await.as_u64().expect("a balance");
    }
    if answered.funded.is_some_and(|funded| funded <= moment) {
        assert_eq!(total, MONEY * ACCOUNTS.len() as u64, "{what}: money was made or lost");
    }
}

fn length(path: &Path) -> usize {
    std::fs::metadata(path).expect("the trace").len() as usize
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

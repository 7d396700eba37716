//! A data folder with one of everything: apps, entities small and large, messages that wait, back off or are
//! scheduled, timers, dead letters, outcomes and keys. Nothing in it changes by itself for hours, and but for the
//! outcomes for years, so what is served of it can be compared. Knows nothing of files.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Client, Guest, Host, PATIENCE, eventually};

/// Longer than a fixture must last.
const YEARS: &str = "80000h";
const YEARS_MS: u64 = 80_000 * 3_600_000;

/// What a client keeps of the folder that it filled.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Kept {
    /// Messages from outside.
    pub(crate) ids: Vec<String>,
    /// Calls that were made with a key: the entity, the key, and the answer.
    pub(crate) keyed: Vec<(String, String, Value)>,
}

/// What is served: a status and a body for each question.
pub(crate) type Served = BTreeMap<String, (u16, Value)>;

/// A folder with two of everything, half in a checkpoint and half in the journal only; its host is killed.
pub(crate) async fn make() -> (Host, Kept) {
    let mut kept = Kept::default();
    let mut host = Host::start().await;
    deploy(&host).await;
    fill(&host, 0, &mut kept).await;
    host.stop().await;
    host.spawn().await;
    fill(&host, 1, &mut kept).await;
    // Small, and by itself: the last record of the journal is one block.
    let last = host.client().call("app/probe/e0", "bump", json!({})).key("last");
    let answer = last.ok().await;
    kept.keyed.push(("app/probe/e0".into(), "last".into(), answer));
    host.kill().await;
    (host, kept)
}

/// Deploys the apps: `app`, whose failing messages wait for a day, and `strict`, whose first failure is the last.
async fn deploy(host: &Host) {
    let (day_ms, keep) = (24 * 3_600_000, 30 * 24 * 3_600);
    let patient = json!({"initial_ms": day_ms, "max_ms": day_ms, "attempts_max": 1_000});
    let patient = json!({"retry": patient, "outcome_retention_s": keep});
    let strict = json!({"retry": {"attempts_max": 1}, "outcome_retention_s": keep});
    host.deploy_with(Guest::Hostile, "app", patient).await;
    host.deploy_with(Guest::Hostile, "strict", strict).await;
}

/// Adds one of everything; `round` keeps rounds apart.
async fn fill(host: &Host, round: usize, kept: &mut Kept) {
    let client = host.client();
    let call = |entity: String, handler: &str, input: Value| client.call(&entity, handler, input);
    for n in 0..6 {
        let entity = format!("app/probe/e{n}");
        call(entity.clone(), "bump", json!({})).ok().await;
        call(entity.clone(), "append", json!({"n": n + round * 100})).ok().await;
        let other = json!({"to": format!("e{}", (n + 1) % 6), "first": round * 1000, "count": 2});
        call(entity.clone(), "emit", other).ok().await;
        let key = format!("key-{round}-{n}");
        let answer = client.call(&entity, "bump", json!({})).key(&key).ok().await;
        kept.keyed.push((entity, key, answer));
    }
    // One that redb keeps in pages of its own.
    let text = format!("{round}-").repeat(30_000);
    call(format!("app/probe/large{round}"), "note", json!({"text": text})).ok().await;
    let send = |path: String, n: usize| client.ingress(Method::POST, path).json(json!({"n": n}));
    for n in 0..3 {
        let path = format!("/v1/send/app/probe/e{n}/append?delay={YEARS}");
        kept.ids.push(send(path, n).answer().await.expect_status(202).id());
        let timer = json!({"name": format!("t{round}"), "n": n, "delay_ms": YEARS_MS});
        call(format!("app/probe/e{n}"), "arm", timer).ok().await;
    }
    for app in ["app", "strict"] {
        let poison = json!({"note": format!("{app} {round}")});
        let sent = client.send(&format!("{app}/probe/poisoned{round}"), "poison", poison);
        kept.ids.push(sent.answer().await.expect_status(202).id());
    }
    let gone = format!("app/probe/gone{round}");
    call(gone.clone(), "bump", json!({})).ok().await;
    client.admin(Method::DELETE, format!("/admin/v1/entities/{gone}")).ok().await;
    client
        .admin(Method::PUT, format!("/admin/v1/pauses?app=app&type=probe&key=nobody{round}"))
        .ok()
        .await;
    settled(host, round + 1).await;
}

/// Waits until each poison has failed once, and all else is done.
async fn settled(host: &Host, rounds: usize) {
    eventually("only what waits for years is left", PATIENCE, || async {
        let totals = host.totals().await;
        let settled = totals.queued == rounds as u64 && totals.dead == rounds as u64;
        if settled && totals.running == 0 { Ok(()) } else { Err(format!("{totals:?}")) }
    })
    .await;
}

/// Asks for all of it. What a host of another build may say differently is left out.
pub(crate) async fn served(client: &Client, kept: &Kept) -> Served {
    let mut served = Served::new();
    let mut questions = vec!["/admin/v1/apps".to_owned(), "/admin/v1/dead".to_owned()];
    questions.extend(["/admin/v1/pauses", "/admin/v1/timers"].map(ToOwned::to_owned));
    questions.extend(["app", "strict"].map(|app| format!("/admin/v1/entities/{app}/probe")));
    let entities = (0..6).map(|n| format!("e{n}")).chain(["large0".into(), "large1".into()]);
    let entities: Vec<String> = entities.map(|key| format!("app/probe/{key}")).collect();
    questions.extend(entities.iter().map(|entity| format!("/admin/v1/entities/{entity}")));
    for question in questions {
        let answer = client.admin(Method::GET, question.clone()).answer().await;
        served.insert(question, told(&answer));
    }
    for entity in &entities {
        for handler in ["count", "list", "timers"] {
            let answer = client.read(entity, handler, json!({})).answer().await;
            served.insert(format!("{entity}/{handler}"), told(&answer));
        }
    }
    for id in &kept.ids {
        let answer = client.ingress(Method::GET, format!("/v1/messages/{id}")).answer().await;
        served.insert(id.clone(), told(&answer));
    }
    for (entity, key, _) in &kept.keyed {
        let answer = client.call(entity, "bump", json!({})).key(key).answer().await;
        served.insert(format!("{entity} {key}"), told(&answer));
    }
    served
}

fn told(answer: &Answer) -> (u16, Value) {
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

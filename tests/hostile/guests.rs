//! Every attack of `attacks` by itself, while a neighbour calls: it ends as its row says, within bounds of time and
//! memory, and leaves nothing behind.

use std::time::Duration;

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::attacks::{Attack, Ends, all};
use crate::harness::{Answer, Client, Host, PATIENCE};
use crate::watch::{Neighbour, P99_MAX, Process, assert_no_panic, detail, settles_below};

/// For what would go on until then.
const DEADLINE_MS: u64 = 300;
/// For what ends by itself, however loaded the machine.
const PATIENT_DEADLINE_MS: u64 = 5_000;
/// What one attack may take: a deploy, whose compiler has its own limit, and calls until their deadlines.
const ENDS_WITHIN: Duration = Duration::from_secs(125);
/// What the host may hold above its base while one attack is under way, in MiB: what guests may have, what one
/// transaction may hold, and the code that was compiled.
const PEAK_MIB_MAX: u64 = 400;
/// What it may hold above its base after all of them: code of the apps that are deployed, mostly.
const REST_MIB_MAX: u64 = 400;

/// How one attack went.
struct Report {
    name: &'static str,
    took: Duration,
    peak_mib: u64,
    neighbour: (usize, Duration),
    said: String,
    wrong: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_component_is_contained() {
    let host = Host::start().await;
    Neighbour::settle(&host).await;
    let process = Process::of(&host);
    let wanted = std::env::var("KEYSTEAD_HOSTILE_ONLY").unwrap_or_default();
    let attacks: Vec<Attack> =
        all().into_iter().filter(|attack| attack.name.contains(&wanted)).collect();
    assert!(!wanted.is_empty() || attacks.len() >= 30, "{} attacks", attacks.len());
    let base_mib = process.memory_mib();
    let mut reports = Vec::new();
    for (number, attack) in attacks.iter().enumerate() {
        let app = format!("attack{number}");
        let report = report(&host, process, attack, &app).await;
        println!(
            "{:>6} ms {:>5} MiB  {} {:?}: {}: {}{}",
            report.took.as_millis(),
            report.peak_mib.saturating_sub(base_mib),
            report.neighbour.0,
            report.neighbour.1,
            report.name,
            report.said.lines().next().unwrap_or_default().chars().take(160).collect::<String>(),
            report.wrong.as_ref().map(|why| format!("\n       WRONG: {why}")).unwrap_or_default(),
        );
        reports.push(report);
    }
    let after_mib = process.memory_mib();
    println!("{} attacks; {base_mib} MiB before, {after_mib} MiB after", reports.len());
    for report in &reports {
        let Report { name, took, peak_mib, neighbour, wrong, .. } = report;
        assert!(wrong.is_none(), "{name}: {wrong:?}");
        assert!(*took < ENDS_WITHIN, "{name} took {took:?}");
        assert!(*peak_mib < base_mib + PEAK_MIB_MAX, "{name}: {peak_mib} MiB from {base_mib}");
        assert!(neighbour.1 < P99_MAX, "{name}: the neighbour's p99 is {:?}", neighbour.1);
    }
    settles_below(process, base_mib + REST_MIB_MAX).await;
    assert_eq!(host.quiet().await.running, 0);
    assert_no_panic(&host);
}

async fn report(host: &Host, process: Process, attack: &Attack, app: &str) -> Report {
    let component = (attack.make)();
    let neighbour = Neighbour::start(host.client());
    process.forget_peak();
    let began = Instant::now();
    let (said, wrong) = match tried(&host.client(), attack, app, component).await {
        Ok(said) => (said, None),
        Err(why) => (String::new(), Some(why)),
    };
    let (took, peak_mib) = (began.elapsed(), process.peak_mib());
    let neighbour = neighbour.stop().await;
    Report { name: attack.name, took, peak_mib, neighbour, said, wrong }
}

/// Deploys and calls; what was said at the end that the row names, or what was wrong.
async fn tried(
    client: &Client,
    attack: &Attack,
    app: &str,
    component: Vec<u8>,
) -> Result<String, String> {
    let endless = matches!(attack.ends, Ends::Stopped(_) | Ends::Fails(504, ..));
    let deadline_ms = if endless { DEADLINE_MS } else { PATIENT_DEADLINE_MS };
    let deployed = deploy(client, app, component, deadline_ms).await;
    if let Ends::Refused(status, code, words) = attack.ends {
        return problem(&deployed, status, code, false, words);
    }
    if deployed.status != 200 {
        return Err(format!("the deploy: {deployed:?}"));
    }
    let mut said = String::new();
    // Twice: a warm instance must be no better than a fresh one. The second must not be what the first broke.
    for _ in 0..2 {
        let call = client.ingress(Method::POST, format!("/v1/call/{app}/probe/a/go"));
        let call = call.header("content-type", "application/json").body((attack.input)()).answer();
        let answer = tokio::time::timeout(PATIENCE, call).await;
        let answer = answer.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
        said = match attack.ends {
            Ends::Refused(..) => unreachable!("it was deployed"),
            Ends::Fails(status, code, retryable, words) => {
                problem(&answer, status, code, retryable, words)?
            }
            Ends::Answers(status) if answer.status == status => answer.text(),
            Ends::Answers(status) => return Err(format!("expected {status}: {answer:?}")),
            Ends::Stopped(words) => match answer.status {
                504 => problem(&answer, 504, "deadline_exceeded", true, "deadline")?,
                _ => problem(&answer, 500, "handler_trapped", false, words)?,
            },
        };
    }
    let document = client.ingress(Method::GET, format!("/v1/openapi/{app}")).answer();
    match tokio::time::timeout(PATIENCE, document).await {
        Ok(document) if document.status == 200 => Ok(said),
        Ok(document) => Err(format!("its OpenAPI document: {document:?}")),
        Err(_) => Err("its OpenAPI document never comes".into()),
    }
}

async fn deploy(client: &Client, app: &str, component: Vec<u8>, deadline_ms: u64) -> Answer {
    let config = json!({"deadline_ms": deadline_ms, "retry": {"attempts_max": 1}}).to_string();
    let config = utf8_percent_encode(&config, NON_ALPHANUMERIC);
    let path = format!("/admin/v1/apps/{app}?config={config}");
    client.admin(Method::PUT, path).body(component).answer().await
}

/// The detail of a problem document that must be this one.
fn problem(
    answer: &Answer,
    status: u16,
    code: &str,
    retryable: bool,
    words: &str,
) -> Result<String, String> {
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let right = answer.status == status
        && told["code"] == code
        && told["retryable"] == retryable
        && detail(&told).to_lowercase().contains(&words.to_lowercase());
    if right {
        return Ok(detail(&told));
    }
    Err(format!("expected {status} {code}, retryable {retryable}, {words:?}: {answer:?}"))
}

/// All at once, each again and again: what is contained alone must be contained in a crowd.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_hostile_calls_leaves_room_for_others() {
    let host = Host::start().await;
    Neighbour::settle(&host).await;
    let process = Process::of(&host);
    let storm = [
        "a loop in a handler",
        "memory in steps, all touched",
        "recursion on wasm's stack",
        "set of tiny rows without end",
        "send without end",
        "log without end",
        "memory.fill without end",
        "a reply of 60 MB",
        "two to the power of 31 keys",
        "a wild read",
    ];
    let attacks = all();
    for (number, name) in storm.iter().enumerate() {
        let attack = attacks.iter().find(|attack| attack.name == *name);
        let component = (attack.unwrap_or_else(|| panic!("no attack is called {name}")).make)();
        let app = format!("storm{number}");
        deploy(&host.client(), &app, component, DEADLINE_MS).await.expect_status(200);
    }
    let base_mib = process.memory_mib();
    let neighbour = Neighbour::start(host.client());
    process.forget_peak();
    let mut calls = JoinSet::new();
    for n in 0..STORM_CALLS {
        let (client, app) = (host.client(), n % storm.len());
        calls.spawn(async move {
            let entity = format!("storm{app}/probe/{n}");
            (app, client.call(&entity, "go", json!({})).answer().await)
        });
    }
    while let Some(ended) = calls.join_next().await {
        let (app, answer) = ended.expect("no panic");
        // Overloaded, it may say so; it may not answer nothing.
        let known = [500, 503, 504].contains(&answer.status);
        assert!(known, "{}: {answer:?}", storm[app]);
    }
    let peak_mib = process.peak_mib();
    let (count, p99) = neighbour.stop().await;
    println!("{STORM_CALLS} calls: {base_mib} MiB, then {peak_mib}; {count} neighbourly, {p99:?}");
    assert!(p99 < STORM_P99_MAX, "the neighbour's p99 is {p99:?}");
    assert!(peak_mib < base_mib + STORM_MIB_MAX, "{peak_mib} MiB from {base_mib}");
    settles_below(process, base_mib + REST_MIB_MAX).await;
    assert_eq!(host.quiet().await.running, 0);
    assert_no_panic(&host);
}

/// A neighbour's calls then: more guests compute at once than there are processors.
const STORM_P99_MAX: Duration = Duration::from_secs(6);
/// A few for each thread that guests may have.
const STORM_CALLS: usize = 120;
/// What a storm may hold: as many guests with all their memory as there are threads for them, and what is pooled.
const STORM_MIB_MAX: u64 = 1_500;

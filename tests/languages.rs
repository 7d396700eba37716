//! The WIT is enough to write an entity: the counters in JavaScript and Python answer what the one in Rust answers,
//! word for word, and each goes on with the state that another left. `tests/languages.sh` builds them and runs
//! this; a component that was not built fails its test. Prints how large and how fast each one is.

#[path = "harness/mod.rs"]
mod harness;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use harness::Host;
use harness::transcript::{deploy, readme, replay, root, run};

const CALLS_MEASURED: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    answers_and_continues_like_rust("counter-js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    answers_and_continues_like_rust("counter-py").await;
}

/// The yardstick, so that what is printed can be compared.
#[tokio::test(flavor = "multi_thread")]
async fn rust() {
    let host = Host::start().await;
    let since = Instant::now();
    deploy(&host, &example("counter"), "counter").await;
    let deployed_in = since.elapsed();
    deploy(&host, &example("counter"), "shared").await;
    add_one(&host, 1).await;
    measure(&host, "counter", deployed_in).await;
}

async fn answers_and_continues_like_rust(name: &str) {
    let dir = example(name);
    let component = dir.join("counter.wasm");
    let bytes = std::fs::metadata(&component).map(|file| file.len()).unwrap_or_else(|error| {
        panic!("{}: {error}; tests/languages.sh builds it", component.display())
    });
    let host = Host::start().await;
    deploy(&host, &example("counter"), "shared").await;
    add_one(&host, 1).await;

    let since = Instant::now();
    deploy_component(&host, name, "counter").await;
    println!("{name}: {:.1} MB", bytes as f64 / 1e6);
    measure(&host, name, since.elapsed()).await;
    let (theirs, own) = (readme(&example("counter")), readme(&dir));
    assert!(theirs.len() >= 3 && own.len() >= 3, "a README of {name} or counter shows too little");
    replay(&host, &dir, name, &theirs).await;
    replay(&host, &dir, name, &own).await;

    deploy_component(&host, name, "shared").await;
    add_one(&host, 2).await;
    deploy(&host, &example("counter"), "shared").await;
    add_one(&host, 3).await;
}

fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

async fn deploy_component(host: &Host, name: &str, app: &str) {
    let deployed = run(host, &example(name), &["deploy", "counter.wasm", "--app", app]).await;
    deployed.unwrap_or_else(|error| panic!("{name} does not deploy as {app}:\n{error}"));
}

/// One more on the counter of the app that has been written in more than one language.
async fn add_one(host: &Host, expected: i64) {
    let counted = host.client().call("shared/counter/a", "add", json!({"by": 1})).ok().await;
    assert_eq!(counted, expected);
    assert_eq!(host.client().value("shared/counter/a", "get").await, expected);
}

async fn measure(host: &Host, name: &str, deployed_in: Duration) {
    let call = async || {
        let since = Instant::now();
        host.client().call("counter/counter/measured", "add", json!({"by": 1})).ok().await;
        since.elapsed()
    };
    let first = call().await;
    let mut later = Vec::with_capacity(CALLS_MEASURED);
    for _ in 0..CALLS_MEASURED {
        later.push(call().await);
    }
    later.sort_unstable();
    let (median, slow) = (later[CALLS_MEASURED / 2], later[CALLS_MEASURED * 99 / 100]);
    println!(
        "{name}: deployed in {deployed_in:.1?}; first call {first:.2?}, then {median:.2?} (99%: {slow:.2?})"
    );
}

//! What tests of the whole share: a real host process on port 0 over a data folder of its own, guests that are
//! compiled once per run, and a plain HTTP client. It knows the outer surface only and links nothing of the host.
//! A failure says what was expected, what came, and what the host wrote last.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part")]

pub(crate) mod browser;
mod client;
pub(crate) mod disk;
pub(crate) mod faults;
mod guests;
mod process;
pub(crate) mod sample;
pub(crate) mod transcript;

use std::future::Future;
use std::time::Duration;

pub(crate) use client::{Answer, Broken, Client, Request};
pub(crate) use guests::{Guest, cargo_environment, keystead};
pub(crate) use process::{Host, Totals};

/// Patience with a loaded machine and a debug build. No test waits it out unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(25);

/// Looks again and again until `probe` finds what it wants; panics with what it found last.
pub(crate) async fn eventually<T, F, Fut>(what: &str, within: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = tokio::time::Instant::now() + within;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(state) if tokio::time::Instant::now() >= deadline => {
                panic!("not within {within:?}: {what}\nlast seen: {state}");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The files below `folder` that hold `text`.
pub(crate) fn files_with(folder: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("there").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else {
            let bytes = std::fs::read(&path).expect("reads");
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

//! What an attack must leave alone, looked at from outside: the host's memory, its open files, its log, and the
//! calls of somebody else's app. Reads `/proc`; knows nothing of the host's inside.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Client, Guest, Host, PATIENCE, eventually};

/// The app that nobody attacks.
pub(crate) const NEIGHBOUR: &str = "neighbour";
/// A neighbour's call at the 99th percentile, on a loaded machine with an unoptimised host.
pub(crate) const P99_MAX: Duration = Duration::from_secs(2);
/// Any neighbour's call.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Pause between a neighbour's calls: it is there to be harmed, not to harm.
const PAUSE: Duration = Duration::from_millis(2);

/// One process, seen by the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    /// The host whose data folder this is.
    pub(crate) fn of(host: &Host) -> Self {
        let data = host.data().to_string_lossy().into_owned();
        let is_it = |pid: u32| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = command.split(|byte| *byte == 0);
            let serves = words.nth(1).is_some_and(|word| word == b"serve");
            serves && words.any(|word| word == data.as_bytes())
        };
        let processes = fs::read_dir("/proc").expect("/proc");
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = pids.into_iter().find(|pid| is_it(*pid));
        Self(pid.unwrap_or_else(|| panic!("no process serves {data}")))
    }

    /// Memory that it holds, in MiB.
    pub(crate) fn memory_mib(self) -> u64 {
        self.status("VmRSS:") / 1024
    }

    /// The most that it held since [`Process::forget_peak`], in MiB.
    pub(crate) fn peak_mib(self) -> u64 {
        self.status("VmHWM:") / 1024
    }

    pub(crate) fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").expect("the peak is ours to reset");
    }

    pub(crate) fn open_files(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("it runs").count()
    }

    fn status(self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    }
}

/// Waits until memory is below `mib`: what was freed is given back to the system a little later.
pub(crate) async fn settles_below(process: Process, mib: u64) {
    eventually(&format!("memory is below {mib} MiB"), PATIENCE, || async {
        let held = process.memory_mib();
        if held < mib { Ok(()) } else { Err(format!("{held} MiB")) }
    })
    .await;
}

/// Waits until no more files are open than `count`.
pub(crate) async fn closes_down_to(process: Process, count: usize) {
    eventually(&format!("{count} open files"), PATIENCE, || async {
        let open = process.open_files();
        if open <= count { Ok(()) } else { Err(format!("{open} open files")) }
    })
    .await;
}

/// Panics when the host's log tells of a panic of its own.
pub(crate) fn assert_no_panic(host: &Host) {
    let folder = host.data();
    let log = folder.parent().expect("the host's folder").join("host.log");
    let log = fs::read_to_string(log).expect("the host's log");
    // A guest may say what it likes.
    let own = log.lines().filter(|line| !line.contains(" guest: ")).collect::<Vec<_>>().join("\n");
    for sign in ["panicked at", "a request panicked", "host call panicked", "stack overflow"] {
        assert!(!own.contains(sign), "the host's log tells of a panic:\n{log}");
    }
}

/// Somebody who goes on calling while others attack.
pub(crate) struct Neighbour {
    done: Arc<AtomicBool>,
    task: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    /// Deploys its app.
    pub(crate) async fn settle(host: &Host) {
        host.deploy(Guest::Hostile, NEIGHBOUR).await;
    }

    /// Starts calling.
    pub(crate) fn start(client: Client) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let entity = format!("{NEIGHBOUR}/probe/bystander");
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            let mut expected = None;
            while !told.load(Ordering::Relaxed) || took.is_empty() {
                let began = Instant::now();
                let call = client.call(&entity, "bump", json!({})).answer();
                let answer = tokio::time::timeout(CALL_MAX, call).await;
                let answer = answer.unwrap_or_else(|_| panic!("a neighbour waits {CALL_MAX:?}"));
                took.push(began.elapsed());
                let count = answer.expect_status(200).json();
                let count = count.as_u64().expect("a count");
                assert!(expected.is_none_or(|expected| count == expected), "it lost count");
                expected = Some(count + 1);
                tokio::time::sleep(PAUSE).await;
            }
            took
        });
        Self { done, task }
    }

    /// Stops, and gives how many calls there were and the time of the 99th percentile.
    pub(crate) async fn stop(self) -> (usize, Duration) {
        self.done.store(true, Ordering::Relaxed);
        let mut took = self.task.await.expect("every call of the neighbour is answered");
        took.sort();
        (took.len(), took[took.len() * 99 / 100])
    }
}

/// The detail of a problem document.
pub(crate) fn detail(problem: &Value) -> String {
    problem["detail"].as_str().unwrap_or_default().to_owned()
}

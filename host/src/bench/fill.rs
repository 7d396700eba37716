//! Makes the entities that must exist before a measurement, by the road that every entity takes: one command in
//! one transaction each, from many callers in this process. Invariant: all of them have answered, and the host
//! that made them has shut down, when this returns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::Bytes;
use serde::Serialize;
use tempfile::TempDir;

use super::host::{self, Inside};
use super::row::whole;
use super::workload::{ADD_BY_ONE, APP, key_name};
use super::{Options, Watch, now};
use crate::engine::Isolation;
use crate::ids::EntityRef;
use crate::limits;
use crate::partition::request::{CallResult, Invocation, Refusal};
use crate::router::Router;

/// Parts of a filling whose times are told apart: it may become slower as it goes.
const PARTS: u64 = 10;

/// A data folder with entities in it, and no host.
pub(super) struct Filled {
    folder: TempDir,
    pub(super) made: Made,
}

/// How entities were made that existed before rows were measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// How many.
    pub entities: u64,
    /// How long it took.
    pub seconds: f64,
    /// Entities in a second, in each tenth of them or more, in order.
    pub per_s: Vec<f64>,
    /// Calls that the host refused for now, and that were made again.
    pub refused: u64,
    /// Bytes of the state file then.
    pub state_bytes: u64,
}

impl Filled {
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Made {
    /// One line.
    pub(super) fn text(&self) -> String {
        let per_s: Vec<String> = self.per_s.iter().map(|&per_s| whole(per_s)).collect();
        format!(
            "{} entities made in {:.1} s (from first to last at {}/s; {} calls made again); the state file \
             had {:.0} MiB then\n",
            whole(self.entities as f64),
            self.seconds,
            per_s.join(", "),
            self.refused,
            self.state_bytes as f64 / f64::from(1 << 20),
        )
    }
}

/// What the callers share.
struct Task {
    next: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    entities: u64,
    stop: Arc<AtomicBool>,
}

/// Makes the counters `k0`, `k1`, … `entities` of them in a fresh folder.
pub(super) fn fill(options: &Options, watch: &dyn Watch, entities: u64) -> anyhow::Result<Filled> {
    let folder = host::folder(&options.folder)?;
    let host = Inside::start(&options.program, &folder.path().join("data"))?;
    host.place.deploy(&options.component, Isolation::App)?;
    let task = Arc::new(Task {
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        entities,
        stop: Arc::clone(&options.stop),
    });
    let start = now();
    let callers: Vec<_> = (0..limits::BENCH_FILL_CALLERS.min(entities))
        .map(|_| Ok(host.runtime.spawn(run(host.server()?.router().clone(), Arc::clone(&task)))))
        .collect::<anyhow::Result<_>>()?;
    let name = format!("making {} entities", whole(entities as f64));
    let (mut per_s, mut part_from) = (Vec::new(), (Duration::ZERO, 0));
    while !callers.iter().all(tokio::task::JoinHandle::is_finished) {
        std::thread::park_timeout(limits::BENCH_TICK);
        let (at, done) = (start.elapsed(), task.done.load(Ordering::Relaxed));
        watch.progress(&name, done as f64 / entities as f64);
        if (done - part_from.1) * PARTS >= entities {
            per_s.push((done - part_from.1) as f64 / (at - part_from.0).as_secs_f64());
            part_from = (at, done);
        }
    }
    let rest = entities - part_from.1;
    if rest * PARTS * 2 >= entities {
        per_s.push(rest as f64 / (start.elapsed() - part_from.0).as_secs_f64());
    }
    for caller in callers {
        host.runtime.block_on(caller)??;
    }
    ensure!(!options.stop.load(Ordering::Relaxed), "stopped");
    let seconds = start.elapsed().as_secs_f64();
    watch.progress(&format!("{name}: the last checkpoint"), 1.0);
    host.end()?;
    let refused = task.refused.load(Ordering::Relaxed);
    let state_bytes = file_bytes(folder.path(), "state.redb")?;
    Ok(Filled { folder, made: Made { entities, seconds, per_s, refused, state_bytes } })
}

/// One caller: takes the next number until there is none left.
async fn run(router: Router, task: Arc<Task>) -> anyhow::Result<()> {
    while !task.stop.load(Ordering::Relaxed) {
        // In order, so that neighbours are written together: at random a checkpoint would rewrite a page for
        // every entity, which the measurement is to show and the filling need not wait for.
        let number = task.next.fetch_add(1, Ordering::Relaxed);
        if number >= task.entities {
            break;
        }
        make(&router, &task, number).await?;
        task.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn make(router: &Router, task: &Task, number: u64) -> anyhow::Result<()> {
    let entity = EntityRef::new(APP, "counter", &key_name(number))?;
    while !task.stop.load(Ordering::Relaxed) {
        let invocation = Invocation {
            entity: entity.clone(),
            handler: "add".into(),
            input: Bytes::from_static(ADD_BY_ONE),
            content_type: None,
            trace: None,
            idempotency_key: None,
        };
        match router.call(invocation).await {
            Ok(answer) => match answer.into_inner().result {
                CallResult::Reply(_) => return Ok(()),
                other => bail!("{entity} came to {other:?}"),
            },
            Err(Refusal::Overloaded { .. } | Refusal::TimedOut { .. }) => {
                task.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(limits::BENCH_LOOK).await;
            }
            Err(refusal) => bail!("{entity} was refused: {refusal}"),
        }
    }
    Ok(())
}

/// Bytes of the files called `name` in `folder` and below it.
pub(super) fn file_bytes(folder: &Path, name: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.metadata(), entry.path()))?;
        let entry = entry?;
        if entry.is_dir() {
            bytes += file_bytes(&path, name)?;
        } else if path.file_name().is_some_and(|found| found == name) {
            bytes += entry.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_at_any_depth() {
        let folder = tempfile::tempdir().expect("folder");
        let deep = folder.path().join("partitions").join("0");
        std::fs::create_dir_all(&deep).expect("made");
        std::fs::write(deep.join("state.redb"), [0; 7]).expect("written");
        std::fs::write(folder.path().join("state.redb"), [0; 3]).expect("written");
        std::fs::write(deep.join("journal.redb"), [0; 100]).expect("written");
        assert_eq!(file_bytes(folder.path(), "state.redb").expect("read"), 10);
    }

    #[test]
    fn a_filling_says_whether_it_became_slower() {
        let made = Made {
            entities: 10_000,
            seconds: 2.0,
            per_s: vec![9_000.0, 5_000.0, 3_000.0],
            refused: 4,
            state_bytes: 3 << 20,
        };
        let text = "10 000 entities made in 2.0 s (from first to last at 9 000, 5 000, 3 000/s; 4 calls made again); \
                    the state file had 3 MiB then\n";
        assert_eq!(made.text(), text);
    }
}

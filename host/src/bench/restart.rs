//! Starts of a host that was killed under load over many entities. The kill comes just before a checkpoint would end,
//! when the journal holds the most that no checkpoint does. It ends the process and not the machine, so the page
//! cache is warm. Invariant: a start counts until an answer that is durable.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::drive::{End, Load, drive};
use super::host::{Gauges, Process};
use super::process::{self, Machine};
use super::row::{Row, whole};
use super::tally::Tally;
use super::workload::{Script, Workload};
use super::{Options, Watch, ms, now, wire};
use crate::engine::Isolation;
use crate::limits;

/// Of the most that was in no checkpoint while a host was loaded, how much there must be when it is killed.
const WORST_PART: f64 = 0.9;

/// What one start took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// To its ready line.
    pub(super) ready: Duration,
    /// To its first durable answer.
    pub(super) answered: Duration,
}

/// Starts a host over a folder that holds the deployed bench guest; gives the host, too.
pub(super) fn start(program: &Path, data: &Path) -> anyhow::Result<(Process, Started)> {
    let from = now();
    let host = Process::host(program, data)?;
    let mut request = vec![];
    Script::new(Workload::Hot, 2, 1).write(&mut request);
    wire::exchange(host.place.ingress, &request)?;
    let started = Started { ready: host.ready, answered: from.elapsed() };
    Ok((host, started))
}

/// Kills and starts over one folder.
pub(super) struct Restarts<'a> {
    pub(super) options: &'a Options,
    pub(super) watch: &'a dyn Watch,
    /// The folder, which holds `entities`.
    pub(super) data: &'a Path,
    pub(super) entities: u64,
    pub(super) connections: usize,
    pub(super) isolation: Isolation,
    pub(super) name: String,
}

impl Restarts<'_> {
    /// Several kills and starts in one row, whose latencies are the times to the first durable answer.
    pub(super) fn row(&self) -> anyhow::Result<Row> {
        let before = process::machine()?;
        let (mut tally, mut rss_mib, mut notes) = (Tally::new(), 0.0_f64, Vec::new());
        for round in 0..limits::BENCH_RESTARTS {
            let killed = self.killed(round)?;
            let (host, started) = start(&self.options.program, self.data)?;
            rss_mib = rss_mib.max(process::rss_mib(host.place.pid)?);
            host.end()?;
            tally.answered(started.answered, Duration::ZERO);
            notes.push(format!(
                "ready after {:.0} ms, first durable answer after {:.0} ms, with {} journal records ({:.0} MiB of \
                 writes) in no checkpoint",
                ms(started.ready),
                ms(started.answered),
                whole(killed.unmerged as f64),
                killed.view_bytes as f64 / f64::from(1 << 20),
            ));
        }
        let mut row = Row::new(Workload::Restart.to_string(), self.connections, &tally);
        // The starts of a row are no rate.
        (row.rate_per_s, row.rate_curve) = (0.0, vec![]);
        row.rss_mib = rss_mib;
        row.steal_percent = Machine::steal_percent(before, process::machine()?);
        row.notes = notes;
        Ok(row)
    }

    /// Loads a host and kills it; what it held at that moment.
    fn killed(&self, round: usize) -> anyhow::Result<Gauges> {
        let host = Process::host(&self.options.program, self.data)?;
        host.place.deploy(&self.options.component, self.isolation)?;
        let over = Arc::new(AtomicBool::new(false));
        let load = Load {
            addr: host.place.ingress,
            connections: self.connections,
            script: Script::new(Workload::Restart, self.entities, round as u64),
            schedule: None,
            end: End::After(limits::BENCH_DRAIN_MAX),
            stop: Arc::clone(&over),
        };
        let driver = std::thread::spawn(move || drive(load));
        let loaded = self.loaded(&host, round);
        let gauges = loaded.and_then(|()| host.place.gauges());
        // A driver that has ended by itself is why nothing was loaded.
        let lives = !driver.is_finished();
        drop(host);
        over.store(true, Ordering::Relaxed);
        let driven = driver.join();
        let gauges = gauges?;
        if !lives && let Ok(Err(error)) = driven {
            return Err(error.context("the load before the kill"));
        }
        ensure!(gauges.unmerged > 0, "the host was killed with nothing to recover");
        Ok(gauges)
    }

    /// Waits for the time of a measurement, and then for a moment when as much is in no checkpoint as was at the
    /// worst moment of that time: just before a checkpoint ends.
    fn loaded(&self, host: &Process, round: usize) -> anyhow::Result<()> {
        let Options { measure, stop, .. } = self.options;
        let patience = *measure + limits::CHECKPOINT_INTERVAL * 3;
        let (start, mut worst) = (now(), 0);
        loop {
            let unmerged = host.place.gauges().context("under load")?.unmerged;
            let at = start.elapsed();
            if at < *measure {
                worst = worst.max(unmerged);
            } else if unmerged as f64 >= worst as f64 * WORST_PART || at >= patience {
                return Ok(());
            }
            ensure!(!stop.load(Ordering::Relaxed), "stopped");
            let part = (at.as_secs_f64() / patience.as_secs_f64()).min(1.0);
            let rounds = limits::BENCH_RESTARTS as f64;
            self.watch.progress(&self.name, (round as f64 + part) / rounds);
            std::thread::park_timeout(limits::BENCH_TICK);
        }
    }
}

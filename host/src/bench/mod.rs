//! `keystead bench`: starts hosts on fresh folders, drives them, and says what they do beside what the machine
//! could. It is no part of a host. Invariant: every row has a host of its own, so no row pays for another one.

mod drive;
mod host;
mod inside;
mod machine;
mod measure;
mod pace;
mod process;
mod report;
mod row;
pub mod svg;
mod tally;
mod wire;
mod workload;
mod zipf;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::ensure;

use host::{Inside, Process};
pub use machine::{Disk, hello};
use measure::Meter;
pub use report::{Report, Share, Start};
pub use row::Row;
pub use workload::{UnknownWorkload, Workload};

use crate::limits;

/// What to measure and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// This program.
    pub program: PathBuf,
    /// The bench guest.
    pub component: Vec<u8>,
    /// Where data folders are made, on the disk to be measured.
    pub folder: PathBuf,
    /// What to measure, in this order.
    pub workloads: Vec<Workload>,
    /// Numbers of connections, each of which makes a row.
    pub connections: Vec<usize>,
    /// Requests in a second of an open loop; `None` is a closed loop.
    pub rate: Option<f64>,
    /// Time of each measurement.
    pub measure: Duration,
    /// Time before it that does not count.
    pub warmup: Duration,
    /// Keys that uniform workloads choose from.
    pub keys: u64,
    /// Messages of a backlog.
    pub messages: u64,
    /// Threads that drive connections.
    pub threads: usize,
    /// How often everything is measured; rows are medians.
    pub runs: usize,
    /// Drive the router in this process instead of HTTP.
    pub inside: bool,
    /// Measure the machine's limits, too.
    pub limits: bool,
    /// Set to give up.
    pub stop: Arc<AtomicBool>,
}

/// Is told how far a run is.
pub trait Watch: Sync {
    /// What is being measured, and how much of it is done (0 to 1).
    fn progress(&self, what: &str, part: f64);
}

/// Measures everything.
///
/// # Errors
/// When a host does not start, ends, or answers what is no HTTP. Refusals and failures are figures, no errors.
pub fn run(options: &Options, watch: &dyn Watch) -> anyhow::Result<Report> {
    for &connections in &options.connections {
        let most = limits::BENCH_CONNECTIONS_MAX;
        ensure!(
            (1..=most).contains(&connections),
            "connections are 1 to {most}, not {connections}"
        );
    }
    let bench = Bench { options, watch };
    let rows = bench.plan();
    ensure!(!rows.is_empty(), "there is nothing to measure: choose a workload and connections");
    let place = process::place(&options.folder);
    let mut runs: Vec<Vec<Row>> = vec![vec![]; rows.len()];
    let mut bare: Vec<Vec<Row>> = vec![vec![]; options.connections.len()];
    let (mut disks, mut starts) = (vec![], vec![]);
    // Runs are interleaved, so that a disturbance hits all rows and not all runs of one.
    for run in 1..=options.runs {
        for (index, &(workload, connections)) in rows.iter().enumerate() {
            let name = format!("run {run}/{}: {workload} over {connections}", options.runs);
            let (row, start) = bench.row(workload, connections, name)?;
            runs[index].push(row);
            starts.push(start);
        }
        if options.limits {
            for (index, &connections) in options.connections.iter().enumerate() {
                bare[index].push(bench.hello(connections)?);
            }
            watch.progress("the disk", 0.0);
            disks.push(machine::disk(host::folder(&options.folder)?.path(), options.measure)?);
        }
    }
    let rows: Vec<Row> = runs.into_iter().filter_map(row::median).collect();
    let hello: Vec<Row> = bare.into_iter().filter_map(row::median).collect();
    disks.sort_by(|a, b| a.sync_p50_ms.total_cmp(&b.sync_p50_ms));
    let disk = disks.get(disks.len().saturating_sub(1) / 2).copied();
    let shares = report::shares(&rows, &hello, disk.as_ref());
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        place,
        seconds: options.measure.as_secs_f64(),
        runs: options.runs,
        keys: options.keys,
        start: middle_start(&starts),
        rows,
        hello,
        disk,
        shares,
    })
}

struct Bench<'a> {
    options: &'a Options,
    watch: &'a dyn Watch,
}

impl Bench<'_> {
    /// The rows to measure.
    fn plan(&self) -> Vec<(Workload, usize)> {
        let options = self.options;
        let most = options.connections.iter().max().copied().unwrap_or(1);
        let mut rows = Vec::new();
        for &workload in &options.workloads {
            match workload {
                _ if options.inside && !workload.runs_inside() => {}
                Workload::Idle => rows.push((workload, 0)),
                Workload::Backlog => rows.push((workload, most)),
                _ => rows.extend(options.connections.iter().map(|&count| (workload, count))),
            }
        }
        rows
    }

    /// One row on a host of its own.
    fn row(
        &self,
        workload: Workload,
        connections: usize,
        name: String,
    ) -> anyhow::Result<(Row, Start)> {
        let Options { program, component, .. } = self.options;
        let folder = host::folder(&self.options.folder)?;
        let data = folder.path().join("data");
        self.watch.progress(&name, 0.0);
        let meter = |place, inside| {
            let (options, watch) = (self.options, self.watch);
            Meter { options, watch, place, inside, name }
        };
        if self.options.inside {
            let host = Inside::start(program, &data)?;
            host.place.deploy(component)?;
            let row = meter(host.place, Some(&host)).row(workload, connections)?;
            return Ok((row, Start::default()));
        }
        let host = Process::host(program, &data)?;
        let deploy = now();
        host.place.deploy(component)?;
        let deploy_ms = ms(deploy.elapsed());
        let ready_ms = ms(host.ready);
        let row = meter(host.place, None).row(workload, connections)?;
        drop(host);
        // Over a folder with nothing but the guest: what a row left behind would be replayed, too.
        let first_answer_ms = match workload {
            Workload::Idle => ms(measure::first_answer(program, &data)?),
            _ => 0.0,
        };
        Ok((row, Start { ready_ms, deploy_ms, first_answer_ms }))
    }

    fn hello(&self, connections: usize) -> anyhow::Result<Row> {
        let server = Process::hello(&self.options.program)?;
        let (options, watch, place) = (self.options, self.watch, server.place);
        let name = format!("bare hyper over {connections}");
        let meter = Meter { options, watch, place, inside: None, name };
        meter.row(Workload::Add, connections)
    }
}

/// The median of each figure, of those starts that have it.
fn middle_start(starts: &[Start]) -> Start {
    let middle = |figure: fn(&Start) -> f64| {
        let mut all: Vec<f64> = starts.iter().map(figure).filter(|&ms| ms > 0.0).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
    };
    Start {
        ready_ms: middle(|start| start.ready_ms),
        deploy_ms: middle(|start| start.deploy_ms),
        first_answer_ms: middle(|start| start.first_answer_ms),
    }
}

/// Where the sources' own bench guest is, for a program that was built from them.
#[must_use]
pub fn guest_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bench")
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's own time")]
fn now() -> Instant {
    Instant::now()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

//! `keystead bench`: starts hosts on fresh folders, drives them, and says what they do beside what the machine
//! could. It is no part of a host. Invariant: every row has a host of its own, so no row pays for another one.

mod drive;
mod fill;
pub mod guest;
mod host;
mod inside;
mod machine;
mod measure;
mod neighbour;
mod pace;
mod process;
mod report;
mod restart;
mod row;
pub mod svg;
mod tally;
mod wire;
mod workload;
mod zipf;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::ensure;

use fill::Filled;
pub use fill::Made;
pub use guest::GuestCalls;
use host::{Inside, Place, Process};
pub use machine::{Disk, hello};
use measure::Meter;
use neighbour::Neighbours;
pub use report::{Report, Share, Start};
use restart::Restarts;
pub use row::Row;
pub use workload::{UnknownWorkload, Workload};

use crate::engine::Isolation;
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
    /// Numbers of keys that workloads choose from, instead of their own. Those whose entities exist before make a
    /// row for each, all others take the first.
    pub keys: Vec<u64>,
    /// Whether warm instances serve calls; both make two rows.
    pub isolations: Vec<Isolation>,
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
    ensure!(!options.keys.contains(&0), "there is nothing to choose from 0 keys");
    let plans = options.plan();
    ensure!(!plans.is_empty(), "there is nothing to measure: choose a workload and connections");
    let place = process::place(&options.folder);
    let bench = Bench::prepare(options, watch, &plans)?;
    let mut runs: Vec<Vec<Row>> = vec![vec![]; plans.len()];
    let mut bare: Vec<Vec<Row>> = vec![vec![]; options.connections.len()];
    let (mut machines, mut starts) = (vec![], vec![]);
    // Runs are interleaved, so that a disturbance hits all rows and not all runs of one.
    for run in 1..=options.runs {
        for (index, &plan) in plans.iter().enumerate() {
            let name = format!("run {run}/{}: {}", options.runs, plan.name());
            let (row, start) = bench.row(plan, name)?;
            runs[index].push(row);
            starts.push(start);
        }
        if options.limits {
            for (index, &connections) in options.connections.iter().enumerate() {
                bare[index].push(bench.hello(connections)?);
            }
            machines.push(bench.machine()?);
        }
    }
    let rows: Vec<Row> = runs.into_iter().filter_map(row::median).collect();
    let hello: Vec<Row> = bare.into_iter().filter_map(row::median).collect();
    let disk = middle(machines.iter().map(|(disk, _)| *disk), |disk| disk.sync_p50_ms);
    let guest = middle(machines.iter().map(|(_, guest)| *guest), |guest| guest.add_per_s);
    let shares = report::shares(&rows, &hello, disk.as_ref(), guest.as_ref());
    let beside = report::beside(&rows);
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        place,
        seconds: options.measure.as_secs_f64(),
        runs: options.runs,
        keys: options.keys_of(Workload::Add)[0],
        start: middle_start(&starts),
        rows,
        hello,
        disk,
        guest,
        made: bench.filled.into_values().map(|filled| filled.made).collect(),
        shares,
        beside,
    })
}

/// The one with the median figure.
fn middle<T>(all: impl Iterator<Item = T>, figure: fn(&T) -> f64) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let middle = all.len().checked_sub(1)? / 2;
    Some(all.swap_remove(middle))
}

/// One row to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    workload: Workload,
    connections: usize,
    /// How many keys it chooses from; they exist before when the workload wants that.
    keys: u64,
    isolation: Isolation,
}

impl Plan {
    fn name(&self) -> String {
        let row = Row {
            workload: self.workload.to_string(),
            entities: self.workload.is_filled().then_some(self.keys),
            isolation: self.isolation,
            ..Row::default()
        };
        format!("{} over {}", row.name(), self.connections)
    }
}

impl Options {
    /// Keys that `workload` chooses from, each number of which makes a row.
    fn keys_of(&self, workload: Workload) -> &[u64] {
        match self.keys.as_slice() {
            [] => workload.keys(),
            given if workload.is_filled() => given,
            given => &given[..1],
        }
    }

    /// The rows to measure.
    fn plan(&self) -> Vec<Plan> {
        let most = self.connections.iter().max().copied().unwrap_or(1);
        let mut plans = Vec::new();
        for &workload in &self.workloads {
            let connections = match workload {
                _ if self.inside && !workload.runs_inside() => continue,
                Workload::Idle => &[0][..],
                Workload::Backlog | Workload::Restart => &[most],
                _ => &self.connections,
            };
            for &keys in self.keys_of(workload) {
                for &connections in connections {
                    plans.extend(self.isolations.iter().map(|&isolation| Plan {
                        workload,
                        connections,
                        keys,
                        isolation,
                    }));
                }
            }
        }
        plans
    }
}

struct Bench<'a> {
    options: &'a Options,
    watch: &'a dyn Watch,
    /// Folders with entities in them, by their number. Rows share them, one after the other.
    filled: BTreeMap<u64, Filled>,
}

impl<'a> Bench<'a> {
    /// Makes the entities that rows of `plans` want to exist.
    fn prepare(options: &'a Options, watch: &'a dyn Watch, plans: &[Plan]) -> anyhow::Result<Self> {
        let mut filled = BTreeMap::new();
        for plan in plans.iter().filter(|plan| plan.workload.is_filled()) {
            if let Entry::Vacant(place) = filled.entry(plan.keys) {
                place.insert(fill::fill(options, watch, plan.keys)?);
            }
        }
        Ok(Self { options, watch, filled })
    }

    /// One row on a host of its own.
    fn row(&self, plan: Plan, name: String) -> anyhow::Result<(Row, Start)> {
        self.watch.progress(&name, 0.0);
        let fresh = host::folder(&self.options.folder)?;
        let filled = plan.workload.is_filled().then(|| self.filled.get(&plan.keys)).flatten();
        let data = filled.map_or_else(|| fresh.path().join("data"), Filled::data);
        let (mut row, start) = match plan.workload {
            Workload::Restart => self.restarts(plan, &data, name)?,
            Workload::Neighbour => (self.neighbours(plan, &data, name)?, Start::default()),
            _ if self.options.inside => (self.inside(plan, &data, name)?, Start::default()),
            _ => self.outside(plan, &data, name)?,
        };
        row.isolation = plan.isolation;
        if filled.is_some() {
            row.entities = Some(plan.keys);
            let bytes = fill::file_bytes(&data, "state.redb")?;
            let mib = bytes as f64 / f64::from(1 << 20);
            row.note(format!("the state file has {mib:.0} MiB afterwards"));
            row.state_bytes = Some(bytes);
        }
        Ok((row, start))
    }

    /// A row on a host in a process of its own.
    fn outside(&self, plan: Plan, data: &Path, name: String) -> anyhow::Result<(Row, Start)> {
        let program = &self.options.program;
        let (host, mut start) = self.start(data, plan.isolation)?;
        let row = self.meter(host.place, plan, name).row(plan.workload, plan.connections)?;
        if plan.workload.is_filled() {
            // The next row is not to replay what this one did.
            host.end()?;
            return Ok((row, Start { deploy_ms: start.deploy_ms, ..Start::default() }));
        }
        drop(host);
        // Over a folder with nothing but the guest: what a row left behind would be replayed, too.
        if plan.workload == Workload::Idle {
            start.first_answer_ms = ms(restart::start(program, data)?.1.answered);
        }
        Ok((row, start))
    }

    /// A row on a host in this process.
    fn inside(&self, plan: Plan, data: &Path, name: String) -> anyhow::Result<Row> {
        let host = Inside::start(&self.options.program, data)?;
        host.place.deploy(&self.options.component, plan.isolation)?;
        let meter = Meter { inside: Some(&host), ..self.meter(host.place, plan, name) };
        let row = meter.row(plan.workload, plan.connections)?;
        host.end()?;
        Ok(row)
    }

    /// Starts after kills over `data`, and beside them the start over a folder without entities.
    fn restarts(&self, plan: Plan, data: &Path, name: String) -> anyhow::Result<(Row, Start)> {
        let program = &self.options.program;
        let empty = host::folder(&self.options.folder)?;
        let empty = empty.path().join("data");
        let (host, mut start) = self.start(&empty, plan.isolation)?;
        drop(host);
        start.first_answer_ms = ms(restart::start(program, &empty)?.1.answered);
        let restarts = Restarts {
            options: self.options,
            watch: self.watch,
            data,
            entities: plan.keys,
            connections: plan.connections,
            isolation: plan.isolation,
            name,
        };
        Ok((restarts.row()?, start))
    }

    /// A row beside a noisy neighbour.
    fn neighbours(&self, plan: Plan, data: &Path, name: String) -> anyhow::Result<Row> {
        let Plan { connections, keys, isolation, .. } = plan;
        let (options, watch) = (self.options, self.watch);
        Neighbours { options, watch, data, keys, connections, isolation, name }.row()
    }

    /// Starts a host over `data` and deploys the guest.
    fn start(&self, data: &Path, isolation: Isolation) -> anyhow::Result<(Process, Start)> {
        let from = now();
        let host = Process::host(&self.options.program, data)?;
        host.place.gauges()?;
        let empty_answer_ms = ms(from.elapsed());
        let deploy = now();
        host.place.deploy(&self.options.component, isolation)?;
        let (ready_ms, deploy_ms) = (ms(host.ready), ms(deploy.elapsed()));
        Ok((host, Start { ready_ms, empty_answer_ms, deploy_ms, first_answer_ms: 0.0 }))
    }

    fn hello(&self, connections: usize) -> anyhow::Result<Row> {
        let server = Process::hello(&self.options.program)?;
        let (workload, keys) = (Workload::Add, self.options.keys_of(Workload::Add)[0]);
        let plan = Plan { workload, connections, keys, isolation: Isolation::App };
        let name = format!("bare hyper over {connections}");
        self.meter(server.place, plan, name).row(workload, connections)
    }

    fn meter(&self, place: Place, plan: Plan, name: String) -> Meter<'a> {
        let (options, watch, keys) = (self.options, self.watch, plan.keys);
        Meter { options, watch, keys, place, inside: None, name }
    }

    /// What the disk and the engine can do.
    fn machine(&self) -> anyhow::Result<(Disk, GuestCalls)> {
        let Options { program, component, measure, .. } = self.options;
        let folder = host::folder(&self.options.folder)?;
        self.watch.progress("the disk", 0.0);
        let disk = machine::disk(folder.path(), *measure)?;
        self.watch.progress("guest calls", 0.0);
        Ok((disk, guest::measure(program, component, folder.path(), *measure)?))
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
        empty_answer_ms: middle(|start| start.empty_answer_ms),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(workloads: &[Workload], keys: &[u64]) -> Options {
        Options {
            program: PathBuf::new(),
            component: vec![],
            folder: PathBuf::new(),
            workloads: workloads.into(),
            connections: vec![1, 64],
            rate: None,
            measure: Duration::from_secs(1),
            warmup: Duration::from_secs(1),
            keys: keys.into(),
            isolations: vec![Isolation::App],
            messages: 1,
            threads: 1,
            runs: 1,
            inside: false,
            limits: false,
            stop: Arc::default(),
        }
    }

    fn names(options: &Options) -> Vec<String> {
        options.plan().iter().map(Plan::name).collect()
    }

    #[test]
    fn each_number_of_keys_makes_a_row_where_they_exist_before() {
        let workloads = [Workload::Idle, Workload::Add, Workload::Entities, Workload::Restart];
        let expected = [
            "idle over 0",
            "add over 1",
            "add over 64",
            "entities of 10 over 1",
            "entities of 10 over 64",
            "entities of 2 000 over 1",
            "entities of 2 000 over 64",
            "restart of 10 over 64",
            "restart of 2 000 over 64",
        ];
        assert_eq!(names(&options(&workloads, &[10, 2_000])), expected);
        let own = names(&options(&workloads[3..], &[]));
        assert_eq!(own, ["restart of 1 000 000 over 64"]);
    }

    #[test]
    fn both_isolations_stand_side_by_side() {
        let mut options = options(&[Workload::Add, Workload::Read], &[]);
        options.isolations = vec![Isolation::App, Isolation::Invocation];
        (options.connections, options.inside) = (vec![64], true);
        assert_eq!(names(&options), ["add over 64", "add, fresh over 64"]);
    }

    #[test]
    fn the_middle_is_one_of_them() {
        assert_eq!(middle([3.0, 1.0, 2.0].into_iter(), |n| *n), Some(2.0));
        assert_eq!(middle(std::iter::empty::<f64>(), |n| *n), None);
    }
}

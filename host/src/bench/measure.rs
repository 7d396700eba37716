//! One row: drives one workload over one number of connections against one server, and reads what it cost
//! from the kernel and from the host's gauges. Invariant: warm-up and measurement are separate drives, and what
//! the warm-up left behind is done before the measurement begins.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::drive::{End, Load, drive};
use super::host::{Gauges, Inside, Place};
use super::pace::Schedule;
use super::process::{self, Machine, Usage};
use super::row::Row;
use super::tally::Tally;
use super::workload::{FAN, Script, Workload};
use super::{Options, Watch, inside, now};
use crate::clock::{Clock as _, SystemClock};
use crate::limits;

/// Measures rows against one server.
pub(super) struct Meter<'a> {
    pub(super) options: &'a Options,
    pub(super) keys: u64,
    pub(super) watch: &'a dyn Watch,
    pub(super) place: Place,
    /// The host, when it is in this process and driven without HTTP.
    pub(super) inside: Option<&'a Inside>,
    /// What people see while it runs.
    pub(super) name: String,
}

/// Everything that was counted at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    server: Usage,
    own: Usage,
    machine: Machine,
    gauges: Gauges,
}

impl Meter<'_> {
    /// Drives and measures `workload` over `connections`.
    pub(super) fn row(&self, workload: Workload, connections: usize) -> anyhow::Result<Row> {
        match workload {
            Workload::Idle => self.idle(),
            Workload::Backlog => self.backlog(connections),
            _ => self.loaded(workload, connections),
        }
    }

    fn loaded(&self, workload: Workload, connections: usize) -> anyhow::Result<Row> {
        let options = self.options;
        if workload == Workload::Read && self.place.admin.is_some() {
            // So that there is something to read.
            self.drive(Workload::Add, connections, options.warmup, 1)?;
            self.drained()?;
        }
        let (warmup, measure) = self.times(workload);
        self.drive(workload, connections, warmup, 1)?;
        self.drained()?;
        let before = self.sample()?;
        let (mut tally, rss_mib) = self.drive(workload, connections, measure, 2)?;
        let driven = self.sample()?;
        self.drained()?;
        let drained = self.sample()?;
        let after = if workload.drains() { drained } else { driven };
        if workload.drains() {
            tally.elapsed = drained.at - before.at;
        }
        let mut row = self.figures(workload, connections, &tally, (before, after));
        row.rss_mib = rss_mib;
        if workload == Workload::Fanout {
            row.note(format!("{:.0} messages/s took effect", row.rate_per_s * FAN as f64));
        }
        if workload == Workload::Send {
            let all = (drained.at - before.at).as_secs_f64();
            let rate = tally.answers as f64 / all;
            row.note(format!("{rate:.0}/s from the first accepted to the last one done"));
        }
        Ok(row)
    }

    /// Warm-up and measurement. What checkpoints cost is most of what many entities cost, so two of them fall into
    /// that measurement.
    fn times(&self, workload: Workload) -> (Duration, Duration) {
        let Options { warmup, measure, .. } = *self.options;
        match workload {
            Workload::Entities => {
                let pause = limits::CHECKPOINT_INTERVAL;
                (warmup.max(pause), measure.max(pause * 2))
            }
            _ => (warmup, measure),
        }
    }

    /// Nothing is asked of the host.
    fn idle(&self) -> anyhow::Result<Row> {
        self.drained()?;
        // What the deploy left to do is done by then.
        self.attend(limits::CHECKPOINT_INTERVAL * 2, || {
            self.rest(limits::CHECKPOINT_INTERVAL * 2);
        })?;
        let before = self.sample()?;
        let (_, rss_mib) = self.attend(self.options.measure, || self.rest(self.options.measure))?;
        let after = self.sample()?;
        let mut row = self.figures(Workload::Idle, 0, &Tally::new(), (before, after));
        row.rss_mib = rss_mib;
        Ok(row)
    }

    /// Sends that are due together: accepted, then drained.
    fn backlog(&self, connections: usize) -> anyhow::Result<Row> {
        let messages = self.options.messages;
        let (trial, _) = self.drive(Workload::Send, connections, self.options.warmup, 1)?;
        ensure!(trial.answers > 0, "no send was accepted: {:?}", trial.first_failure);
        self.drained()?;
        let per_s = trial.answers as f64 / trial.elapsed.as_secs_f64();
        let lead = Duration::from_secs_f64(messages as f64 / per_s * 1.5 + 2.0);
        let due = now() + lead;
        let at_ms = SystemClock::new().now_ms() + lead.as_millis() as u64;
        let at = jiff::Timestamp::from_millisecond(at_ms.try_into()?)?;
        let script = Script::new(Workload::Backlog, self.keys, 2).due_at(&at.to_string());
        let before = self.sample()?;
        let end = End::Answers(messages);
        let (tally, accepting) =
            self.attend(lead, || self.drive_http(vec![self.load(script, connections, None, end)]))?;
        let tally = tally?;
        let accepted = self.sample()?;
        let queued = self.place.gauges()?.open;
        let wait = due.saturating_duration_since(now());
        let (_, waiting) = self.attend(wait, || self.rest(wait))?;
        let from = now();
        let (done, draining) = self.attend(wait, || self.drained())?;
        done?;
        let drained = from.elapsed();
        let mut row = self.figures(Workload::Backlog, connections, &tally, (before, accepted));
        row.rss_mib = accepting.max(waiting).max(draining);
        if accepted.at > due {
            row.note(
                "disturbed: accepting took longer than thought, so some were due before".into(),
            );
        }
        let (per_s, s) = (messages as f64 / drained.as_secs_f64(), drained.as_secs_f64());
        row.note(format!(
            "{messages} accepted, {queued} queued at once, drained at {per_s:.0}/s in {s:.1} s"
        ));
        row.note(format!(
            "{accepting:.0} MiB of memory at most while accepting, {waiting:.0} while waiting, {draining:.0} while \
             draining"
        ));
        row.drained_per_s = Some(per_s);
        Ok(row)
    }

    /// One drive, attended: what it counted and the most memory that the server had.
    fn drive(
        &self,
        workload: Workload,
        connections: usize,
        time: Duration,
        round: u64,
    ) -> anyhow::Result<(Tally, f64)> {
        let seeds = round * 1_000_000..;
        let script = |seed| Script::new(workload, self.keys, seed);
        if let Some(inside) = self.inside {
            let scripts = seeds.take(connections).map(script).collect();
            let stop = &self.options.stop;
            let (handle, router) = (inside.runtime.handle(), inside.server()?.router());
            let work = || inside::drive(handle, router, workload, scripts, time, stop);
            let (tally, rss) = self.attend(time, work)?;
            return Ok((tally?, rss));
        }
        let drivers = self.options.threads.clamp(1, connections);
        let loads = seeds.take(drivers).enumerate().map(|(driver, seed)| {
            let share = connections / drivers + usize::from(driver < connections % drivers);
            let schedule = |per_s| Schedule::new(per_s, driver as u64, drivers as u64);
            self.load(script(seed), share, self.options.rate.map(schedule), End::After(time))
        });
        let loads = loads.collect();
        let (tally, rss) = self.attend(time, || self.drive_http(loads))?;
        Ok((tally?, rss))
    }

    fn load(
        &self,
        script: Script,
        connections: usize,
        schedule: Option<Schedule>,
        end: End,
    ) -> Load {
        let stop = Arc::clone(&self.options.stop);
        Load { addr: self.place.ingress, connections, script, schedule, end, stop }
    }

    fn drive_http(&self, loads: Vec<Load>) -> anyhow::Result<Tally> {
        let tallies: Vec<_> = std::thread::scope(|scope| {
            let drivers: Vec<_> =
                loads.into_iter().map(|load| scope.spawn(move || drive(load))).collect();
            drivers.into_iter().map(|driver| driver.join()).collect()
        });
        let mut all = Tally::new();
        for tally in tallies {
            let Ok(tally) = tally else { bail!("a driver panicked") };
            all.merge(&tally.with_context(|| format!("while driving {}", self.name))?);
        }
        Ok(all)
    }

    /// Does `work` on a thread of its own, shows how far it is, and watches the server's memory.
    fn attend<T: Send>(
        &self,
        expected: Duration,
        work: impl FnOnce() -> T + Send,
    ) -> anyhow::Result<(T, f64)> {
        let start = now();
        let mut rss_mib = process::rss_mib(self.place.pid)?;
        let done = std::thread::scope(|scope| {
            let (end, ended) = channel::<()>();
            let worker = scope.spawn(move || {
                let done = work();
                drop(end);
                done
            });
            while ended.recv_timeout(limits::BENCH_TICK) == Err(RecvTimeoutError::Timeout) {
                // A server that has ended is the worker's to report.
                rss_mib = process::rss_mib(self.place.pid).map_or(rss_mib, |now| rss_mib.max(now));
                let expected = expected.as_secs_f64().max(0.001);
                self.watch
                    .progress(&self.name, (start.elapsed().as_secs_f64() / expected).min(1.0));
            }
            worker.join()
        });
        let Ok(done) = done else { bail!("{} panicked", self.name) };
        ensure!(!self.options.stop.load(Ordering::Relaxed), "stopped");
        Ok((done, rss_mib))
    }

    /// Lets `time` pass, unless it is told to stop.
    fn rest(&self, time: Duration) {
        let start = now();
        while start.elapsed() < time && !self.options.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(limits::BENCH_TICK.min(time - start.elapsed().min(time)));
        }
    }

    /// Waits until the host has nothing to do.
    fn drained(&self) -> anyhow::Result<()> {
        let patience = now() + limits::BENCH_DRAIN_MAX;
        while self.place.gauges()?.open > 0 {
            ensure!(now() < patience, "the host is not done after {:?}", limits::BENCH_DRAIN_MAX);
            ensure!(!self.options.stop.load(Ordering::Relaxed), "stopped");
            std::thread::park_timeout(limits::BENCH_LOOK);
        }
        Ok(())
    }

    fn sample(&self) -> anyhow::Result<Sample> {
        Ok(Sample {
            at: now(),
            server: process::usage(self.place.pid)?,
            own: process::usage(std::process::id())?,
            machine: process::machine()?,
            gauges: self.place.gauges()?,
        })
    }

    fn figures(
        &self,
        workload: Workload,
        connections: usize,
        tally: &Tally,
        (before, after): (Sample, Sample),
    ) -> Row {
        let time = (after.at - before.at).as_secs_f64();
        let server = (after.server.cpu_s - before.server.cpu_s) / time;
        let own = (after.own.cpu_s - before.own.cpu_s) / time;
        let busy = (after.machine.busy_s - before.machine.busy_s) / time;
        // In this process host and load cannot be told apart.
        let client = if self.inside.is_some() { 0.0 } else { own };
        let written = after.server.write_bytes.saturating_sub(before.server.write_bytes);
        let per_s = |count: u64| count as f64 / time;
        let name =
            if self.place.admin.is_some() { workload.to_string() } else { "bare hyper".into() };
        let mut row = Row::new(name, connections, tally);
        row.inside = self.inside.is_some();
        row.offered_per_s = self.options.rate;
        row.transactions_per_s = per_s(after.gauges.transactions - before.gauges.transactions);
        row.syncs_per_s = per_s(after.gauges.appends - before.gauges.appends);
        let checkpoints = after.gauges.checkpoints - before.gauges.checkpoints;
        row.checkpoints_per_s = checkpoints as f64 / time;
        row.cpu_cores = server;
        row.client_cores = client;
        row.other_cores = (busy - server - client).max(0.0);
        row.steal_percent = Machine::steal_percent(before.machine, after.machine);
        row.bytes_per_call = (tally.answers > 0).then(|| written as f64 / tally.answers as f64);
        row
    }
}

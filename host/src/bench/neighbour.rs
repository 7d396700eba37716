//! A noisy neighbour: how long calls of one app take alone, and how long while another app asks for ten times its quota.
//! Both drive open loops, so a host that stalls is charged for it. Rounds alternate, so that what else happens on the
//! machine falls on both alike.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

use super::drive::{End, Load, drive};
use super::host::Process;
use super::pace::Schedule;
use super::process::{self, Machine};
use super::row::Row;
use super::tally::Tally;
use super::workload::{NOISY, Script, Workload};
use super::{Options, Watch};
use crate::engine::Isolation;
use crate::limits;

/// Both apps on one host.
pub(super) struct Neighbours<'a> {
    pub(super) options: &'a Options,
    pub(super) watch: &'a dyn Watch,
    pub(super) data: &'a Path,
    pub(super) keys: u64,
    pub(super) connections: usize,
    pub(super) isolation: Isolation,
    pub(super) name: String,
}

impl Neighbours<'_> {
    /// The row of the quiet app beside the noisy one; what it was alone is in its notes.
    pub(super) fn row(&self) -> anyhow::Result<Row> {
        let before = process::machine()?;
        let host = Process::host(&self.options.program, self.data)?;
        let component = &self.options.component;
        host.place.deploy(component, self.isolation)?;
        let quotas = json!({"requests_per_s": limits::BENCH_NOISY_QUOTA});
        let config = json!({"isolation": self.isolation, "quotas": quotas});
        host.place.deploy_as(NOISY, component, &config)?;
        self.calls(&host, self.options.warmup, 0)?;
        let (mut alone, mut beside, mut noise) = (Tally::new(), Tally::new(), Tally::new());
        let rounds = limits::BENCH_NEIGHBOUR_ROUNDS;
        let time = self.options.measure / rounds;
        for round in 0..rounds {
            self.watch.progress(&self.name, f64::from(round) / f64::from(rounds));
            alone.merge(&self.calls(&host, time, 2 * u64::from(round) + 1)?);
            let (quiet, noisy) = self.both(&host, time, 2 * u64::from(round) + 2)?;
            beside.merge(&quiet);
            noise.merge(&noisy);
        }
        beside.elapsed = time * rounds;
        let rss_mib = process::rss_mib(host.place.pid)?;
        host.end()?;
        let p99_ms = |tally: &Tally| tally.latencies.value_at_quantile(0.99) as f64 / 1e6;
        let p50_ms = |tally: &Tally| tally.latencies.value_at_quantile(0.5) as f64 / 1e6;
        let mut row = Row::new(Workload::Neighbour.to_string(), self.connections, &beside);
        row.offered_per_s = Some(limits::BENCH_QUIET_RATE);
        row.rss_mib = rss_mib;
        row.steal_percent = Machine::steal_percent(before, process::machine()?);
        row.note(format!(
            "alone p50 {:.2} ms, p99 {:.2} ms; beside p50 {:.2} ms, p99 {:.2} ms: {:.2} times",
            p50_ms(&alone),
            p99_ms(&alone),
            p50_ms(&beside),
            p99_ms(&beside),
            p99_ms(&beside) / p99_ms(&alone),
        ));
        let seconds = self.options.measure.as_secs_f64();
        row.note(format!(
            "the noisy one may {}/s and asked for 10 times that: {:.0}/s taken, {:.0}/s refused",
            limits::BENCH_NOISY_QUOTA,
            noise.answers as f64 / seconds,
            noise.refused as f64 / seconds,
        ));
        Ok(row)
    }

    /// The quiet app's calls for a while.
    fn calls(&self, host: &Process, time: Duration, seed: u64) -> anyhow::Result<Tally> {
        drive(Load {
            addr: host.place.ingress,
            connections: self.connections,
            script: Script::new(Workload::Add, self.keys, seed),
            schedule: Some(Schedule::new(limits::BENCH_QUIET_RATE, 0, 1)),
            end: End::After(time),
            stop: Arc::clone(&self.options.stop),
        })
    }

    /// The same while the noisy app's calls go on.
    fn both(&self, host: &Process, time: Duration, seed: u64) -> anyhow::Result<(Tally, Tally)> {
        let over = Arc::new(AtomicBool::new(false));
        let load = Load {
            addr: host.place.ingress,
            connections: limits::BENCH_NOISY_CONNECTIONS,
            script: Script::new(Workload::Add, self.keys, !seed).of(NOISY),
            schedule: Some(Schedule::new(10.0 * f64::from(limits::BENCH_NOISY_QUOTA), 0, 1)),
            end: End::After(time),
            stop: Arc::clone(&over),
        };
        let noisy = std::thread::spawn(move || drive(load));
        let quiet = self.calls(host, time, seed);
        over.store(true, Ordering::Relaxed);
        let Ok(noisy) = noisy.join() else { bail!("the noisy driver panicked") };
        Ok((quiet?, noisy.context("the noisy app")?))
    }
}

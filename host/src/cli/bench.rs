//! `keystead bench`: measures hosts on this machine, with a progress bar for people, a table or a document on
//! stdout, and files with everything. The measuring itself is `crate::bench`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{self, Output};
use super::serve::Stop;
use super::{Usage, build};
use crate::bench::{self, Options, Report, Watch, Workload};
use crate::engine::Isolation;

/// Measure this machine's hosts: starts them, drives them, and prints what they do
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to measure: idle, add, hot, zipf, keyed, send, read, transfer, fanout, big, backlog, entities, restart
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "idle,add,hot,keyed,send,read,transfer"
    )]
    workload: Vec<Workload>,
    /// Connections, each a closed loop; several numbers make several rows
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,64")]
    connections: Vec<usize>,
    /// Requests in a second of an open loop; latency then counts from when each was due
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before it that do not count
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    warmup: f64,
    /// Keys to choose from; entities and restart first make that many, and take several numbers
    /// [default: 10000; entities 10000,10000000; restart 1000000]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    keys: Vec<u64>,
    /// Warm instances or a fresh one for each call; both make two rows
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "app")]
    isolation: Vec<Instances>,
    /// Messages of the backlog
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    messages: u64,
    /// Runs of everything, interleaved; what is printed is the run with the median rate
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    /// Threads that drive the connections
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Drive the router within this process instead of HTTP (add, hot, send, transfer,
    /// entities)
    #[arg(long, conflicts_with_all = ["rate", "vs"])]
    in_process: bool,
    /// Measure in the same run what the machine can do: bare HTTP, fdatasync, the journal
    /// alone, redb alone, guest calls alone
    #[arg(long, value_name = "WHAT")]
    vs: Option<Versus>,
    /// The bench guest's crate, built first
    #[arg(long, value_name = "DIR", conflicts_with = "component")]
    app: Option<PathBuf>,
    /// The bench guest's component, already built
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Where data folders are made: on the disk to be measured
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Save everything as JSON
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Draw latency and throughput curves
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Instances {
    /// Warm instances.
    App,
    /// A fresh instance for each call.
    Invocation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Versus {
    /// The machine's own limits
    Limits,
}

impl From<Instances> for Isolation {
    fn from(instances: Instances) -> Self {
        match instances {
            Instances::App => Self::App,
            Instances::Invocation => Self::Invocation,
        }
    }
}

/// Serve nothing but a number, as a measure for HTTP itself
#[derive(Debug, clap::Args)]
pub(super) struct HelloArgs {}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let options = args.options(out).await?;
    let mut stop = Stop::listen()?;
    let asked = Arc::clone(&options.stop);
    let bar = Bar::new(out);
    let measuring = tokio::task::spawn_blocking(move || bench::run(&options, &bar));
    let mut measuring = std::pin::pin!(measuring);
    let report = tokio::select! {
        report = &mut measuring => report,
        () = stop.asked() => {
            asked.store(true, Ordering::Relaxed);
            measuring.await
        }
    };
    let report = report.context("measuring panicked")??;
    args.save(&report)?;
    Ok(out.document(&json!(report), |_| report.text(output::table).trim_end().to_owned())?)
}

pub(super) async fn hello(_: &HelloArgs) -> anyhow::Result<()> {
    bench::hello().await
}

impl Args {
    async fn options(&self, out: &Output) -> anyhow::Result<Options> {
        Ok(Options {
            program: std::env::current_exe().context("this program cannot find itself")?,
            component: self.component(out).await?,
            folder: self.folder.clone().unwrap_or_else(std::env::temp_dir),
            workloads: self.workload.clone(),
            connections: self.connections.clone(),
            rate: self.rate.map(|rate| positive("rate", rate)).transpose()?,
            measure: Duration::from_secs_f64(positive("seconds", self.seconds)?),
            warmup: Duration::from_secs_f64(positive("warmup", self.warmup)?),
            keys: self.keys.clone(),
            isolations: self.isolation.iter().map(|&instances| instances.into()).collect(),
            messages: self.messages.max(1),
            threads: self.threads,
            runs: self.runs.max(1),
            inside: self.in_process,
            limits: self.vs == Some(Versus::Limits),
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    async fn component(&self, out: &Output) -> anyhow::Result<Vec<u8>> {
        if let Some(file) = &self.component {
            return std::fs::read(file)
                .with_context(|| format!("the component {} cannot be read", file.display()));
        }
        let own = bench::guest_folder();
        let dir = match &self.app {
            Some(dir) => dir,
            None if own.is_dir() => &own,
            None => bail!(
                "the sources of the bench guest are not here; give them with --app DIR, or \
                 a built one with --component FILE"
            ),
        };
        let spinner = out.spinner("building the bench guest");
        let built = build::build(dir, out).await;
        spinner.finish_and_clear();
        Ok(built?.component)
    }

    fn save(&self, report: &Report) -> anyhow::Result<()> {
        let write = |path: &Path, text: String| {
            std::fs::write(path, text)
                .with_context(|| format!("{} cannot be written", path.display()))
        };
        if let Some(path) = &self.save {
            write(path, serde_json::to_string_pretty(report)? + "\n")?;
        }
        if let Some(path) = &self.svg {
            write(path, bench::svg::draw(report))?;
        }
        Ok(())
    }
}

fn positive(name: &str, number: f64) -> anyhow::Result<f64> {
    if number.is_finite() && number > 0.0 && number < 1e9 {
        return Ok(number);
    }
    Err(Usage(format!("--{name} is {number}; it must be more than 0")).into())
}

/// A progress bar; silent unless a person looks at a terminal.
struct Bar(ProgressBar);

/// Steps of the bar for one measurement.
const STEPS: u64 = 100;

impl Bar {
    fn new(out: &Output) -> Self {
        if !out.is_for_people() || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(STEPS);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Watch for Bar {
    fn progress(&self, what: &str, part: f64) {
        self.0.set_message(what.to_owned());
        self.0.set_position((part * STEPS as f64) as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_positive() {
        assert!(positive("seconds", 0.5).is_ok());
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = positive("rate", bad).expect_err("not positive");
            assert!(error.is::<Usage>() && error.to_string().contains("--rate"), "{error}");
        }
    }
}

//! `keystead doctor`: says what is in a data folder and what is damaged, and with `--repair` does what it said.
//! Talks to no host. Invariant: without `--repair` nothing changes.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::Usage;
use super::output::{self, Output};
use crate::clock::SystemClock;
use crate::doctor::{Doctor, Problem, Report};
use crate::registry::Keyring;

/// Say what is in a data folder and what is damaged, and mend it with --repair
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 healthy or mended, 1 there are problems, 2 it could not look."
)]
pub(super) struct Args {
    /// The data folder, which no host may have open
    #[arg(long, value_name = "DIR", default_value = "./keystead-data")]
    data: PathBuf,
    /// Explain, then do it: what is replaced stays beside, under a name that is told
    #[arg(long)]
    repair: bool,
    /// The keys of secrets that a host encrypted, to see whether they decrypt
    #[arg(long, value_name = "FILE", env = "KEYSTEAD_SECRETS_KEY")]
    secrets_key: Option<PathBuf>,
}

/// Problems are left: exit code 1, and everything is said already.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the problems above are left")]
struct Left(usize);

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let keys = args.secrets_key.as_deref().map(Keyring::read).transpose();
    let keys = keys.map_err(|error| Usage(error.to_string()))?;
    let doctor = Doctor::open(&args.data, keys).map_err(|error| Usage(format!("{error:#}")))?;
    let bar = out.spinner("looking");
    let watch = |what: &str, rows: u64| tell(&bar, what, rows);
    let report = doctor.examine(&watch)?;
    bar.finish_and_clear();
    if !args.repair || report.problems.is_empty() {
        out.document(&document(&report, &[]), |_| show(&report))?;
        return left(&report);
    }
    if out.is_for_people() {
        out.line(&show(&report))?;
    }
    let bar = out.spinner("mending");
    let watch = |what: &str, rows: u64| tell(&bar, what, rows);
    let done = doctor.repair(&report, &SystemClock::new(), &watch)?;
    let after = doctor.examine(&watch)?;
    bar.finish_and_clear();
    out.document(&document(&after, &done), |_| {
        let done: String = done.iter().map(|what| format!("  {what}\n")).collect();
        format!("Done:\n{done}\nNow:\n{}", show(&after))
    })?;
    left(&after)
}

fn left(report: &Report) -> anyhow::Result<()> {
    if report.problems.is_empty() { Ok(()) } else { Err(Left(report.problems.len()).into()) }
}

fn tell(bar: &ProgressBar, what: &str, rows: u64) {
    let rows = if rows == 0 { String::new() } else { format!(": {rows} rows") };
    bar.set_message(format!("{what}{rows}"));
}

fn document(report: &Report, done: &[String]) -> Value {
    let mut document = json!(report);
    document["healthy"] = json!(report.problems.is_empty());
    document["repaired"] = json!(done);
    document
}

fn show(report: &Report) -> String {
    let mut text = format!(
        "{}: a data folder of format {}\n\n",
        output::plain(&report.data.display().to_string()),
        report.format
    );
    let apps = report.apps.iter().map(|app| {
        let version = app.version.clone().unwrap_or_else(|| "not known".into());
        vec![app.app.clone(), version, app.versions.to_string()]
    });
    let apps: Vec<_> = apps.collect();
    if apps.is_empty() {
        text.push_str("No app is deployed.\n");
    } else {
        text.push_str(&output::table(&["app", "live version", "versions"], &apps));
        text.push('\n');
    }
    for census in &report.partitions {
        let journal = match census.journal_first {
            0 => "empty".into(),
            first => format!("positions {first} to {}", census.journal_last),
        };
        text.push_str(&format!("\npartition {}\n", census.partition));
        text.push_str(&output::fields(&[
            ("  entities", census.entities.to_string()),
            ("  messages waiting", census.queued.to_string()),
            ("  delayed and timers", census.scheduled.to_string()),
            ("  dead letters", census.dead.to_string()),
            ("  outcomes kept", census.outcomes.to_string()),
            ("  keys kept", census.keys.to_string()),
            ("  checkpoint at", format!("position {}", census.checkpoint)),
            ("  journal", journal),
        ]));
        text.push('\n');
    }
    for remark in &report.remarks {
        text.push_str(&format!("\nnote: {remark}\n"));
    }
    for problem in &report.problems {
        text.push_str(&explain(problem));
    }
    if report.problems.is_empty() {
        text.push_str("\nNothing is damaged.");
    } else if report.problems.iter().any(|problem| problem.repair.is_some()) {
        text.push_str("\n`keystead doctor --repair` does what stands behind `repair`.");
    }
    text
}

fn explain(problem: &Problem) -> String {
    let Problem { file, place, what, lost, repair } = problem;
    let repair = repair.as_deref().unwrap_or("none that this command knows");
    format!(
        "\nPROBLEM in {file}\n  where   {place}\n  what    {what}\n  lost    {lost}\n  repair  {repair}\n"
    )
}

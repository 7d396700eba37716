//! Soak: mixed load at a bounded rate for a long time, with a fault now and then, while the host is looked at from
//! outside. At the end nothing may have grown: memory, open files, threads, the data folder, the journal, and
//! the rows of outcomes and keys that are past their time.
//!
//! `KEYSTEAD_SOAK_SECONDS` says how long (CI: 20), `KEYSTEAD_SOAK_LIVES=1` that the host lives through it, so
//! faults that end it are left out, and `KEYSTEAD_SOAK_REPORT` names a file for all samples.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::load::Load;
use super::nemesis::Fault;
use super::scenarios::number;
use super::world::{World, folder_size};

/// Outcomes and keys are kept so long, so that many are forgotten within a run.
const RETENTION_S: u64 = 60;
/// How many faults and samples a run has at least; longer ones have a fault each minute and six samples.
const FAULTS_MIN: u64 = 3;
const FAULT_EVERY: Duration = Duration::from_secs(60);
const SAMPLES_PER_FAULT: u32 = 6;
/// What ends the host, and what it lives through.
const ALL: [Fault; 6] = [
    Fault::Kill,
    Fault::SyncsFail,
    Fault::Terminate,
    Fault::FailOnce,
    Fault::Full,
    Fault::SyncsFail,
];
const SURVIVED: [Fault; 5] =
    [Fault::SyncsFail, Fault::Pause, Fault::FailOnce, Fault::Full, Fault::Slow];

const LOAD: Load = Load { clients: 24, cells: 60, pause: Duration::from_millis(12), ballast: 60 };

/// The host at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_s: u64,
    figures: [u64; FIGURES.len()],
}

/// What is sampled, and by how much the median of its last third may be above that of the second.
const FIGURES: [(&str, u64); 8] = [
    ("memory, MiB", 24),
    ("open files", 12),
    ("threads", 6),
    ("data folder, MiB", 40),
    ("journal's files", 3),
    ("uncheckpointed, KiB", 16 * 1024),
    ("rows of outcomes", 8_000),
    ("rows of keys", 8_000),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_for_ever() {
    let total = Duration::from_secs(number("KEYSTEAD_SOAK_SECONDS").unwrap_or(20));
    let lives = number("KEYSTEAD_SOAK_LIVES").is_some_and(|lives| lives > 0);
    let faults: &[Fault] = if lives { &SURVIVED } else { &ALL };
    let mut world = World::new(number("KEYSTEAD_CRASH_SEED").unwrap_or(1), LOAD, RETENTION_S);
    world.open().await;
    let began = Instant::now();
    let every = FAULT_EVERY.min(total / FAULTS_MIN as u32);
    let (mut samples, mut census, mut cpu) = (vec![], (0, 0), Cpu::default());
    for fault in faults.iter().cycle() {
        world.begin();
        for _ in 0..SAMPLES_PER_FAULT {
            tokio::time::sleep(every / SAMPLES_PER_FAULT).await;
            cpu.look(world.host.pid());
            samples.push(sample(&world, began, census).await);
        }
        fault.strike(&mut world).await;
        if world.host.pid().is_none() {
            census = counted(&world.examine().await);
        }
        world.recover().await;
        world.check().await;
        if began.elapsed() >= total {
            break;
        }
        let elapsed = began.elapsed();
        publish(&report(&world, &samples, (elapsed, cpu.share(elapsed)), census), &samples);
    }
    assert!(world.host.stop().await.success(), "a clean stop");
    census = counted(&world.examine().await);
    let elapsed = began.elapsed();
    let report = report(&world, &samples, (elapsed, cpu.share(elapsed)), census);
    println!("{report}");
    publish(&report, &samples);
    // A short run has hardly begun to be level.
    if elapsed >= 10 * FAULT_EVERY {
        assert_eq!(grown(&samples), Vec::<String>::new());
    }
    assert!(!samples.is_empty() && world.tally.checks >= FAULTS_MIN, "it did not last");
}

async fn sample(world: &World, began: Instant, census: (u64, u64)) -> Sample {
    let pid = world.host.pid().expect("the host runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        let word = line.split_whitespace().next().expect("a word");
        word.parse::<u64>().expect("a number")
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count() as u64;
    let (bytes, journal) = folder_size(&world.host.data());
    let status = world.client().admin(http::Method::GET, "/admin/v1/status").ok().await;
    let view = status["partitions"][0]["view_bytes"].as_u64().expect("a gauge");
    let figures = [
        field("VmRSS:") / 1024,
        files,
        field("Threads:"),
        bytes >> 20,
        journal,
        view >> 10,
        census.0,
        census.1,
    ];
    Sample { at_s: began.elapsed().as_secs(), figures }
}

/// Rows of outcomes and of keys in the state file, as `doctor` counts them.
fn counted(report: &Value) -> (u64, u64) {
    let count = |row: &str| report["partitions"][0][row].as_u64().expect("a count");
    (count("outcomes"), count("keys"))
}

/// The processor time of a host, over all its lives.
#[derive(Debug, Default)]
struct Cpu {
    ended: u64,
    now: (i32, u64),
}

impl Cpu {
    /// Counts in ticks of ten milliseconds.
    fn look(&mut self, pid: Option<i32>) {
        let Some(pid) = pid else { return };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        if self.now.0 != pid {
            self.ended += self.now.1;
        }
        self.now = (pid, ticks);
    }

    fn share(&self, elapsed: Duration) -> f64 {
        (self.ended + self.now.1) as f64 / 100.0 / elapsed.as_secs_f64()
    }
}

/// The median of a figure over a part of the samples.
fn median(samples: &[Sample], figure: usize) -> u64 {
    let mut numbers: Vec<u64> = samples.iter().map(|sample| sample.figures[figure]).collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

fn thirds(samples: &[Sample]) -> [&[Sample]; 3] {
    let third = samples.len() / 3;
    [&samples[..third], &samples[third..2 * third], &samples[2 * third..]]
}

/// What is above its level of the second third in the last one.
fn grown(samples: &[Sample]) -> Vec<String> {
    let [_, second, last] = thirds(samples);
    let medians = |figure| (median(second, figure), median(last, figure));
    let figures = FIGURES.iter().enumerate().map(|(at, (name, slack))| (name, slack, medians(at)));
    let grown = figures.filter(|(_, slack, (before, after))| *after > before + **slack);
    grown.map(|(name, _, (before, after))| format!("{name}: {before}, then {after}")).collect()
}

fn report(
    world: &World,
    samples: &[Sample],
    (elapsed, cpu): (Duration, f64),
    census: (u64, u64),
) -> String {
    let mut text = format!(
        "{} s, {:.0} % of a processor, {:?}\n",
        elapsed.as_secs(),
        cpu * 100.0,
        world.tally
    );
    let mut pages = world.book.pages();
    let (requests, maybes) = (pages.requests, pages.maybes);
    pages.took_us.sort_unstable();
    let took = |part: f64| {
        let place = (pages.took_us.len() as f64 * part) as usize;
        pages.took_us.get(place.min(pages.took_us.len() - 1)).map_or(0.0, |us| *us as f64 / 1e3)
    };
    let _ = writeln!(
        text,
        "{requests} requests, {maybes} of them maybe; calls took {:.1} ms at p50, {:.1} at p99, {:.1} at p99.9, \
         {:.0} at most",
        took(0.5),
        took(0.99),
        took(0.999),
        took(1.0)
    );
    text.push_str(
        "| figure | first third | second | last | at the end |\n| --- | --- | --- | --- | --- |\n",
    );
    for (figure, (name, _)) in FIGURES.iter().enumerate() {
        let medians = thirds(samples).map(|third| median(third, figure));
        let last = match figure {
            6 => census.0,
            7 => census.1,
            _ => samples.last().map_or(0, |sample| sample.figures[figure]),
        };
        let [first, second, third] = medians;
        let _ = writeln!(text, "| {name} | {first} | {second} | {third} | {last} |");
    }
    text
}

/// Writes a report, and all samples, where somebody wants them.
fn publish(report: &str, samples: &[Sample]) {
    let Ok(path) = std::env::var("KEYSTEAD_SOAK_REPORT") else { return };
    let lines = samples.iter().map(|sample| format!("{} {:?}\n", sample.at_s, sample.figures));
    fs::write(path, format!("{report}\n{}", lines.collect::<String>())).expect("the report");
}

#[test]
fn growth_is_noticed() {
    let sampled = |each: u64| {
        let samples = (0..90).map(|at_s| Sample { at_s, figures: [100 + at_s * each; 8] });
        samples.collect::<Vec<_>>()
    };
    assert!(grown(&sampled(0)).is_empty());
    assert_eq!(grown(&sampled(2)).len(), 5);
    assert_eq!(grown(&sampled(1_000)).len(), FIGURES.len());
}

//! What a run of the bench came to, for people and for programs: rows, the machine's limits, and the host as a
//! share of them. Invariant: a share is only made of figures of the same run.

use serde::Serialize;

use super::fill::Made;
use super::guest::GuestCalls;
use super::machine::{BATCH, Disk};
use super::row::{self, Row};
use crate::engine::Isolation;
use crate::limits;

/// Everything that one run measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// Where it ran: processors, kernel, file system, load before it began.
    pub place: String,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// How many runs the rows are medians of.
    pub runs: usize,
    /// Keys that uniform workloads choose from.
    pub keys: u64,
    /// Start-up and idle figures.
    pub start: Start,
    /// The medians, in the order asked for.
    pub rows: Vec<Row>,
    /// The bare HTTP server under the same load.
    pub hello: Vec<Row>,
    /// The disk.
    pub disk: Option<Disk>,
    /// Guest calls by themselves.
    pub guest: Option<GuestCalls>,
    /// How entities were made that existed before.
    pub made: Vec<Made>,
    /// The host as a share of the limits.
    pub shares: Vec<Share>,
    /// Rows beside other rows of this run.
    pub beside: Vec<Share>,
}

/// Medians of what a start takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Start {
    /// Of a new host over an empty folder, to its ready line.
    pub ready_ms: f64,
    /// Of the same host, to its first answer.
    pub empty_answer_ms: f64,
    /// Deploying the bench guest, compilation included.
    pub deploy_ms: f64,
    /// Of a host that has the guest deployed, to its first durable answer.
    pub first_answer_ms: f64,
}

impl Start {
    /// One line of what was measured; none when nothing was.
    fn text(&self) -> String {
        let figures = [
            ("ready on an empty folder", self.ready_ms),
            ("first answer there", self.empty_answer_ms),
            ("guest deployed", self.deploy_ms),
            ("start with a guest and no entities to first durable answer", self.first_answer_ms),
        ];
        let measured = figures.iter().filter(|(_, ms)| *ms > 0.0);
        let parts: Vec<_> = measured.map(|(what, ms)| format!("{what} in {ms:.0} ms")).collect();
        if parts.is_empty() { String::new() } else { format!("\n{}\n", parts.join("; ")) }
    }
}

/// One figure of the host beside a limit of the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// What is compared.
    pub what: String,
    /// The host's figure.
    pub ours: f64,
    /// The machine's.
    pub limit: f64,
    /// Ours divided by the machine's.
    pub share: f64,
    /// True for times, where less is better.
    pub is_time: bool,
}

impl Share {
    fn new(what: String, ours: f64, limit: f64, is_time: bool) -> Self {
        Self { what, ours, limit, share: ours / limit, is_time }
    }

    fn cells(&self) -> Vec<String> {
        let number =
            |n| if self.is_time { format!("{} ms", row::figure(n)) } else { row::whole(n) };
        let share = match self.is_time {
            true => format!("{:.1} ×", self.share),
            false => format!("{:.0} %", self.share * 100.0),
        };
        vec![self.what.clone(), number(self.ours), number(self.limit), share]
    }
}

/// The host's rows as shares of what the machine can do.
pub(super) fn shares(
    rows: &[Row],
    hello: &[Row],
    disk: Option<&Disk>,
    guest: Option<&GuestCalls>,
) -> Vec<Share> {
    let mut shares = Vec::new();
    // Rows that differ in more than the load are beside other rows, not beside limits.
    let plain = || {
        let alike = |row: &&Row| row.entities.is_none() && row.isolation == Isolation::App;
        rows.iter().filter(alike).filter(|row| row.rate_per_s > 0.0)
    };
    let outside = || plain().filter(|row| !row.inside);
    for bare in hello {
        for row in outside().filter(|row| row.connections == bare.connections) {
            let what = format!("{}: rate, of bare hyper", over(row));
            shares.push(Share::new(what, row.rate_per_s, bare.rate_per_s, false));
        }
    }
    let Some(disk) = disk else { return shares };
    for row in outside().filter(|row| row.connections == 1 && row.syncs_per_s > 0.0) {
        let what = format!("{}: p50, in fdatasyncs of 4 KiB", over(row));
        shares.push(Share::new(what, row.p50_ms, disk.sync_p50_ms, true));
    }
    let written = || plain().filter(|row| row.syncs_per_s > 0.0 && row.connections >= BATCH);
    for (what, limit) in [("the journal", disk.journal_per_s), ("redb alone", disk.redb_per_s)] {
        for row in written() {
            let what = format!("{}: tx/s, of {what}", over(row));
            shares.push(Share::new(what, row.transactions_per_s, limit, false));
        }
    }
    let Some(guest) = guest else { return shares };
    // One guest call each, so that like is compared with like.
    for row in written().filter(|row| ["add", "hot"].contains(&row.workload.as_str())) {
        let what = format!("{}: rate, of warm guest calls on one thread", over(row));
        shares.push(Share::new(what, row.rate_per_s, guest.add_per_s, false));
    }
    shares
}

/// Rows beside the rows that they are to be compared with.
pub(super) fn beside(rows: &[Row]) -> Vec<Share> {
    let mut shares = Vec::new();
    let mut compare = |row: &Row, other: &dyn Fn(&Row) -> bool, what: &str| {
        let alike = |candidate: &&Row| {
            candidate.connections == row.connections && candidate.inside == row.inside
        };
        if let Some(other) = rows.iter().filter(alike).find(|candidate| other(candidate)) {
            let what = format!("{}: rate, {what}", over(row));
            shares.push(Share::new(what, row.rate_per_s, other.rate_per_s, false));
        }
    };
    for row in rows.iter().filter(|row| row.rate_per_s > 0.0) {
        let same = |other: &Row| other.workload == row.workload && other.entities == row.entities;
        if row.isolation == Isolation::Invocation {
            let warm = |other: &Row| same(other) && other.isolation == Isolation::App;
            compare(row, &warm, "of warm instances");
            continue;
        }
        let app = |other: &Row| other.isolation == Isolation::App;
        if row.workload == "hot" {
            compare(row, &|other| app(other) && other.workload == "add", "of many keys");
        }
        let few = rows.iter().filter(|other| other.workload == row.workload);
        let few = few.filter_map(|other| other.entities).min();
        if row.entities > few {
            compare(
                row,
                &|other| app(other) && other.workload == row.workload && other.entities == few,
                "of the fewest entities",
            );
        }
    }
    shares
}

fn over(row: &Row) -> String {
    format!("{} over {}", row.name(), row.connections)
}

impl Report {
    /// For people; `table` lays out a head and rows.
    #[must_use]
    pub fn text(&self, table: impl Fn(&[&str], &[Vec<String>]) -> String) -> String {
        let runs =
            if self.runs == 1 { "1 run".into() } else { format!("median of {} runs", self.runs) };
        let mut text =
            format!("{}\n{} s each, {runs}, {} keys\n\n", self.place, self.seconds, self.keys);
        let rows: Vec<_> = self.rows.iter().chain(&self.hello).map(Row::cells).collect();
        text += &table(&row::HEADER, &rows);
        text.push('\n');
        text += &self.start.text();
        text.extend(self.made.iter().map(Made::text));
        for row in self.rows.iter().chain(&self.hello) {
            text += &remarks(row);
        }
        text += &self.disk.as_ref().map(disk_text).unwrap_or_default();
        text += &self.guest.as_ref().map(guest_text).unwrap_or_default();
        let tables = [
            (["ours beside the limit", "ours", "limit", "share"], &self.shares),
            (["rows beside rows", "this", "that", "share"], &self.beside),
        ];
        for (head, shares) in tables.iter().filter(|(_, shares)| !shares.is_empty()) {
            let rows: Vec<_> = shares.iter().map(Share::cells).collect();
            text.push('\n');
            text += &table(head, &rows);
            text.push('\n');
        }
        text
    }
}

fn disk_text(disk: &Disk) -> String {
    format!(
        "\nfdatasync of 4 KiB: p50 {:.3} ms, p99 {:.3} ms, {}/s\n\
         journal alone, appends of {BATCH} transactions: p50 {:.3} ms, {} tx/s\n\
         redb alone, durable transactions of {BATCH} random rows of {}: p50 {:.3} ms, {} rows/s\n",
        disk.sync_p50_ms,
        disk.sync_p99_ms,
        row::whole(disk.syncs_per_s),
        disk.journal_p50_ms,
        row::whole(disk.journal_per_s),
        row::whole(limits::BENCH_TABLE_ROWS as f64),
        disk.redb_p50_ms,
        row::whole(disk.redb_per_s),
    )
}

fn guest_text(guest: &GuestCalls) -> String {
    let calls = [
        ("warm and empty", guest.empty_per_s),
        ("warm, one read and one write", guest.add_per_s),
        ("fresh instance, one read and one write", guest.fresh_add_per_s),
    ];
    let line = |(what, per_s): (&str, f64)| {
        format!(
            "guest call, {what}: {:.2} µs, {}/s on one thread\n",
            1e6 / per_s,
            row::whole(per_s)
        )
    };
    calls.map(line).concat()
}

/// What a row has to say beside its figures, one line each.
fn remarks(row: &Row) -> String {
    let name = over(row);
    let mut lines = row.notes.clone();
    if row.rates_per_s.len() > 1 && row.rate_per_s > 0.0 {
        let rates: Vec<_> = row.rates_per_s.iter().map(|&rate| row::whole(rate)).collect();
        lines.push(format!("runs at {}", rates.join(", ")));
    }
    if row.p50s_ms.len() > 1 && row.p50_ms > 0.0 {
        let p50s: Vec<_> = row.p50s_ms.iter().map(|&ms| row::figure(ms)).collect();
        lines.push(format!("runs with a p50 of {} ms", p50s.join(", ")));
    }
    if let Some(offered) = row.offered_per_s {
        lines.push(format!("{}/s were offered, {} never sent", row::whole(offered), row.unsent));
    }
    if row.refused > 0 {
        lines.push(format!("{} refused (429, 503)", row.refused));
    }
    if let Some(failure) = &row.first_failure {
        lines.push(format!("{} failed, first with {failure}", row.failed));
    }
    if row.other_cores > limits::BENCH_QUIET_CORES {
        lines.push(format!("disturbed: others used {:.2} processors", row.other_cores));
    }
    if row.steal_percent > limits::BENCH_STEAL_PERCENT {
        lines.push(format!("disturbed: {:.1} % of processor time stolen", row.steal_percent));
    }
    lines.iter().map(|line| format!("{name}: {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &str, connections: usize, rate_per_s: f64) -> Row {
        let workload = workload.into();
        Row {
            workload,
            connections,
            rate_per_s,
            p50_ms: 0.9,
            syncs_per_s: 1.0,
            transactions_per_s: rate_per_s,
            ..Row::default()
        }
    }

    const DISK: Disk = Disk {
        sync_p50_ms: 0.3,
        sync_p99_ms: 1.0,
        syncs_per_s: 3_000.0,
        journal_p50_ms: 0.5,
        journal_per_s: 50_000.0,
        redb_p50_ms: 1.0,
        redb_per_s: 40_000.0,
    };

    const GUEST: GuestCalls =
        GuestCalls { empty_per_s: 1e6, add_per_s: 400_000.0, fresh_add_per_s: 10_000.0 };

    #[test]
    fn shares_compare_like_with_like() {
        let rows = [row("add", 1, 1_000.0), row("add", 64, 20_000.0)];
        let hello = [row("bare hyper", 1, 10_000.0), row("bare hyper", 64, 40_000.0)];
        let shares = shares(&rows, &hello, Some(&DISK), Some(&GUEST));
        let found: Vec<_> = shares.iter().map(|s| (s.what.as_str(), s.share)).collect();
        let expected = [
            ("add over 1: rate, of bare hyper", 0.1),
            ("add over 64: rate, of bare hyper", 0.5),
            ("add over 1: p50, in fdatasyncs of 4 KiB", 0.9 / 0.3),
            ("add over 64: tx/s, of the journal", 0.4),
            ("add over 64: tx/s, of redb alone", 0.5),
            ("add over 64: rate, of warm guest calls on one thread", 0.05),
        ];
        assert_eq!(found, expected);
        assert_eq!(shares[1].cells()[1..], ["20 000", "40 000", "50 %"]);
        assert_eq!(shares[2].cells()[1..], ["0.90 ms", "0.30 ms", "3.0 ×"]);
    }

    #[test]
    fn rows_stand_beside_rows_of_the_same_load() {
        let of = |mut row: Row, entities| {
            row.entities = Some(entities);
            row
        };
        let fresh = |mut row: Row| {
            row.isolation = Isolation::Invocation;
            row
        };
        let rows = [
            row("add", 1, 500.0),
            row("add", 64, 1_000.0),
            fresh(row("add", 64, 100.0)),
            row("hot", 64, 900.0),
            of(row("entities", 64, 800.0), 10),
            of(row("entities", 64, 200.0), 1_000),
        ];
        let beside = beside(&rows);
        let found: Vec<_> = beside.iter().map(|s| (s.what.as_str(), s.share)).collect();
        let expected = [
            ("add, fresh over 64: rate, of warm instances", 0.1),
            ("hot over 64: rate, of many keys", 0.9),
            ("entities of 1 000 over 64: rate, of the fewest entities", 0.25),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_text_holds_rows_and_what_disturbed_them() {
        let mut noisy = row("hot", 64, 10.0);
        (noisy.other_cores, noisy.steal_percent) = (1.5, 7.0);
        noisy.note("a note".into());
        let start = Start { ready_ms: 12.3, ..Start::default() };
        let rows = vec![noisy];
        let (disk, guest) = (Some(DISK), Some(GUEST));
        let report = Report { runs: 3, start, rows, disk, guest, ..Report::default() };
        let text = report.text(|head, rows| format!("{}|{}", head[0], rows[0][0]));
        for expected in [
            "median of 3 runs",
            "workload|hot",
            "hot over 64: a note",
            "50 000 tx/s",
            "random rows of 100 000: p50 1.000 ms, 40 000 rows/s",
            "guest call, warm, one read and one write: 2.50 µs, 400 000/s on one thread",
            "\nready on an empty folder in 12 ms\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.contains("hot over 64: disturbed: others used 1.50 processors"), "{text}");
        assert!(text.contains("hot over 64: disturbed: 7.0 % of processor time stolen"), "{text}");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["rows"][0]["other_cores"], 1.5);
    }
}

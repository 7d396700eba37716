//! What a run of the bench came to, for people and for programs: rows, the machine's limits, and the host as a
//! share of them. Invariant: a share is only made of figures of the same run.

use serde::Serialize;

use super::machine::Disk;
use super::row::{self, Row};
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
    /// The host as a share of the limits.
    pub shares: Vec<Share>,
}

/// Medians of what a start takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Start {
    /// Of a new host over an empty folder, to its ready line.
    pub ready_ms: f64,
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
            ("guest deployed", self.deploy_ms),
            ("restart to first answer", self.first_answer_ms),
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
pub(super) fn shares(rows: &[Row], hello: &[Row], disk: Option<&Disk>) -> Vec<Share> {
    let mut shares = Vec::new();
    let outside = || rows.iter().filter(|row| !row.inside && row.rate_per_s > 0.0);
    for bare in hello {
        for row in outside().filter(|row| row.connections == bare.connections) {
            let what = format!("{} over {}: rate, of bare hyper", row.workload, row.connections);
            shares.push(Share::new(what, row.rate_per_s, bare.rate_per_s, false));
        }
    }
    let Some(disk) = disk else { return shares };
    for row in outside().filter(|row| row.connections == 1 && row.syncs_per_s > 0.0) {
        let what = format!("{} over 1: p50, in fdatasyncs of 4 KiB", row.workload);
        shares.push(Share::new(what, row.p50_ms, disk.sync_p50_ms, true));
    }
    for row in rows.iter().filter(|row| row.connections >= super::machine::JOURNAL_BATCH) {
        if row.syncs_per_s > 0.0 {
            let what = format!("{} over {}: tx/s, of the journal", row.name(), row.connections);
            shares.push(Share::new(what, row.transactions_per_s, disk.journal_per_s, false));
        }
    }
    shares
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
        for row in self.rows.iter().chain(&self.hello) {
            text += &remarks(row);
        }
        if let Some(disk) = self.disk {
            text += &format!(
                "\nfdatasync of 4 KiB: p50 {:.3} ms, p99 {:.3} ms, {}/s\n\
                 journal alone, appends of {} transactions: p50 {:.3} ms, {} tx/s\n",
                disk.sync_p50_ms,
                disk.sync_p99_ms,
                row::whole(disk.syncs_per_s),
                super::machine::JOURNAL_BATCH,
                disk.journal_p50_ms,
                row::whole(disk.journal_per_s),
            );
        }
        if !self.shares.is_empty() {
            let rows: Vec<_> = self.shares.iter().map(Share::cells).collect();
            text.push('\n');
            text += &table(&["ours beside the limit", "ours", "limit", "share"], &rows);
            text.push('\n');
        }
        text
    }
}

/// What a row has to say beside its figures, one line each.
fn remarks(row: &Row) -> String {
    let name = format!("{} over {}", row.name(), row.connections);
    let mut lines = row.notes.clone();
    if row.rates_per_s.len() > 1 {
        let rates: Vec<_> = row.rates_per_s.iter().map(|&rate| row::whole(rate)).collect();
        lines.push(format!("runs at {}", rates.join(", ")));
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
    };

    #[test]
    fn shares_compare_like_with_like() {
        let rows = [row("add", 1, 1_000.0), row("add", 64, 20_000.0)];
        let hello = [row("bare hyper", 1, 10_000.0), row("bare hyper", 64, 40_000.0)];
        let shares = shares(&rows, &hello, Some(&DISK));
        let found: Vec<_> = shares.iter().map(|s| (s.what.as_str(), s.share)).collect();
        let expected = [
            ("add over 1: rate, of bare hyper", 0.1),
            ("add over 64: rate, of bare hyper", 0.5),
            ("add over 1: p50, in fdatasyncs of 4 KiB", 0.9 / 0.3),
            ("add over 64: tx/s, of the journal", 0.4),
        ];
        assert_eq!(found, expected);
        assert_eq!(shares[1].cells()[1..], ["20 000", "40 000", "50 %"]);
        assert_eq!(shares[2].cells()[1..], ["0.90 ms", "0.30 ms", "3.0 ×"]);
    }

    #[test]
    fn the_text_holds_rows_and_what_disturbed_them() {
        let mut noisy = row("hot", 64, 10.0);
        (noisy.other_cores, noisy.steal_percent) = (1.5, 7.0);
        noisy.note("a note".into());
        let start = Start { ready_ms: 12.3, ..Start::default() };
        let rows = vec![noisy];
        let report = Report { runs: 3, start, rows, disk: Some(DISK), ..Report::default() };
        let text = report.text(|head, rows| format!("{}|{}", head[0], rows[0][0]));
        for expected in [
            "median of 3 runs",
            "workload|hot",
            "hot over 64: a note",
            "50 000 tx/s",
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

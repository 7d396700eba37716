//! The machine's own limits, measured beside the host: a bare HTTP server on the same library, a raw
//! `fdatasync`, our journal without anything around it, and the storage library used as a database.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use redb::{Database, TableDefinition};
use serde::Serialize;
use tokio::net::TcpListener;

use super::now;
use super::tally::Tally;
use super::workload::{APP, key_name};
use super::zipf::Random;
use crate::ids::Position;
use crate::journal::{Journal, LocalJournal, Mark};
use crate::limits;

/// Bytes of one raw append.
const BLOCK_BYTES: usize = 4096;
/// Transactions of one batch, and the bytes of each in the journal: what an `add` seals to.
pub(super) const BATCH: usize = 64;
const JOURNAL_RECORD_BYTES: usize = 150;
/// Batches that the journal keeps before it trims.
const JOURNAL_KEPT: u64 = 1_000;
/// The rows of a database in the place of our state file and journal.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const ROW_BYTES: usize = 40;

/// What the disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Disk {
    /// `fdatasync` after an append of 4 KiB.
    pub sync_p50_ms: f64,
    /// The same.
    pub sync_p99_ms: f64,
    /// Appends in a second.
    pub syncs_per_s: f64,
    /// One append of 64 transactions to our journal.
    pub journal_p50_ms: f64,
    /// Transactions in a second, in such appends.
    pub journal_per_s: f64,
    /// One durable redb transaction that replaces 64 rows chosen at random.
    pub redb_p50_ms: f64,
    /// Rows in a second, in such transactions.
    pub redb_per_s: f64,
}

/// Measures the disk under `folder`, a third of `time` each.
pub(super) fn disk(folder: &Path, time: Duration) -> anyhow::Result<Disk> {
    let raw = raw(folder, time / 3)?;
    let journal = journal(folder, time / 3)?;
    let redb = redb(folder, time / 3)?;
    let batches_per_s =
        |tally: &Tally| (tally.answers * BATCH as u64) as f64 / tally.elapsed.as_secs_f64();
    Ok(Disk {
        sync_p50_ms: raw.quantile_ms(0.5),
        sync_p99_ms: raw.quantile_ms(0.99),
        syncs_per_s: raw.answers as f64 / raw.elapsed.as_secs_f64(),
        journal_p50_ms: journal.quantile_ms(0.5),
        journal_per_s: batches_per_s(&journal),
        redb_p50_ms: redb.quantile_ms(0.5),
        redb_per_s: batches_per_s(&redb),
    })
}

fn raw(folder: &Path, time: Duration) -> anyhow::Result<Tally> {
    let mut file = File::create(folder.join("raw"))?;
    let block = [7; BLOCK_BYTES];
    timed(time, |_| {
        file.write_all(&block)?;
        Ok(file.sync_data()?)
    })
}

fn journal(folder: &Path, time: Duration) -> anyhow::Result<Tally> {
    let mut journal = LocalJournal::open(folder, [0; 32])?;
    journal.read(Mark::default(), &mut |_, _| Ok(()))?;
    let payload = vec![7; BATCH * JOURNAL_RECORD_BYTES];
    timed(time, |n| {
        journal.append(Position(n + 1), &payload, Position(n.saturating_sub(JOURNAL_KEPT)))?;
        Ok(())
    })
}

/// The design without a journal: each batch is one durable transaction over the rows themselves.
fn redb(folder: &Path, time: Duration) -> anyhow::Result<Tally> {
    let database = Database::builder()
        .set_cache_size(limits::STATE_CACHE_BYTES)
        .create(folder.join("rows"))?;
    let key = |row: u64| format!("{APP}/counter/{}", key_name(row)).into_bytes();
    let put = |rows: &mut dyn Iterator<Item = u64>, value: u64| {
        let transaction = database.begin_write()?;
        let mut bytes = [7; ROW_BYTES];
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        {
            let mut table = transaction.open_table(ROWS)?;
            for row in rows {
                table.insert(key(row).as_slice(), bytes.as_slice())?;
            }
        }
        anyhow::Ok(transaction.commit()?)
    };
    put(&mut (0..limits::BENCH_TABLE_ROWS), u64::MAX)?;
    let mut random = Random::new(1);
    timed(time, |n| put(&mut (0..BATCH).map(|_| random.below(limits::BENCH_TABLE_ROWS)), n))
}

/// Does `work` with 0, 1, 2, … until `time` is over.
fn timed(time: Duration, mut work: impl FnMut(u64) -> anyhow::Result<()>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    let start = now();
    while start.elapsed() < time {
        let before = start.elapsed();
        work(tally.answers)?;
        let at = start.elapsed();
        tally.answered(at - before, at);
    }
    tally.elapsed = start.elapsed();
    Ok(tally)
}

/// Serves the bare HTTP server for ever: hyper's HTTP/1.1 with the options of our own listener, answering a
/// number to anything. Its ready line is of the form of a host's.
///
/// # Errors
/// When it cannot listen.
pub async fn hello() -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "keystead ready ingress=http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME_MAX)
        .max_buf_size(limits::HEAD_BYTES_MAX);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // The body is read, as any server must; one that breaks off breaks the connection.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(b"1")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured() {
        let folder = tempfile::tempdir().expect("folder");
        let disk = disk(folder.path(), Duration::from_millis(200)).expect("measured");
        assert!(disk.sync_p50_ms > 0.0 && disk.sync_p99_ms >= disk.sync_p50_ms, "{disk:?}");
        assert!(disk.journal_per_s > disk.syncs_per_s / 100.0, "{disk:?}");
        // A commit of redb is at least one sync.
        assert!(disk.redb_per_s > 0.0 && disk.redb_p50_ms > disk.sync_p50_ms / 2.0, "{disk:?}");
    }
}

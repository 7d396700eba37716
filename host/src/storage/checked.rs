//! What stands between redb and its file: a checksum for each block, in a file beside it (`.sums`), compared
//! whenever redb reads one that it does not have in memory. redb itself verifies nothing when it reads, so a
//! flipped bit would be served, or end in a panic. Invariant: redb is never given bytes that it did not write.
//!
//! Checksums are durable before the sync returns that makes their blocks part of a commit, and redb overwrites
//! no block that a commit refers to; so after a crash only blocks that nothing refers to can differ. The
//! first block is the exception, for redb rewrites it in place: of that one we know what may be there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::StorageBackend;
use rustix::fs::{FlockOperation, flock};

use super::sync_name;

/// Blocks are redb's pages.
pub const BLOCK: usize = 4096;
const SUM_BYTES: usize = 8;
const SUMS_PER_BLOCK: usize = BLOCK / SUM_BYTES;
const MAGIC: [u8; 8] = *b"KSTSUMS1";
/// Versions of the first block that may be on disk: the one of the last sync, and those written since.
const FIRSTS_MAX: usize = 32;

/// The file and its checksums.
#[derive(Debug)]
pub(super) struct Checked {
    file: File,
    sums: File,
    /// The file's name, for messages.
    name: String,
    /// By block; 0 for one that was never written.
    table: RwLock<Vec<u64>>,
    written: Mutex<Written>,
}

/// What was written and is not yet synced.
#[derive(Debug, Default)]
struct Written {
    /// Blocks of the table that changed.
    table: BTreeSet<usize>,
    first: Vec<u8>,
    /// What the first block may be on disk; the last is what was written last.
    firsts: Vec<u64>,
}

/// An open file, and whether its first block is one that was written here. When it is not, a power cut came
/// between two syncs, or it is damaged: redb must look at everything.
pub(super) struct Opened {
    pub(super) file: Checked,
    pub(super) familiar: bool,
}

/// Where the checksums of the file at `path` are.
pub fn sums_of(path: &Path) -> PathBuf {
    path.with_extension("sums")
}

/// The checksum of a block.
fn sum(block: &[u8]) -> u64 {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(block).as_bytes()[..SUM_BYTES]);
    u64::from_le_bytes(sum).max(1)
}

/// Makes the checksums of the file at `path` from what is in it. For a file that is known to be sound.
pub(super) fn learn(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let blocks = file.metadata()?.len().div_ceil(BLOCK as u64);
    let mut bytes = vec![0; BLOCK];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    let mut block = vec![0; BLOCK];
    for number in 0..blocks {
        read_block(&file, number, &mut block)?;
        let known = if block.iter().all(|byte| *byte == 0) { 0 } else { sum(&block) };
        if number == 0 {
            let at = MAGIC.len();
            bytes[at..at + SUM_BYTES].copy_from_slice(&known.to_le_bytes());
        }
        bytes.extend_from_slice(&known.to_le_bytes());
    }
    let (target, temporary) = (sums_of(path), path.with_extension("sums-new"));
    fs::write(&temporary, &bytes)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &target)?;
    sync_name(path)
}

/// Blocks of the file at `path` that are not what their checksum says, at most `limit`; and how many it has.
/// After a crash some of them may belong to nothing.
///
/// # Errors
/// The file system's.
pub fn differing(path: &Path, limit: usize) -> io::Result<(Vec<u64>, u64)> {
    let file = File::open(path)?;
    let blocks = file.metadata()?.len().div_ceil(BLOCK as u64);
    let (table, _) = read_sums(&fs::read(sums_of(path))?, blocks as usize)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not a file of checksums"))?;
    let (mut block, mut found) = (vec![0; BLOCK], vec![]);
    for number in 1..blocks {
        read_block(&file, number, &mut block)?;
        if !agrees(table[number as usize], &block) && found.len() < limit {
            found.push(number);
        }
    }
    Ok((found, blocks))
}

impl Checked {
    /// Opens the file at `path`, whose checksums must be there, for this process alone.
    pub(super) fn open(path: &Path) -> io::Result<Opened> {
        let options = File::options().read(true).write(true).clone();
        let file = options.open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(io::Error::new(ErrorKind::WouldBlock, "another process has it open"));
        }
        let at = sums_of(path);
        let sums = options.open(&at)?;
        let blocks = file.metadata()?.len().div_ceil(BLOCK as u64);
        let Some((table, firsts)) = read_sums(&fs::read(&at)?, blocks as usize) else {
            let problem = format!("{} is damaged: its head is not one", name_of(&at));
            return Err(io::Error::new(ErrorKind::InvalidData, problem));
        };
        let mut first = vec![0; BLOCK];
        read_block(&file, 0, &mut first)?;
        let now = sum(&first);
        let familiar = firsts.contains(&now);
        let written = Written { table: BTreeSet::new(), first, firsts: vec![now] };
        let name = name_of(path);
        let (table, written) = (RwLock::new(table), Mutex::new(written));
        Ok(Opened { file: Self { file, sums, name, table, written }, familiar })
    }

    fn table(&self) -> RwLockReadGuard<'_, Vec<u64>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Vec<u64>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, block: u64) -> io::Error {
        let problem = format!(
            "{} is damaged at byte {}: the {BLOCK} bytes there do not agree with their checksum in {}",
            self.name,
            block * BLOCK as u64,
            name_of(&sums_of(Path::new(&self.name))),
        );
        // Whoever reads next hears only that a read failed before.
        tracing::error!("{problem}; `keystead doctor` says more");
        io::Error::new(ErrorKind::InvalidData, problem)
    }

    /// Notes what the first block is going to be, before it is.
    fn announce(&self, written: &mut Written) -> io::Result<()> {
        let next = sum(&written.first);
        if written.firsts.len() == FIRSTS_MAX {
            written.firsts.remove(0);
        }
        written.firsts.push(next);
        let mut bytes = [0; FIRSTS_MAX * SUM_BYTES];
        for (place, sum) in bytes.chunks_mut(SUM_BYTES).zip(&written.firsts) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        self.sums.write_all_at(&bytes, MAGIC.len() as u64)
    }
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)?;
        let number = offset / BLOCK as u64;
        // The first block was compared when the file was opened.
        if number == 0 && out.len() <= BLOCK {
            return Ok(());
        }
        if !offset.is_multiple_of(BLOCK as u64) || !out.len().is_multiple_of(BLOCK) {
            return Err(io::Error::new(ErrorKind::Unsupported, "a read of less than a block"));
        }
        let table = self.table();
        for (block, number) in out.chunks(BLOCK).zip(number..) {
            if !table.get(number as usize).is_some_and(|known| agrees(*known, block)) {
                return Err(self.damaged(number));
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        let blocks = len.div_ceil(BLOCK as u64) as usize;
        let mut table = self.table_mut();
        let mut written = self.written();
        // What was beyond the end once is never written again now.
        let changed = table.len().min(blocks)..table.len().max(blocks);
        written.table.extend(changed.step_by(SUMS_PER_BLOCK).map(|at| at / SUMS_PER_BLOCK));
        table.resize(blocks, 0);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let number = (offset / BLOCK as u64) as usize;
        if number == 0 && data.len() <= BLOCK {
            let mut written = self.written();
            let from = offset as usize;
            written.first[from..from + data.len()].copy_from_slice(data);
            self.announce(&mut written)?;
            return self.file.write_all_at(data, offset);
        }
        if !offset.is_multiple_of(BLOCK as u64) || !data.len().is_multiple_of(BLOCK) {
            return Err(io::Error::new(ErrorKind::Unsupported, "a write of less than a block"));
        }
        let sums: Vec<u64> = data.chunks(BLOCK).map(sum).collect();
        {
            let mut table = self.table_mut();
            let end = number + sums.len();
            if table.len() < end {
                table.resize(end, 0);
            }
            table[number..end].copy_from_slice(&sums);
        }
        let last = (number + sums.len() - 1) / SUMS_PER_BLOCK;
        self.written().table.extend(number / SUMS_PER_BLOCK..=last);
        self.file.write_all_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (changed, current) = {
            let mut written = self.written();
            (std::mem::take(&mut written.table), written.firsts.last().copied())
        };
        for block in changed {
            let from = block * SUMS_PER_BLOCK;
            let mut bytes = Vec::with_capacity(BLOCK);
            for sum in self.table().iter().skip(from).take(SUMS_PER_BLOCK) {
                bytes.extend_from_slice(&sum.to_le_bytes());
            }
            self.sums.write_all_at(&bytes, (BLOCK + from * SUM_BYTES) as u64)?;
        }
        // IMPORTANT: checksums first; redb takes its next step when both are on disk.
        self.sums.sync_data()?;
        self.file.sync_data()?;
        let mut written = self.written();
        // One that was written meanwhile stays beside it.
        let synced = written.firsts.iter().rposition(|first| Some(*first) == current);
        written.firsts.drain(..synced.unwrap_or(0));
        Ok(())
    }
}

/// The table and what the first block may be; `None` when the head is not one.
fn read_sums(bytes: &[u8], blocks: usize) -> Option<(Vec<u64>, Vec<u64>)> {
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        let mut numbers = vec![];
        for place in bytes.chunks_exact(SUM_BYTES) {
            let mut number = [0; SUM_BYTES];
            number.copy_from_slice(place);
            numbers.push(u64::from_le_bytes(number));
        }
        numbers
    };
    let (head, rest) = bytes.split_at_checked(BLOCK)?;
    let firsts = head.strip_prefix(&MAGIC)?;
    let mut table = numbers(rest);
    // A crash between growing the one and the other: what it was to hold is part of nothing.
    table.resize(blocks, 0);
    let firsts = numbers(&firsts[..FIRSTS_MAX * SUM_BYTES]);
    Some((table, firsts.into_iter().filter(|sum| *sum != 0).collect()))
}

fn agrees(known: u64, block: &[u8]) -> bool {
    match known {
        0 => block.iter().all(|byte| *byte == 0),
        known => sum(block) == known,
    }
}

/// Reads a block; what is beyond the file's end is zero.
fn read_block(file: &File, number: u64, block: &mut [u8]) -> io::Result<()> {
    block.fill(0);
    let mut done = 0;
    while done < block.len() {
        match file.read_at(&mut block[done..], number * BLOCK as u64 + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

//! The journal on this machine's disk: segments, each a file of fixed size, the newest of which is appended to.
//! One append is one write of whole blocks and one `fdatasync`. What a checkpoint holds is trimmed segment by
//! segment, and the file is used again. Invariant: every record before the last was synced before the next was
//! written, so only the last one can be torn.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::disk::{Disk, Machine};
use super::segment::{self, BLOCK, Segment};
use super::{Chain, Journal, JournalError, Mark, Receipt};
use crate::ids::Position;
use crate::limits;
use crate::storage::StorageError;

/// Segments are `journal-` and their first position in 20 digits.
pub(super) const PREFIX: &str = "journal-";
/// Files that wait to be segments again.
const SPARE: &str = "spare-";

/// A journal in files.
#[derive(Debug)]
pub struct LocalJournal<D: Disk = Machine> {
    disk: D,
    folder: PathBuf,
    /// The oldest first; the last is appended to.
    segments: VecDeque<Segment<D::File>>,
    /// Files to begin segments in, and their sizes.
    spares: Vec<(PathBuf, u64)>,
    /// A spare that a thread is filling, so that no append has to wait for it.
    making: Option<JoinHandle<io::Result<(PathBuf, u64)>>>,
    /// Chance that segments' keys are made from.
    chance: [u8; 32],
    end: Mark,
    buffer: Vec<u8>,
    /// Set by the first error: the files must be reopened.
    failed: bool,
}

impl LocalJournal {
    /// Opens the journal in `folder`; the first append makes its first file. `chance` must be unpredictable
    /// and new each time. Call [`Journal::read`] before the first append.
    ///
    /// # Errors
    /// [`JournalError::Storage`], also for a file that is not a segment.
    pub fn open(folder: &Path, chance: [u8; 32]) -> Result<Self, JournalError> {
        Self::over(Machine, folder, chance)
    }

    /// Makes the journal of a folder whose state file holds everything through `through`: one segment without a
    /// record, which says where the next goes. For a folder that has none.
    ///
    /// # Errors
    /// [`JournalError::Storage`], also when there is one.
    pub fn found(folder: &Path, chance: [u8; 32], through: Position) -> Result<(), JournalError> {
        let mut journal = Self::open(folder, chance)?;
        if !journal.segments.is_empty() {
            return Err(StorageError::new("journal", "there is one already").into());
        }
        journal.rotate(through.next(), 0).map_err(|error| storage(folder, &error))
    }
}

impl<D: Disk> LocalJournal<D> {
    /// The same over any file system.
    ///
    /// # Errors
    /// As [`LocalJournal::open`].
    pub fn over(disk: D, folder: &Path, chance: [u8; 32]) -> Result<Self, JournalError> {
        let mut segments = vec![];
        for path in disk.list(folder).map_err(|error| storage(folder, &error))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(SPARE) {
                // Perhaps half made, and its number may come again.
                disk.remove(&path).map_err(|error| storage(&path, &error))?;
                continue;
            }
            if !name.starts_with(PREFIX) {
                continue;
            }
            let opened = Segment::open(&disk, &path).map_err(|error| storage(&path, &error))?;
            let Some(segment) = opened.filter(|segment| *name == name_of(segment.first)) else {
                let problem = "its head is damaged: it is not the segment that its name says";
                return Err(StorageError::new(&name, problem).into());
            };
            segments.push(segment);
        }
        segments.sort_unstable_by_key(|segment| segment.first);
        let (folder, segments) = (folder.to_owned(), segments.into());
        Ok(Self {
            disk,
            folder,
            segments,
            spares: vec![],
            making: None,
            chance,
            end: Mark::default(),
            buffer: vec![],
            failed: false,
        })
    }

    fn try_append(
        &mut self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> io::Result<Chain> {
        let chain = self.end.chain.link(position, payload);
        let rotates = !self.segments.back().is_some_and(|segment| segment.fits(payload.len()));
        if rotates {
            self.rotate(position, payload.len())?;
        }
        let Some(current) = self.segments.back_mut() else { unreachable!("rotated to one") };
        current.append((position, chain), payload, &mut self.buffer)?;
        if rotates && let Some(full) = self.segments.iter().rev().nth(1) {
            full.seal(position)?;
        }
        self.trim(trim)?;
        self.prepare()?;
        Ok(chain)
    }

    /// Has the next file made when the current one is half full.
    fn prepare(&mut self) -> io::Result<()> {
        let Some(current) = self.segments.back() else { return Ok(()) };
        let size = self.next_size(current.size);
        let ready = self.making.is_some() || self.spares.iter().any(|spare| spare.1 >= size);
        if ready || current.end < current.size / 2 {
            return Ok(());
        }
        let spare = self.spare(self.end.position.next());
        let disk = self.disk.clone();
        let make = move || segment::make(&disk, &spare, size).map(|()| (spare, size));
        self.making = Some(self.disk.beside(make)?);
        Ok(())
    }

    /// Begins a segment whose first record is `position`.
    fn rotate(&mut self, position: Position, payload: usize) -> io::Result<()> {
        let before = self.segments.back().map_or(0, |segment| segment.size);
        let size = self.next_size(before).max(2 * BLOCK + segment::room(payload));
        if let Some(making) = self.making.take() {
            let made = making.join().map_err(|_| io::Error::other("filling a file panicked"))?;
            self.spares.push(made?);
        }
        // Those that are too small were for the first seconds.
        for (path, _) in self.spares.extract_if(.., |spare| spare.1 < size) {
            self.disk.remove(&path)?;
        }
        let spare = if let Some((spare, _)) = self.spares.pop() {
            spare
        } else {
            let spare = self.spare(position);
            segment::make(&self.disk, &spare, size)?;
            spare
        };
        let mut key = blake3::Hasher::new_keyed(&self.chance);
        key.update(&position.0.to_le_bytes());
        let path = self.folder.join(name_of(position));
        let key = *key.finalize().as_bytes();
        let segment = Segment::begin(&self.disk, (&spare, &path), position, key)?;
        // IMPORTANT: one whose only record was torn had this name, and the name is the new one's now: trimming the
        // old would take the new file away.
        if self.segments.back().is_some_and(|last| last.first == position) {
            self.segments.pop_back();
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Lets go of segments that end at or before `trim`; some files are kept for the next rotations.
    fn trim(&mut self, trim: Position) -> io::Result<()> {
        while self.segments.get(1).is_some_and(|next| next.first <= trim.next()) {
            let Some(old) = self.segments.pop_front() else { break };
            let path = self.folder.join(name_of(old.first));
            // An oversized one was for one large batch.
            let wanted = old.size <= *self.disk.segment_bytes().end();
            if wanted && self.spares.len() < limits::JOURNAL_SPARES_MAX {
                let spare = self.spare(old.first);
                self.disk.rename(&path, &spare)?;
                self.spares.push((spare, old.size));
            } else {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// The size of the segment after one of `size` bytes.
    fn next_size(&self, size: u64) -> u64 {
        let bounds = self.disk.segment_bytes();
        (size * 2).clamp(*bounds.start(), *bounds.end())
    }

    /// The path of a spare; numbers keep them apart.
    fn spare(&self, number: Position) -> PathBuf {
        self.folder.join(format!("{SPARE}{:020}", number.0))
    }

    /// Walks all records and hands those after `from` to `each`. Returns the end and where its record begins
    /// in the last segment, if that has one.
    fn walk(
        &mut self,
        from: Mark,
        each: &mut dyn FnMut(Position, Bytes) -> Result<(), JournalError>,
    ) -> Result<(Mark, Option<u64>), JournalError> {
        let Some(first) = self.segments.front().map(|segment| segment.first) else {
            if from.position == Position(0) {
                return Ok((from, None));
            }
            return Err(missing(from));
        };
        if first > from.position.next() {
            return Err(gap(from.position.next(), first));
        }
        let (mut end, mut next, mut last) = (from, first, None);
        let follows: Vec<_> = self.segments.iter().skip(1).map(|segment| segment.first).collect();
        let mut sealed = None;
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let name = name_of(segment.first);
            let failed = |error: io::Error| storage(Path::new(&name), &error);
            if segment.first != next {
                return Err(gap(next, segment.first));
            }
            (segment.end, last) = (BLOCK, None);
            while let Some(head) = segment.at(segment.end).map_err(failed)? {
                // A torn record may be followed by its successor in the next file: it is not of this one then.
                if head.position != next || follows.get(number) == Some(&next) {
                    break;
                }
                if next == from.position && head.chain != from.chain {
                    return Err(strange(&name, from));
                }
                if next > from.position {
                    let payload = segment.payload(segment.end, head).map_err(failed)?;
                    if end.chain.link(next, &payload) != head.chain {
                        break;
                    }
                    end = Mark { position: next, chain: head.chain };
                    each(next, payload.into())?;
                }
                last = Some(segment.end);
                segment.end += segment::room(head.bytes as usize);
                next = next.next();
            }
            // Only the last record there is can be torn: what stands before another was acknowledged.
            if segment.holds_beyond(segment.end, next).map_err(failed)? {
                return Err(damaged(name, next, segment.end));
            }
            // Also when the one before it says that it was there.
            if last.is_none() && sealed == Some(segment.first) {
                return Err(damaged(name, next, segment.end));
            }
            sealed = segment.sealed().map_err(failed)?;
        }
        if let Some(first) = sealed {
            let problem = "it is missing; the file before it says that it was there";
            return Err(StorageError::new(&name_of(first), problem).into());
        }
        if next <= from.position {
            return Err(missing(from));
        }
        Ok((end, last))
    }
}

impl<D: Disk> Journal for LocalJournal<D> {
    fn append(
        &mut self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> Result<(Receipt, Mark), JournalError> {
        assert!(!self.failed, "a failed journal is reopened, not used");
        assert_eq!(position, self.end.position.next(), "positions have no gaps");
        let appended = self.try_append(position, payload, trim.min(self.end.position));
        let chain = appended.map_err(|error| {
            self.failed = true;
            storage(&self.folder, &error)
        })?;
        self.end = Mark { position, chain };
        // IMPORTANT: only here, after the sync.
        Ok((Receipt::new(position), self.end))
    }

    fn read(
        &mut self,
        from: Mark,
        each: &mut dyn FnMut(Position, Bytes) -> Result<(), JournalError>,
    ) -> Result<(Receipt, Mark), JournalError> {
        let (end, last) = self.walk(from, each)?;
        // IMPORTANT: the last record may be in memory only, or its sync may have failed; what was read is
        // promised to callers next. Every other one was synced before the next was written.
        if let (Some(segment), Some(last)) = (self.segments.back(), last) {
            segment.rewrite(last).map_err(|error| storage(&self.folder, &error))?;
        }
        // A crash may have come between a file's first record and the seal of the file before it.
        if let (Some(full), Some(current)) =
            (self.segments.iter().rev().nth(1), self.segments.back())
            && last.is_some()
        {
            full.seal(current.first).map_err(|error| storage(&self.folder, &error))?;
        }
        // IMPORTANT: so may the names be. A segment whose name the disk does not have is gone after a power cut,
        // with everything that is appended to it from now on.
        let folder = self.disk.sync_folder(&self.folder.join(PREFIX));
        folder.map_err(|error| storage(&self.folder, &error))?;
        self.end = end;
        Ok((Receipt::new(end.position), end))
    }
}

impl<D: Disk> Drop for LocalJournal<D> {
    fn drop(&mut self) {
        // The folder may be opened again at once.
        if let Some(making) = self.making.take() {
            drop(making.join());
        }
    }
}

pub(super) fn name_of(first: Position) -> String {
    format!("{PREFIX}{:020}", first.0)
}

fn storage(path: &Path, error: &io::Error) -> JournalError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    StorageError::new(&name, error).into()
}

fn gap(expected: Position, found: Position) -> JournalError {
    JournalError::Gap { expected: expected.0, found: found.0 }
}

fn damaged(file: String, position: Position, offset: u64) -> JournalError {
    let problem = format!("what is at byte {offset} is not what was appended, and more follows");
    JournalError::Damaged { file, position: position.0, problem }
}

/// The checkpoint holds a position whose record is another one.
fn strange(file: &str, from: Mark) -> JournalError {
    let problem =
        "it is not the record that the state file was written after: the two are not of one folder";
    JournalError::Damaged { file: file.into(), position: from.position.0, problem: problem.into() }
}

fn missing(from: Mark) -> JournalError {
    let problem = format!(
        "the checkpoint is at position {}, and the journal does not reach it: files are missing",
        from.position.0
    );
    StorageError::new("journal", problem).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    type Contents = Vec<(u64, Bytes)>;

    fn open(folder: &Path) -> LocalJournal {
        LocalJournal::open(folder, [7; 32]).expect("opens")
    }

    fn contents(folder: &Path, from: Mark) -> Result<(LocalJournal, Contents), JournalError> {
        let mut journal = LocalJournal::open(folder, [8; 32])?;
        let mut seen = vec![];
        journal.read(from, &mut |position, payload| {
            seen.push((position.0, payload));
            Ok(())
        })?;
        Ok((journal, seen))
    }

    /// Appends records of `bytes` bytes, trimming `behind` positions back, and gives the marks after each.
    fn fill(journal: &mut LocalJournal, records: u64, bytes: usize, behind: u64) -> Vec<Mark> {
        let first = journal.end.position.0 + 1;
        let append = |n: u64| {
            let trim = Position(n.saturating_sub(behind));
            let payload = vec![n as u8; bytes];
            let (receipt, mark) = journal.append(Position(n), &payload, trim).expect("appended");
            assert_eq!(receipt.through(), Position(n));
            mark
        };
        (first..first + records).map(append).collect()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).expect("reads").map(|entry| entry.expect("there").path());
        let mut files: Vec<_> =
            files.filter(|path| path.to_string_lossy().contains(PREFIX)).collect();
        files.sort();
        files
    }

    fn flip(path: &Path, at: u64) {
        let file = fs::File::options().read(true).write(true).open(path).expect("opens");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("written");
    }

    #[test]
    fn what_was_appended_reads_back_from_any_mark_and_goes_on() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        let marks = fill(&mut journal, 9, 5_000, u64::MAX);
        drop(journal);
        for (from, mark) in std::iter::once(Mark::default()).chain(marks).enumerate() {
            let (_, seen) = contents(folder.path(), mark).expect("reads");
            assert!(seen.iter().map(|row| row.0).eq(from as u64 + 1..=9), "from {from}: {seen:?}");
            assert!(seen.iter().all(|(n, payload)| *payload == vec![*n as u8; 5_000]));
        }
        let (mut journal, _) = contents(folder.path(), Mark::default()).expect("reads");
        fill(&mut journal, 3, 10, u64::MAX);
        let (_, seen) = contents(folder.path(), Mark::default()).expect("reads");
        assert_eq!(seen.len(), 12);
    }

    #[test]
    fn files_rotate_grow_and_are_used_again() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        let large = 300_000;
        let marks = fill(&mut journal, 120, large, 6);
        let names = files(folder.path());
        assert!(names.len() <= 3, "{names:?}");
        let kept = journal.spares.len();
        assert!((1..=limits::JOURNAL_SPARES_MAX).contains(&kept), "{kept} kept for later");
        // What a larger batch needs it gets, once.
        let oversized = limits::JOURNAL_SEGMENT_BYTES_MAX as usize + 1;
        let after = fill(&mut journal, 1, oversized, u64::MAX);
        drop(journal);
        let (mut journal, seen) = contents(folder.path(), marks[119]).expect("reads");
        assert_eq!(seen[0].1.len(), oversized);
        fill(&mut journal, 3, large, 1);
        drop(journal);
        let (journal, seen) = contents(folder.path(), after[0]).expect("reads");
        assert_eq!(seen.len(), 3);
        assert!(journal.segments.iter().all(|s| s.size <= limits::JOURNAL_SEGMENT_BYTES_MAX));
        let error = contents(folder.path(), Mark::default()).expect_err("trimmed");
        assert!(matches!(error, JournalError::Gap { expected: 1, .. }), "{error}");
    }

    #[test]
    fn a_torn_last_record_is_the_end_and_is_written_over() {
        for torn in [0, 20, 60, 4_500] {
            let folder = tempfile::tempdir().expect("folder");
            let mut journal = open(folder.path());
            fill(&mut journal, 4, 5_000, u64::MAX);
            let at = BLOCK + 3 * segment::room(5_000);
            drop(journal);
            flip(&files(folder.path())[0], at + torn);
            let (mut journal, seen) = contents(folder.path(), Mark::default()).expect("reads");
            assert_eq!(seen.len(), 3, "torn at {torn}");
            fill(&mut journal, 2, 10, u64::MAX);
            let (_, seen) = contents(folder.path(), Mark::default()).expect("reads");
            assert_eq!(seen.len(), 5);
        }
    }

    #[test]
    fn damage_before_the_last_record_is_named() {
        for damaged in [0, 20, 60, 4_500] {
            let folder = tempfile::tempdir().expect("folder");
            let marks = fill(&mut open(folder.path()), 4, 5_000, u64::MAX);
            flip(&files(folder.path())[0], BLOCK + segment::room(5_000) + damaged);
            let error = contents(folder.path(), Mark::default()).expect_err("damaged");
            let damage = matches!(error, JournalError::Damaged { position: 2, .. });
            assert!(damage && error.to_string().contains("journal-0"), "{damaged}: {error}");
            // A checkpoint that holds the damaged record does not need it, but for its place in the file.
            let past = contents(folder.path(), marks[2]);
            assert_eq!(past.is_ok(), damaged >= 48, "{damaged}");
        }
    }

    #[test]
    fn missing_files_and_damaged_heads_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let marks = fill(&mut open(folder.path()), 30, 300_000, u64::MAX);
        let names = files(folder.path());
        assert!(names.len() > 3, "{names:?}");
        let taken = folder.path().join("taken");
        for (number, path) in names.iter().enumerate() {
            fs::rename(path, &taken).expect("moved");
            let error = contents(folder.path(), marks[0]).expect_err("one is missing");
            let newest = number + 1 == names.len();
            assert_eq!(error.to_string().contains("it is missing"), newest, "{number}: {error}");
            // A checkpoint that holds all of the oldest file does not need it.
            let read = contents(folder.path(), marks[29]);
            assert_eq!(read.is_err(), number > 0, "{number}");
            fs::rename(&taken, path).expect("moved back");
        }
        flip(&names[1], 30);
        let error = LocalJournal::open(folder.path(), [0; 32]).expect_err("damaged");
        assert!(error.to_string().contains("head is damaged"), "{error}");
        for path in &names {
            fs::remove_file(path).expect("gone");
        }
        let error = contents(folder.path(), marks[29]).expect_err("gone");
        assert!(error.to_string().contains("files are missing"), "{error}");
    }

    /// Found by fuzzing: it looked torn, though a file that was there since says that it was whole.
    #[test]
    fn a_damaged_last_record_of_a_sealed_file_is_not_a_torn_one() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        fill(&mut journal, 3, 400_000, u64::MAX);
        drop(journal);
        let names = files(folder.path());
        assert_eq!(names.len(), 2);
        flip(&names[0], BLOCK + segment::room(400_000) + 9);
        fs::remove_file(&names[1]).expect("gone");
        let error = contents(folder.path(), Mark::default()).expect_err("damaged");
        assert!(error.to_string().contains("position 2 is damaged"), "{error}");
    }

    #[test]
    fn a_torn_record_stays_dead_when_its_successor_went_to_the_next_file() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        fill(&mut journal, 4, 5_000, u64::MAX);
        drop(journal);
        // Position 4 is torn, and what takes its place does not fit.
        flip(&files(folder.path())[0], BLOCK + 3 * segment::room(5_000) + 4_500);
        let (mut journal, _) = contents(folder.path(), Mark::default()).expect("reads");
        let large = limits::JOURNAL_SEGMENT_BYTES_MIN as usize;
        let marks = fill(&mut journal, 2, large, u64::MAX);
        assert_eq!((journal.segments.len(), marks[0].position), (3, Position(4)));
        drop(journal);
        for (from, left) in [(Mark::default(), 5), (marks[0], 1), (marks[1], 0)] {
            let (_, seen) = contents(folder.path(), from).expect("reads");
            assert_eq!(seen.len(), left, "from {from:?}");
        }
    }

    /// Found by a simulation of disks.
    #[test]
    fn a_file_whose_only_record_was_torn_gives_its_name_to_the_next() {
        let folder = tempfile::tempdir().expect("folder");
        fill(&mut open(folder.path()), 1, 5_000, u64::MAX);
        flip(&files(folder.path())[0], BLOCK + 4_500);
        let (mut journal, seen) = contents(folder.path(), Mark::default()).expect("reads");
        assert!(seen.is_empty());
        // It does not fit there.
        fill(&mut journal, 2, limits::JOURNAL_SEGMENT_BYTES_MIN as usize, u64::MAX);
        drop(journal);
        let (_, seen) = contents(folder.path(), Mark::default()).expect("reads");
        assert_eq!(seen.len(), 2);
    }

    /// A guest chooses what payloads hold, and files are used again without being cleared.
    #[test]
    fn nothing_but_this_use_of_a_file_makes_a_record() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        fill(&mut journal, 8, 5_000, u64::MAX);
        let old = fs::read(&files(folder.path())[0]).expect("reads");
        // The first records again, where the next ones go: in a payload, and as what a file held before.
        let stale = &old[BLOCK as usize..(BLOCK + 3 * segment::room(5_000)) as usize];
        let elsewhere = tempfile::tempdir().expect("folder");
        let mut other = LocalJournal::open(elsewhere.path(), [9; 32]).expect("opens");
        fill(&mut other, 1, 10, u64::MAX);
        let path = files(elsewhere.path()).remove(0);
        let file = fs::File::options().write(true).open(path).expect("opens");
        file.write_all_at(stale, BLOCK + segment::room(10)).expect("written");
        let (_, seen) = contents(elsewhere.path(), Mark::default()).expect("no damage");
        assert_eq!(seen.len(), 1);
    }
}

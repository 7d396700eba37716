//! The journal's view of a simulated disk. Test code; segments are a few blocks long here, so that files are
//! rotated and used again all the time.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};
use super::segment::BLOCK;
use crate::storage::simulated::{SimDisk, SimFile};

impl Disk for SimDisk {
    type File = SimFile;

    fn segment_bytes(&self) -> RangeInclusive<u64> {
        4 * BLOCK..=12 * BLOCK
    }

    fn list(&self, _folder: &Path) -> io::Result<Vec<PathBuf>> {
        Self::list(self)
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        Self::create(self, path)
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        Self::open(self, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Self::rename(self, from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Self::remove(self, path)
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Self::sync_folder(self)
    }

    /// Does it here and now, so that one seed gives one order.
    fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let done = work();
        std::thread::Builder::new().spawn(move || done)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Self::size(self)
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        Self::read_at(self, out, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        Self::write_at(self, bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::{Journal, LocalJournal, Mark};
    use super::*;
    use crate::ids::Position;
    use crate::storage::simulated::{Crash, Kind, Struck, seeds};

    /// Seeds that run by themselves, and how often each fault has to come about then.
    const SEEDS: u64 = 400;
    const FAULT_TIMES_MIN: u64 = 50;

    /// Appends, trims, crashes and power cuts in any order: what was acknowledged is there, in order, after each.
    fn torture(seed: u64) -> (u64, Struck) {
        let (disk, mut chance) = (SimDisk::new(seed), StdRng::seed_from_u64(seed));
        let (mut acknowledged, mut trimmed) = (Mark::default(), Mark::default());
        let mut marks = vec![Mark::default()];
        for _ in 0..40 {
            disk.fill(false);
            if chance.random_range(0..6u32) == 0 {
                let kind = [Kind::Read, Kind::Write, Kind::Sync, Kind::Name]
                    [chance.random_range(0..4usize)];
                disk.fail_in(kind, chance.random_range(0..3));
            }
            let before = disk.struck();
            let opened = LocalJournal::over(disk.clone(), "".as_ref(), chance.random());
            let mut end = trimmed.position;
            let read = opened.and_then(|mut journal| {
                let (receipt, mark) = journal.read(trimmed, &mut |position, payload| {
                    assert_eq!(position, end.next(), "seed {seed}");
                    assert!(payload.iter().all(|byte| *byte == position.0 as u8), "seed {seed}");
                    end = position;
                    Ok(())
                })?;
                assert_eq!((receipt.through(), mark.position), (end, end));
                Ok((journal, mark))
            });
            match read {
                Ok((mut journal, mark)) => {
                    assert!(mark.position >= acknowledged.position, "seed {seed}: lost");
                    marks.truncate(mark.position.0 as usize);
                    marks.push(mark);
                    acknowledged = mark;
                    for _ in 0..chance.random_range(0..12) {
                        let (kind, soon) =
                            (chance.random_range(0..12u32), chance.random_range(0..6));
                        match kind {
                            0 => disk.stop_in(soon),
                            1 => disk.fail_in(Kind::Sync, soon),
                            2 => disk.fail_in(Kind::Write, soon),
                            3 => disk.fail_in(Kind::Name, 0),
                            4 => disk.fill(true),
                            5..8 => {
                                let behind = chance.random_range(0..4);
                                let at = acknowledged.position.0.saturating_sub(behind);
                                trimmed = marks[at.max(trimmed.position.0) as usize];
                            }
                            _ => {}
                        }
                        let next = acknowledged.position.next();
                        let payload = vec![next.0 as u8; chance.random_range(1..9_000)];
                        let Ok((_, mark)) = journal.append(next, &payload, trimmed.position) else {
                            break;
                        };
                        acknowledged = mark;
                        marks.push(mark);
                    }
                }
                Err(error) => {
                    let why = disk.stopped() || disk.struck() != before;
                    assert!(why, "seed {seed}: {error}");
                }
            }
            disk.spare();
            if chance.random() {
                disk.crash(if chance.random() { Crash::Kill } else { Crash::PowerCut });
            }
        }
        (acknowledged.position.0, disk.struck())
    }

    #[test]
    fn what_was_acknowledged_is_there_after_any_crash() {
        let (chosen, mut appended) = (seeds(SEEDS), 0);
        let mut struck = Struck::default().named();
        for seed in chosen.clone() {
            let (records, faults) = torture(seed);
            appended += records;
            for ((_, all), (_, more)) in struck.iter_mut().zip(faults.named()) {
                *all += more;
            }
        }
        eprintln!("journal: {chosen:?}: {appended} records, {struck:?}");
        if chosen.end - chosen.start >= SEEDS {
            assert!(appended > 10_000, "only {appended}");
            let rare = struck.iter().find(|(_, times)| *times < FAULT_TIMES_MIN);
            assert_eq!(rare, None, "hardly ever happens");
        }
    }

    /// Found by the simulation: the segment is there and works, and its name is not on the disk.
    #[test]
    fn a_name_that_no_sync_was_told_of_is_not_relied_upon() {
        for stopped in 0..14 {
            let disk = SimDisk::new(1);
            let open = || {
                let mut journal = LocalJournal::over(disk.clone(), "".as_ref(), [7; 32])?;
                let (_, mark) = journal.read(Mark::default(), &mut |_, _| Ok(()))?;
                Ok::<_, super::super::JournalError>((journal, mark))
            };
            let (mut journal, _) = open().expect("opens");
            disk.stop_in(stopped);
            drop(journal.append(Position(1), b"one", Position(0)));
            disk.crash(Crash::Kill);
            let (mut journal, mark) = open().expect("opens");
            let next = mark.position.next();
            journal.append(next, b"next", Position(0)).expect("appended");
            disk.crash(Crash::PowerCut);
            let (_, mark) = open().expect("opens");
            assert_eq!(mark.position, next, "stopped after {stopped}");
        }
    }
}

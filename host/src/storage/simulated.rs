//! The disk of a simulation: files and names in memory, with every fault that a real one has, decided by a seed.
//! What was synced is there after a power cut; of what was not, any part is, sector by sector and in any order;
//! a name is sure only after its folder was synced, and names change in order. Test code; knows no file's meaning.
//! Invariant: one seed and one sequence of calls give one disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// A disk; clones share it.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Disk>>);

/// An open file. It belongs to one life of its process and fails in the next.
#[derive(Clone)]
pub(crate) struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

/// What a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Sync,
    Name,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// What it wrote is still in the system's memory, synced or not.
    Kill,
    /// Only what the disk holds is left.
    PowerCut,
}

/// How often each thing happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Struck {
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) names: u64,
    pub(crate) full: u64,
}

impl Struck {
    /// Each with its name.
    pub(crate) fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("process killed", self.kills),
            ("power cut", self.power_cuts),
            ("read fails", self.reads),
            ("write fails", self.writes),
            ("sync fails", self.syncs),
            ("name fails", self.names),
            ("disk full", self.full),
        ]
    }
}

struct Disk {
    chance: StdRng,
    files: Vec<File>,
    /// As the process sees them, as they are sure, and what happened between.
    names: BTreeMap<PathBuf, usize>,
    sure: BTreeMap<PathBuf, usize>,
    since: Vec<Name>,
    life: u64,
    /// The process stops after so many further operations.
    stop_in: Option<u32>,
    stopped: bool,
    /// An operation of this kind fails after so many others of it.
    fail_in: Option<(Kind, u32)>,
    full: bool,
    struck: Struck,
}

#[derive(Clone)]
enum Name {
    New(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct File {
    /// What reads see, what is sure, and what was done since.
    seen: Vec<u8>,
    sure: Vec<u8>,
    since: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Size(usize),
}

/// What becomes of an operation.
enum Luck {
    Whole,
    /// Some of it happens, and it fails.
    Part,
    /// Nobody is there any more to do it.
    None,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            chance: StdRng::seed_from_u64(seed ^ 0x6469_736b),
            files: vec![],
            names: BTreeMap::new(),
            sure: BTreeMap::new(),
            since: vec![],
            life: 0,
            stop_in: None,
            stopped: false,
            fail_in: None,
            full: false,
            struck: Struck::default(),
        })))
    }

    /// Puts a file there, surely.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.lock();
        let file = disk.files.len();
        disk.files.push(File { seen: bytes.to_vec(), sure: bytes.to_vec(), since: vec![] });
        disk.names.insert(path.to_owned(), file);
        disk.sure.insert(path.to_owned(), file);
    }

    /// What reads of a file see.
    pub(crate) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.names.get(path).map(|file| disk.files[*file].seen.clone())
    }

    /// The process stops in the middle of an operation, after so many more.
    pub(crate) fn stop_in(&self, operations: u32) {
        self.lock().stop_in = Some(operations);
    }

    /// One operation fails, after so many more of its kind.
    pub(crate) fn fail_in(&self, kind: Kind, operations: u32) {
        self.lock().fail_in = Some((kind, operations));
    }

    /// No file can grow, or again.
    pub(crate) fn fill(&self, full: bool) {
        self.lock().full = full;
    }

    /// Nothing more fails by itself.
    pub(crate) fn calm(&self) {
        let mut disk = self.lock();
        (disk.stop_in, disk.fail_in, disk.full) = (None, None, false);
    }

    /// What was about to strike does not; a full disk stays full.
    pub(crate) fn spare(&self) {
        let mut disk = self.lock();
        (disk.stop_in, disk.fail_in) = (None, None);
    }

    /// True when the process has stopped: only [`SimDisk::crash`] goes on.
    pub(crate) fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// How often each fault happened so far.
    pub(crate) fn struck(&self) -> Struck {
        self.lock().struck
    }

    /// The process ends; what is left is for the next one.
    pub(crate) fn crash(&self, how: Crash) {
        let mut disk = self.lock();
        disk.life += 1;
        (disk.stopped, disk.stop_in) = (false, None);
        match how {
            Crash::Kill => disk.struck.kills += 1,
            Crash::PowerCut => {
                disk.struck.power_cuts += 1;
                disk.cut();
            }
        }
    }

    pub(crate) fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut disk = self.lock();
        let life = disk.life;
        match disk.luck(life, Kind::Read) {
            Luck::Whole => Ok(disk.names.keys().cloned().collect()),
            _ => Err(io::Error::other("the folder cannot be read")),
        }
    }

    pub(crate) fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut disk = self.lock();
        if disk.full {
            return Err(disk.no_room());
        }
        let file = disk.files.len();
        disk.files.push(File::default());
        disk.rename_like(Name::New(path.to_owned(), file))?;
        let life = disk.life;
        Ok(SimFile { disk: self.clone(), file, life })
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<SimFile> {
        let disk = self.lock();
        let life = disk.life;
        match disk.names.get(path) {
            Some(&file) if !disk.stopped => Ok(SimFile { disk: self.clone(), file, life }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock().rename_like(Name::Rename(from.to_owned(), to.to_owned()))
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().rename_like(Name::Remove(path.to_owned()))
    }

    pub(crate) fn sync_folder(&self) -> io::Result<()> {
        let mut disk = self.lock();
        let life = disk.life;
        match disk.luck(life, Kind::Sync) {
            Luck::Whole => {
                disk.sure = disk.names.clone();
                disk.since.clear();
                Ok(())
            }
            _ => Err(io::Error::other("the folder cannot be synced")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn luck(&mut self, life: u64, kind: Kind) -> Luck {
        if life != self.life || self.stopped {
            return Luck::None;
        }
        if let Some(left) = &mut self.stop_in {
            if *left == 0 {
                (self.stop_in, self.stopped) = (None, true);
                return Luck::Part;
            }
            *left -= 1;
        }
        match &mut self.fail_in {
            Some((strikes, 0)) if *strikes == kind => {
                self.fail_in = None;
                match kind {
                    Kind::Read => self.struck.reads += 1,
                    Kind::Write => self.struck.writes += 1,
                    Kind::Sync => self.struck.syncs += 1,
                    Kind::Name => self.struck.names += 1,
                }
                return Luck::Part;
            }
            Some((strikes, left)) if *strikes == kind => *left -= 1,
            _ => {}
        }
        Luck::Whole
    }

    fn no_room(&mut self) -> io::Error {
        self.struck.full += 1;
        io::ErrorKind::StorageFull.into()
    }

    fn rename_like(&mut self, name: Name) -> io::Result<()> {
        let happens = match self.luck(self.life, Kind::Name) {
            Luck::Whole => return self.change_name(name),
            Luck::Part => self.chance.random(),
            Luck::None => false,
        };
        if happens {
            self.change_name(name)?;
        }
        Err(io::Error::other("the name cannot be changed"))
    }

    fn change_name(&mut self, name: Name) -> io::Result<()> {
        if apply_name(&mut self.names, &name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.since.push(name);
        Ok(())
    }

    /// The power goes: only what is on the disk is left, and chance says what that is.
    fn cut(&mut self) {
        let unsure = self.since.len();
        let happened = match self.chance.random_range(0..4u32) {
            0 => 0,
            1 => unsure,
            _ => self.chance.random_range(0..=unsure),
        };
        for name in self.since.drain(..).take(happened) {
            // A name that is gone cannot change: what made it so came before.
            apply_name(&mut self.sure, &name).unwrap_or_default();
        }
        self.names = self.sure.clone();
        for file in &mut self.files {
            // All or nothing is what a disk does when it had much time, or little.
            let all = self.chance.random_range(0..4u32);
            for change in std::mem::take(&mut file.since) {
                let mode = if all < 2 { all } else { self.chance.random_range(0..3) };
                let chance = &mut self.chance;
                apply(&mut file.sure, &change, &mut || match mode {
                    0 => false,
                    1 => true,
                    _ => chance.random(),
                });
            }
            file.seen.clone_from(&file.sure);
        }
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, name: &Name) -> Option<()> {
    match name {
        Name::New(path, file) => {
            names.insert(path.clone(), *file);
        }
        Name::Rename(from, to) => {
            let file = names.remove(from)?;
            names.insert(to.clone(), file);
        }
        Name::Remove(path) => {
            names.remove(path)?;
        }
    }
    Some(())
}

/// Does to `bytes` what happens of a change: the sectors that `keeps` says.
fn apply(bytes: &mut Vec<u8>, change: &Change, keeps: &mut dyn FnMut() -> bool) {
    let (mut at, mut rest) = match change {
        Change::Size(size) => {
            if keeps() {
                bytes.resize(*size, 0);
            }
            return;
        }
        Change::Write(offset, data) => (*offset, &data[..]),
    };
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min((at / SECTOR + 1) * SECTOR - at));
        let end = at + piece.len();
        if keeps() {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(piece);
        }
        (at, rest) = (end, after);
    }
}

impl SimFile {
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].seen.len() as u64)
    }

    pub(crate) fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let Luck::Whole = disk.luck(self.life, Kind::Read) else {
            return Err(io::Error::other("cannot be read"));
        };
        let at = at as usize;
        let piece = disk.files[self.file].seen.get(at..at + out.len());
        out.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(crate) fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let (luck, at) = (disk.luck(self.life, Kind::Write), at as usize);
        let written = match luck {
            Luck::Whole => data.len(),
            Luck::Part => disk.chance.random_range(0..=data.len()) / SECTOR * SECTOR,
            Luck::None => 0,
        };
        if disk.full && at + written > disk.files[self.file].seen.len() {
            return Err(disk.no_room());
        }
        if written > 0 {
            disk.files[self.file].change(Change::Write(at, data[..written].to_vec()));
        }
        if matches!(luck, Luck::Whole) {
            Ok(())
        } else {
            Err(io::Error::other("cannot be written"))
        }
    }

    pub(crate) fn resize(&self, size: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.full && size as usize > disk.files[self.file].seen.len() {
            return Err(disk.no_room());
        }
        let Luck::Whole = disk.luck(self.life, Kind::Write) else {
            return Err(io::Error::other("cannot be resized"));
        };
        disk.files[self.file].change(Change::Size(size as usize));
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let luck = disk.luck(self.life, Kind::Sync);
        let Disk { files, chance, stopped, .. } = &mut *disk;
        let file = &mut files[self.file];
        match luck {
            Luck::Whole => {
                for change in file.since.drain(..) {
                    apply(&mut file.sure, &change, &mut || true);
                }
                return Ok(());
            }
            // As Linux does: what could not be written counts as written from now on, and reads still see it. A
            // size is in the file system's own log, which is not given up on.
            Luck::Part if !*stopped => {
                let is_size = |change: &mut Change| matches!(change, Change::Size(_));
                let sizes: Vec<_> = file.since.extract_if(.., is_size).collect();
                for change in std::mem::replace(&mut file.since, sizes) {
                    apply(&mut file.sure, &change, &mut || chance.random());
                }
            }
            Luck::Part | Luck::None => {}
        }
        Err(io::Error::other("cannot be synced"))
    }
}

impl File {
    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change, &mut || true);
        self.since.push(change);
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimDisk")
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.file)
    }
}

impl redb::StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(data, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let disk = SimDisk::new(seed);
            let file = disk.create(Path::new("a")).expect("made");
            file.write_at(&[1; 3 * SECTOR], 0).expect("written");
            file.sync().expect("synced");
            disk.sync_folder().expect("synced");
            file.write_at(&[2; 3 * SECTOR], 0).expect("written");
            disk.rename(Path::new("a"), Path::new("b")).expect("renamed");
            disk.crash(Crash::PowerCut);
            assert!(file.write_at(&[3], 0).is_err(), "its process is gone");
            let (a, b) = (disk.contents(Path::new("a")), disk.contents(Path::new("b")));
            assert!(a.is_some() != b.is_some(), "a file has one name");
            let bytes = a.clone().or(b).expect("one of them");
            let sectors: Vec<_> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert!(sectors.iter().all(|byte| [1, 2].contains(byte)));
            seen.insert((a.is_some(), sectors));
        }
        assert!(seen.len() >= 12, "only {} outcomes", seen.len());
    }

    #[test]
    fn what_a_failed_sync_leaves_is_seen_until_the_power_goes() {
        let lost = (0..32).filter(|seed| {
            let disk = SimDisk::new(*seed);
            let file = disk.create(Path::new("a")).expect("made");
            disk.sync_folder().expect("synced");
            file.write_at(&[1; 8], 0).expect("written");
            disk.fail_in(Kind::Sync, 0);
            assert!(file.sync().is_err());
            file.sync().expect("says yes and does nothing");
            assert_eq!(disk.contents(Path::new("a")), Some(vec![1; 8]));
            disk.crash(Crash::PowerCut);
            disk.contents(Path::new("a")) != Some(vec![1; 8])
        });
        assert!((4..29).contains(&lost.count()));
    }
}

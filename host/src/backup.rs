//! Snapshots of a data folder: a copy of what every partition holds at a consistent cut, and of the apps, made while
//! the host goes on, with a manifest that names each file and its hash. Restoring makes a data folder of one.
//! Invariant: a snapshot has its name and its manifest when it is whole and on stable storage, and not before;
//! nothing is restored over anything, and nothing whose hash is not the manifest's.

mod manifest;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::ids::Position;
use crate::journal::{JournalError, LocalJournal};
use crate::limits;
use crate::record;
use crate::state::Snapshot;
use crate::storage::{self, StorageError};
pub use manifest::{Copied, Kept, Manifest};

/// Folders of the data folder that are copied file by file; `cache` can be made again.
const FOLDERS: [&str; 2] = ["apps", "access"];
const PARTITIONS: &str = "partitions";
const PART: &str = ".part";

/// Why a snapshot was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A name that cannot be a snapshot's.
    #[error(
        "name is {0:?}; a snapshot's name is 1 to 64 of the letters a to z, A to Z, digits, '-', '_' and '.', \
         and does not begin with '.'"
    )]
    Name(String),
    /// There is one of that name.
    #[error("there is a snapshot {0:?} already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no snapshot {0:?}")]
    Unknown(String),
    /// A snapshot that is not as it was written, or not one at all.
    #[error("{file} of the snapshot {problem}")]
    Damaged {
        /// The file, relative to the snapshot.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Where it is to go there is something.
    #[error("{0} is not empty: a snapshot is restored into a folder that is new or empty")]
    NotEmpty(PathBuf),
    /// A file that cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The copy of a state file.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The journal of a restored partition.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The snapshots of one data folder.
#[derive(Debug, Clone)]
pub struct Backups {
    data: PathBuf,
    folder: PathBuf,
}

/// A snapshot that is being made; dropped before its end it leaves nothing.
pub struct Draft {
    data: PathBuf,
    part: PathBuf,
    to: PathBuf,
    partitions: Vec<Copied>,
    /// Set when it has its name.
    whole: bool,
}

impl Backups {
    /// Those of the data folder `data`, which lie in its folder `snapshots`.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self { data: data.to_owned(), folder: data.join("snapshots") }
    }

    /// Begins the snapshot `name`. What an interrupted one left is removed. One at a time.
    ///
    /// # Errors
    /// [`BackupError::Name`], [`BackupError::Exists`], [`BackupError::Io`].
    pub fn begin(&self, name: &str) -> Result<Draft, BackupError> {
        let to = self.path(name)?;
        if to.exists() {
            return Err(BackupError::Exists(name.into()));
        }
        storage::make_folder(&self.folder).map_err(at(&self.folder))?;
        for entry in fs::read_dir(&self.folder).map_err(at(&self.folder))? {
            let path = entry.map_err(at(&self.folder))?.path();
            if path.to_string_lossy().ends_with(PART) {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        let part = self.folder.join(format!(".{name}{PART}"));
        storage::make_folder(&part).map_err(at(&part))?;
        Ok(Draft { data: self.data.clone(), part, to, partitions: vec![], whole: false })
    }

    /// The room on the data folder's disk.
    #[must_use]
    pub fn room(&self) -> Option<storage::Room> {
        storage::room(&self.data)
    }

    /// All that are whole, by name.
    ///
    /// # Errors
    /// [`BackupError`], also when a manifest is damaged.
    pub fn list(&self) -> Result<Vec<Kept>, BackupError> {
        let mut all = vec![];
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            entries => entries.map_err(at(&self.folder))?,
        };
        for entry in entries {
            let path = entry.map_err(at(&self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if check_name(&name).is_ok() {
                all.push(Manifest::read(&path)?.kept(&path));
            }
        }
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes the snapshot `name`.
    ///
    /// # Errors
    /// [`BackupError::Unknown`], [`BackupError::Name`], [`BackupError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), BackupError> {
        let path = self.path(name)?;
        if !path.exists() {
            return Err(BackupError::Unknown(name.into()));
        }
        // Not a snapshot any more, whatever of it is removed first.
        let part = self.folder.join(format!(".{name}{PART}"));
        fs::rename(&path, &part).map_err(at(&path))?;
        fs::remove_dir_all(&part).map_err(at(&part))
    }

    fn path(&self, name: &str) -> Result<PathBuf, BackupError> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }
}

impl Draft {
    /// Copies a cut of every partition, in their order. `watch` hears of rows on the way. Blocks, and no partition
    /// waits for it.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn states(
        &mut self,
        cuts: &[Arc<Snapshot>],
        watch: &dyn Fn(u64),
    ) -> Result<(), BackupError> {
        let mut before = 0;
        for (number, cut) in cuts.iter().enumerate() {
            let partition = number.to_string();
            let folder = self.part.join(PARTITIONS).join(&partition);
            storage::make_folder(&folder).map_err(at(&folder))?;
            let rows = cut.copy(&folder, &|rows| watch(before + rows))?;
            before += rows;
            self.partitions.push(Copied { partition, position: cut.mark().position.0, rows });
        }
        Ok(())
    }

    /// Copies the apps, writes the manifest, and gives the snapshot its name. Nothing may be deployed meanwhile, and
    /// the states come first: a state may be older than the app that reads it, never newer. Blocks.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn finish(mut self, clock: &dyn Clock) -> Result<Kept, BackupError> {
        for folder in FOLDERS {
            let from = self.data.join(folder);
            if from.exists() {
                copy_all(&from, &self.part.join(folder))?;
            }
        }
        let files = manifest::files(&self.part)?;
        let manifest = Manifest {
            format: manifest::FORMAT,
            keystead: env!("CARGO_PKG_VERSION").into(),
            record_format: record::FORMAT,
            created_at_ms: clock.now_ms(),
            partitions: std::mem::take(&mut self.partitions),
            files,
        };
        manifest.write(&self.part)?;
        sync_all(&self.part)?;
        // IMPORTANT: the name says that it is whole, so it comes after everything else is on stable storage.
        fs::rename(&self.part, &self.to).map_err(at(&self.to))?;
        self.whole = true;
        if let Some(around) = self.to.parent() {
            File::open(around).and_then(|folder| folder.sync_all()).map_err(at(around))?;
        }
        Ok(manifest.kept(&self.to))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.whole {
            // The next one removes what this cannot.
            drop(fs::remove_dir_all(&self.part));
        }
    }
}

/// Makes a data folder at `to` of the snapshot at `from`. `watch` hears of bytes on the way. Blocks.
///
/// # Errors
/// [`BackupError`]; the folder is then removed again.
pub fn restore(
    from: &Path,
    to: &Path,
    clock: &dyn Clock,
    watch: &dyn Fn(u64),
) -> Result<Kept, BackupError> {
    let manifest = Manifest::read(from)?;
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(to.into()));
    }
    if !record::reads(manifest.record_format) {
        let problem = record::other_format(u64::from(manifest.record_format));
        return Err(BackupError::Damaged { file: manifest::FILE.into(), problem });
    }
    // Under another name until it is whole, so that no host opens half of one.
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let part = to.with_file_name(format!(".{name}{PART}"));
    let made = fill(from, &part, &manifest, clock, watch).and_then(|()| {
        // An empty folder is replaced.
        fs::rename(&part, to).map_err(at(to))?;
        let around = to.parent().filter(|around| !around.as_os_str().is_empty());
        let around = around.unwrap_or(Path::new("."));
        File::open(around).and_then(|folder| folder.sync_all()).map_err(at(around))
    });
    if made.is_err() {
        drop(fs::remove_dir_all(&part));
    }
    made.map(|()| manifest.kept(from))
}

fn fill(
    from: &Path,
    part: &Path,
    manifest: &Manifest,
    clock: &dyn Clock,
    watch: &dyn Fn(u64),
) -> Result<(), BackupError> {
    if part.exists() {
        fs::remove_dir_all(part).map_err(at(part))?;
    }
    storage::make_folder(part).map_err(at(part))?;
    let mut bytes = 0;
    for file in &manifest.files {
        let (source, target) = (from.join(&file.path), part.join(&file.path));
        let folder = target.parent().unwrap_or(part);
        storage::make_folder(folder).map_err(at(folder))?;
        let damaged = |problem: &str| BackupError::Damaged {
            file: file.path.clone(),
            problem: problem.into(),
        };
        let (size, hash) = match copy(&source, &target) {
            Err(BackupError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("is missing"));
            }
            copied => copied?,
        };
        if (size, hash.to_hex().as_str()) != (file.bytes, &file.hash) {
            return Err(damaged("is not what was written"));
        }
        bytes += size;
        watch(bytes);
    }
    for partition in &manifest.partitions {
        let folder = part.join(PARTITIONS).join(&partition.partition);
        let mut chance = [0; 32];
        clock.fill(&mut chance);
        LocalJournal::found(&folder, chance, Position(partition.position))?;
    }
    sync_all(part)
}

fn check_name(name: &str) -> Result<(), BackupError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = (1..=limits::SNAPSHOT_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('.');
    if good { Ok(()) } else { Err(BackupError::Name(name.into())) }
}

/// Copies a folder with everything below it, but for what is being written.
fn copy_all(from: &Path, to: &Path) -> Result<(), BackupError> {
    storage::make_folder(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(at(&path))?.is_dir() {
            copy_all(&path, &target)?;
        } else if path.extension().is_none_or(|extension| extension != "tmp") {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies a file and gives its size and its hash.
fn copy(from: &Path, to: &Path) -> Result<(u64, blake3::Hash), BackupError> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut target = options.open(to).map_err(at(to))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let read = source.read(&mut buffer).map_err(at(from))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(at(to))?;
        size += read as u64;
    }
    Ok((size, hasher.finalize()))
}

/// Syncs every file and folder below.
fn sync_all(folder: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |error| BackupError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::journal::{Chain, Journal as _, Mark};
    use crate::state::{StateFile, Table};

    fn data() -> (tempfile::TempDir, StateFile, Arc<Snapshot>) {
        let dir = tempfile::tempdir().expect("folder");
        let folder = dir.path().join("live");
        storage::make_folder(&folder).expect("made");
        let file = StateFile::open(&folder).expect("opens");
        let mark = Mark { position: Position(9), chain: Chain([3; 16]) };
        let cut = file.write(mark, |writer| writer.put(Table::Rows, b"a", Some(b"1")));
        fs::create_dir_all(dir.path().join("apps/apps")).expect("made");
        fs::write(dir.path().join("apps/apps/bank.json"), b"{}").expect("written");
        fs::write(dir.path().join("apps/apps/half.tmp"), b"{").expect("written");
        let cut = cut.expect("written");
        (dir, file, cut)
    }

    fn make(dir: &Path, cut: Arc<Snapshot>) -> PathBuf {
        let mut draft = Backups::of(dir).begin("one").expect("begun");
        draft.states(&[cut], &|_| ()).expect("copied");
        let kept = draft.finish(&SystemClock::new()).expect("made");
        assert_eq!((kept.name.as_str(), kept.rows), ("one", 1));
        dir.join("snapshots/one")
    }

    #[test]
    fn what_was_kept_comes_back_and_goes_on() {
        let (dir, _live, cut) = data();
        let from = make(dir.path(), cut);
        let to = dir.path().join("restored");
        restore(&from, &to, &SystemClock::new(), &|_| ()).expect("restored");
        let folder = to.join("partitions/0");
        let file = StateFile::open(&folder).expect("opens");
        let state = file.snapshot().expect("reads");
        assert_eq!(state.get(Table::Rows, b"a").expect("reads").as_deref(), Some(&b"1"[..]));
        let mut journal = LocalJournal::open(&folder, [1; 32]).expect("opens");
        let (_, end) = journal.read(state.mark(), &mut |_, _| Ok(())).expect("reads");
        assert_eq!(end, state.mark());
        journal.append(Position(10), b"next", Position(9)).expect("goes on");
        assert_eq!(fs::read(to.join("apps/apps/bank.json")).expect("there"), b"{}");
        assert!(!to.join("apps/apps/half.tmp").exists());
        let again = restore(&from, &to, &SystemClock::new(), &|_| ()).expect_err("there already");
        assert!(matches!(again, BackupError::NotEmpty(_)), "{again}");
    }

    #[test]
    fn snapshots_of_older_formats_come_back() {
        let (dir, _live, cut) = data();
        let from = make(dir.path(), cut);
        for (format, is_read) in [(record::FORMAT_OLDEST, true), (record::FORMAT + 1, false)] {
            let sound = Manifest::read(&from).expect("sound");
            Manifest { record_format: format, ..sound }.write(&from).expect("written");
            let to = dir.path().join(format!("restored-{format}"));
            let restored = restore(&from, &to, &SystemClock::new(), &|_| ());
            assert_eq!(restored.is_ok(), is_read, "{format}");
        }
    }

    #[test]
    fn every_damage_is_named_and_leaves_nothing() {
        let (dir, _live, cut) = data();
        let from = make(dir.path(), cut);
        let to = dir.path().join("restored");
        for file in ["apps/apps/bank.json", "partitions/0/state.redb", "partitions/0/state.sums"] {
            let path = from.join(file);
            let sound = fs::read(&path).expect("there");
            let mut bad = sound.clone();
            bad[sound.len() / 2] ^= 1;
            for (change, says) in [(Some(bad), "is not what"), (None, "is missing")] {
                match change {
                    Some(bytes) => fs::write(&path, bytes).expect("written"),
                    None => fs::remove_file(&path).expect("removed"),
                }
                let error = restore(&from, &to, &SystemClock::new(), &|_| ()).expect_err(file);
                let text = error.to_string();
                assert!(text.contains(file) && text.contains(says), "{text}");
                assert!(!to.exists() && !dir.path().join(".restored.part").exists());
            }
            fs::write(&path, sound).expect("mended");
        }
        restore(&from, &to, &SystemClock::new(), &|_| ()).expect("sound again");
    }

    #[test]
    fn a_snapshot_that_was_not_finished_is_none() {
        let (dir, _live, cut) = data();
        let backups = Backups::of(dir.path());
        let mut draft = backups.begin("half").expect("begun");
        draft.states(&[cut], &|_| ()).expect("copied");
        assert!(backups.list().expect("reads").is_empty());
        // As a crash would.
        std::mem::forget(draft);
        assert!(backups.list().expect("reads").is_empty());
        drop(backups.begin("other").expect("begun"));
        let left = fs::read_dir(dir.path().join("snapshots")).expect("there").count();
        assert_eq!(left, 0, "neither the one that crashed nor the one that was given up");
        for name in ["", ".hidden", "a/b", "..", "ä"] {
            assert!(matches!(backups.begin(name).err(), Some(BackupError::Name(_))), "{name}");
        }
        assert!(matches!(backups.remove("half"), Err(BackupError::Unknown(_))));
    }
}

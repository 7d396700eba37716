//! Opening redb files so that they survive being interrupted: the one place that knows how a data file comes
//! into being. A new file is made under a temporary name, closed, synced, renamed, and its folder synced,
//! because a power cut while redb creates a file leaves one that will not open. Each block has a checksum
//! beside the file, without which redb would serve whatever it finds.

mod checked;
pub mod sealed;
mod unchanged;

#[cfg(test)]
pub(crate) mod simulated;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database, StorageBackend as _};

use crate::limits;

pub use checked::{BLOCK, differing, sums_of};
use checked::{Checked, Opened};
use unchanged::Unchanged;

/// Why a data file could not be opened, read or written. After any of these the file must be reopened: redb
/// refuses further work on a handle that saw an I/O error, and a failed commit may or may not have happened.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct StorageError {
    /// The file's name.
    pub file: String,
    /// What the storage said.
    pub problem: String,
}

impl StorageError {
    /// Wraps what the storage said of `file`.
    pub fn new(file: &str, problem: impl std::fmt::Display) -> Self {
        Self { file: file.into(), problem: problem.to_string() }
    }
}

/// What a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// All of them.
    pub bytes: u64,
}

/// The disk below `path`, if its file system says.
#[must_use]
pub fn room(path: &Path) -> Option<Room> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(Room { free_bytes: bytes(disk.f_bavail), bytes: bytes(disk.f_blocks) })
}

/// Opens the redb file at `path`, creating it when it is missing, with a page cache of `cache_bytes`.
/// Everything in it is on stable storage when this returns.
///
/// # Errors
/// [`StorageError`] when it cannot be created, is locked by another process, or is damaged.
pub fn open(path: &Path, cache_bytes: usize) -> Result<Database, StorageError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |problem: String| StorageError::new(&name, problem);
    let new = !path.exists();
    if new {
        if sums_of(path).exists() {
            return Err(failed("is missing; its checksums are there".into()));
        }
        create(path).map_err(|error| failed(format!("cannot be created: {error}")))?;
    }
    if !sums_of(path).exists() {
        // A new one, or one of a build that made no checksums: redb's own say whether it is sound.
        if !new {
            tracing::info!(file = name, "checking all of it: it has no checksums yet");
        }
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
        drop(guarded(&failed, || builder.open(path))?);
        checked::learn(path)
            .map_err(|error| failed(format!("checksums cannot be made: {error}")))?;
    }
    let Opened { file, familiar } =
        Checked::open(path).map_err(|error| failed(format!("cannot be opened: {error}")))?;
    if !familiar {
        tracing::warn!(
            file = name,
            "checking all of it: its first block is not one that was synced"
        );
    }
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(!familiar);
    let database = guarded(&failed, || builder.create_with_backend(file))?;
    // IMPORTANT: a process that was killed between a write and its sync leaves pages that are readable and not
    // yet on disk; what we read now is promised to callers next, so it is synced first.
    for file in [path, &sums_of(path)] {
        File::open(file)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed(format!("cannot be synced: {error}")))?;
    }
    Ok(database)
}

/// Opens the redb file at `path` to look at it: nothing of it changes, whatever redb does. `by_sums` says that
/// blocks are compared with their checksums; else redb compares all of them with its own, now.
///
/// # Errors
/// [`StorageError`].
pub fn look(path: &Path, by_sums: bool) -> Result<Database, StorageError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |problem: String| StorageError::new(&name, problem);
    let unfit = |error: std::io::Error| failed(format!("cannot be opened: {error}"));
    let mut builder = Builder::new();
    builder.set_cache_size(limits::DOCTOR_CACHE_BYTES);
    let backend = if by_sums {
        let Opened { file, familiar } = Checked::open(path).map_err(unfit)?;
        builder.set_check_integrity_on_open(!familiar);
        Unchanged::checked(file).map_err(unfit)?
    } else {
        builder.set_check_integrity_on_open(true);
        Unchanged::plain(path).map_err(unfit)?
    };
    // An empty file would be made a new database.
    if backend.len().map_err(unfit)? == 0 {
        return Err(failed("is empty".into()));
    }
    guarded(&failed, || builder.create_with_backend(backend))
}

/// Has redb compare all of the file at `path` that is in use with its own checksums and ours, changing nothing.
///
/// # Errors
/// [`StorageError`], with what is damaged.
pub fn check(path: &Path) -> Result<(), StorageError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |problem: String| StorageError::new(&name, problem);
    let unfit = |error: std::io::Error| failed(format!("cannot be opened: {error}"));
    let backend = Unchanged::checked(Checked::open(path).map_err(unfit)?.file).map_err(unfit)?;
    let mut builder = Builder::new();
    builder.set_cache_size(limits::DOCTOR_CACHE_BYTES).set_check_integrity_on_open(true);
    guarded(&failed, || builder.create_with_backend(backend)).map(drop)
}

/// Runs redb over a file that may be damaged. It may panic on one; that must cost this file, not the process.
fn guarded(
    failed: &dyn Fn(String) -> StorageError,
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, StorageError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(failed(format!("cannot be opened: {error}"))),
        Err(_) => Err(failed("is damaged: reading it panicked".into())),
    }
}

/// Makes the folder at `path` and those around it that are missing, private to the owner. Its name and its
/// parent's survive a power cut when this returns: a file's own sync says nothing of the folders it is in.
///
/// # Errors
/// The file system's.
pub fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_name(path)?;
    match path.parent() {
        Some(around) if !around.as_os_str().is_empty() => sync_outer_name(around),
        _ => Ok(()),
    }
}

/// Syncs the folder that `path` is in, so that its name there survives a power cut.
///
/// # Errors
/// The file system's.
pub fn sync_name(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        // A name alone is in the folder that the process is in.
        Some(around) if around.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(around) => File::open(around)?.sync_all(),
        None => Ok(()),
    }
}

/// The same for a folder of ours in one that may be another's: what is not ours to read is not ours to sync.
///
/// # Errors
/// The file system's.
pub fn sync_outer_name(path: &Path) -> std::io::Result<()> {
    match sync_name(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The same over a disk of a simulation.
#[cfg(test)]
pub(crate) fn open_simulated(
    disk: &simulated::SimDisk,
    path: &Path,
    cache_bytes: usize,
) -> Result<Database, StorageError> {
    let name = path.display().to_string();
    let failed = |problem: String| StorageError::new(&name, problem);
    let file = disk.open(path).map_err(|error| failed(error.to_string()))?;
    let backend = file.clone();
    let open = || Builder::new().set_cache_size(cache_bytes).create_with_backend(backend);
    let database = guarded(&failed, open)?;
    file.sync().map_err(|error| failed(error.to_string()))?;
    Ok(database)
}

fn create(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let temporary = path.with_extension("new");
    if temporary.exists() {
        fs::remove_file(&temporary)?;
    }
    drop(Database::create(&temporary)?);
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(sync_name(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_made_file_is_made_anew_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.redb");
        fs::write(path.with_extension("new"), b"half").expect("written");
        drop(open(&path, 1 << 20).expect("made"));
        drop(open(&path, 1 << 20).expect("opens again"));
        fs::write(&path, vec![7; 8192]).expect("damaged");
        let error = open(&path, 1 << 20).expect_err("damaged");
        assert!(error.to_string().starts_with("state.redb"), "{error}");
    }
}

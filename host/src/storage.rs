//! Opening redb files so that they survive being interrupted: the one place that knows how a data file comes
//! into being. A new file is made under a temporary name, closed, synced, renamed, and its folder synced,
//! because a power cut while redb creates a file leaves one that will not open.

#[cfg(test)]
pub(crate) mod simulated;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Builder, Database};

/// Why a data file could not be opened, read or written. After any of these the file must be reopened: redb
/// refuses further work on a handle that saw an I/O error, and a failed commit may or may not have happened.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct StorageError {
    /// The file's name.
    pub file: String,
    /// What the storage said.
    pub problem: String,
    /// Reading or writing failed, not what was read: nothing else works until the file is opened again.
    pub latched: bool,
}

impl StorageError {
    /// Wraps what the storage said of `file`.
    pub fn new(file: &str, problem: impl std::fmt::Display) -> Self {
        Self { file: file.into(), problem: problem.to_string(), latched: false }
    }

    /// Wraps what redb said of `file`. After an I/O error it refuses everything, also when the cause has gone.
    #[must_use]
    pub fn of_redb(file: &str, error: &redb::StorageError) -> Self {
        use redb::StorageError::{Io, PreviousIo};
        Self { latched: matches!(error, Io(_) | PreviousIo), ..Self::new(file, error) }
    }
}

/// Opens the redb file at `path`, creating it when it is missing, with a page cache of `cache_bytes`.
/// Everything in it is on stable storage when this returns.
///
/// # Errors
/// [`StorageError`] when it cannot be created, is locked by another process, or is damaged.
pub fn open(path: &Path, cache_bytes: usize) -> Result<Database, StorageError> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = |problem: String| StorageError::new(&name, problem);
    if !path.exists() {
        create(path).map_err(|error| failed(format!("cannot be created: {error}")))?;
    }
    let database = open_with(&name, || Builder::new().set_cache_size(cache_bytes).open(path))?;
    // IMPORTANT: a process that was killed between a write and its sync leaves pages that are readable and not
    // yet on disk; what we read now is promised to callers next, so it is synced first.
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(format!("cannot be synced: {error}")))?;
    Ok(database)
}

/// Makes the folder at `path` and those around it that are missing, private to the owner. Its name and its
/// parent's survive a power cut when this returns: a file's own sync says nothing of the folders it is in.
///
/// # Errors
/// The file system's.
pub fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for around in path.ancestors().skip(1).take(2) {
        File::open(around)?.sync_all()?;
    }
    Ok(())
}

/// redb may panic on a damaged file; that must cost this file, not the process.
fn open_with(
    name: &str,
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, StorageError> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(StorageError::new(name, format!("cannot be opened: {error}"))),
        Err(_) => Err(StorageError::new(name, "is damaged: reading it panicked")),
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
    let failed = |error| StorageError::new(&name, error);
    let file = disk.open(path).map_err(failed)?;
    let backend = file.clone();
    let open = || Builder::new().set_cache_size(cache_bytes).create_with_backend(backend);
    let database = open_with(&name, open)?;
    file.sync().map_err(failed)?;
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
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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

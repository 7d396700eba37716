//! The data folder: private to its owner and to one host at a time. Knows nothing of what is in it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::storage;

const LOCK: &str = "lock";

/// A locked data folder. The kernel releases the lock with the file, however the process ends.
#[derive(Debug)]
pub struct DataFolder {
    _lock: File,
}

impl DataFolder {
    /// Creates the folder when it is missing, and locks it.
    ///
    /// # Errors
    /// When it cannot be made, written or locked, and when another host has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        // Its parents get the permissions that folders get here; only what is ours is private.
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("{shown} cannot be created"))?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => keep_private(path)?,
            created => {
                created.with_context(|| format!("the data folder {shown} cannot be created"))?;
            }
        }
        storage::sync_outer_name(path)
            .with_context(|| format!("the folder of {shown} cannot be synced"))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options
            .open(path.join(LOCK))
            .with_context(|| format!("the data folder {shown} cannot be written"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Only for the message; the lock itself is the kernel's.
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                bail!(
                    "another host{holder} uses the data folder {shown}; stop it, or choose another \
                     folder with --data"
                );
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{shown}/{LOCK} cannot be locked"));
            }
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { _lock: lock })
    }
}

/// Makes an existing empty folder private. One that holds files and is open to others might be
/// anything, a home or `/tmp`: it is used as it is, and said to be open.
fn keep_private(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("{shown} cannot be read"))?;
    if !metadata.is_dir() {
        bail!("{shown} is not a folder; choose another with --data");
    }
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let mut entries = fs::read_dir(path).with_context(|| format!("{shown} cannot be read"))?;
    if entries.next().is_none() {
        return fs::set_permissions(path, Permissions::from_mode(0o700)).with_context(|| {
            format!("{shown} cannot be made private; it belongs to another user")
        });
    }
    tracing::warn!("the data folder {shown} holds other files and is open to other users");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_made_private_and_has_one_host() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/data");
        let folder = DataFolder::open(&path).expect("opens");
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
        let error = DataFolder::open(&path).expect_err("taken").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(folder);
        DataFolder::open(&path).expect("free again");
    }

    #[test]
    fn only_an_empty_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("set");
        open();
        fs::write(dir.path().join("other"), "x").expect("written");
        drop(DataFolder::open(dir.path()).expect("opens"));
        assert_eq!(mode(dir.path()), 0o755, "it held other files");
        drop(DataFolder::open(dir.path()).expect("opens again"));
        assert_eq!(mode(dir.path()), 0o755, "it still does");
        fs::remove_file(dir.path().join(LOCK)).expect("removed");
        fs::remove_file(dir.path().join("other")).expect("removed");
        open();
        drop(DataFolder::open(dir.path()).expect("opens"));
        assert_eq!(mode(dir.path()), 0o700, "it was empty");
    }

    #[test]
    fn a_file_in_its_place_is_said() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = DataFolder::open(file.path()).expect_err("a file").to_string();
        assert!(error.contains("--data"), "{error}");
    }
}

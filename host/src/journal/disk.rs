//! What the journal asks of a file system, so that a simulation can stand in for it. Chosen when the host is
//! compiled, so it costs nothing. Knows nothing of what the files hold.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::{limits, storage};

/// A file system.
pub trait Disk: Clone + Debug + Send + 'static {
    /// Its open files.
    type File: DiskFile;

    /// Bytes of a journal's segments, unless one batch needs more.
    fn segment_bytes(&self) -> RangeInclusive<u64>;

    /// The paths in a folder.
    ///
    /// # Errors
    /// The file system's; so below.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes an empty file.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the folder of `path` durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Does `work` on a thread of its own.
    fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>>;
}

/// An open file.
pub trait DiskFile: Debug + Send + 'static {
    /// How many bytes it has.
    ///
    /// # Errors
    /// The file system's; so below.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `at` on.
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes `bytes` at `at`.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes what it holds durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes what it holds, and what is known of it, durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

impl Disk for Machine {
    type File = fs::File;

    fn segment_bytes(&self) -> RangeInclusive<u64> {
        limits::JOURNAL_SEGMENT_BYTES_MIN..=limits::JOURNAL_SEGMENT_BYTES_MAX
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<fs::File> {
        fs::File::create(path)
    }

    fn open(&self, path: &Path) -> io::Result<fs::File> {
        fs::File::options().read(true).write(true).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        storage::sync_name(path)
    }

    fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        std::thread::Builder::new().name("keystead-spare".into()).spawn(work)
    }
}

impl DiskFile for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
}

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

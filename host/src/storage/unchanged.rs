//! A file that redb may open, and even repair, without a byte of it changing: what redb writes stays in memory.
//! For `keystead doctor`, which looks before it does anything. Invariant: nothing here writes to a file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::checked::{BLOCK, Checked};

/// The file below, and what was written over it.
#[derive(Debug)]
pub(super) struct Unchanged {
    below: Below,
    below_bytes: u64,
    bytes: AtomicU64,
    over: Mutex<HashMap<u64, Vec<u8>>>,
}

#[derive(Debug)]
enum Below {
    Checked(Checked),
    /// Whatever its checksums say.
    Plain(File),
}

impl Unchanged {
    /// Over a file whose blocks are compared with their checksums.
    pub(super) fn checked(file: Checked) -> io::Result<Self> {
        let bytes = file.len()?;
        Ok(Self::new(Below::Checked(file), bytes))
    }

    /// Over a file as it is.
    pub(super) fn plain(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::new(Below::Plain(file), bytes))
    }

    fn new(below: Below, bytes: u64) -> Self {
        Self { below, below_bytes: bytes, bytes: AtomicU64::new(bytes), over: Mutex::default() }
    }

    fn over(&self) -> MutexGuard<'_, HashMap<u64, Vec<u8>>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = self.over().get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK];
        let offset = number * BLOCK as u64;
        if offset < self.below_bytes {
            match &self.below {
                Below::Checked(file) => file.read(offset, &mut block)?,
                Below::Plain(file) => file.read_exact_at(&mut block, offset)?,
            }
        }
        Ok(block)
    }
}

impl StorageBackend for Unchanged {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.load(Ordering::Relaxed))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let within = (at % BLOCK as u64) as usize;
            let block = self.block(at / BLOCK as u64)?;
            let piece = (BLOCK - within).min(out.len() - done);
            out[done..done + piece].copy_from_slice(&block[within..within + piece]);
            done += piece;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.over().retain(|number, _| number * (BLOCK as u64) < len);
        self.bytes.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let piece = (BLOCK - within).min(data.len() - done);
            let mut block = if piece == BLOCK { vec![0; BLOCK] } else { self.block(number)? };
            block[within..within + piece].copy_from_slice(&data[done..done + piece]);
            self.over().insert(number, block);
            done += piece;
        }
        Ok(())
    }
}

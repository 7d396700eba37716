//! A journal in memory that fails when told to: what tests and simulations put under a partition. A crash is
//! dropping the journal and opening another on the same [`MemoryDisk`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Journal, JournalError, Mark, Receipt};
use crate::ids::Position;
use crate::storage::StorageError;

/// What survives a crash, and the faults to come. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    records: BTreeMap<u64, Bytes>,
    fail_next: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Fault {
    Lost,
    Kept,
}

impl MemoryDisk {
    /// The next append fails; the record is there afterwards when `kept`, as redb was seen to do.
    pub fn fail_next(&self, kept: bool) {
        self.lock().fail_next = Some(if kept { Fault::Kept } else { Fault::Lost });
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal on a [`MemoryDisk`].
pub struct MemoryJournal {
    disk: MemoryDisk,
    end: Mark,
}

impl MemoryJournal {
    /// Opens what is on the disk.
    #[must_use]
    pub fn open(disk: &MemoryDisk) -> Self {
        Self { disk: disk.clone(), end: Mark::default() }
    }
}

impl Journal for MemoryJournal {
    fn append(
        &mut self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> Result<(Receipt, Mark), JournalError> {
        assert_eq!(position, self.end.position.next(), "positions have no gaps");
        let mut disk = self.disk.lock();
        let fault = disk.fail_next.take();
        if !matches!(fault, Some(Fault::Lost)) {
            disk.records.insert(position.0, Bytes::copy_from_slice(payload));
            disk.records.retain(|&at, _| at > trim.0);
        }
        if fault.is_some() {
            return Err(StorageError::new("memory", "told to fail").into());
        }
        self.end = Mark { position, chain: self.end.chain.link(position, payload) };
        Ok((Receipt::new(position), self.end))
    }

    fn read(
        &mut self,
        from: Mark,
        each: &mut dyn FnMut(Position, Bytes) -> Result<(), JournalError>,
    ) -> Result<(Receipt, Mark), JournalError> {
        let mut end = from;
        for (&found, payload) in self.disk.lock().records.range(from.position.next().0..) {
            let position = end.position.next();
            if found != position.0 {
                return Err(JournalError::Gap { expected: position.0, found });
            }
            end = Mark { position, chain: end.chain.link(position, payload) };
            each(position, payload.clone())?;
        }
        self.end = end;
        Ok((Receipt::new(end.position), end))
    }
}

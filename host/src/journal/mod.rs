//! The commit point: appends a batch durably, reads from a position, trims. Knows no wasm and nothing of what
//! a batch means. Invariant: what survives is a prefix of what was appended, checked by a chained hash.

mod disk;
#[cfg(test)]
mod fuzz;
mod local;
mod memory;
mod receipt;
mod segment;
#[cfg(test)]
mod simulated;
mod survey;

use bytes::Bytes;

pub use disk::{Disk, DiskFile, Machine};
pub use local::LocalJournal;
pub use memory::{MemoryDisk, MemoryJournal};
pub use receipt::{Durable, Parked, Receipt};
pub use survey::{Survey, Trouble, survey};

use crate::ids::Position;
use crate::storage::StorageError;

/// The hash of a record, of everything before it, and of its position: the engine below may lose or change
/// what it acknowledged, and this is how we would know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    /// The chain after a record.
    #[must_use]
    pub fn link(self, position: Position, payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&position.0.to_le_bytes());
        hasher.update(payload);
        let mut chain = [0; 16];
        chain.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(chain)
    }
}

/// A position and the chain up to it: what a checkpoint holds, and where reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The last position that counts as read.
    pub position: Position,
    /// The chain up to it.
    pub chain: Chain,
}

/// Why a journal cannot go on. It must be dropped and opened anew: an append that failed may have happened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The storage under it failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record is missing.
    #[error("journal: position {expected} is missing; the next one there is {found}")]
    Gap {
        /// What should come next.
        expected: u64,
        /// What comes.
        found: u64,
    },
    /// A record is not what was appended.
    #[error("{file}: the record at position {position} is damaged: {problem}")]
    Damaged {
        /// The file it is or should be in.
        file: String,
        /// Its position.
        position: u64,
        /// What is wrong.
        problem: String,
    },
}

/// A partition's log.
pub trait Journal: Send {
    /// Appends `payload` at `position`, the one after the last, and drops what is at or before `trim`.
    /// Returns when it is on stable storage, with the proof and the chain up to it.
    ///
    /// # Errors
    /// [`JournalError`]; the outcome is then unknown, and this journal refuses everything else.
    fn append(
        &mut self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> Result<(Receipt, Mark), JournalError>;

    /// Reads what follows `from`, in order, into `each`, and checks that nothing is missing or changed.
    /// Returns the end with the proof that all of it is durable.
    ///
    /// # Errors
    /// [`JournalError`].
    fn read(
        &mut self,
        from: Mark,
        each: &mut dyn FnMut(Position, Bytes) -> Result<(), JournalError>,
    ) -> Result<(Receipt, Mark), JournalError>;
}

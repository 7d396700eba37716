//! The state file: redb tables that hold everything up to a journal position. Opens, reads through
//! snapshots, and applies a checkpoint in one write transaction. Knows no wasm and nothing of mailboxes.
//! Invariant: the tables and the mark in them were committed together.

mod copy;
mod salvage;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::ids::Position;
use crate::journal::{Chain, Mark};
use crate::limits;
use crate::record;
use crate::storage::{self, StorageError};

pub use salvage::{Gap, Look, Trust, places};

const FILE: &str = "state.redb";
/// The mark: position (8 bytes, little endian) and chain (16 bytes); and the format.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const MARK: &str = "mark";
/// The format of every record in the folder, one byte; files older than it are of format 1.
const FORMAT: &str = "format";

type Bytewise = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The tables; keys are made by `record::keys`, values by `record`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Entities: metadata and state rows.
    Rows = 0,
    /// Messages waiting at their entity, in arrival order.
    Mailbox = 1,
    /// Messages and timers that are not due, by time.
    Scheduled = 2,
    /// Dead letters by message id.
    Dead = 3,
    /// Outcomes by message id.
    Outcomes = 4,
    /// Idempotency keys by entity and key.
    Idempotency = 5,
    /// What is forgotten when: points into the two tables above.
    Expiry = 6,
    /// What is paused, by scope.
    Pauses = 7,
}

/// All tables, in the order of their numbers.
pub const TABLES: [Table; 8] = [
    Table::Rows,
    Table::Mailbox,
    Table::Scheduled,
    Table::Dead,
    Table::Outcomes,
    Table::Idempotency,
    Table::Expiry,
    Table::Pauses,
];

impl Table {
    fn definition(self) -> Bytewise {
        TableDefinition::new(match self {
            Self::Rows => "rows",
            Self::Mailbox => "mailbox",
            Self::Scheduled => "scheduled",
            Self::Dead => "dead",
            Self::Outcomes => "outcomes",
            Self::Idempotency => "idempotency",
            Self::Expiry => "expiry",
            Self::Pauses => "pauses",
        })
    }
}

/// The open state file.
pub struct StateFile {
    database: Database,
}

impl StateFile {
    /// Opens the state file in `folder`, creating it when it is missing.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        Self::over(storage::open(&folder.join(FILE), limits::STATE_CACHE_BYTES)?)
    }

    /// The same with a small page cache, for a file that is written once, in order.
    fn beside(folder: &Path) -> Result<Self, StorageError> {
        Self::over(storage::open(&folder.join(FILE), limits::COPY_CACHE_BYTES)?)
    }

    /// The state file of a simulation; every disk begins with the same empty one.
    #[cfg(test)]
    pub(crate) fn simulated(
        disk: &crate::storage::simulated::SimDisk,
    ) -> Result<Self, StorageError> {
        use crate::storage::simulated::SimDisk;
        static EMPTY: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        // None: reads are to fail now and then.
        const CACHE_BYTES: usize = 0;
        let path = Path::new(FILE);
        if disk.contents(path).is_none() {
            let empty = EMPTY.get_or_init(|| {
                let disk = SimDisk::new(0);
                disk.put(path, &[]);
                let made = storage::open_simulated(&disk, path, CACHE_BYTES).and_then(Self::over);
                drop(made.expect("made"));
                disk.contents(path).expect("there")
            });
            disk.put(path, empty);
        }
        Self::over(storage::open_simulated(disk, path, CACHE_BYTES)?)
    }

    fn over(database: Database) -> Result<Self, StorageError> {
        let file = Self { database };
        let failed = |error| StorageError::new(FILE, error);
        // Readers need every table to exist, and a checkpoint of nothing makes them.
        if !file.begun().map_err(failed)? {
            file.write(Mark::default(), |_| Ok(()))?;
        }
        file.up_to_date()
    }

    /// The same file in this build's format: with all of its tables. Rows stay as they are, each says its format.
    fn up_to_date(self) -> Result<Self, StorageError> {
        let failed = |error| StorageError::new(FILE, error);
        match self.format().map_err(failed)? {
            record::FORMAT => {}
            older if record::reads(older) => {
                let mark = self.mark().map_err(failed)?;
                self.write(mark, |_| Ok(()))?;
            }
            other => {
                return Err(StorageError::new(FILE, record::other_format(u64::from(other))));
            }
        }
        Ok(self)
    }

    /// False for a file that nothing was ever written to.
    fn begun(&self) -> Result<bool, redb::Error> {
        match self.database.begin_read()?.open_table(META) {
            Ok(_) => Ok(true),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn mark(&self) -> Result<Mark, redb::Error> {
        let meta = self.database.begin_read()?.open_table(META)?;
        read_mark(&meta)
    }

    /// The format of the records in this file and in the journal beside it.
    fn format(&self) -> Result<u8, redb::Error> {
        let meta = self.database.begin_read()?.open_table(META)?;
        let format = meta.get(FORMAT)?;
        Ok(format.and_then(|format| format.value().first().copied()).unwrap_or(1))
    }

    /// A consistent view of what the last checkpoint left.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, StorageError> {
        self.try_snapshot().map(Arc::new).map_err(|error| StorageError::new(FILE, error))
    }

    /// Applies `changes` together with the mark they lead to, in one durable transaction.
    ///
    /// # Errors
    /// [`StorageError`]; the file must then be reopened.
    pub fn write(
        &self,
        mark: Mark,
        changes: impl FnOnce(&mut Writer<'_>) -> Result<(), StorageError>,
    ) -> Result<Arc<Snapshot>, StorageError> {
        let failed = |error: redb::Error| StorageError::new(FILE, error);
        let mut transaction = self.database.begin_write().map_err(|e| failed(e.into()))?;
        // Guests choose keys and values, and page checksums are not cryptographic: two phases do not
        // depend on them, and quick repair opens in a time that does not grow with the file.
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        {
            let open = |table: Table| transaction.open_table(table.definition());
            let mut tables = Vec::with_capacity(TABLES.len());
            for table in TABLES {
                tables.push(open(table).map_err(|e| failed(e.into()))?);
            }
            changes(&mut Writer { tables })?;
            let mut value = mark.position.0.to_le_bytes().to_vec();
            value.extend_from_slice(&mark.chain.0);
            let mut meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
            meta.insert(MARK, value.as_slice()).map_err(|e| failed(e.into()))?;
            meta.insert(FORMAT, [record::FORMAT].as_slice()).map_err(|e| failed(e.into()))?;
        }
        transaction.commit().map_err(|e| failed(e.into()))?;
        self.snapshot()
    }

    fn try_snapshot(&self) -> Result<Snapshot, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut tables = Vec::with_capacity(TABLES.len());
        let older = self.format()? < record::FORMAT;
        for table in TABLES {
            tables.push(match transaction.open_table(table.definition()) {
                Ok(table) => Some(table),
                Err(redb::TableError::TableDoesNotExist(_)) if older => None,
                Err(error) => return Err(error.into()),
            });
        }
        let meta = transaction.open_table(META)?;
        let mark = read_mark(&meta)?;
        Ok(Snapshot { tables, mark })
    }
}

fn read_mark(meta: &ReadOnlyTable<&'static str, &'static [u8]>) -> Result<Mark, redb::Error> {
    let value = meta.get(MARK)?.map(|guard| guard.value().to_vec()).unwrap_or_default();
    match (value.first_chunk::<8>(), value.get(8..24)) {
        (Some(position), Some(rest)) => {
            let mut chain = [0; 16];
            chain.copy_from_slice(rest);
            Ok(Mark { position: Position(u64::from_le_bytes(*position)), chain: Chain(chain) })
        }
        _ => Err(redb::Error::Corrupted("the mark is damaged".into())),
    }
}

/// The write side of a checkpoint.
pub struct Writer<'t> {
    tables: Vec<redb::Table<'t, &'static [u8], &'static [u8]>>,
}

impl Writer<'_> {
    /// Sets or removes one row.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StorageError> {
        let table = &mut self.tables[table as usize];
        let done = match value {
            Some(value) => table.insert(key, value).map(|_| ()),
            None => table.remove(key).map(|_| ()),
        };
        done.map_err(|error| StorageError::new(FILE, error))
    }

    /// Removes all rows with `start <= key < end`.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn clear(&mut self, table: Table, start: &[u8], end: &[u8]) -> Result<(), StorageError> {
        let table = &mut self.tables[table as usize];
        let cleared = table.retain_in::<&[u8], _>(start..end, |_, _| false);
        cleared.map_err(|error| StorageError::new(FILE, error))
    }

    /// The first rows of `table` with keys below `end`, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn keys_below(
        &self,
        table: Table,
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StorageError> {
        let rows = self.tables[table as usize].range::<&[u8]>(..end);
        let keys = rows.and_then(|rows| {
            rows.take(limit).map(|row| row.map(|(key, _)| key.value().to_vec())).collect()
        });
        keys.map_err(|error| StorageError::new(FILE, error))
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let row = self.tables[table as usize].get(key);
        row.map(|row| row.map(|guard| Bytes::copy_from_slice(guard.value())))
            .map_err(|error| StorageError::new(FILE, error))
    }
}

/// A consistent view of the state file; holding one keeps its pages from being reused.
pub struct Snapshot {
    /// None for a table that an older format has not.
    tables: Vec<Option<ReadOnlyTable<&'static [u8], &'static [u8]>>>,
    mark: Mark,
}

/// An iterator over rows of a snapshot, from either end.
pub type RowIter<'s> =
    Box<dyn DoubleEndedIterator<Item = Result<(Bytes, Bytes), StorageError>> + 's>;

impl Snapshot {
    /// What it holds.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(table) = &self.tables[table as usize] else { return Ok(None) };
        let row = table.get(key);
        row.map(|row| row.map(|guard| Bytes::copy_from_slice(guard.value())))
            .map_err(|error| StorageError::new(FILE, error))
    }

    /// Rows with `start <= key < end` in key order.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn range(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<RowIter<'_>, StorageError> {
        use std::ops::Bound;
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let Some(table) = &self.tables[table as usize] else {
            return Ok(Box::new(std::iter::empty()));
        };
        let rows = table.range::<&[u8]>(bounds).map_err(|error| StorageError::new(FILE, error))?;
        Ok(Box::new(rows.map(|row| {
            row.map(|(key, value)| {
                (Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value()))
            })
            .map_err(|error| StorageError::new(FILE, error))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_format_is_refused_by_name() {
        for (format, says) in
            [(None, "an older build"), (Some(record::FORMAT + 1), "a newer build")]
        {
            let folder = tempfile::tempdir().expect("folder");
            let file = StateFile::open(folder.path()).expect("opens");
            let transaction = file.database.begin_write().expect("begins");
            {
                let mut meta = transaction.open_table(META).expect("there");
                meta.remove(FORMAT).expect("removed");
                if let Some(format) = format {
                    meta.insert(FORMAT, [format].as_slice()).expect("written");
                }
            }
            transaction.commit().expect("committed");
            drop(file);
            let error = StateFile::open(folder.path()).err().expect("refused").to_string();
            assert!(error.contains("state.redb") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_checkpoint_and_its_mark_are_there_together_after_reopening() {
        let folder = tempfile::tempdir().expect("folder");
        let mark = Mark { position: Position(9), chain: Chain([3; 16]) };
        let file = StateFile::open(folder.path()).expect("opens");
        let before = file.snapshot().expect("reads");
        file.write(mark, |writer| {
            writer.put(Table::Rows, b"a", Some(b"1"))?;
            writer.put(Table::Rows, b"b", Some(b"2"))?;
            writer.put(Table::Rows, b"a", None)?;
            for key in ["c", "d", "e"] {
                writer.put(Table::Rows, key.as_bytes(), Some(b"3"))?;
            }
            writer.clear(Table::Rows, b"c", b"e")
        })
        .expect("written");
        assert_eq!(before.get(Table::Rows, b"b").expect("reads"), None);
        drop((before, file));
        let file = StateFile::open(folder.path()).expect("opens");
        let after = file.snapshot().expect("reads");
        assert_eq!(after.mark(), mark);
        let rows = after.range(Table::Rows, b"", None).expect("reads");
        let rows: Vec<_> = rows.map(|row| row.expect("reads").0).collect();
        assert_eq!(rows, [Bytes::from("b"), Bytes::from("e")]);
    }
}

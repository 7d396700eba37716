//! Reading a state file that may be damaged, without changing it: all rows that can be read, and between which
//! keys some cannot. Knows nothing of what rows mean. Invariant: a row that is given was written as it is.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{FILE, StateFile, TABLES, Table, Writer};
use crate::journal::Mark;
use crate::limits;
use crate::record;
use crate::storage::{self, StorageError};

/// Rows that cannot be read: those between two keys. `None` is the table's beginning or end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Of which table.
    pub table: Table,
    /// The last key before it.
    pub after: Option<Vec<u8>>,
    /// The first key after it.
    pub before: Option<Vec<u8>>,
    /// Why.
    pub problem: String,
}

/// Takes a row: its table, key and value.
pub(super) type EachRow<'e> = &'e mut dyn FnMut(Table, &[u8], &[u8]) -> Result<(), StorageError>;

/// How a state file can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// By the checksums beside it.
    Sums,
    /// By redb's own: the others are damaged or gone, and all of it is sound.
    Redb,
}

/// A state file that is only looked at.
pub struct Look<'f> {
    folder: &'f Path,
    /// How it can be read.
    pub trust: Trust,
    /// What it holds.
    pub mark: Mark,
    /// What is damaged beside rows: redb's own bookkeeping, which a host comes across when it writes.
    pub bookkeeping: Option<StorageError>,
}

impl<'f> Look<'f> {
    /// Looks at the state file in `folder`.
    ///
    /// # Errors
    /// [`StorageError`]: nothing of it can be read.
    pub fn at(folder: &'f Path) -> Result<Self, StorageError> {
        // Sound in itself is better than readable in parts.
        let Err(damage) = storage::check(&folder.join(FILE)) else {
            return Self::by(folder, Trust::Sums);
        };
        if let Ok(look) = Self::by(folder, Trust::Redb) {
            return Ok(look);
        }
        let mut look = Self::by(folder, Trust::Sums)?;
        let whole = look.rows(&mut |_, _, _| Ok(()))?.is_empty();
        look.bookkeeping = whole.then_some(damage);
        Ok(look)
    }

    fn by(folder: &'f Path, trust: Trust) -> Result<Self, StorageError> {
        let file = StateFile { database: open(folder, trust)? };
        let format = file.format().map_err(|error| StorageError::new(FILE, error))?;
        if !record::reads(format) {
            return Err(StorageError::new(FILE, record::other_format(u64::from(format))));
        }
        let mark = file.snapshot()?.mark();
        Ok(Self { folder, trust, mark, bookkeeping: None })
    }

    /// The file, open, for what it can answer.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn file(&self) -> Result<StateFile, StorageError> {
        Ok(StateFile { database: open(self.folder, self.trust)? })
    }

    /// Gives all rows that can be read to `each`, in no order, and says where some cannot.
    ///
    /// # Errors
    /// [`StorageError`], also that of `each`.
    pub fn rows(&self, each: EachRow<'_>) -> Result<Vec<Gap>, StorageError> {
        let mut gaps = vec![];
        let mut database = open(self.folder, self.trust)?;
        for table in TABLES {
            let (after, Some(problem)) = pass(&database, table, None, each)? else { continue };
            // A failed read fails all later ones of the same handle.
            drop(database);
            database = open(self.folder, self.trust)?;
            let (before, failed) = pass(&database, table, Some(after.as_deref()), each)?;
            if failed.is_some() {
                drop(database);
                database = open(self.folder, self.trust)?;
            }
            gaps.push(Gap { table, after, before, problem });
        }
        Ok(gaps)
    }
}

impl StateFile {
    /// One that is nowhere but in memory, with what `fill` puts into it.
    ///
    /// # Errors
    /// That of `fill`.
    pub fn in_memory(
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), StorageError>,
    ) -> Result<Self, StorageError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend);
        let database = database.map_err(|error| StorageError::new("memory", error))?;
        let file = Self { database };
        file.write(Mark::default(), fill)?;
        Ok(file)
    }
}

fn open(folder: &Path, trust: Trust) -> Result<Database, StorageError> {
    storage::look(&folder.join(FILE), trust == Trust::Sums)
}

/// Reads a table until a row cannot be: from its beginning, or from its end back to the key `until`. Gives the
/// last key that was read and why there is no next.
fn pass(
    database: &Database,
    table: Table,
    until: Option<Option<&[u8]>>,
    each: EachRow<'_>,
) -> Result<(Option<Vec<u8>>, Option<String>), StorageError> {
    let told = |error: &dyn std::fmt::Display| Some(error.to_string());
    let mut last = None;
    let opened = database.begin_read().map_err(redb::Error::from).and_then(|transaction| {
        let rows = transaction.open_table(table.definition())?;
        Ok(rows)
    });
    let rows = match opened {
        Ok(rows) => rows,
        // A folder of an older format has fewer tables.
        Err(redb::Error::TableDoesNotExist(_)) => return Ok((None, None)),
        Err(error) => return Ok((None, told(&error))),
    };
    let mut rows = match rows.iter() {
        Ok(rows) => rows,
        Err(error) => return Ok((None, told(&error))),
    };
    loop {
        let row = if until.is_some() { rows.next_back() } else { rows.next() };
        match row {
            None => return Ok((last, None)),
            Some(Err(error)) => return Ok((last, told(&error))),
            Some(Ok((key, value))) => {
                if until.flatten().is_some_and(|until| key.value() <= until) {
                    return Ok((last, None));
                }
                each(table, key.value(), value.value())?;
                last = Some(key.value().to_vec());
            }
        }
    }
}

/// Where blocks of the state file in `folder` differ from their checksums, as a few places in bytes.
#[must_use]
pub fn places(folder: &Path) -> String {
    match storage::differing(&folder.join(FILE), limits::DOCTOR_BLOCKS_LISTED) {
        Ok((blocks, _)) if blocks.is_empty() => "in its first block, or in its length".into(),
        Ok((blocks, _)) => {
            let places: Vec<_> =
                blocks.iter().map(|block| (block * storage::BLOCK as u64).to_string()).collect();
            format!("bytes {} of {FILE}", places.join(", "))
        }
        Err(error) => format!("{FILE} and its checksums: {error}"),
    }
}

//! The journal on this machine's disk: an append-only table in a redb file of its own. One append is one redb
//! commit, which is one sync. Commits are one-phase: redb's page checksums find a torn commit, and the chained
//! hash of every record finds whatever those miss.

use std::path::Path;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::{Chain, Journal, JournalError, Mark, Receipt};
use crate::ids::Position;
use crate::limits;
use crate::storage::{self, StorageError};

const FILE: &str = "journal.redb";
/// Position → the chain up to and with it (16 bytes), then the payload.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const CHAIN_BYTES: usize = 16;

/// A journal in a redb file.
pub struct LocalJournal {
    database: Database,
    end: Mark,
    /// Set by the first error: the file must be reopened.
    failed: bool,
}

impl LocalJournal {
    /// Opens the journal in `folder`, creating it when it is missing. Call [`Journal::read`] before the
    /// first append.
    ///
    /// # Errors
    /// [`JournalError::Storage`].
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let database = storage::open(&folder.join(FILE), limits::JOURNAL_CACHE_BYTES)?;
        Ok(Self { database, end: Mark::default(), failed: false })
    }

    fn try_append(
        &self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> Result<Chain, redb::Error> {
        let chain = self.end.chain.link(position, payload);
        let transaction = self.database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut record = records.insert_reserve(position.0, CHAIN_BYTES + payload.len())?;
            record.as_mut()[..CHAIN_BYTES].copy_from_slice(&chain.0);
            record.as_mut()[CHAIN_BYTES..].copy_from_slice(payload);
            drop(record);
            records.retain_in(..=trim.0, |_, _| false)?;
        }
        transaction.commit()?;
        Ok(chain)
    }
}

impl Journal for LocalJournal {
    fn append(
        &mut self,
        position: Position,
        payload: &[u8],
        trim: Position,
    ) -> Result<(Receipt, Mark), JournalError> {
        assert!(!self.failed, "a failed journal is reopened, not used");
        assert_eq!(position, self.end.position.next(), "positions have no gaps");
        let appended = self.try_append(position, payload, trim.min(self.end.position));
        let chain = appended.map_err(|error| {
            self.failed = true;
            StorageError::new(FILE, error)
        })?;
        self.end = Mark { position, chain };
        // IMPORTANT: only here, after the commit and its sync.
        Ok((Receipt::new(position), self.end))
    }

    fn read(
        &mut self,
        from: Mark,
        each: &mut dyn FnMut(Position, Bytes) -> Result<(), JournalError>,
    ) -> Result<(Receipt, Mark), JournalError> {
        let storage = |error: redb::Error| StorageError::new(FILE, error);
        let mut end = from;
        let transaction = self.database.begin_read().map_err(|e| storage(e.into()))?;
        match transaction.open_table(RECORDS) {
            Ok(records) => {
                for row in records.range(from.position.next().0..).map_err(|e| storage(e.into()))? {
                    let (position, record) = row.map_err(|e| storage(e.into()))?;
                    end = check(end, position.value(), record.value())?;
                    each(end.position, Bytes::copy_from_slice(&record.value()[CHAIN_BYTES..]))?;
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(storage(error.into()).into()),
        }
        self.end = end;
        // `storage::open` has synced the file, so what was read is on stable storage.
        Ok((Receipt::new(end.position), end))
    }
}

/// Checks that a record follows `before`, and gives the mark after it.
fn check(before: Mark, position: u64, record: &[u8]) -> Result<Mark, JournalError> {
    let expected = before.position.next();
    if position != expected.0 {
        return Err(JournalError::Gap { expected: expected.0, found: position });
    }
    let (stored, payload) =
        record.split_at_checked(CHAIN_BYTES).ok_or(JournalError::Damaged(position))?;
    let chain = before.chain.link(expected, payload);
    if chain.0 != stored {
        return Err(JournalError::Damaged(position));
    }
    Ok(Mark { position: expected, chain })
}

#[cfg(test)]
mod tests {
    use redb::ReadableTable;

    use super::*;

    fn contents(journal: &mut LocalJournal, from: Mark) -> Result<Vec<(u64, Bytes)>, JournalError> {
        let mut seen = vec![];
        journal.read(from, &mut |position, payload| {
            seen.push((position.0, payload));
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn what_was_appended_reads_back_after_reopening_and_trimming() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = LocalJournal::open(folder.path()).expect("opens");
        let mut marks = vec![Mark::default()];
        for n in 1..=5u64 {
            let trim = if n == 5 { Position(2) } else { Position(0) };
            let appended = journal.append(Position(n), &[n as u8], trim).expect("appended");
            assert_eq!(appended.0.through(), Position(n));
            marks.push(appended.1);
        }
        drop(journal);
        let mut journal = LocalJournal::open(folder.path()).expect("opens");
        let seen = contents(&mut journal, marks[2]).expect("reads");
        assert_eq!(seen.iter().map(|row| row.0).collect::<Vec<_>>(), [3, 4, 5]);
        journal.append(Position(6), b"six", Position(0)).expect("goes on");
    }

    #[test]
    fn gaps_and_damage_are_found() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = LocalJournal::open(folder.path()).expect("opens");
        for n in 1..=4u64 {
            journal.append(Position(n), b"payload", Position(0)).expect("appended");
        }
        type Records<'t> = redb::Table<'t, u64, &'static [u8]>;
        let change = |edit: &dyn Fn(&mut Records<'_>)| {
            let transaction = journal.database.begin_write().expect("writes");
            edit(&mut transaction.open_table(RECORDS).expect("there"));
            transaction.commit().expect("committed");
        };
        change(&|records| {
            let mut record = records.get(3).expect("reads").expect("there").value().to_vec();
            record[CHAIN_BYTES] ^= 1;
            records.insert(3, record.as_slice()).expect("inserted");
        });
        change(&|records| {
            records.remove(1).expect("removed");
        });
        let error = contents(&mut journal, Mark::default()).expect_err("a gap");
        assert!(matches!(error, JournalError::Gap { expected: 1, found: 2 }), "{error}");
        let one =
            Mark { position: Position(1), chain: Chain::default().link(Position(1), b"payload") };
        let error = contents(&mut journal, one).expect_err("damage");
        assert!(matches!(error, JournalError::Damaged(3)), "{error}");
    }
}

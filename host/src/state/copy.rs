//! A copy of a snapshot as a state file of its own, made while the one it comes from goes on. Invariant: the copy
//! has the snapshot's rows and its mark, or this fails.

use std::path::Path;

use super::{FILE, Snapshot, StateFile, TABLES, Table};
use crate::limits;
use crate::storage::StorageError;

impl Snapshot {
    /// Writes all rows and the mark into a new state file in `folder`, and gives the number of rows. `watch` hears
    /// of them on the way. Blocks.
    ///
    /// # Errors
    /// [`StorageError`]; what was written until then is of no use.
    pub fn copy(&self, folder: &Path, watch: &dyn Fn(u64)) -> Result<u64, StorageError> {
        if folder.join(FILE).exists() {
            return Err(StorageError::new(FILE, "is there already"));
        }
        let copy = StateFile::beside(folder)?;
        let mut copied = 0;
        // Also when there is no row: the mark is written with them.
        copy.write(self.mark(), |_| Ok(()))?;
        for table in TABLES {
            copied += self.copy_table(table, &copy, &|rows| watch(copied + rows))?;
        }
        Ok(copied)
    }

    fn copy_table(
        &self,
        table: Table,
        copy: &StateFile,
        watch: &dyn Fn(u64),
    ) -> Result<u64, StorageError> {
        let mut rows = self.range(table, b"", None)?;
        let mut copied = 0;
        let mut more = true;
        while more {
            more = false;
            copy.write(self.mark(), |writer| {
                for row in rows.by_ref().take(limits::COPY_ROWS) {
                    let (key, value) = row?;
                    writer.put(table, &key, Some(&value))?;
                    copied += 1;
                    more = true;
                }
                Ok(())
            })?;
            watch(copied);
        }
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Position;
    use crate::journal::{Chain, Mark};

    #[test]
    fn a_copy_has_every_row_and_the_mark_whatever_is_written_meanwhile() {
        let (from, to) =
            (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let file = StateFile::open(from.path()).expect("opens");
        let mark = |position| Mark { position: Position(position), chain: Chain([7; 16]) };
        let rows = limits::COPY_ROWS + 10;
        let cut = file.write(mark(3), |writer| {
            for row in 0..rows {
                writer.put(Table::Rows, &row.to_be_bytes(), Some(b"then"))?;
            }
            writer.put(Table::Dead, b"d", Some(b"letter"))
        });
        let cut = cut.expect("written");
        let later = file.write(mark(4), |writer| writer.put(Table::Rows, b"later", Some(b"now")));
        drop(later.expect("written"));
        assert_eq!(cut.copy(to.path(), &|_| ()).expect("copied"), rows as u64 + 1);
        assert!(cut.copy(to.path(), &|_| ()).is_err(), "nothing is written over");
        let copied = StateFile::open(to.path()).expect("opens");
        let copy = copied.snapshot().expect("reads");
        assert_eq!(copy.mark(), mark(3));
        let found = copy.range(Table::Rows, b"", None).expect("reads");
        let found: Result<Vec<_>, _> = found.collect();
        assert_eq!(found.expect("reads").len(), rows);
        assert_eq!(copy.get(Table::Dead, b"d").expect("reads").as_deref(), Some(&b"letter"[..]));
        assert_eq!(copy.get(Table::Rows, b"later").expect("reads"), None);
    }
}

//! Checkpoints: the frozen memtable's net change, written to the state file in one transaction together with
//! the position it leads to; forgotten outcomes and idempotency keys are purged on the way. The only writer of
//! the state file. Invariant: it never writes what is not durable in the journal.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::core::Event;
use super::view::Memtable;
use crate::clock::Clock;
use crate::journal::Mark;
use crate::limits;
use crate::metrics;
use crate::record::outcome::{Outcome, Remembered};
use crate::record::{self, keys, scope};
use crate::state::{Snapshot, StateFile, Table, Writer};
use crate::storage::StorageError;

/// A checkpoint to write.
pub(crate) struct Checkpoint {
    pub(crate) table: Arc<Memtable>,
    pub(crate) mark: Mark,
    pub(crate) now_ms: u64,
}

/// The thread that checkpoints. Ends with its channel.
pub(crate) fn run_checkpoints(
    file: &StateFile,
    checkpoints: &Receiver<Checkpoint>,
    clock: &dyn Clock,
    tell: &dyn Fn(Event),
) {
    for checkpoint in checkpoints {
        let began = clock.monotonic();
        let written = write(file, &checkpoint);
        drop(checkpoint);
        if written.is_ok() {
            let took = clock.monotonic().saturating_sub(began);
            metrics::checkpoint_written(took, clock.now_ms());
        }
        tell(Event::Checkpointed(written));
    }
}

/// Writes one checkpoint and gives the view of it.
pub(crate) fn write(
    file: &StateFile,
    checkpoint: &Checkpoint,
) -> Result<Arc<Snapshot>, StorageError> {
    assert!(checkpoint.table.through == checkpoint.mark.position, "a batch is whole or not there");
    file.write(checkpoint.mark, |writer| {
        write_entities(writer, &checkpoint.table)?;
        write_messages(writer, &checkpoint.table)?;
        write_memory(writer, &checkpoint.table)?;
        purge(writer, checkpoint.now_ms)
    })
}

fn write_entities(writer: &mut Writer<'_>, table: &Memtable) -> Result<(), StorageError> {
    // In key order, so that neighbours share pages and each is touched once.
    let mut entities: Vec<_> = table.entities.iter().collect();
    entities.sort_unstable_by(|a, b| a.0.cmp(b.0));
    for (entity, changed) in entities {
        let prefix = keys::entity_prefix(entity);
        let version = record::encode(&changed.version);
        writer.put(Table::Rows, &keys::meta(prefix.clone()), Some(&version))?;
        if changed.whole {
            writer.clear(Table::Rows, &keys::row(&prefix, b""), &keys::rows_end(&prefix))?;
        }
        if let Some(version) = changed.removed {
            let version = record::encode(&version);
            writer.put(Table::Rows, &keys::removed(prefix.clone()), Some(&version))?;
        }
        for (key, value) in changed.rows.iter() {
            writer.put(Table::Rows, &keys::row(&prefix, key), value.as_deref())?;
        }
    }
    Ok(())
}

fn write_messages(writer: &mut Writer<'_>, table: &Memtable) -> Result<(), StorageError> {
    for (&seq, queued) in table.mailbox.iter() {
        let value = queued.map(record::encode);
        writer.put(Table::Mailbox, &keys::mailbox(seq), value.as_deref())?;
    }
    for (&(due_ms, seq), message) in table.scheduled.iter() {
        let value = message.map(record::encode);
        writer.put(Table::Scheduled, &keys::scheduled(due_ms, seq), value.as_deref())?;
    }
    for (&id, letter) in table.dead.iter() {
        let value = letter.map(record::encode);
        writer.put(Table::Dead, &keys::message(id), value.as_deref())?;
    }
    for (scope, paused) in &table.pauses {
        writer.put(Table::Pauses, &scope::key(scope), paused.then_some(&[]))?;
    }
    Ok(())
}

fn write_memory(writer: &mut Writer<'_>, table: &Memtable) -> Result<(), StorageError> {
    let mut outcomes: Vec<_> = table.outcomes.iter().collect();
    outcomes.sort_unstable_by_key(|(id, _)| **id);
    for (&id, outcome) in outcomes {
        let key = keys::message(id);
        writer.put(Table::Outcomes, &key, Some(&record::encode(&*outcome.value)))?;
        let expiry = keys::expiry(outcome.value.expires_ms, Table::Outcomes as u8, &key);
        writer.put(Table::Expiry, &expiry, Some(&[]))?;
    }
    let mut marks: Vec<_> = table.idempotency.iter().collect();
    marks.sort_unstable_by_key(|(key, _)| *key);
    for (key, mark) in marks {
        writer.put(Table::Idempotency, key, Some(&record::encode(&*mark.value)))?;
        let expiry = keys::expiry(mark.value.expires_ms, Table::Idempotency as u8, key);
        writer.put(Table::Expiry, &expiry, Some(&[]))?;
    }
    Ok(())
}

/// Forgets what is past its time, a bounded number at once.
fn purge(writer: &mut Writer<'_>, now_ms: u64) -> Result<(), StorageError> {
    let end = now_ms.to_be_bytes();
    for due in writer.keys_below(Table::Expiry, &end, limits::PURGE_ROWS_MAX)? {
        let target = match keys::expiry_parts(&due) {
            Some((_, table, key)) if table == Table::Outcomes as u8 => Some((Table::Outcomes, key)),
            Some((_, table, key)) if table == Table::Idempotency as u8 => {
                Some((Table::Idempotency, key))
            }
            _ => None,
        };
        if let Some((table, key)) = target {
            // The same idempotency key may have been used again since.
            let row = writer.get(table, key)?;
            if row.is_some_and(|row| expires_ms(table, &row) <= now_ms) {
                writer.put(table, key, None)?;
            }
        }
        writer.put(Table::Expiry, &due, None)?;
    }
    Ok(())
}

/// When a row is forgotten; at once when it cannot be read, for nobody could use it.
fn expires_ms(table: Table, row: &[u8]) -> u64 {
    match table {
        Table::Outcomes => Outcome::of_row(row).map_or(0, |o| o.expires_ms),
        _ => record::decode::<Remembered>("idempotency key", row).map_or(0, |m| m.expires_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntityRef, MessageId, Position};
    use crate::partition::view::Stamped;

    #[test]
    fn a_key_that_was_used_again_is_not_forgotten_with_its_old_self() {
        let folder = tempfile::tempdir().expect("folder");
        let file = StateFile::open(folder.path()).expect("opens");
        let entity = EntityRef::new("a", "t", "k").expect("valid");
        let key = keys::idempotency(&entity, "once");
        let checkpoint = |position: u64, expires_ms: Option<u64>, now_ms: u64| {
            let through = Position(position);
            let mut table = Memtable { through, ..Memtable::default() };
            if let Some(expires_ms) = expires_ms {
                let id = MessageId(position.into());
                let mark = Remembered { id, fingerprint: [0; 16], expires_ms };
                let mark = Stamped { cause: through, value: Arc::new(mark) };
                table.idempotency.insert(key.clone(), mark);
            }
            let mark = Mark { position: through, ..Mark::default() };
            let checkpoint = Checkpoint { table: Arc::new(table), mark, now_ms };
            let base = write(&file, &checkpoint).expect("written");
            (
                base.get(Table::Idempotency, &key).expect("reads").is_some(),
                base.range(Table::Expiry, b"", None).expect("reads").count(),
            )
        };
        assert_eq!(checkpoint(1, Some(100), 50), (true, 1));
        assert_eq!(checkpoint(2, Some(200), 150), (true, 1));
        assert_eq!(checkpoint(3, None, 199), (true, 1));
        assert_eq!(checkpoint(4, None, 201), (false, 0));
    }
}

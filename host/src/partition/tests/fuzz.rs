//! Recovery from any bytes: rows and batches that nobody wrote, and a sound folder of which one file is anything.
//! What comes back is what was written, or a refusal that names the place, and `doctor` sees it, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use keystead_fuzz::{Source, target};

use super::super::apply::replay;
use super::super::checkpoint::{self, Checkpoint};
use super::super::ledger::Ledger;
use super::super::mend;
use super::super::recover::{self, Recovered};
use super::super::view::{ReadError, ScanBounds, View};
use crate::clock::ManualClock;
use crate::ids::{EntityRef, MessageId, Position};
use crate::journal::{Journal as _, LocalJournal, Mark, MemoryDisk, MemoryJournal};
use crate::record::delta::Op;
use crate::record::{encode, fuzz as records, keys};
use crate::state::{StateFile, TABLES, Table};

/// State files and journals whose checksums are right, and whose rows and batches are anything: they are refused
/// by name, or what comes back is their fold.
#[test]
fn recoveries() {
    target!(recoveries).runs(1_500).bytes_max(1_000).check(|input| {
        let source = &mut Source::new(input);
        let mut sound = true;
        let file = StateFile::in_memory(|writer| {
            for _ in 0..source.below(3) {
                let table = *source.pick(&TABLES);
                let read = [Table::Mailbox, Table::Scheduled, Table::Dead, Table::Pauses];
                sound &= !read.contains(&table);
                let (key, value) = (source.bytes(20), source.bytes(60));
                if !key.is_empty() {
                    writer.put(table, key, Some(value))?;
                }
            }
            Ok(())
        });
        let disk = MemoryDisk::default();
        let mut journal = MemoryJournal::open(&disk);
        let (mut rows, mut folded) = (BTreeMap::new(), Waiting::default());
        for number in 1..=source.below(5) as u64 {
            let batch = records::batch(source);
            let mut payload = encode(&batch);
            if source.below(6) == 5 {
                let at = source.below(payload.len());
                payload[at] ^= 1 << source.below(8);
                sound = false;
            }
            for delta in batch {
                if let Some(writes) = delta.writes {
                    let named = |(key, value)| ((writes.entity.clone(), key), value);
                    rows.extend(writes.rows.into_iter().map(named));
                }
                sound &= delta.ops.iter().all(|op| folded.takes(op));
            }
            journal.append(Position(number), &payload, Position(0)).expect("in memory");
        }
        let journal = Box::new(MemoryJournal::open(&disk));
        match recover::recover(file.expect("in memory"), journal) {
            Ok(Recovered { view, ledger, .. }) if sound => {
                for ((entity, key), value) in rows {
                    let prefix = keys::entity_prefix(&entity);
                    let found = view.entity(&entity).get(&prefix, &key).expect("in memory");
                    assert_eq!(found, value, "{entity} {key:?}");
                }
                assert_eq!(ledger.queued.len(), folded.queued.len());
                assert_eq!(ledger.scheduled.len(), folded.scheduled.len());
                assert_eq!(ledger.dead.len(), folded.dead.len());
            }
            Ok(_) => {}
            Err(error) => {
                let text = format!("{error:#}");
                assert!(!sound, "{text}");
                let named = ["corrupt ", "journal: the record at position "];
                assert!(named.iter().any(|start| text.starts_with(start)), "{text}");
            }
        }
    });
}

/// One file of a sound partition folder is anything: opened in this process it shows what was written, but for the
/// last batch perhaps, or it is refused by the name of a file. What is refused `doctor` finds.
#[test]
fn partition_folders() {
    let sound = tempfile::tempdir().expect("folder");
    let (whole, shorter) = make(sound.path());
    let names: Vec<_> = files(sound.path()).into_keys().collect();
    assert!(names.len() >= 3, "{names:?}");
    let contents = files(sound.path());
    target!(partition_folders).runs(150).bytes_max(300).check(|input| {
        let source = &mut Source::new(input);
        let folder = tempfile::tempdir().expect("folder");
        let name = source.pick(&names).clone();
        for (other, bytes) in &contents {
            let path = folder.path().join(other);
            match *other == name {
                true => drop(spoiled(bytes, source).map(|bytes| fs::write(path, bytes))),
                false => fs::write(path, bytes).expect("written"),
            }
        }
        let examined = mend::examine(folder.path(), "p", &|_| ()).expect("the folder is readable");
        match shown(folder.path()) {
            Ok(text) => assert!(text == whole || text == shorter, "{name}: {text}\nnot {whole}"),
            Err(text) => {
                let named =
                    ["state.redb", "state.sums", "journal"].iter().any(|file| text.contains(file));
                assert!(named, "{name}: {text}");
                assert!(!examined.problems.is_empty(), "{name}: doctor does not see {text}");
            }
        }
    });
}

/// What waits where, by the operations alone.
#[derive(Default)]
struct Waiting {
    queued: BTreeMap<u64, MessageId>,
    scheduled: BTreeMap<(u64, u64), MessageId>,
    dead: BTreeMap<MessageId, ()>,
}

impl Waiting {
    /// Takes one; false when it speaks of what is not there.
    fn takes(&mut self, op: &Op) -> bool {
        match op {
            Op::Enqueue { seq, message } => drop(self.queued.insert(*seq, message.id)),
            Op::Dequeue { seq } => return self.queued.remove(seq).is_some(),
            Op::Schedule { due_ms, seq, message } => {
                self.scheduled.insert((*due_ms, *seq), message.id);
            }
            Op::Unschedule { due_ms, seq } => {
                return self.scheduled.remove(&(*due_ms, *seq)).is_some();
            }
            Op::Due { due_ms, seq, mailbox_seq } => {
                let Some(id) = self.scheduled.remove(&(*due_ms, *seq)) else { return false };
                self.queued.insert(*mailbox_seq, id);
            }
            Op::BackOff { seq, .. } => return self.queued.contains_key(seq),
            Op::Park { seq, .. } => {
                let Some(id) = self.queued.remove(seq) else { return false };
                self.dead.insert(id, ());
            }
            Op::Unpark { id, seq } => {
                let was = self.dead.remove(id).is_some();
                self.queued.insert(*seq, *id);
                return was;
            }
            Op::DropDead { id } => return self.dead.remove(id).is_some(),
            Op::Edit { id, .. } => return self.dead.contains_key(id),
            Op::Silence { id } => {
                let waiting = self.queued.values().chain(self.scheduled.values());
                return waiting.chain(self.dead.keys()).any(|waiting| waiting == id);
            }
            Op::Outcome { .. }
            | Op::OldOutcome { .. }
            | Op::Remember { .. }
            | Op::Rewrite { .. }
            | Op::Pause { .. } => {}
        }
        true
    }
}

/// Makes a folder with a checkpoint and batches after it; what it shows, and what it shows without the last one.
fn make(folder: &Path) -> (String, String) {
    let file = StateFile::open(folder).expect("opens");
    let mut journal = LocalJournal::open(folder, [7; 32]).expect("opens");
    journal.read(Mark::default(), &mut |_, _| Ok(())).expect("empty");
    let base = file.snapshot().expect("reads");
    let (mut ledger, mut view) = (Ledger::load(&base).expect("empty"), View::new(base));
    let mut shown = vec![];
    for number in 1..=60_u64 {
        let noise: Vec<u8> =
            (0..400_u64).map(|at| (at * at + at * number + number) as u8).collect();
        let mut batch = records::batch(&mut Source::new(&noise));
        let mut waits = Waiting { queued: BTreeMap::new(), ..Waiting::default() };
        for delta in &mut batch {
            delta.ops.retain(|op| waits.takes(op));
        }
        let payload = encode(&batch);
        let (_, mark) = journal.append(Position(number), &payload, Position(0)).expect("appends");
        replay(mark.position, batch, &mut view, &mut ledger).expect("it was made to fit");
        if number == 40 {
            let table = view.freeze().expect("something");
            let checkpoint = Checkpoint { table, mark, now_ms: 0 };
            view.thaw(checkpoint::write(&file, &checkpoint).expect("written"));
        }
        if number >= 59 {
            shown.push(portrait(&view, &ledger).expect("reads"));
        }
    }
    let whole = shown.pop().expect("two");
    (whole, shown.pop().expect("two"))
}

/// Opens the folder as a host does, and reads all of it.
fn shown(folder: &Path) -> Result<String, String> {
    let opened =
        recover::open(folder, &ManualClock::new(1, 1)).map_err(|error| format!("{error:#}"))?;
    portrait(&opened.view, &opened.ledger).map_err(|error| error.to_string())
}

fn portrait(view: &View, ledger: &Ledger) -> Result<String, ReadError> {
    let mut text = String::new();
    let mut entities: Vec<EntityRef> = view.touched().cloned().collect();
    for row in view.base().range(Table::Rows, b"", None)? {
        entities.push(keys::entity_of(&row?.0)?);
    }
    entities.sort();
    entities.dedup();
    for entity in entities {
        let (prefix, whole) = (keys::entity_prefix(&entity), view.entity(&entity));
        let bounds = ScanBounds {
            start: b"",
            end: None,
            entries_max: usize::MAX,
            bytes_max: usize::MAX,
            descending: false,
        };
        let rows: Vec<(Bytes, Bytes)> = whole.scan(&prefix, &Default::default(), bounds)?;
        let _ = writeln!(text, "{entity} {} {rows:?}", whole.version(&prefix)?);
    }
    let queued: BTreeMap<_, _> = ledger.queued.iter().collect();
    let _ = writeln!(text, "{queued:?}\n{:?}\n{:?}", ledger.scheduled, ledger.dead);
    let kept = |table| -> Result<Vec<Bytes>, ReadError> {
        view.base().range(table, b"", None)?.map(|row| Ok(row?.0)).collect()
    };
    let mut ids: Vec<MessageId> = view.table.outcomes.keys().copied().collect();
    for key in kept(Table::Outcomes)? {
        let key = key.as_ref().try_into().map(u128::from_be_bytes);
        ids.push(MessageId(key.expect("sixteen bytes")));
    }
    ids.sort();
    ids.dedup();
    for id in ids {
        let _ = writeln!(text, "{id} {:?}", view.outcome(id)?.map(|outcome| outcome.value));
    }
    let mut marks = kept(Table::Idempotency)?;
    marks.extend(view.table.idempotency.keys().map(|key| Bytes::from(key.clone())));
    marks.sort();
    marks.dedup();
    for mark in marks {
        let _ = writeln!(text, "{mark:?} {:?}", view.remembered(&mark)?.map(|mark| mark.value));
    }
    Ok(text)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("lists").map(|entry| entry.expect("lists"));
    let named = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).expect("reads"))
    };
    entries.map(named).collect()
}

/// The same bytes spoiled in one of many ways; none when the file goes.
fn spoiled(bytes: &[u8], source: &mut Source<'_>) -> Option<Vec<u8>> {
    let mut spoiled = bytes.to_vec();
    let block = 4096 * source.below(bytes.len().div_ceil(4096));
    let at = (block + source.below(4096)).min(bytes.len().saturating_sub(1));
    match source.below(8) {
        0 => spoiled = source.bytes(250).to_vec(),
        1 => spoiled.truncate(at),
        2 => return None,
        3 => spoiled[block..].iter_mut().take(4096).for_each(|byte| *byte = 0),
        4 => {
            let other = 4096 * source.below(bytes.len() / 4096 + 1);
            let taken = bytes[other.min(bytes.len())..].iter().take(4096);
            let places = spoiled[block..].iter_mut().take(4096);
            places.zip(taken).for_each(|(place, byte)| *place = *byte);
        }
        5 => spoiled.extend_from_slice(source.bytes(250)),
        6 => {
            let places = spoiled[at..].iter_mut();
            places.zip(source.bytes(32)).for_each(|(place, byte)| *place = *byte);
        }
        _ => spoiled[at] ^= 1 << source.below(8),
    }
    Some(spoiled)
}

//! Journals whose files hold anything: damaged in any way, and made by somebody who knows the format. What is read
//! is what was appended, in order and without a gap, or a refusal that names the place; after it the journal goes on.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keystead_fuzz::{Source, target};

use super::local::name_of;
use super::segment::{BLOCK, Segment, room};
use super::{Journal, JournalError, LocalJournal, Mark, survey};
use crate::ids::Position;
use crate::storage::simulated::SimDisk;

/// A journal as it was left: its disk, what was appended, the mark after each, and what was trimmed.
struct Written {
    disk: SimDisk,
    payloads: Vec<Bytes>,
    marks: Vec<Mark>,
    trimmed: usize,
}

impl Written {
    fn end(&self) -> u64 {
        self.payloads.len() as u64
    }
}

/// Damage of every kind to the files of a journal.
#[test]
fn damaged_segments() {
    target!(damaged_segments).runs(700).bytes_max(600).check(|input| {
        let source = &mut Source::new(input);
        let written = write(source);
        let mut damages = 0;
        while !source.is_empty() && damages < 6 {
            damage(&written.disk, source);
            damages += 1;
        }
        let first = written.trimmed.min(written.payloads.len());
        let from = written.marks[first + source.below(written.payloads.len() - first + 1)];
        let stays = read_holds(&written, from, damages);
        if source.flag() {
            survey_holds(&written, from, stays);
        }
    });
}

/// Files whose heads and records pass every check, but say anything: positions, lengths and chains at random.
#[test]
fn forged_segments() {
    target!(forged_segments).runs(700).bytes_max(600).check(|input| {
        let source = &mut Source::new(input);
        let written = write(source);
        for _ in 0..=source.below(3) {
            forge(&written.disk, source);
        }
        let from = *source.pick(&written.marks);
        let mut end = from;
        let opened = LocalJournal::over(written.disk.clone(), "".as_ref(), [8; 32]);
        let read = opened.and_then(|mut journal| {
            let (receipt, mark) = journal.read(from, &mut |position, payload| {
                end = Mark { position, chain: end.chain.link(position, &payload) };
                Ok(())
            })?;
            assert_eq!((receipt.through(), mark), (end.position, end), "the chain is checked");
            Ok(journal)
        });
        match read {
            // What is forged behind the end is next to what follows, then; it need not be read.
            Ok(mut journal) => {
                journal.append(end.position.next(), b"next", Position(0)).expect("appends");
                let again = LocalJournal::over(written.disk.clone(), "".as_ref(), [9; 32]);
                let read = again.and_then(|mut journal| journal.read(from, &mut |_, _| Ok(())));
                read.err().iter().for_each(assert_named);
            }
            Err(error) => assert_named(&error),
        }
        let folder = copied(&written.disk);
        drop(survey(folder.path(), from, &mut |_, _| Ok(())).expect("the folder is readable"));
    });
}

/// Reads after `damages` and compares with what was appended; true when nothing is amiss.
fn read_holds(written: &Written, from: Mark, damages: usize) -> bool {
    let mut end = from;
    let opened = LocalJournal::over(written.disk.clone(), "".as_ref(), [8; 32]);
    let read = opened.and_then(|mut journal| {
        let (receipt, mark) = journal.read(from, &mut |position, payload| {
            assert_eq!(position, end.position.next(), "a gap");
            let appended = written.payloads.get(position.0 as usize - 1);
            assert_eq!(Some(&payload), appended, "position {}", position.0);
            end = written.marks[position.0 as usize];
            Ok(())
        })?;
        assert_eq!((receipt.through(), mark), (end.position, end));
        Ok(journal)
    });
    match read {
        Ok(mut journal) => {
            // One damage takes away the last record at most, for a crash may have torn it; and the only file.
            let one = damages <= 1 && !segments(&written.disk).is_empty();
            assert!(!one || end.position.0 + 1 >= written.end(), "lost after {}", end.position.0);
            assert!(damages > 0 || end.position.0 == written.end(), "lost without a reason");
            goes_on(&mut journal, &written.disk, from, end);
            true
        }
        Err(error) => {
            assert!(damages > 0, "sound, and refused: {error}");
            assert_named(&error);
            false
        }
    }
}

/// What is appended after a reading is there when it is opened again.
fn goes_on(journal: &mut LocalJournal<SimDisk>, disk: &SimDisk, from: Mark, end: Mark) {
    let (_, mark) = journal.append(end.position.next(), b"next", Position(0)).expect("appends");
    let mut last = (from.position, Bytes::new());
    let mut again = LocalJournal::over(disk.clone(), "".as_ref(), [9; 32]).expect("opens again");
    let read = again.read(from, &mut |position, payload| {
        last = (position, payload);
        Ok(())
    });
    assert_eq!(read.expect("reads again").1, mark);
    assert_eq!(last, (mark.position, Bytes::from("next")));
}

/// A survey of the same files: what follows the checkpoint is what was appended; it does not matter what else is
/// there. Where the host would open, it finds no trouble.
fn survey_holds(written: &Written, from: Mark, opens: bool) {
    let folder = copied(&written.disk);
    let mut next = from.position;
    let found = survey(folder.path(), from, &mut |position, payload| {
        next = next.next();
        assert_eq!(position, next, "a gap");
        // The one that went on after the damage is of this journal, too.
        let appended = written.payloads.get(position.0 as usize - 1);
        assert!(Some(&payload) == appended || payload == "next", "position {}", position.0);
        Ok(())
    });
    let found = found.expect("the folder is readable");
    assert_eq!(found.end, next);
    assert!(found.last >= found.end || !found.troubles.is_empty(), "{found:?}");
    if opens {
        assert!(found.troubles.is_empty(), "{:?}", found.troubles);
    }
    for trouble in found.troubles.iter().chain(&found.torn) {
        assert!(trouble.file.starts_with("journal-") && !trouble.place.is_empty(), "{trouble:?}");
    }
}

fn assert_named(error: &JournalError) {
    let text = error.to_string();
    let named = match error {
        JournalError::Gap { expected, .. } => text.contains(&format!("position {expected} ")),
        JournalError::Damaged { file, .. } => file.starts_with("journal-"),
        JournalError::Storage(error) => error.file.starts_with("journal"),
    };
    assert!(named, "{text}");
}

/// Appends, trims and reopens.
fn write(source: &mut Source<'_>) -> Written {
    let disk = SimDisk::new(0);
    let (mut payloads, mut marks, mut trimmed) = (vec![], vec![Mark::default()], 0);
    let mut journal = LocalJournal::over(disk.clone(), "".as_ref(), [7; 32]).expect("opens");
    journal.read(Mark::default(), &mut |_, _| Ok(())).expect("empty");
    for number in 1..=source.below(16) as u64 {
        let size = *source.pick(&[0, 10, 100, 4_000, 4_048, 4_049, 9_000, 40_000]);
        let mut payload = vec![source.byte(); size];
        payload.extend_from_slice(&number.to_le_bytes());
        if source.below(8) == 7 {
            trimmed = (number as usize).saturating_sub(1 + source.below(4)).max(trimmed);
        }
        let trim = Position(trimmed as u64);
        let (_, mark) = journal.append(Position(number), &payload, trim).expect("appends");
        marks.push(mark);
        payloads.push(payload.into());
    }
    Written { disk, payloads, marks, trimmed }
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let mut paths = disk.list().expect("lists");
    paths.retain(|path| path.to_string_lossy().starts_with("journal-"));
    paths
}

/// Changes one thing of one file or two.
fn damage(disk: &SimDisk, source: &mut Source<'_>) {
    let paths = segments(disk);
    if paths.is_empty() {
        return;
    }
    let path = source.pick(&paths).clone();
    let mut bytes = disk.contents(&path).expect("there");
    let block = |source: &mut Source<'_>, bytes: &[u8]| {
        BLOCK as usize * source.below(bytes.len() / BLOCK as usize)
    };
    match source.below(9) {
        0 => {
            // Mostly in a head, where it matters.
            let at = block(source, &bytes) + source.below(64);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << source.below(8);
            }
        }
        1 => {
            let at = block(source, &bytes) + source.below(64);
            for (place, byte) in bytes.iter_mut().skip(at).zip(source.bytes(16)) {
                *place = *byte;
            }
        }
        2 => {
            let at = block(source, &bytes);
            let fill = source.byte();
            bytes.iter_mut().skip(at).take(BLOCK as usize).for_each(|byte| *byte = fill);
        }
        3 => {
            let from = source.pick(&paths).clone();
            let other = disk.contents(&from).expect("there");
            let (to, from) = (block(source, &bytes), block(source, &other));
            let taken = &other[from..(from + BLOCK as usize).min(other.len())];
            let end = (to + taken.len()).min(bytes.len());
            bytes[to..end].copy_from_slice(&taken[..end - to]);
        }
        4 => bytes.truncate(source.below(bytes.len() + 1)),
        5 => bytes.resize(bytes.len() + source.below(9_000), source.byte()),
        6 => return disk.remove(&path).expect("removed"),
        7 => {
            let other = source.pick(&paths).clone();
            let theirs = disk.contents(&other).expect("there");
            disk.put(&other, &bytes);
            bytes = theirs;
        }
        _ => bytes = source.bytes(300).to_vec(),
    }
    disk.put(&path, &bytes);
}

/// Writes a segment, or records into one, as somebody could who knows its key.
fn forge(disk: &SimDisk, source: &mut Source<'_>) {
    let paths = segments(disk);
    if paths.is_empty() || source.below(4) == 0 {
        let first = Position(*source.pick(&[0, 1, 2, 5, source.clone().number(), u64::MAX]));
        let path = PathBuf::from(name_of(first));
        let spare = Path::new("forged");
        let blocks = 1 + source.below(6);
        disk.put(spare, &vec![0; BLOCK as usize * blocks + source.below(60)]);
        disk.put(&path, b"");
        drop(Segment::begin(disk, (spare, &path), first, [source.byte(); 32]).expect("begins"));
        return;
    }
    let path = source.pick(&paths).clone();
    let Ok(Some(mut segment)) = Segment::open(disk, &path) else { return };
    segment.end = BLOCK * source.below((segment.size / BLOCK) as usize + 1) as u64;
    let position = Position(match source.below(3) {
        0 => segment.first.0,
        1 => segment.first.0.saturating_add(source.below(6) as u64),
        _ => source.number(),
    });
    let payload = source.bytes(20);
    let before = Mark::default().chain;
    let chain = if source.flag() { before.link(position, payload) } else { before };
    if segment.end + room(payload.len()) + BLOCK > segment.size {
        return;
    }
    if source.below(4) == 0 {
        segment.seal(position).expect("sealed");
    } else {
        segment.append((position, chain), payload, &mut vec![]).expect("appended");
    }
}

/// The same files where a survey looks.
fn copied(disk: &SimDisk) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for path in segments(disk) {
        let bytes = disk.contents(&path).expect("there");
        fs::write(folder.path().join(path), bytes).expect("written");
    }
    folder
}

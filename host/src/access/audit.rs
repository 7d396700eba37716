//! Who changed what: lines of JSON in `access/audit-….jsonl`, each on stable storage before the change that it
//! announces is made, or the outcome that it tells is answered. It knows nothing of what is changed. Invariant: a line's
//! `check` is the hash of the line before it and of itself, so that a line that was changed or taken out of the middle
//! shows. Lines cut off the end do not: only a copy elsewhere would tell.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Caller;
use crate::clock::Clock;
use crate::limits;
use crate::storage::{StorageError, sealed};

/// The log of a host. Its calls block; share it in an [`Arc`].
pub struct Audit {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    /// `None` until the first line, and after a failure: what the end of the file is then is looked up.
    tail: Mutex<Option<Tail>>,
}

/// Who a change is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The token's id; `loopback` when nobody was asked, `offline` for the command line over a data folder.
    pub who: String,
    /// What its maker called the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Who {
    /// The command line, on the data folder of a host that does not run.
    #[must_use]
    pub fn offline() -> Self {
        Self { who: "offline".into(), name: None }
    }
}

impl From<&Caller> for Who {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Anyone => Self { who: "loopback".into(), name: None },
            Caller::Token(token) => Self { who: token.id.clone(), name: Some(token.name.clone()) },
        }
    }
}

/// What is to be changed. Holds names, never what a request brought beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// By whom.
    #[serde(flatten)]
    pub who: Who,
    /// The operation's name.
    pub what: String,
    /// On what, as the request has it.
    pub target: String,
    /// The names of the parameters that the request gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
}

/// What is known of a change beside its name: nothing unless who makes it says more. No secret belongs here, and no
/// value of an app's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was there.
    pub before: Value,
    /// What is there.
    pub after: Value,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was made.
    Done,
    /// It was not: the request was wrong.
    Refused,
    /// It was not, or not known to be: the host failed.
    Failed,
    /// Nobody waited for its end.
    Abandoned,
}

/// Some of the log.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Page {
    /// Its lines, oldest first.
    pub entries: Vec<Value>,
    /// What to ask for after these, when there may be more.
    pub next: Option<u64>,
    /// Where lines were changed or are missing, over all of the log.
    pub damage: Vec<String>,
}

/// Where the next line goes.
struct Tail {
    file: File,
    number: u64,
    bytes: u64,
    seq: u64,
    check: blake3::Hash,
}

const START: blake3::Hash = blake3::Hash::from_bytes([0; 32]);

impl Audit {
    /// The log in `folder`, which is there.
    #[must_use]
    pub fn new(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        Self { folder: folder.into(), clock, tail: Mutex::default() }
    }

    /// Announces a change. Gives the line's number; it is on stable storage then.
    ///
    /// # Errors
    /// [`StorageError`]: the change must not be made.
    pub fn begin(&self, change: &Change) -> Result<u64, StorageError> {
        let mut line = object(change);
        line.insert("event".into(), json!("begun"));
        self.append(line)
    }

    /// Tells how the change that line `begun` announced has ended, with the status it is answered with.
    ///
    /// # Errors
    /// [`StorageError`]: the outcome is not recorded.
    pub fn end(
        &self,
        begun: u64,
        change: &Change,
        end: End,
        status: Option<u16>,
        facts: Facts,
    ) -> Result<u64, StorageError> {
        let mut line = object(change);
        line.insert("event".into(), json!(end));
        line.insert("of".into(), json!(begun));
        let told = [("status", json!(status)), ("before", facts.before), ("after", facts.after)];
        for (name, value) in told.into_iter().filter(|(_, value)| !value.is_null()) {
            line.insert(name.into(), value);
        }
        self.append(line)
    }

    /// At most `limit` lines after number `after`, and what is damaged anywhere.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be read.
    pub fn page(&self, after: u64, limit: usize) -> Result<Page, StorageError> {
        let failed = |error: io::Error| StorageError::new("audit", error);
        // So that no line is half there, and no file goes while it is read.
        let _tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page::default();
        let mut before: Option<(u64, blake3::Hash)> = None;
        for (number, path) in self.files().map_err(failed)? {
            let text = fs::read(&path).map_err(failed)?;
            let read = Read::of(&text);
            let follows =
                before.is_none_or(|(last, check)| number == last + 1 && read.prev == check);
            if !follows {
                page.damage.push(format!("{}: what came before it is missing", name(&path)));
            }
            page.damage.extend(read.damage.iter().map(|at| format!("{}: {at}", name(&path))));
            before = Some((number, read.check));
            for entry in read.entries {
                if page.entries.len() > limit {
                    continue;
                }
                let entry: Value = serde_json::from_slice(entry).unwrap_or_default();
                if entry["seq"].as_u64().is_some_and(|seq| seq > after) {
                    page.entries.push(entry);
                }
            }
        }
        if page.entries.len() > limit {
            page.entries.truncate(limit);
            page.next = page.entries.last().and_then(|last| last["seq"].as_u64());
        }
        Ok(page)
    }

    fn append(&self, line: Map<String, Value>) -> Result<u64, StorageError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        // After a failure nobody knows what the file ends with: it is left behind here and looked up again.
        let found = tail.take().map_or_else(|| self.find(), Ok);
        let appended = found.and_then(|found| self.write(found, line));
        let next = appended.map_err(|error| StorageError::new("audit", error))?;
        Ok(tail.insert(next).seq)
    }

    fn write(&self, mut tail: Tail, line: Map<String, Value>) -> io::Result<Tail> {
        if tail.bytes > limits::AUDIT_FILE_BYTES_MAX {
            tail = self.start(tail.number + 1, tail.seq, tail.check)?;
        }
        let mut entry = Map::new();
        entry.insert("seq".into(), json!(tail.seq + 1));
        entry.insert("at_ms".into(), json!(self.clock.now_ms()));
        entry.extend(line);
        let (text, check) = chained(&entry, &tail.check);
        tail.file.write_all(&text)?;
        tail.file.sync_data()?;
        let bytes = tail.bytes + text.len() as u64;
        Ok(Tail { bytes, seq: tail.seq + 1, check, ..tail })
    }

    /// Where the log ends; makes its first file when there is none, and cuts off a line that a crash tore.
    fn find(&self) -> io::Result<Tail> {
        let Some((number, path)) = self.files()?.pop() else { return self.start(1, 0, START) };
        let text = fs::read(&path)?;
        let read = Read::of(&text);
        if !read.damage.is_empty() {
            tracing::error!(file = name(&path), "lines of the audit log are damaged or missing");
            return self.start(number + 1, read.seq, read.check);
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        if read.whole_bytes < text.len() {
            file.set_len(read.whole_bytes as u64)?;
        }
        // IMPORTANT: lines that were readable and not yet on disk would be built upon.
        file.sync_all()?;
        let bytes = read.whole_bytes as u64;
        Ok(Tail { file, number, bytes, seq: read.seq, check: read.check })
    }

    /// Begins the next file, and lets the oldest go.
    fn start(&self, number: u64, seq: u64, prev: blake3::Hash) -> io::Result<Tail> {
        let path = self.folder.join(format!("audit-{number:06}.jsonl"));
        let prev_hex = prev.to_hex();
        let head = json!({"file": number, "prev": prev_hex.as_str(), "after": seq});
        let (text, check) = chained(&object(&head), &prev);
        sealed::replace(&path, &text)?;
        let mut files = self.files()?;
        files.truncate(files.len().saturating_sub(limits::AUDIT_FILES_MAX));
        for (_, old) in files {
            fs::remove_file(old)?;
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Tail { file, number, bytes: text.len() as u64, seq, check })
    }

    /// Its files by their numbers, in order.
    fn files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = name(&path);
            let number = name.strip_prefix("audit-").and_then(|name| name.strip_suffix(".jsonl"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                files.push((number, path));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// What a file holds.
struct Read<'a> {
    /// The check that its first line follows.
    prev: blake3::Hash,
    /// Lines but the first, as JSON.
    entries: Vec<&'a [u8]>,
    damage: Vec<String>,
    /// Of its last whole line.
    check: blake3::Hash,
    seq: u64,
    /// Without a line that was torn.
    whole_bytes: usize,
}

impl<'a> Read<'a> {
    fn of(text: &'a [u8]) -> Self {
        let whole_bytes = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut read = Self {
            prev: START,
            entries: Vec::new(),
            damage: Vec::new(),
            check: START,
            seq: 0,
            whole_bytes,
        };
        for (at, line) in text[..whole_bytes].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let said: Value = serde_json::from_slice(line).unwrap_or_default();
            if at == 0 {
                let prev = said["prev"].as_str().and_then(|hex| blake3::Hash::from_hex(hex).ok());
                (read.prev, read.seq) =
                    (prev.unwrap_or(START), said["after"].as_u64().unwrap_or(0));
                read.check = read.prev;
            } else {
                read.entries.push(line);
                let seq = said["seq"].as_u64().unwrap_or(0);
                if seq != read.seq + 1 {
                    read.damage.push(format!("line {}: not the one after {}", at + 1, read.seq));
                }
                read.seq = read.seq.max(seq);
            }
            let stated = said["check"].as_str().and_then(|hex| blake3::Hash::from_hex(hex).ok());
            let right = check(&read.check, line.get(HEAD_BYTES..).unwrap_or_default());
            if stated != Some(right) {
                read.damage.push(format!("line {}: not what was written", at + 1));
            }
            // Each line is held against what the one before says, so one damaged line is one complaint or two.
            read.check = stated.unwrap_or(right);
        }
        read
    }
}

/// `{"check":"…",`
const HEAD_BYTES: usize = 10 + 64 + 2;

/// The line that says `entry`, and its check.
fn chained(entry: &Map<String, Value>, prev: &blake3::Hash) -> (Vec<u8>, blake3::Hash) {
    let rest = format!("{}\n", Value::Object(entry.clone()));
    let rest = &rest.as_bytes()[1..];
    let check = check(prev, rest);
    (["{\"check\":\"".as_bytes(), check.to_hex().as_bytes(), b"\",", rest].concat(), check)
}

fn check(prev: &blake3::Hash, rest: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update(prev.as_bytes()).update(rest).finalize()
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn log(dir: &Path) -> Audit {
        Audit::new(dir, Arc::new(ManualClock::new(1_000, 7)))
    }

    fn change(target: &str) -> Change {
        let who = Who { who: "tok_1".into(), name: Some("ci".into()) };
        Change { who, what: "Deploy".into(), target: target.into(), parameters: vec![] }
    }

    fn seqs(page: &Page) -> Vec<u64> {
        page.entries.iter().map(|entry| entry["seq"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn lines_are_numbered_chained_and_paged() {
        let dir = tempfile::tempdir().expect("a folder");
        let audit = log(dir.path());
        let one = change("PUT /admin/v1/apps/bank");
        assert_eq!(audit.begin(&one).expect("written"), 1);
        let facts = Facts { before: json!({"version": null}), after: json!({"version": "0f"}) };
        assert_eq!(audit.end(1, &one, End::Done, Some(200), facts).expect("written"), 2);
        let audit = log(dir.path());
        assert_eq!(audit.begin(&one).expect("goes on"), 3);
        let page = audit.page(0, 2).expect("read");
        assert_eq!((seqs(&page), page.next, page.damage.len()), (vec![1, 2], Some(2), 0));
        let ended = &page.entries[1];
        assert_eq!((&ended["event"], &ended["of"]), (&json!("done"), &json!(1)));
        assert_eq!((&ended["who"], &ended["name"]), (&json!("tok_1"), &json!("ci")));
        assert_eq!(ended["after"], json!({"version": "0f"}));
        let page = audit.page(2, 2).expect("read");
        assert_eq!((seqs(&page), page.next), (vec![3], None));
    }

    #[test]
    fn a_torn_line_goes_and_the_log_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let audit = log(dir.path());
        audit.begin(&change("a")).expect("written");
        audit.begin(&change("b")).expect("written");
        let path = dir.path().join("audit-000001.jsonl");
        let text = fs::read(&path).expect("there");
        let second =
            text.len() - text.split_inclusive(|b| *b == b'\n').next_back().map_or(0, <[u8]>::len);
        for cut in second..text.len() {
            fs::write(&path, &text[..cut]).expect("torn");
            let audit = log(dir.path());
            assert_eq!(audit.begin(&change("c")).expect("goes on"), 2, "torn at {cut}");
            let page = audit.page(0, 10).expect("read");
            assert_eq!((seqs(&page), page.damage), (vec![1, 2], vec![]), "torn at {cut}");
        }
    }

    #[test]
    fn lines_that_were_changed_or_removed_show() {
        let dir = tempfile::tempdir().expect("a folder");
        let audit = log(dir.path());
        for target in ["a", "b", "c", "d"] {
            audit.begin(&change(target)).expect("written");
        }
        let path = dir.path().join("audit-000001.jsonl");
        let text = fs::read_to_string(&path).expect("there");
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for gone in 1..lines.len() - 1 {
            let mut left = lines.clone();
            left.remove(gone);
            fs::write(&path, left.concat()).expect("removed");
            assert!(!audit.page(0, 10).expect("read").damage.is_empty(), "line {gone} is gone");
        }
        fs::write(&path, text.replace("\"target\":\"b\"", "\"target\":\"x\"")).expect("changed");
        assert_eq!(audit.page(0, 10).expect("read").damage.len(), 1);
        // It is kept as it is, and the log goes on beside it.
        let audit = log(dir.path());
        assert_eq!(audit.begin(&change("e")).expect("goes on"), 5);
        assert!(dir.path().join("audit-000002.jsonl").exists());
        assert_eq!(seqs(&audit.page(0, 10).expect("read")), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn files_are_bounded_and_follow_each_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let audit = log(dir.path());
        let long = "x".repeat(limits::AUDIT_FILE_BYTES_MAX as usize);
        let count = limits::AUDIT_FILES_MAX as u64 + 3;
        for _ in 0..count {
            audit.begin(&change(&long)).expect("written");
        }
        let files = audit.files().expect("listed");
        assert_eq!(files.len(), limits::AUDIT_FILES_MAX);
        assert_eq!(files[0].0, 4);
        let page = audit.page(0, 1).expect("read");
        assert_eq!((seqs(&page), page.damage), (vec![4], vec![]));
        fs::remove_file(&files[2].1).expect("removed");
        let damage = audit.page(count, 1).expect("read").damage;
        assert_eq!(damage, ["audit-000007.jsonl: what came before it is missing"]);
    }

    #[test]
    fn what_cannot_be_written_is_said_and_no_number_is_lost() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("access");
        let audit = log(&folder);
        assert!(audit.begin(&change("a")).is_err(), "there is no folder");
        fs::create_dir(&folder).expect("made");
        assert_eq!(audit.begin(&change("a")).expect("written"), 1);
    }
}

//! What `keystead doctor` does with a partition: reads all that can be read, says what is damaged and what of it
//! would be lost, and writes what is left into a new folder. Never runs a guest, and never changes the folder
//! that it reads. Invariant: an entity is there as it was at the last position that could be read, or not at all.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::apply::replay;
use super::checkpoint::{self, Checkpoint};
use super::ledger::Ledger;
use super::view::View;
use crate::ids::{EntityRef, Position};
use crate::journal::{self, Mark, Survey, Trouble};
use crate::limits;
use crate::record::delta::{Batch, Delta};
use crate::record::{self, keys};
use crate::state::{self, Gap, Look, StateFile, Table, Trust};
use crate::storage::{self, StorageError};

/// What is in a partition.
#[derive(Debug, Default, Serialize)]
pub struct Census {
    /// Its name.
    pub partition: String,
    /// The position that the state file holds.
    pub checkpoint: u64,
    /// The first position in the journal; 0 when it holds none.
    pub journal_first: u64,
    /// The last position that can be read.
    pub journal_last: u64,
    /// Entities.
    pub entities: u64,
    /// Messages in mailboxes.
    pub queued: u64,
    /// Messages and timers that are not due.
    pub scheduled: u64,
    /// Dead letters.
    pub dead: u64,
    /// Outcomes of messages that the state file keeps.
    pub outcomes: u64,
    /// Idempotency keys that it keeps.
    pub keys: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// The file, from the data folder.
    pub file: String,
    /// Where in it.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What is lost by it.
    pub lost: String,
    /// What `--repair` would do; nothing when it cannot help.
    pub repair: Option<String>,
}

/// A partition that was looked at.
#[derive(Debug, Default)]
pub struct Examined {
    /// What is there.
    pub census: Census,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Remarks that are no problem.
    pub remarks: Vec<String>,
}

/// What a rebuilt partition lacks, and what it holds.
struct Read {
    view: View,
    ledger: Ledger,
    survey: Survey,
    /// Deltas that spoke of lost entities or messages.
    dropped: u64,
}

/// Entities from one to another, ends included, of whose state some rows are lost.
struct Lost(Vec<(Option<EntityRef>, Option<EntityRef>)>);

impl Lost {
    fn of(gaps: &[Gap]) -> Self {
        let entity = |key: &Option<Vec<u8>>| key.as_ref().and_then(|k| keys::entity_of(k).ok());
        let rows = gaps.iter().filter(|gap| gap.table == Table::Rows);
        Self(rows.map(|gap| (entity(&gap.after), entity(&gap.before))).collect())
    }

    fn holds(&self, entity: &EntityRef) -> bool {
        self.0.iter().any(|(from, to)| {
            from.as_ref().is_none_or(|from| from <= entity)
                && to.as_ref().is_none_or(|to| entity <= to)
        })
    }
}

const REBUILD: &str = "keep this folder beside, whole, and make a new one of all that can be read";

/// Looks at the partition in `folder`, which `named` names in what is said. Calls `tick` with the rows so far.
///
/// # Errors
/// The file system's.
pub fn examine(folder: &Path, named: &str, tick: &dyn Fn(u64)) -> anyhow::Result<Examined> {
    let mut found = Examined::default();
    let file = |name: &str| format!("{named}/{name}");
    let look = match Look::at(folder) {
        Ok(look) => look,
        Err(error) => {
            found.problems.push(unreadable(folder, &error, file("state.redb"))?);
            return Ok(found);
        }
    };
    let mut rows = 0;
    let gaps = look.rows(&mut |table, key, _| {
        rows += 1;
        if rows % limits::DOCTOR_TICK_ROWS == 0 {
            tick(rows);
        }
        found.census.entities += u64::from(table == Table::Rows && is_meta(key));
        found.census.outcomes += u64::from(table == Table::Outcomes);
        found.census.keys += u64::from(table == Table::Idempotency);
        Ok(())
    })?;
    if look.trust == Trust::Redb {
        found.problems.push(Problem {
            file: file("state.sums"),
            place: state::places(folder),
            what: "the checksums do not fit the state file, which is sound by redb's own".into(),
            lost: "nothing".into(),
            repair: Some(REBUILD.into()),
        });
    }
    found.problems.extend(look.bookkeeping.as_ref().map(|error| Problem {
        file: file("state.redb"),
        place: state::places(folder),
        what: format!("all rows can be read, but not what redb needs to write: {}", error.problem),
        lost: "nothing".into(),
        repair: Some(REBUILD.into()),
    }));
    found.problems.extend(gaps.iter().map(|gap| lost_rows(gap, folder, file("state.redb"))));
    let from = look.mark;
    let lost = Lost::of(&gaps);
    let messages = StateFile::in_memory(|writer| {
        let waits = |table| matches!(table, Table::Mailbox | Table::Scheduled | Table::Dead);
        look.rows(&mut |table, key, value| {
            if waits(table) { writer.put(table, key, Some(value)) } else { Ok(()) }
        })
        .map(drop)
    })?;
    let read = read(&messages, folder, from, &lost)?;
    found.census.checkpoint = from.position.0;
    found.census.journal_first = read.survey.first.map_or(0, |first| first.0);
    found.census.journal_last = read.survey.end.0;
    let file_of_base = look.file()?;
    let base = file_of_base.snapshot()?;
    for entity in read.view.touched() {
        let meta = keys::meta(keys::entity_prefix(entity));
        // One that cannot be read is lost, and not counted.
        found.census.entities += u64::from(matches!(base.get(Table::Rows, &meta), Ok(None)));
    }
    found.census.queued = read.ledger.queued.len() as u64;
    found.census.scheduled = read.ledger.scheduled.len() as u64;
    found.census.dead = read.ledger.dead.len() as u64;
    found.problems.extend(troubles(&read.survey, &file));
    if let Some(Trouble { file, place, .. }) = &read.survey.torn {
        found.remarks.push(format!(
            "{named}/{file}, {place}: the last record is incomplete. A crash leaves it so, and then nobody was \
             answered; a start drops it"
        ));
    }
    Ok(found)
}

/// Writes all that can be read of the partition in `folder` into the new folder `into`. Says how many Deltas of
/// lost entities or messages were left out.
///
/// # Errors
/// When nothing can be read, or not written.
pub fn rebuild(folder: &Path, into: &Path, now_ms: u64, tick: &dyn Fn(u64)) -> anyhow::Result<u64> {
    storage::make_folder(into)?;
    let file = StateFile::open(into)?;
    let (lost, from) = match Look::at(folder) {
        Ok(look) => {
            let lost = Lost::of(&look.rows(&mut |_, _, _| Ok(()))?);
            let mut rows = 0;
            file.write(Mark::default(), |writer| {
                look.rows(&mut |table, key, value| {
                    rows += 1;
                    if rows % limits::DOCTOR_TICK_ROWS == 0 {
                        tick(rows);
                    }
                    let kept = table != Table::Rows
                        || keys::entity_of(key).is_ok_and(|entity| !lost.holds(&entity));
                    if kept { writer.put(table, key, Some(value)) } else { Ok(()) }
                })
                .map(drop)
            })?;
            (lost, look.mark)
        }
        // The journal of a young folder holds all that there ever was.
        Err(_) => (Lost(vec![]), Mark::default()),
    };
    let Read { mut view, dropped, .. } = read(&file, folder, from, &lost)?;
    // The new folder's journal begins anew.
    view.table.through = Position(0);
    if let Some(table) = view.freeze() {
        checkpoint::write(&file, &Checkpoint { table, mark: Mark::default(), now_ms })?;
    }
    Ok(dropped)
}

/// Brings a view from the state file up to the last record that can be read.
fn read(file: &StateFile, folder: &Path, from: Mark, lost: &Lost) -> anyhow::Result<Read> {
    let base = file.snapshot()?;
    let mut ledger = Ledger::load(&base)?;
    let mut view = View::new(base);
    let mut dropped = 0;
    let survey = journal::survey(folder, from, &mut |position, payload| {
        let batch: Batch = record::decode("batch", &payload).map_err(io::Error::other)?;
        for Delta { writes, ops } in batch {
            let writes = writes.filter(|writes| !lost.holds(&writes.entity));
            for op in ops {
                let one = vec![Delta { writes: None, ops: vec![op] }];
                dropped += u64::from(replay(position, one, &mut view, &mut ledger).is_err());
            }
            let state = vec![Delta { writes, ops: vec![] }];
            dropped += u64::from(replay(position, state, &mut view, &mut ledger).is_err());
        }
        Ok(())
    })?;
    Ok(Read { view, ledger, survey, dropped })
}

/// What is wrong with the journal; `file` makes a name one from the data folder.
fn troubles(survey: &Survey, file: &dyn Fn(&str) -> String) -> Vec<Problem> {
    let (end, last) = (survey.end, survey.last);
    let problem = |trouble: &Trouble| {
        let lost = if trouble.unknown {
            format!(
                "what was done after position {}, if anything was: nothing is left that could say",
                end.0
            )
        } else if last <= end {
            "nothing: the state file or the records that can be read hold it".into()
        } else {
            let next = end.next().0;
            format!("what positions {next} to {} changed; each is a batch of transactions", last.0)
        };
        let Trouble { file: name, place, what, .. } = trouble.clone();
        Problem { file: file(&name), place, what, lost, repair: Some(REBUILD.into()) }
    };
    survey.troubles.iter().map(problem).collect()
}

fn is_meta(key: &[u8]) -> bool {
    keys::entity_of(key).is_ok_and(|entity| keys::meta(keys::entity_prefix(&entity)) == key)
}

/// The state file cannot be opened at all.
fn unreadable(folder: &Path, error: &StorageError, file: String) -> anyhow::Result<Problem> {
    let survey = journal::survey(folder, Mark::default(), &mut |_, _| Ok(()))?;
    let whole = survey.first == Some(Position(1)) && survey.troubles.is_empty();
    let (lost, repair) = if whole {
        ("nothing: the journal holds all that there ever was".into(), Some(REBUILD.into()))
    } else {
        let first = survey.first.map_or("none".into(), |first| first.0.to_string());
        let lost = format!(
            "all that came before the journal's first position, {first}; restore a backup of the folder"
        );
        (lost, None)
    };
    let what = format!("it cannot be read: {}", error.problem);
    Ok(Problem { file, place: state::places(folder), what, lost, repair })
}

fn lost_rows(gap: &Gap, folder: &Path, file: String) -> Problem {
    let entity = |key: &Option<Vec<u8>>, end: &str| match key {
        Some(key) => keys::entity_of(key).map_or(end.into(), |entity| entity.to_string()),
        None => end.to_owned(),
    };
    let (from, to) = (entity(&gap.after, "the first"), entity(&gap.before, "the last"));
    let lost = match gap.table {
        Table::Rows => format!("the entities from {from} to {to}, both included"),
        Table::Mailbox => "messages that waited at their entities".into(),
        Table::Scheduled => "delayed messages and timers".into(),
        Table::Dead => "dead letters".into(),
        Table::Outcomes => {
            "outcomes of finished messages: who asks for one hears that it is unknown".into()
        }
        Table::Idempotency => {
            format!(
                "idempotency keys of entities from {from} to {to}: used again, a call runs again"
            )
        }
        Table::Pauses => "what operators paused: it goes on".into(),
        Table::Expiry => {
            "when outcomes and idempotency keys are forgotten: some stay for good".into()
        }
    };
    let what = format!("some of table {:?} cannot be read: {}", gap.table, gap.problem);
    Problem { file, place: state::places(folder), what, lost, repair: Some(REBUILD.into()) }
}

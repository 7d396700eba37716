//! Opening a partition from disk: the state file's last checkpoint, then the journal beyond it, Delta by Delta.
//! Never runs a guest. Invariant: what comes back is what the journal's surviving prefix says, or an error that
//! names the damage.

use std::path::Path;

use super::apply::replay;
use super::ledger::Ledger;
use super::view::View;
use crate::clock::Clock;
use crate::journal::{Journal, JournalError, LocalJournal, Mark, Receipt};
use crate::record;
use crate::record::delta::Batch;
use crate::state::StateFile;
use crate::storage;

/// An opened partition.
pub(crate) struct Recovered {
    pub(crate) view: View,
    pub(crate) ledger: Ledger,
    pub(crate) receipt: Receipt,
    pub(crate) mark: Mark,
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) file: StateFile,
}

/// Opens the partition in `folder`, which is created when it is missing.
pub(crate) fn open(folder: &Path, clock: &dyn Clock) -> anyhow::Result<Recovered> {
    storage::make_folder(folder)?;
    let mut chance = [0; 32];
    clock.fill(&mut chance);
    let journal = Box::new(LocalJournal::open(folder, chance)?);
    recover(StateFile::open(folder)?, journal)
}

/// Brings a view up to the end of the journal.
pub(crate) fn recover(file: StateFile, mut journal: Box<dyn Journal>) -> anyhow::Result<Recovered> {
    let base = file.snapshot()?;
    let from = base.mark();
    let mut ledger = Ledger::load(&base)?;
    let mut view = View::new(base);
    let (receipt, mark) = journal.read(from, &mut |position, payload| {
        let damaged = |problem: String| {
            tracing::error!(problem, position = position.0, "the journal cannot be read");
            JournalError::Damaged { file: "journal".into(), position: position.0, problem }
        };
        let batch: Batch =
            record::decode("batch", &payload).map_err(|error| damaged(error.to_string()))?;
        replay(position, batch, &mut view, &mut ledger)
            .map_err(|op| damaged(format!("it speaks of a message that is not there: {op:?}")))
    })?;
    let replayed = mark.position.0 - from.position.0;
    tracing::info!(checkpoint = from.position.0, replayed, "partition recovered");
    Ok(Recovered { view, ledger, receipt, mark, journal, file })
}

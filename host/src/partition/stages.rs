//! The machine's stages one at a time, for `benches/stages.rs`: each method is what a partition does at that
//! stage and nothing else, so that a slower call has an address. Not an interface: it changes with the machine.
//! Invariant: what runs here is the code that serves, but for the guest.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::checkpoint::{self, Checkpoint};
use super::commit::{Append, Released};
use super::core::{Apps, Core, Event, Output, Settings};
use super::executor::{Executed, Job, Verdict};
use super::recover;
use super::request::{Accepted, Answer, Answered, Invocation, Send};
use super::transaction::Draft;
use crate::clock::ManualClock;
use crate::journal::Journal;
use crate::limits;
use crate::record::keys;
use crate::state::StateFile;

/// A partition whose stages are driven by hand, on real files.
pub struct Machine {
    core: Core,
    clock: Arc<ManualClock>,
    journal: Box<dyn Journal>,
    file: StateFile,
    jobs: Vec<Job>,
    append: Option<Append>,
    checkpoint: Option<Checkpoint>,
    released: Vec<Released>,
    callers: Vec<oneshot::Receiver<Answered<Answer>>>,
    senders: Vec<oneshot::Receiver<Answered<Accepted>>>,
}

/// Guest calls that have ended.
pub struct Ended(Vec<Executed>);

struct Defaults;

impl Apps for Defaults {
    fn settings(&self, _app: &str) -> Settings {
        Settings::default()
    }
}

impl Machine {
    /// Opens a partition in `folder`.
    ///
    /// # Errors
    /// When its files cannot be opened.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let clock = Arc::new(ManualClock::new(1_000_000, 1));
        let recovered = recover::open(folder, &*clock)?;
        let recover::Recovered { view, ledger, receipt, mark, journal, file } = recovered;
        let apps = Arc::new(Defaults);
        Ok(Self {
            core: Core::new(clock.clone(), apps, (view, ledger), (receipt, mark)),
            clock,
            journal,
            file,
            jobs: vec![],
            append: None,
            checkpoint: None,
            released: vec![],
            callers: vec![],
            senders: vec![],
        })
    }

    /// Takes calls in, and starts those whose entity is idle.
    pub fn admit(&mut self, calls: Vec<Invocation>) {
        for call in calls {
            let (to, answer) = oneshot::channel();
            self.core.call_as(None, call, to);
            self.callers.push(answer);
        }
        self.collect();
    }

    /// Takes messages in, and starts those whose entity is idle.
    pub fn send(&mut self, sends: Vec<Send>) {
        for send in sends {
            let (to, accepted) = oneshot::channel();
            self.core.send(send, to);
            self.senders.push(accepted);
        }
        self.collect();
    }

    /// Ends the started calls as a guest would that writes one row of 8 bytes.
    pub fn run_guests(&mut self) -> Ended {
        let end = |job: Job| {
            let Job { work, message, view, .. } = job;
            let mut draft = Draft::default();
            let row = Bytes::copy_from_slice(&[7; 8]);
            draft.writes.insert(Bytes::from_static(b"value"), Some(row));
            let version = view.version(&keys::entity_prefix(&message.target));
            let verdict = Verdict::Done(Bytes::from_static(b"1"), draft);
            let (version, cause) = (version.unwrap_or(0), view.cause);
            Executed { work, message, verdict, version, cause, direct: None }
        };
        Ended(self.jobs.drain(..).map(end).collect())
    }

    /// Turns what guests did into Deltas, encodes them and applies them to the view.
    pub fn finish(&mut self, ended: Ended) {
        for executed in ended.0 {
            self.core.event(Event::Executed(Box::new(executed)));
        }
        self.collect();
    }

    /// Seals the batch that formed.
    pub fn seal(&mut self) {
        self.core.step();
        self.collect();
    }

    /// Appends the sealed batch to the journal, durably.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn append(&mut self) -> anyhow::Result<()> {
        let Some(Append { position, batch, trim }) = self.append.take() else { return Ok(()) };
        let appended = self.journal.append(position, batch.as_ref(), trim)?;
        self.core.event(Event::Appended(Ok(appended)));
        self.collect();
        Ok(())
    }

    /// Sends the replies whose cause is durable.
    pub fn deliver(&mut self) {
        self.released.drain(..).for_each(Released::deliver);
        self.callers.clear();
        self.senders.clear();
    }

    /// Freezes what changed since the last checkpoint, when nothing forms.
    pub fn freeze(&mut self) {
        self.clock.advance(limits::CHECKPOINT_INTERVAL);
        self.seal();
    }

    /// Writes what was frozen to the state file, durably.
    ///
    /// # Errors
    /// When the state file fails.
    pub fn write_checkpoint(&mut self) -> anyhow::Result<()> {
        let Some(checkpoint) = self.checkpoint.take() else { return Ok(()) };
        let written = checkpoint::write(&self.file, &checkpoint)?;
        drop(checkpoint);
        self.core.event(Event::Checkpointed(Ok(written)));
        Ok(())
    }

    fn collect(&mut self) {
        for output in self.core.outputs() {
            match output {
                Output::Release(replies) => self.released.push(replies),
                Output::Run(job) => self.jobs.push(job),
                Output::Append(append) => self.append = Some(append),
                Output::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint),
            }
        }
    }
}

//! Group commit: Deltas that are ready join one batch, one append makes them all durable, and replies wait for
//! the position that holds their cause. While an append is in flight the next batch forms. Invariant: a reply
//! leaves only through [`Commit::durable`], with the journal's own receipt.

use std::collections::BTreeMap;

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use super::core::Event;
use super::request::{Answered, Refusal};
use crate::clock::Clock;
use crate::ids::Position;
use crate::journal::{Journal, Parked, Receipt};
use crate::limits;
use crate::metrics;
use crate::record::delta::{Delta, Encoded, Forming};

/// The batch that forms, the one in flight, and who waits for them.
pub(crate) struct Commit {
    forming: Forming,
    sealed: Position,
    in_flight: bool,
    receipt: Receipt,
    waiting: BTreeMap<Position, Vec<Box<dyn Release>>>,
    /// Replies whose cause is durable, not sent yet.
    ready: Vec<Box<dyn Release>>,
    /// Deltas added since start.
    pub(crate) transactions: u64,
    /// Batches sealed since start.
    pub(crate) appends: u64,
}

impl Commit {
    /// Goes on after `receipt`, which says what the journal holds.
    pub(crate) fn new(receipt: Receipt) -> Self {
        Self {
            forming: Forming::default(),
            sealed: receipt.through(),
            in_flight: false,
            receipt,
            waiting: BTreeMap::new(),
            ready: vec![],
            transactions: 0,
            appends: 0,
        }
    }

    /// The position that the next Delta will have.
    pub(crate) fn next(&self) -> Position {
        self.sealed.next()
    }

    /// The last position that anything was applied at.
    pub(crate) fn applied(&self) -> Position {
        if self.forming.is_empty() { self.sealed } else { self.next() }
    }

    /// The proof of it.
    pub(crate) fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// The last durable position.
    pub(crate) fn through(&self) -> Position {
        self.receipt.through()
    }

    /// Adds a Delta to the batch that forms.
    pub(crate) fn add(&mut self, delta: &Delta) {
        self.transactions += 1;
        self.forming.push(delta);
    }

    /// True when the batch that forms should take no more work until it is sealed.
    pub(crate) fn full(&self, transactions_max: usize) -> bool {
        self.forming.len() >= transactions_max || self.forming.bytes() >= limits::BATCH_BYTES_MAX
    }

    /// True when nothing forms and nothing is in flight.
    pub(crate) fn idle(&self) -> bool {
        self.forming.is_empty() && !self.in_flight
    }

    /// True when nothing forms: the view is exactly what is sealed.
    pub(crate) fn settled(&self) -> bool {
        self.forming.is_empty()
    }

    /// Takes the batch to append, when there is one and none is in flight.
    pub(crate) fn seal(&mut self) -> Option<(Position, Encoded)> {
        if self.in_flight || self.forming.is_empty() {
            return None;
        }
        self.in_flight = true;
        self.appends += 1;
        self.sealed = self.sealed.next();
        Some((self.sealed, std::mem::take(&mut self.forming).finish()))
    }

    /// Sends `value` when the journal is durable through `cause`: with the next [`Commit::released`] if it is
    /// already.
    pub(crate) fn reply<T: Send + 'static>(
        &mut self,
        cause: Position,
        value: T,
        to: oneshot::Sender<Answered<T>>,
    ) {
        self.park(cause, Box::new(Reply { parked: Parked::new(cause, value), to }));
    }

    /// The same for a refusal that says what `cause` did.
    pub(crate) fn reply_refusal<T: Send + 'static>(
        &mut self,
        cause: Position,
        refusal: Refusal,
        to: oneshot::Sender<Answered<T>>,
    ) {
        self.park(cause, Box::new(Refused { refusal, to }));
    }

    fn park(&mut self, cause: Position, waiting: Box<dyn Release>) {
        if cause <= self.receipt.through() {
            self.ready.push(waiting);
        } else {
            self.waiting.entry(cause).or_default().push(waiting);
        }
    }

    /// The append in flight is durable: releases what waited for it.
    pub(crate) fn durable(&mut self, receipt: Receipt) {
        assert!(receipt.through() == self.sealed, "one append at a time, in order");
        self.receipt = receipt;
        self.in_flight = false;
        let later = self.waiting.split_off(&receipt.through().next());
        let now = std::mem::replace(&mut self.waiting, later);
        self.ready.extend(now.into_values().flatten());
    }

    /// The replies that may leave now; `None` when there are none.
    pub(crate) fn released(&mut self) -> Option<Released> {
        if self.ready.is_empty() {
            return None;
        }
        Some(Released { receipt: self.receipt, replies: std::mem::take(&mut self.ready) })
    }

    /// Nothing more will be durable: refuses everything that waits.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            waiting.refuse(refusal.clone());
        }
    }
}

/// Replies and the receipt that lets them go. Sending them wakes whoever asked, so it is done outside the
/// state machine.
pub(crate) struct Released {
    receipt: Receipt,
    replies: Vec<Box<dyn Release>>,
}

impl Released {
    /// Whether more than one waits.
    pub(crate) fn many(&self) -> bool {
        self.replies.len() > 1
    }

    /// Sends them.
    pub(crate) fn deliver(self) {
        for reply in self.replies {
            reply.release(self.receipt);
        }
    }
}

/// A reply that waits for its cause.
trait Release: Send {
    fn release(self: Box<Self>, receipt: Receipt);
    fn refuse(self: Box<Self>, refusal: Refusal);
}

struct Reply<T> {
    parked: Parked<T>,
    to: oneshot::Sender<Answered<T>>,
}

impl<T: Send> Release for Reply<T> {
    fn release(self: Box<Self>, receipt: Receipt) {
        let durable = self.parked.release(receipt);
        let durable = durable.unwrap_or_else(|_| unreachable!("released before its cause"));
        // Whoever asked may have gone; what was done stays done.
        drop(self.to.send(Ok(durable)));
    }

    fn refuse(self: Box<Self>, refusal: Refusal) {
        drop(self.to.send(Err(refusal)));
    }
}

struct Refused<T> {
    refusal: Refusal,
    to: oneshot::Sender<Answered<T>>,
}

impl<T: Send> Release for Refused<T> {
    fn release(self: Box<Self>, _: Receipt) {
        drop(self.to.send(Err(self.refusal)));
    }

    fn refuse(self: Box<Self>, refusal: Refusal) {
        drop(self.to.send(Err(refusal)));
    }
}

/// One append to make.
pub(crate) struct Append {
    pub(crate) position: Position,
    pub(crate) batch: Encoded,
    pub(crate) trim: Position,
}

/// The thread that appends. Ends with its channel, or after the first failure: the journal must be reopened.
pub(crate) fn run_journal(
    mut journal: Box<dyn Journal>,
    appends: &Receiver<Append>,
    clock: &dyn Clock,
    tell: &dyn Fn(Event),
) {
    for Append { position, batch, trim } in appends {
        let began = clock.monotonic();
        let appended = journal.append(position, batch.as_ref(), trim);
        let took = clock.monotonic().saturating_sub(began);
        let failed = appended.is_err();
        if !failed {
            metrics::journal_appended(batch.deltas(), batch.as_ref().len(), took);
        }
        tell(Event::Appended(appended));
        if failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Mark, MemoryDisk, MemoryJournal};

    #[test]
    fn replies_wait_for_their_own_position_and_no_longer() {
        let disk = MemoryDisk::default();
        let mut journal = MemoryJournal::open(&disk);
        let (receipt, _) = journal.read(Mark::default(), &mut |_, _| Ok(())).expect("empty");
        let mut commit = Commit::new(receipt);
        let (to, mut now) = oneshot::channel();
        commit.reply(Position(0), "old", to);
        commit.released().expect("one").deliver();
        assert_eq!(now.try_recv().expect("at once").expect("yes").into_inner(), "old");
        commit.add(&Delta::default());
        let (first, _) = commit.seal().expect("a batch");
        commit.add(&Delta::default());
        let (to, mut one) = oneshot::channel();
        commit.reply(first, 1, to);
        let (to, mut two) = oneshot::channel();
        commit.reply(commit.next(), 2, to);
        assert!(commit.released().is_none(), "an early yes");
        assert!(commit.seal().is_none(), "one append at a time");
        commit.durable(journal.append(first, b"", Position(0)).expect("appended").0);
        commit.released().expect("one").deliver();
        assert_eq!(one.try_recv().expect("now").expect("yes").into_inner(), 1);
        assert!(two.try_recv().is_err(), "an early yes");
        commit.refuse(&Refusal::Unavailable("closed".into()));
        assert!(two.try_recv().expect("now").is_err());
    }
}

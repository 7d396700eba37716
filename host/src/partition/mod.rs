//! The heart: one partition owns entities, their mailboxes, one journal and one state file. It is the unit of
//! order, of failure and of movement. This file is the handle that the router asks through.
//! Invariant: a request is answered, or refused, or its caller learns that the partition is closed.

mod admit;
mod ages;
mod apply;
mod bounds;
mod callback;
mod checkpoint;
mod commit;
mod core;
mod cut;
mod driver;
mod executor;
mod finish;
pub(crate) mod history;
mod inspect;
pub(crate) mod journey;
mod kinds;
mod late;
mod ledger;
mod letters;
mod mailbox;
pub mod mend;
mod migrate;
mod operate;
mod operator;
mod pauses;
mod recent;
mod recover;
mod reply;
pub mod request;
mod rows;
mod spans;
#[doc(hidden)]
pub mod stages;
mod traffic;
mod transaction;
mod turns;
mod view;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use self::callback::Use;
use self::core::{Apps, Core, Settings};
use self::driver::Driver;
use self::history::Past;
use self::inspect::{Listing, Portrait};
use self::journey::Live;
use self::kinds::Kinds;
use self::late::Left;
use self::reply::End;
use self::request::{
    Accepted, Answer, Answered, CallbackUsed, Cancelled, EntityInfo, Invocation, MessageStatus,
    PartitionStatus, Refusal, Sees, Send, Verdict,
};
use crate::clock::{self, Clock};
use crate::engine::Engine;
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::limits;
use crate::record::outcome::fingerprint;
use crate::registry::Registry;
use crate::state::Snapshot;

/// What a partition is started with.
pub struct PartitionConfig {
    /// Its own folder: journal and state file.
    pub folder: PathBuf,
    /// Where handlers come from.
    pub registry: Arc<Registry>,
    /// What runs them.
    pub engine: Engine,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Executor threads to begin with.
    pub workers: usize,
    /// Whether to pause everything before anything starts.
    pub paused: bool,
}

/// A request to the state machine.
enum Request {
    Call(MessageId, Invocation, oneshot::Sender<Answered<Answer>>),
    Send(Send, oneshot::Sender<Answered<Accepted>>),
    Read(Invocation, oneshot::Sender<Answered<Answer>>),
    Message(MessageId, bool, Sees, oneshot::Sender<Answered<MessageStatus>>),
    Cancel(MessageId, Sees, oneshot::Sender<Answered<Cancelled>>),
    List(String, String, oneshot::Sender<Answered<Listing>>),
    Kinds(String, oneshot::Sender<Answered<Kinds>>),
    Show(EntityRef, oneshot::Sender<Answered<Portrait>>),
    /// What operators ask for, which is rare and of many kinds.
    Operator(Box<dyn FnOnce(&mut Core) + std::marker::Send>),
    UseCallback(Use, oneshot::Sender<Answered<CallbackUsed>>),
    Cut(oneshot::Sender<Answered<Arc<Snapshot>>>),
    Left(Left, oneshot::Sender<MessageId>),
    Past(oneshot::Sender<Answered<Past>>),
    Live(Vec<MessageId>, oneshot::Sender<Answered<Vec<Live>>>),
    Status(oneshot::Sender<PartitionStatus>),
    Deepest(oneshot::Sender<usize>),
}

/// Asks a partition. Cheap to clone.
#[derive(Clone)]
pub struct Partition {
    driver: Arc<Driver>,
}

/// The partition's supervisor; join it after [`Partition::close`].
pub struct PartitionThread(JoinHandle<()>);

impl PartitionThread {
    /// Waits until the partition has written its last checkpoint and closed its files.
    pub fn join(self) {
        drop(self.0.join());
    }
}

impl Partition {
    /// Opens the partition's files, recovers, and starts its threads. Blocks.
    ///
    /// # Errors
    /// When the files cannot be opened or are damaged.
    pub fn start(config: PartitionConfig) -> anyhow::Result<(Self, PartitionThread)> {
        let driver = Driver::open(&config)?;
        let driven = driver.clone();
        let thread = std::thread::Builder::new()
            .name("keystead-partition".into())
            .spawn(move || driven.supervise(&config))?;
        Ok((Self { driver }, PartitionThread(thread)))
    }

    /// Runs a command once; answers when its result is durable. Who waits too long is told by which id to ask.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn call(&self, invocation: Invocation) -> Answered<Answer> {
        let entity = invocation.entity.clone();
        let id = self.driver.new_id(&entity);
        let left = Left { id, entity, key: invocation.idempotency_key.clone() };
        let answer = self.ask(|to| Request::Call(id, invocation, to));
        match clock::within(limits::CALL_WAIT_MAX, answer).await {
            Some(answer) => answer,
            None => Err(self.leave(left).await),
        }
    }

    /// Queues a command durably.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn send(&self, send: Send) -> Answered<Accepted> {
        self.ask(|to| Request::Send(send, to)).await
    }

    /// Runs a query on a consistent view.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn read(&self, invocation: Invocation) -> Answered<Answer> {
        self.ask(|to| Request::Read(invocation, to)).await
    }

    /// Where a message is; waits up to `wait` for it to end.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn message(
        &self,
        id: MessageId,
        wait: Duration,
        sees: &Sees,
    ) -> Answered<MessageStatus> {
        if !wait.is_zero() {
            let ended = self.ask(|to| Request::Message(id, true, sees.clone(), to));
            if let Ok(status) = tokio::time::timeout(wait, ended).await {
                return status;
            }
        }
        self.ask(|to| Request::Message(id, false, sees.clone(), to)).await
    }

    /// Cancels a message that has not started.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cancel(&self, id: MessageId, sees: Sees) -> Answered<Cancelled> {
        self.ask(|to| Request::Cancel(id, sees, to)).await
    }

    /// A page of entities in key order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entities(
        &self,
        (app, kind): (&str, &str),
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Answered<Vec<EntityInfo>> {
        let listing = self.ask(|to| Request::List(app.into(), kind.into(), to)).await?;
        let (prefix, after) = (prefix.to_owned(), after.map(ToOwned::to_owned));
        aside(move || {
            listing.map(|listing| listing.page(&prefix, after.as_deref(), limit)).transpose()
        })
        .await
    }

    /// The types of an app that have entities here, in order.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn kinds(&self, app: &str) -> Answered<BTreeSet<String>> {
        let kinds = self.ask(|to| Request::Kinds(app.into(), to)).await?;
        aside(move || kinds.map(Kinds::walk).transpose()).await
    }

    /// One entity; of its state what comes after the key `after`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn entity(&self, entity: EntityRef, after: Bytes) -> Answered<Option<EntityInfo>> {
        let portrait = self.ask(|to| Request::Show(entity, to)).await?;
        aside(move || portrait.map(|portrait| portrait.paint(&after)).transpose()).await
    }

    /// Resolves or rejects a callback.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn use_callback(
        &self,
        token: CallbackToken,
        verdict: Verdict,
    ) -> Answered<CallbackUsed> {
        let (reply, fingerprint) = match &verdict {
            Verdict::Resolved(value) => {
                // The same value is the same, however its text was written.
                let same = serde_json::from_slice::<serde_json::Value>(value);
                let same = same.map_or_else(|_| value.to_vec(), |same| same.to_string().into());
                (reply::of(End::Value(value)), fingerprint("resolve", None, &same))
            }
            Verdict::Rejected(failure) => {
                let reply = reply::of(End::Rejected(failure));
                let print = fingerprint("reject", None, &reply);
                (reply, print)
            }
        };
        let using = Use { token, reply, fingerprint };
        self.ask(|to| Request::UseCallback(using, to)).await
    }

    /// A consistent cut: a view of the state file that holds everything that was answered before this was asked.
    /// It costs one checkpoint; holding it keeps pages of the state file from being used again.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn cut(&self) -> Answered<Arc<Snapshot>> {
        self.ask(Request::Cut).await
    }

    /// The turns that it remembers, to be looked through.
    pub(crate) async fn past(&self) -> Answered<Past> {
        self.ask(Request::Past).await
    }

    /// What is known of these messages, as far as they have not ended.
    pub(crate) async fn live(&self, ids: Vec<MessageId>) -> Answered<Vec<Live>> {
        self.ask(|to| Request::Live(ids, to)).await
    }

    /// Gauges.
    ///
    /// # Errors
    /// [`Refusal`] when it is closed.
    pub async fn status(&self) -> Result<PartitionStatus, Refusal> {
        let (to, status) = oneshot::channel();
        self.push(Request::Status(to))?;
        let status = status.await.map_err(|_| closed())?;
        Ok(PartitionStatus { threads: self.driver.threads(), ..status })
    }

    /// The most commands that wait at one entity. Looks at many mailboxes, so it is not for every status.
    ///
    /// # Errors
    /// [`Refusal`] when it is closed.
    pub async fn deepest(&self) -> Result<usize, Refusal> {
        let (to, deepest) = oneshot::channel();
        self.push(Request::Deepest(to))?;
        deepest.await.map_err(|_| closed())
    }

    /// Takes no more work; what was accepted is finished or stays queued. Join the thread afterwards.
    pub fn close(&self) {
        self.driver.close();
    }

    /// The caller leaves, with the id of what goes on.
    async fn leave(&self, left: Left) -> Refusal {
        let (own, (to, which)) = (left.id, oneshot::channel());
        let asked = self.push(Request::Left(left, to));
        let which = tokio::time::timeout(limits::LEAVE_WAIT_MAX, which);
        let id = match asked {
            Ok(()) => which.await.ok().and_then(Result::ok).unwrap_or(own),
            Err(_) => own,
        };
        Refusal::TimedOut { ms: limits::CALL_WAIT_MAX.as_millis() as u64, id }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Answered<T>>) -> Request,
    ) -> Answered<T> {
        let (to, answer) = oneshot::channel();
        self.push(request(to))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn push(&self, request: Request) -> Result<(), Refusal> {
        let full = Refusal::Overloaded { what: "waiting requests" };
        if self.driver.submit(request) { Ok(()) } else { Err(full) }
    }
}

fn closed() -> Refusal {
    Refusal::Unavailable("the partition is closed".into())
}

/// Runs a read of the state file where it may block.
async fn aside<T: std::marker::Send + 'static>(
    read: impl FnOnce() -> Result<crate::journal::Durable<T>, view::ReadError>
    + std::marker::Send
    + 'static,
) -> Answered<T> {
    let read = tokio::task::spawn_blocking(read).await;
    match read {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Refusal::Unavailable(error.to_string())),
        Err(error) => Err(Refusal::Unavailable(error.to_string())),
    }
}

impl Apps for Registry {
    fn settings(&self, app: &str) -> Settings {
        self.app(app).map_or_else(Settings::default, |app| Settings {
            retry: app.config.retry,
            retention_s: app.config.outcome_retention_s,
            mailbox_max: app.config.mailbox_max,
            weight: app.config.quotas.weight,
            turns_per_s: app.config.quotas.turns_per_s,
            backlog_max: (app.config.quotas.backlog_max, app.config.quotas.backlog_bytes_max),
            state_bytes_max: app.config.quotas.state_bytes_max,
        })
    }

    fn paced(&self) -> bool {
        self.any_paced()
    }
}

impl Request {
    fn handle(self, core: &mut Core) {
        match self {
            Self::Call(id, invocation, to) => core.call_as(Some(id), invocation, to),
            Self::Send(send, to) => core.send(send, to),
            Self::Read(invocation, to) => core.read(invocation, to),
            Self::Message(id, wait, sees, to) => core.message(id, wait, &sees, to),
            Self::Cancel(id, sees, to) => core.cancel(id, &sees, to),
            Self::List(app, kind, to) => core.listing(&app, &kind, to),
            Self::Kinds(app, to) => core.kinds(app, to),
            Self::Show(entity, to) => core.portrait(entity, to),
            Self::Operator(ask) => ask(core),
            Self::UseCallback(using, to) => core.use_callback(&using, to),
            Self::Cut(to) => core.cut(to),
            Self::Left(left, to) => core.leave(left, to),
            Self::Past(to) => core.past(to),
            Self::Live(ids, to) => core.tell_live(&ids, to),
            Self::Status(to) => drop(to.send(core.status())),
            Self::Deepest(to) => {
                let _ = to.send(core.mailboxes.deepest(limits::METRIC_MAILBOXES_MAX));
            }
        }
    }
}

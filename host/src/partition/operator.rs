//! What operators ask of a partition: the handle's other half. Each is a question or one Delta of the state machine.

use tokio::sync::oneshot;

use super::core::Core;
use super::letters::{Edit, Step};
use super::operate::Operation;
use super::request::{
    Answered, Bulk, Cancelled, DeadFilter, DeadLetterInfo, DeadMark, DeadPage, DeadSettled,
    MessageFilter, MessageInfo, MessageMark, MessagePage, Put, PutDone, Removed, Scope, Settle,
};
use super::{Partition, Request};
use crate::ids::{EntityRef, MessageId};
use crate::limits;

impl Partition {
    /// Removes an entity: its state, what waits for it, and its wish to hear of what it sent. `None` when there is
    /// nothing of it.
    ///
    /// # Errors
    /// [`super::request::Refusal`], here and below.
    pub async fn remove(&self, entity: EntityRef) -> Answered<Option<Removed>> {
        self.operator(move |core, to| core.operate(entity, Operation::Remove(to))).await
    }

    /// Writes an entity's state.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn put(&self, put: Put) -> Answered<PutDone> {
        self.operator(move |core, to| {
            core.operate(put.entity.clone(), Operation::Put(Box::new(put), to));
        })
        .await
    }

    /// Pauses or resumes; answers whether that changed anything.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn pause(&self, scope: Scope, paused: bool) -> Answered<bool> {
        self.operator(move |core, to| core.pause(&scope, paused, to)).await
    }

    /// What is paused.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn paused(&self) -> Answered<Vec<Scope>> {
        self.operator(Core::paused).await
    }

    /// Messages that wait: in mailboxes in order of arrival, then scheduled ones by time.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn messages(
        &self,
        filter: MessageFilter,
        after: Option<MessageMark>,
        limit: usize,
    ) -> Answered<MessagePage> {
        let limit = limit.min(limits::PAGE_ROWS_MAX);
        self.operator(move |core, to| core.messages(&filter, after, limit, to)).await
    }

    /// One message that waits, or is dead.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn message_info(&self, id: MessageId) -> Answered<Option<MessageInfo>> {
        self.operator(move |core, to| core.message_info(id, to)).await
    }

    /// Cancels a message that has not started, callbacks too.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn take_away(&self, id: MessageId) -> Answered<Cancelled> {
        self.operator(move |core, to| core.take_away(id, true, to)).await
    }

    /// Cancels an entity's timer.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn cancel_timer(&self, entity: EntityRef, name: String) -> Answered<Cancelled> {
        self.operator(move |core, to| core.cancel_timer(&entity, &name, to)).await
    }

    /// Dead letters in order of their ids.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn dead_letters(
        &self,
        filter: DeadFilter,
        after: Option<MessageId>,
        limit: usize,
    ) -> Answered<DeadPage> {
        let limit = limit.min(limits::PAGE_ROWS_MAX);
        self.operator(move |core, to| core.dead_letters(&filter, after, limit, to)).await
    }

    /// One dead letter.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn dead_letter(&self, id: MessageId) -> Answered<Option<DeadLetterInfo>> {
        self.operator(move |core, to| core.dead_letter(id, to)).await
    }

    /// Sends a dead letter again, or forgets it.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn settle_dead(&self, id: MessageId, settle: Settle) -> Answered<DeadSettled> {
        self.operator(move |core, to| core.settle_dead(id, settle == Settle::Retry, to)).await
    }

    /// One step over all dead letters that match, in the order in which they arrived.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn settle_many(
        &self,
        settle: Settle,
        filter: DeadFilter,
        after: Option<DeadMark>,
        through: Option<u64>,
        limit: usize,
    ) -> Answered<Bulk> {
        let step = Step { settle, filter, after, through, limit: limit.min(limits::PAGE_ROWS_MAX) };
        self.operator(move |core, to| core.settle_many(&step, to)).await
    }

    /// Changes a dead letter's input, and sends it again if `again` says so.
    ///
    /// # Errors
    /// See [`Partition::remove`].
    pub async fn edit_dead(
        &self,
        id: MessageId,
        (input, content_type): (bytes::Bytes, Option<String>),
        again: bool,
    ) -> Answered<DeadSettled> {
        let edit = Edit { id, input, content_type, again };
        self.operator(move |core, to| core.edit_dead(edit, to)).await
    }

    async fn operator<T>(
        &self,
        ask: impl FnOnce(&mut Core, oneshot::Sender<Answered<T>>) + Send + 'static,
    ) -> Answered<T>
    where
        T: Send + 'static,
    {
        self.ask(|to| Request::Operator(Box::new(move |core| ask(core, to)))).await
    }
}

//! Queries that find state of an older version: the entity is brought up to date by a command of its own, durably,
//! and the query runs again. Invariant: an entity has at most one migration in its mailbox or running, however
//! many queries wait for it, and no query runs for ever.

use std::collections::hash_map;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::core::{Caller, Core, Entry, Query, Work};
use super::request::{Answer, CallFailure, CallResult};
use crate::engine::Failure;
use crate::ids::{EntityRef, MessageId, Position};
use crate::record::keys;
use crate::record::message::{Message, Origin};

impl Core {
    /// Has `migrate` run, unless it does already or somebody was faster, and the query again. The query ran at
    /// the entity's `version`.
    pub(crate) fn bring_up_to_date(
        &mut self,
        message: Arc<Message>,
        query: Query,
        migrate: String,
        version: u64,
    ) {
        let entity = message.target.clone();
        let now = self.view.entity(&entity).version(&keys::entity_prefix(&entity));
        let allowed = self.open().and_then(|()| self.running_allowed(&entity));
        let moved = match allowed.and_then(|()| self.readable(now)) {
            Ok(now) => now != version,
            Err(refusal) => return drop(query.reply.send(Err(refusal))),
        };
        let migrating = match self.migrating.entry(entity.clone()) {
            hash_map::Entry::Occupied(waiting) => return waiting.into_mut().push((message, query)),
            hash_map::Entry::Vacant(nobody) => nobody,
        };
        if moved && query.retries > 1 {
            // The query read what is no longer so: it may have been brought up to date since.
            let query = Query { retries: query.retries - 1, ..query };
            return self.run(Work::Query(query), message, 1);
        }
        let trace = message.trace.clone();
        migrating.insert(vec![(message, query)]);
        let id = MessageId::new(self.clock.now_ms(), &entity, self.clock.chance());
        let message = Message {
            id,
            target: entity,
            handler: migrate,
            input: Bytes::from_static(b"{}"),
            content_type: None,
            trace,
            origin: Origin::Ingress { retention_s: 0 },
            then: None,
        };
        let seq = self.ledger.next_seq();
        let call = Some(Box::new(Caller { reply: None, idempotency: None }));
        let message = Arc::new(message);
        self.enter(Entry { seq, message, attempts: 0, began: Duration::ZERO, call });
    }

    /// The migration has ended: the queries that wait for it run a last time, or learn why it failed.
    pub(crate) fn migrated(&mut self, entity: &EntityRef, answer: &Answer, cause: Position) {
        for (message, query) in self.migrating.remove(entity).unwrap_or_default() {
            match &answer.result {
                CallResult::Reply(_) => {
                    let query = Query { retries: 0, ..query };
                    self.run(Work::Query(query), message, 1);
                }
                CallResult::Rejected(why) => {
                    // A query that nobody rejected: what is wrong is the state, or the migration.
                    let failed = Failure { retryable: true, ..why.clone() };
                    let result = CallResult::Failed(CallFailure::Error(failed));
                    let answer = Answer { id: message.id, result, ..answer.clone() };
                    self.commit.reply(cause, answer, query.reply);
                }
                CallResult::Failed(_) => {
                    let answer = Answer { id: message.id, ..answer.clone() };
                    self.commit.reply(cause, answer, query.reply);
                }
            }
        }
    }
}

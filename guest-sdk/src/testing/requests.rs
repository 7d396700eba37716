//! Requests from outside: an idempotency key answers a repeated one with the first answer, and faults make
//! clients repeat. Not messages between entities; delivery has those. Invariant: a request with a key takes
//! effect once.

use super::World;
use super::explore::{outcome, shown};
use super::faults::Faults;
use crate::context::{EntityRef, MessageId};
use crate::{Error, Result};

/// What a client asks of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) handler: String,
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
}

/// What a client was told.
#[derive(Debug)]
pub(super) enum Answer {
    Called(Result<Vec<u8>>),
    Accepted(MessageId),
}

impl World {
    /// Gives the next call or send from outside an idempotency key: repeated with the same key, it is answered
    /// with the first answer and has no second effect. As on the host, a failure that may pass is no answer.
    ///
    /// ```
    /// # use keystead_sdk::prelude::*;
    /// # #[entity] pub struct Counter { count: u64 }
    /// # #[handlers] impl Counter {
    /// #     pub fn add(&mut self, by: u64) -> u64 { self.count += by; self.count }
    /// # }
    /// use keystead_sdk::testing::World;
    ///
    /// let mut world = World::new().with::<Counter>();
    /// assert_eq!(world.keyed("order-7").call_typed(Counter::at("c").add(2)).unwrap(), 2);
    /// assert_eq!(world.keyed("order-7").call_typed(Counter::at("c").add(2)).unwrap(), 2);
    /// assert_eq!(world.call_typed(Counter::at("c").add(2)).unwrap(), 4);
    /// ```
    pub fn keyed(&mut self, idempotency_key: &str) -> &mut Self {
        self.next_key = Some(idempotency_key.to_owned());
        self
    }

    /// Serves a call. With faults, its client may get no answer and repeat it.
    pub(super) fn request(&mut self, entity: &EntityRef, request: &Request) -> Result<Vec<u8>> {
        let slot = self.next_key.take().map(|key| (entity.clone(), key));
        self.progress();
        let mut is_repeated = false;
        loop {
            let answer = match slot.as_ref().and_then(|slot| self.answers.get(slot)) {
                Some(answered) => first_answer(answered, request),
                None => self.serve(entity, request),
            };
            let told = answer.as_ref().map(Vec::as_slice);
            self.note(|| format!("call {entity} {request}{}", outcome(told)));
            if let (Some(slot), false) = (&slot, answer.as_ref().is_err_and(Error::is_retryable)) {
                let kept = Answer::Called(answer.as_ref().cloned().map_err(copy));
                self.answers.entry(slot.clone()).or_insert_with(|| (request.clone(), kept));
            }
            if is_repeated || !self.loses_answer() {
                return answer;
            }
            self.note(|| format!("the answer is lost, and the client repeats {entity} {request}"));
            is_repeated = true;
        }
    }

    /// Queues a send. With faults, its client may get no answer and repeat it.
    pub(super) fn request_send(&mut self, entity: EntityRef, request: Request) -> MessageId {
        let slot = self.next_key.take().map(|key| (entity.clone(), key));
        self.progress();
        if let Some((first, answer)) = slot.as_ref().and_then(|slot| self.answers.get(slot)) {
            match answer {
                Answer::Accepted(id) if *first == request => return id.clone(),
                _ => panic!("the idempotency key of this send stands for another request"),
            }
        }
        self.note(|| format!("send {entity} {request}"));
        let mut id = self.enqueue(entity.clone(), &request.handler, request.body.clone());
        match slot {
            Some(slot) => {
                self.answers.insert(slot, (request, Answer::Accepted(id.clone())));
            }
            None if self.loses_answer() => {
                self.note(|| {
                    format!("the answer is lost, and the client repeats {entity} {request}")
                });
                id = self.enqueue(entity, &request.handler, request.body);
            }
            None => {}
        }
        id
    }

    fn serve(&mut self, entity: &EntityRef, request: &Request) -> Result<Vec<u8>> {
        let call = self.new_call(entity.clone(), None, request.content_type.as_deref());
        self.run(call, &request.handler, &request.body)
    }

    fn loses_answer(&mut self) -> bool {
        self.faults.as_mut().is_some_and(Faults::loses_answer)
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.handler, shown(&self.body))
    }
}

fn first_answer((first, answer): &(Request, Answer), request: &Request) -> Result<Vec<u8>> {
    match answer {
        Answer::Called(answer) if first == request => answer.as_ref().cloned().map_err(copy),
        _ => Err(Error::rejected("the idempotency key stands for another request")
            .with_code("idempotency_mismatch")),
    }
}

fn copy(error: &Error) -> Error {
    let details = error.details().and_then(|json| serde_json::from_slice(json).ok());
    let (code, message) = (error.code().to_owned(), error.message());
    let copied =
        if error.is_retryable() { Error::retryable(message) } else { Error::rejected(message) };
    let copied = copied.with_code(code);
    match details {
        Some::<serde_json::Value>(details) => copied.with_details(&details),
        None => copied,
    }
}

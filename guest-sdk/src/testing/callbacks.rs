//! A world's callbacks: tokens that wait for the world outside, and those that were used. Invariant: a token
//! becomes one message to its entity, whichever comes first: an answer or its expiry.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::delivery::{failed, with_reply};
use super::{World, encode, entity_ref};
use crate::context::EntityRef;
use crate::continuation::{CallbackToken, Failure, FailureKind, Reply};
use crate::host::native::{Callback, Sent};
use crate::{Error, Result};

/// The tokens that were made and not withdrawn.
#[derive(Debug, Default)]
pub(super) struct Callbacks {
    open: BTreeMap<String, (EntityRef, Callback)>,
    /// With what they were answered.
    settled: BTreeMap<String, Verdict>,
}

/// What somebody outside said: the body, parsed, because its spelling is not its meaning.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Resolved(Value),
    Rejected(Value),
}

impl World {
    /// Resolves a callback as `POST /v1/callbacks/{token}/resolve` does; [`settle`](Self::settle) delivers
    /// the reply. The same answer again does nothing.
    ///
    /// # Errors
    /// `callback_settled` when it has another answer; `unknown_callback` when it is unknown, expired or
    /// withdrawn.
    pub fn resolve(&mut self, token: impl AsRef<str>, value: impl Serialize) -> Result<()> {
        let json = encode(&value);
        let body = serde_json::from_slice(&json)?;
        let json = RawValue::from_string(String::from_utf8(json)?)?;
        self.answer(token.as_ref(), Verdict::Resolved(body), &Reply::Ok(json))
    }

    /// Rejects a callback as `POST /v1/callbacks/{token}/reject` does, with the same body:
    /// `json!({"code": "too_late", "message": "the offer has ended", "details": {}})`, of which only
    /// `message` has to be there.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `invalid_input` when the body has another shape.
    pub fn reject(&mut self, token: impl AsRef<str>, body: impl Serialize) -> Result<()> {
        let body: Value = serde_json::from_slice(&encode(&body))?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = text("code").unwrap_or_else(|| "rejected".to_owned());
        let Some(message) = text("message") else {
            return Err(Error::invalid_input("a rejection has a text `message`".to_owned()));
        };
        let details = body.get("details").map(Value::to_string);
        let failure = Failure { kind: FailureKind::Rejected, code, message, details };
        self.answer(token.as_ref(), Verdict::Rejected(body), &Reply::Rejected(failure))
    }

    /// The tokens of an entity that wait, oldest first.
    #[must_use]
    pub fn callbacks(&self, kind: &str, key: &str) -> Vec<CallbackToken> {
        let open = self.callbacks.open_of(&entity_ref(kind, key));
        open.into_iter().map(CallbackToken::new).collect()
    }

    fn answer(
        &mut self,
        token: &str,
        verdict: Verdict,
        reply: &Reply<Box<RawValue>>,
    ) -> Result<()> {
        match self.callbacks.settled.get(token) {
            Some(before) if *before == verdict => return Ok(()),
            Some(_) => {
                let text = "the callback has another answer already";
                return Err(Error::rejected(text).with_code("callback_settled"));
            }
            None => {}
        }
        if !self.callbacks.open.contains_key(token) {
            let text = "the callback is unknown, has expired or was withdrawn";
            return Err(Error::rejected(text).with_code("unknown_callback"));
        }
        self.call_back(token, reply);
        self.callbacks.settled.insert(token.to_owned(), verdict);
        Ok(())
    }

    /// Tells the entity that nobody has answered in time.
    pub(super) fn expire(&mut self, token: &str) {
        self.call_back(token, &failed("expired", "nobody has answered in time"));
    }

    /// Makes a message of an open callback.
    fn call_back(&mut self, token: &str, reply: &Reply<Box<RawValue>>) {
        let Some((target, Callback { then, .. })) = self.callbacks.open.remove(token) else {
            return;
        };
        let input = with_reply(&then.context, reply);
        let (id, handler, due_ms) = (self.new_id(), then.handler.to_owned(), self.now_ms);
        self.push(Sent { id, target, handler, input, due_ms, then: None }, None);
    }
}

impl Callbacks {
    /// Keeps what a call of `entity` did.
    pub(super) fn keep(&mut self, entity: &EntityRef, made: Vec<Callback>, withdrawn: &[String]) {
        for callback in made {
            self.open.insert(callback.token.clone(), (entity.clone(), callback));
        }
        withdrawn.iter().for_each(|token| drop(self.open.remove(token)));
    }

    /// The open tokens of an entity.
    pub(super) fn open_of(&self, entity: &EntityRef) -> Vec<String> {
        let own = self.open.iter().filter(|(_, (owner, _))| owner == entity);
        own.map(|(token, _)| token.clone()).collect()
    }

    /// The token that expires next, and when.
    pub(super) fn next_expiry(&self) -> Option<(u64, &str)> {
        self.open.iter().map(|(token, (_, one))| (one.expires_ms, token.as_str())).min()
    }
}

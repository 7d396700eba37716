//! Callbacks as the world outside uses them: resolved or rejected once, by whoever has the token. Using one takes
//! its message out of the schedule and puts it into the mailbox with the reply in it, and notes that in the same
//! Delta, so that the same use again is known and another is refused.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::core::Core;
use super::ledger::Place;
use super::reply::{self, End};
use super::request::{Answered, CallbackUsed, Refusal};
use crate::ids::{CallbackToken, EntityRef, Position};
use crate::record::delta::{Delta, Op};
use crate::record::message::{Message, Origin};
use crate::record::outcome::{Ending, Outcome};

/// One use of a callback.
pub(crate) struct Use {
    pub(crate) token: CallbackToken,
    /// The reply, made by [`super::reply::of`].
    pub(crate) reply: Vec<u8>,
    /// Of the verdict and its body as they came.
    pub(crate) fingerprint: [u8; 16],
}

/// The message that waits for a callback: unless somebody uses the token, it says that nobody did.
pub(crate) fn expiry(
    token: &CallbackToken,
    target: EntityRef,
    (handler, context): (String, &[u8]),
    trace: Option<String>,
) -> Message {
    let end = End::Failed("expired", "nobody used the callback in its time");
    let context_bytes = reply::head(context, 0).len() as u32;
    Message {
        id: token.id(),
        target,
        handler,
        input: reply::input(context, &reply::of(end)).into(),
        content_type: None,
        trace,
        origin: Origin::Callback { proof: token.proof(), context_bytes },
        then: None,
    }
}

impl Core {
    /// Uses a callback.
    pub(crate) fn use_callback(
        &mut self,
        using: &Use,
        reply: oneshot::Sender<Answered<CallbackUsed>>,
    ) {
        let used = self.open().and_then(|()| match self.unused(&using.token) {
            Some((due_ms, seq)) => self.use_now(using, (due_ms, seq)),
            None => self.used_before(using),
        });
        match used {
            Ok((used, cause)) => self.commit.reply(cause, used, reply),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Where the callback waits to expire.
    fn unused(&self, token: &CallbackToken) -> Option<(u64, u64)> {
        let Place::Scheduled(due_ms, seq) = self.ledger.place(token.id())? else { return None };
        let proof = self.ledger.scheduled.get(&(due_ms, seq))?.callback()?;
        let in_time = due_ms > self.clock.now_ms();
        (token.proves(proof) && in_time).then_some((due_ms, seq))
    }

    fn use_now(
        &mut self,
        using: &Use,
        (due_ms, seq): (u64, u64),
    ) -> Result<(CallbackUsed, Position), Refusal> {
        if self.view.bytes() >= self.bounds.view_bytes {
            return Err(Refusal::Overloaded { what: "uncheckpointed bytes" });
        }
        let expiry = self.ledger.scheduled[&(due_ms, seq)].clone();
        let Origin::Callback { proof, context_bytes } = expiry.origin else {
            unreachable!("{}: not a callback", expiry.id)
        };
        let head = &expiry.input[..context_bytes as usize];
        let input = Bytes::from([head, &using.reply, b"}"].concat());
        let message = Arc::new(Message { input, ..Message::clone(&expiry) });
        let retention_s = self.apps.settings(message.target.app()).retention_s;
        let ending = Ending::Settled { proof, fingerprint: using.fingerprint };
        let expires_ms = self.clock.now_ms() + retention_s * 1_000;
        let app = Some(message.target.app().into());
        let outcome = Arc::new(Outcome { ending, version: 0, expires_ms, app });
        let id = message.id;
        let ops = vec![
            Op::Unschedule { due_ms, seq },
            Op::Enqueue { seq: self.ledger.next_seq(), message },
            Op::Outcome { id, outcome },
        ];
        let position = self.apply(Delta { writes: None, ops });
        Ok((CallbackUsed::Now, position))
    }

    /// It does not wait any more, or never did.
    fn used_before(&mut self, using: &Use) -> Result<(CallbackUsed, Position), Refusal> {
        let kept = self.view.outcome(using.token.id());
        let kept = self.readable(kept)?;
        let now_ms = self.clock.now_ms();
        let unknown = (CallbackUsed::Unknown, self.commit.applied());
        let Some(kept) = kept.filter(|kept| kept.value.expires_ms > now_ms) else {
            return Ok(unknown);
        };
        let Ending::Settled { proof, fingerprint } = &kept.value.ending else { return Ok(unknown) };
        Ok(match (using.token.proves(proof), *fingerprint == using.fingerprint) {
            (false, _) => unknown,
            (true, true) => (CallbackUsed::Before, kept.cause),
            (true, false) => (CallbackUsed::Otherwise, kept.cause),
        })
    }
}

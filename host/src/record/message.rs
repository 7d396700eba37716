//! A message as it waits: in a mailbox, in the schedule, or parked. Its content changes after it was accepted only
//! when an operator edits its dead letter or removes who sent it; attempts stand beside it in [`Queued`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Corrupt;
use crate::engine::Continuation;
use crate::ids::{EntityRef, MessageId};
use crate::record;

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// `send` from outside; its outcome is kept this many seconds.
    Ingress {
        /// Seconds.
        retention_s: u64,
    },
    /// Another entity, or the same one.
    Entity(EntityRef),
    /// A named timer of the target.
    Timer(String),
    /// A callback of the target. As long as nobody used its token it waits in the schedule, to say that it
    /// expired.
    Callback {
        /// What the token's secret must come to ([`crate::ids::CallbackToken::proof`]).
        proof: [u8; 32],
        /// Where the reply begins in the input.
        context_bytes: u32,
    },
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same on every attempt.
    pub id: MessageId,
    /// Whom it is for.
    pub target: EntityRef,
    /// The command.
    pub handler: String,
    /// Its input.
    pub input: Bytes,
    /// The input's content type when it is not JSON.
    pub content_type: Option<String>,
    /// W3C `traceparent`.
    pub trace: Option<String>,
    /// Who sent it.
    pub origin: Origin,
    /// What its sender is told when it has ended.
    pub then: Option<Box<Continuation>>,
}

impl Message {
    /// The entity whose order it must keep.
    #[must_use]
    pub fn sender(&self) -> Option<&EntityRef> {
        match &self.origin {
            Origin::Entity(sender) => Some(sender),
            Origin::Ingress { .. } | Origin::Timer(_) | Origin::Callback { .. } => None,
        }
    }

    /// The timer it is.
    #[must_use]
    pub fn timer(&self) -> Option<&str> {
        match &self.origin {
            Origin::Timer(name) => Some(name),
            Origin::Ingress { .. } | Origin::Entity(_) | Origin::Callback { .. } => None,
        }
    }

    /// What proves the token of the callback that it is.
    #[must_use]
    pub fn callback(&self) -> Option<&[u8; 32]> {
        match &self.origin {
            Origin::Callback { proof, .. } => Some(proof),
            Origin::Ingress { .. } | Origin::Entity(_) | Origin::Timer(_) => None,
        }
    }

    /// True when its sender is told that it was parked: the dead letter is final then.
    #[must_use]
    pub fn ends_when_parked(&self) -> bool {
        self.then.as_ref().is_some_and(|then| !then.patient)
    }

    /// What it counts against byte limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The constant stands for the fixed fields and the indexes that point at the message.
        let then = self.then.as_ref().map_or(0, |then| then.handler.len() + then.context.len());
        256 + self.input.len() + self.handler.len() + self.target.key().len() + then
    }
}

/// A message in a mailbox and how its attempts went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The message.
    pub message: std::sync::Arc<Message>,
    /// Failed attempts.
    pub attempts: u32,
    /// Not to be tried before, in milliseconds since 1970.
    pub not_before_ms: u64,
}

/// A message that was given up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The whole message.
    pub message: std::sync::Arc<Message>,
    /// Why.
    pub reason: String,
    /// Failed attempts.
    pub attempts: u32,
    /// When, in milliseconds since 1970.
    pub parked_at_ms: u64,
    /// Its place in the arrival order when it was parked; 0 when a build of format 2 parked it.
    pub seq: u64,
}

impl DeadLetter {
    /// Reads a row of the `dead` table.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn of_row(row: &[u8]) -> Result<Self, Corrupt> {
        if row.first() != Some(&FORMAT_WITHOUT_SEQ) {
            return record::decode("dead letter", row);
        }
        let old: OldDeadLetter = record::decode("dead letter", row)?;
        let OldDeadLetter { message, reason, attempts, parked_at_ms } = old;
        Ok(Self { message, reason, attempts, parked_at_ms, seq: 0 })
    }
}

const FORMAT_WITHOUT_SEQ: u8 = 2;

/// A dead letter as builds of format 2 wrote it.
#[derive(Serialize, Deserialize)]
struct OldDeadLetter {
    message: std::sync::Arc<Message>,
    reason: String,
    attempts: u32,
    parked_at_ms: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{decode, encode};

    pub(crate) fn entity() -> impl Strategy<Value = EntityRef> {
        ("[a-z]{1,3}", "[a-z]{1,3}", ".{1,8}")
            .prop_map(|(app, kind, key)| EntityRef::new(&app, &kind, &key).expect("valid"))
    }

    pub(crate) fn message() -> impl Strategy<Value = Message> {
        let origin = prop_oneof![
            any::<u64>().prop_map(|retention_s| Origin::Ingress { retention_s }),
            entity().prop_map(Origin::Entity),
            ".{0,5}".prop_map(Origin::Timer),
            any::<(u8, u32)>().prop_map(|(byte, context_bytes)| {
                let proof = [byte; 32];
                Origin::Callback { proof, context_bytes }
            }),
        ];
        let then =
            proptest::option::of((".{0,5}", any::<bool>()).prop_map(|(handler, patient)| {
                let context = bytes::Bytes::from(format!("{{\"{handler}\":1}}"));
                Box::new(Continuation { handler, context, patient })
            }));
        let input = proptest::collection::vec(any::<u8>(), 0..20);
        (any::<u128>(), entity(), ".{0,5}", input, any::<Option<String>>(), origin, then).prop_map(
            |(id, target, handler, input, text, origin, then)| Message {
                id: MessageId(id),
                target,
                handler,
                input: input.into(),
                content_type: text.clone(),
                trace: text,
                origin,
                then,
            },
        )
    }

    proptest! {
        #[test]
        fn reads_back(message in message(), attempts: u32, at: u64) {
            let message = std::sync::Arc::new(message);
            let queued = Queued { message: message.clone(), attempts, not_before_ms: at };
            prop_assert_eq!(decode::<Queued>("queued", &encode(&queued)), Ok(queued));
            let (reason, parked_at_ms) = ("r".to_owned(), at);
            let old = OldDeadLetter { message: message.clone(), reason, attempts, parked_at_ms };
            let mut row = encode(&old);
            row[0] = FORMAT_WITHOUT_SEQ;
            let dead = DeadLetter { message, reason: "r".into(), attempts, parked_at_ms, seq: 0 };
            prop_assert_eq!(DeadLetter::of_row(&row), Ok(dead.clone()));
            let dead = DeadLetter { seq: at, ..dead };
            prop_assert_eq!(DeadLetter::of_row(&encode(&dead)), Ok(dead));
        }
    }
}

//! A message as it waits: in a mailbox, in the schedule, or parked. Its content never changes after it was
//! accepted; what changes (attempts) stands beside it in [`Queued`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{EntityRef, MessageId};

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
}

impl Message {
    /// The entity whose order it must keep.
    #[must_use]
    pub fn sender(&self) -> Option<&EntityRef> {
        match &self.origin {
            Origin::Entity(sender) => Some(sender),
            Origin::Ingress { .. } | Origin::Timer(_) => None,
        }
    }

    /// The timer it is.
    #[must_use]
    pub fn timer(&self) -> Option<&str> {
        match &self.origin {
            Origin::Timer(name) => Some(name),
            Origin::Ingress { .. } | Origin::Entity(_) => None,
        }
    }

    /// What it counts against byte limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The constant stands for the fixed fields and the indexes that point at the message.
        256 + self.input.len() + self.handler.len() + self.target.key().len()
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
        ];
        let input = proptest::collection::vec(any::<u8>(), 0..20);
        (any::<u128>(), entity(), ".{0,5}", input, any::<Option<String>>(), origin).prop_map(
            |(id, target, handler, input, text, origin)| Message {
                id: MessageId(id),
                target,
                handler,
                input: input.into(),
                content_type: text.clone(),
                trace: text,
                origin,
            },
        )
    }

    proptest! {
        #[test]
        fn reads_back(message in message(), attempts: u32, at: u64) {
            let message = std::sync::Arc::new(message);
            let queued = Queued { message: message.clone(), attempts, not_before_ms: at };
            prop_assert_eq!(decode::<Queued>("queued", &encode(&queued)), Ok(queued));
            let dead = DeadLetter { message, reason: "r".into(), attempts, parked_at_ms: at };
            prop_assert_eq!(decode::<DeadLetter>("dead letter", &encode(&dead)), Ok(dead));
        }
    }
}

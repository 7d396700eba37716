//! The physical redo of one transaction, and the batch of them that one journal append makes durable. A Delta
//! says what changed, never what to run: recovery applies Deltas and never calls a guest.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::Message;
use super::outcome::{OldOutcome, Outcome, Remembered};
use crate::ids::{EntityRef, MessageId};
use crate::partition::request::Scope;

/// What one transaction did to its entity's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityWrites {
    /// The entity.
    pub entity: EntityRef,
    /// Its version afterwards.
    pub version: u64,
    /// State keys and their new values, `None` when removed.
    pub rows: Vec<(Bytes, Option<Bytes>)>,
}

/// One change to a partition beyond entity state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A message enters its target's mailbox.
    Enqueue {
        /// Its place in the partition's arrival order.
        seq: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A message leaves its mailbox: it took effect, was rejected, or was cancelled.
    Dequeue {
        /// Its place.
        seq: u64,
    },
    /// A message or timer waits for its time.
    Schedule {
        /// When, in milliseconds since 1970.
        due_ms: u64,
        /// Orders messages that are due at the same time.
        seq: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A scheduled message was cancelled or replaced.
    Unschedule {
        /// When it would have been due.
        due_ms: u64,
        /// Its number.
        seq: u64,
    },
    /// A scheduled message became due and enters its target's mailbox.
    Due {
        /// When it was due.
        due_ms: u64,
        /// Its number in the schedule.
        seq: u64,
        /// Its place in the arrival order.
        mailbox_seq: u64,
    },
    /// An attempt failed; the message waits for the next.
    BackOff {
        /// Its place.
        seq: u64,
        /// Failed attempts.
        attempts: u32,
        /// When the next is, in milliseconds since 1970.
        not_before_ms: u64,
    },
    /// A message was given up on and becomes a dead letter.
    Park {
        /// Its place.
        seq: u64,
        /// Failed attempts.
        attempts: u32,
        /// Why.
        reason: String,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// A dead letter enters its target's mailbox again.
    Unpark {
        /// The message.
        id: MessageId,
        /// Its new place in the arrival order.
        seq: u64,
    },
    /// A dead letter is forgotten.
    DropDead {
        /// The message.
        id: MessageId,
    },
    /// An outcome to remember, as builds of formats 2 and 3 wrote it.
    OldOutcome {
        /// The message.
        id: MessageId,
        /// How it ended.
        outcome: Arc<OldOutcome>,
    },
    /// An `Idempotency-Key` to remember.
    Remember {
        /// The entity it was used with.
        entity: EntityRef,
        /// The key.
        key: String,
        /// What it stands for.
        mark: Arc<Remembered>,
    },
    /// An operator replaced an entity's whole state: whatever rows there were are gone.
    Rewrite {
        /// The entity.
        entity: EntityRef,
        /// Its version afterwards.
        version: u64,
        /// Its rows.
        rows: Vec<(Bytes, Bytes)>,
        /// True when it was removed: what follows belongs to another life of it.
        removed: bool,
    },
    /// Nobody hears of a message's end any more: the entity that asked was removed.
    Silence {
        /// The message.
        id: MessageId,
    },
    /// An operator changed the input of a dead letter.
    Edit {
        /// The message.
        id: MessageId,
        /// Its input.
        input: Bytes,
        /// The input's content type when it is not JSON.
        content_type: Option<String>,
    },
    /// An operator paused or resumed something.
    Pause {
        /// What.
        scope: Scope,
        /// Whether it is paused now.
        paused: bool,
    },
    /// An outcome to remember.
    Outcome {
        /// The message.
        id: MessageId,
        /// How it ended.
        outcome: Arc<Outcome>,
    },
}

/// All that one transaction changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Entity state.
    pub writes: Option<EntityWrites>,
    /// Everything else, in order.
    pub ops: Vec<Op>,
}

impl Delta {
    /// True when it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_none() && self.ops.is_empty()
    }
}

/// What one journal append holds.
pub type Batch = Vec<Delta>;

/// A batch that is encoded Delta by Delta as it forms, so that nothing of it need be kept: the bytes are those
/// of [`super::encode`] for a [`Batch`].
#[derive(Debug)]
pub struct Forming {
    /// Room for the head, then the Deltas.
    bytes: Vec<u8>,
    deltas: usize,
}

/// A batch as it is appended.
#[derive(Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    /// Where the head begins.
    from: usize,
    deltas: usize,
}

/// The version byte and the longest count.
const HEAD_BYTES: usize = 11;

impl Default for Forming {
    fn default() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], deltas: 0 }
    }
}

impl Forming {
    /// Adds a Delta.
    pub fn push(&mut self, delta: &Delta) {
        self.deltas += 1;
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(delta, bytes)
            .unwrap_or_else(|error| unreachable!("Deltas always encode: {error}"));
    }

    /// How many Deltas it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deltas
    }

    /// True when it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deltas == 0
    }

    /// Bytes that it will take in the journal, less its head.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() - HEAD_BYTES
    }

    /// Puts the head before the Deltas.
    #[must_use]
    pub fn finish(mut self) -> Encoded {
        let mut room = [0; HEAD_BYTES];
        let count = postcard::to_slice(&self.deltas, &mut room)
            .unwrap_or_else(|error| unreachable!("a count always fits: {error}"));
        let from = HEAD_BYTES - 1 - count.len();
        self.bytes[from] = super::FORMAT;
        self.bytes[from + 1..HEAD_BYTES].copy_from_slice(count);
        Encoded { bytes: self.bytes, from, deltas: self.deltas }
    }
}

impl Encoded {
    /// How many Deltas it has.
    #[must_use]
    pub fn deltas(&self) -> usize {
        self.deltas
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::tests::{entity, message};
    use super::super::outcome::Ending;
    use super::*;
    use crate::record::{decode, encode};

    fn op() -> impl Strategy<Value = Op> {
        let n = any::<u64>();
        prop_oneof![
            (n, message()).prop_map(|(seq, m)| Op::Enqueue { seq, message: Arc::new(m) }),
            n.prop_map(|seq| Op::Dequeue { seq }),
            (n, n, message()).prop_map(|(due_ms, seq, m)| Op::Schedule {
                due_ms,
                seq,
                message: Arc::new(m)
            }),
            (n, n).prop_map(|(due_ms, seq)| Op::Unschedule { due_ms, seq }),
            (n, n, n).prop_map(|(due_ms, seq, mailbox_seq)| Op::Due { due_ms, seq, mailbox_seq }),
            (n, any::<u32>()).prop_map(|(seq, attempts)| Op::BackOff {
                seq,
                attempts,
                not_before_ms: seq
            }),
            (n, any::<String>()).prop_map(|(seq, reason)| Op::Park {
                seq,
                attempts: 1,
                reason,
                at_ms: seq
            }),
            (any::<u128>(), n).prop_map(|(id, seq)| Op::Unpark { id: MessageId(id), seq }),
            any::<u128>().prop_map(|id| Op::DropDead { id: MessageId(id) }),
            (entity(), any::<String>(), n).prop_map(|(entity, key, n)| {
                let mark =
                    Remembered { id: MessageId(n.into()), fingerprint: [1; 16], expires_ms: n };
                Op::Remember { entity, key, mark: Arc::new(mark) }
            }),
            (entity(), n, any::<bool>()).prop_map(|(entity, version, removed)| {
                let rows = vec![(Bytes::from_static(b"k"), Bytes::from_static(b""))];
                Op::Rewrite { entity, version, rows, removed }
            }),
            any::<u128>().prop_map(|id| Op::Silence { id: MessageId(id) }),
            (any::<u128>(), any::<Option<String>>()).prop_map(|(id, content_type)| Op::Edit {
                id: MessageId(id),
                input: Bytes::from_static(b"{}"),
                content_type
            }),
            (entity(), any::<bool>())
                .prop_map(|(one, paused)| Op::Pause { scope: Scope::Entity(one), paused }),
            (n, any::<bool>()).prop_map(|(n, old)| {
                let (id, ending) = (MessageId(n.into()), Ending::Reply(Bytes::from_static(b"1")));
                let outcome = OldOutcome { ending, version: n, expires_ms: n };
                if old {
                    return Op::OldOutcome { id, outcome: Arc::new(outcome) };
                }
                let outcome = Outcome { app: Some("bank".into()), ..outcome.into() };
                Op::Outcome { id, outcome: Arc::new(outcome) }
            }),
        ]
    }

    proptest! {
        #[test]
        fn batches_read_back(
            ops in proptest::collection::vec(op(), 0..6),
            entity in entity(),
            rows in proptest::collection::vec(any::<(Vec<u8>, Option<Vec<u8>>)>(), 0..4),
        ) {
            let rows = rows.into_iter().map(|(k, v)| (k.into(), v.map(Bytes::from))).collect();
            let writes = Some(EntityWrites { entity, version: 3, rows });
            let batch: Batch = vec![Delta { writes, ops }, Delta::default()];
            let mut forming = Forming::default();
            batch.iter().for_each(|delta| forming.push(delta));
            prop_assert_eq!(forming.len(), batch.len());
            let encoded = forming.finish();
            prop_assert_eq!(encoded.as_ref(), &encode(&batch)[..]);
            prop_assert_eq!(decode::<Batch>("batch", encoded.as_ref()), Ok(batch));
        }
    }
}

//! What is remembered of finished work: outcomes by message id, and which message an `Idempotency-Key` stands
//! for. Both carry the time after which they count as forgotten.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::MessageId;

/// A handler's rejection: final, the caller's to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Stable, snake_case.
    pub code: String,
    /// For people.
    pub message: String,
    /// A JSON value as UTF-8, for programs.
    pub details: Option<Bytes>,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The handler's value.
    Reply(Bytes),
    /// The handler's rejection.
    Rejected(Rejection),
    /// It is a callback that was resolved or rejected from outside. Says nothing of what came of it.
    Settled {
        /// What the token's secret must come to.
        proof: [u8; 32],
        /// Of the verdict and its body.
        fingerprint: [u8; 16],
    },
}

/// The outcome of a finished message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// The entity's version after it.
    pub version: u64,
    /// When it is forgotten, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Which message an `Idempotency-Key` stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The message.
    pub id: MessageId,
    /// Of handler, content type and body: the key with another one of these is a mistake.
    pub fingerprint: [u8; 16],
    /// When it is forgotten, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// The fingerprint of a request.
#[must_use]
pub fn fingerprint(handler: &str, content_type: Option<&str>, input: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in [handler.as_bytes(), content_type.unwrap_or_default().as_bytes(), input] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut print = [0; 16];
    print.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    print
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{decode, encode};

    proptest! {
        #[test]
        fn reads_back(body in proptest::collection::vec(any::<u8>(), 0..9), code: String, n: u64) {
            let rejection =
                Rejection { code, message: "m".into(), details: Some(body.clone().into()) };
            let settled = Ending::Settled { proof: [n as u8; 32], fingerprint: [7; 16] };
            for ending in [Ending::Reply(body.into()), Ending::Rejected(rejection), settled] {
                let outcome = Outcome { ending, version: n, expires_ms: n };
                prop_assert_eq!(decode::<Outcome>("outcome", &encode(&outcome)), Ok(outcome));
            }
            let mark = Remembered { id: MessageId(n.into()), fingerprint: [7; 16], expires_ms: n };
            prop_assert_eq!(decode::<Remembered>("idempotency key", &encode(&mark)), Ok(mark));
        }
    }

    #[test]
    fn fingerprints_tell_parts_apart() {
        assert_ne!(fingerprint("ab", None, b"c"), fingerprint("a", None, b"bc"));
        assert_eq!(fingerprint("a", None, b"b"), fingerprint("a", None, b"b"));
    }
}

//! What is remembered of finished work: outcomes by message id, and which message an `Idempotency-Key` stands
//! for. Both carry the time after which they count as forgotten. Invariant: an outcome of this format says whose it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Corrupt;
use crate::ids::MessageId;
use crate::record;

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
    /// The app of the entity that it was for; `None` when a build of format 2 or 3 kept it.
    pub app: Option<Box<str>>,
}

impl Outcome {
    /// Reads a row of the `outcomes` table.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn of_row(row: &[u8]) -> Result<Self, Corrupt> {
        match row.first() {
            Some(format) if *format <= FORMAT_WITHOUT_APP => {
                record::decode::<OldOutcome>("outcome", row).map(Self::from)
            }
            _ => record::decode("outcome", row),
        }
    }

    /// What it counts against byte limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The constant stands for the fixed fields and the row that finds it.
        256 + match &self.ending {
            Ending::Reply(body) => body.len(),
            Ending::Rejected(why) => why.message.len() + why.details.as_ref().map_or(0, Bytes::len),
            Ending::Settled { .. } => 0,
        }
    }
}

const FORMAT_WITHOUT_APP: u8 = 3;

/// An outcome as builds of formats 2 and 3 wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldOutcome {
    /// How it ended.
    pub ending: Ending,
    /// The entity's version after it.
    pub version: u64,
    /// When it is forgotten, in milliseconds since 1970.
    pub expires_ms: u64,
}

impl From<OldOutcome> for Outcome {
    fn from(old: OldOutcome) -> Self {
        let OldOutcome { ending, version, expires_ms } = old;
        Self { ending, version, expires_ms, app: None }
    }
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
                let old = OldOutcome { ending, version: n, expires_ms: n };
                for format in [2, 3] {
                    let mut row = encode(&old);
                    row[0] = format;
                    prop_assert_eq!(Outcome::of_row(&row), Ok(old.clone().into()));
                }
                let outcome = Outcome { app: Some("bank".into()), ..old.into() };
                prop_assert_eq!(Outcome::of_row(&encode(&outcome)), Ok(outcome));
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

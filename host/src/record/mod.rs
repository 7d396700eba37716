//! Every persisted record: one file per noun, each with its key or value codec and a property test that it
//! reads back. A value starts with its format version, so that a later build can tell and convert.

pub mod delta;
#[cfg(test)]
pub(crate) mod fuzz;
pub mod keys;
pub mod message;
pub mod outcome;
pub mod scope;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version byte of every value written by this build, and of the data folder as a whole. 2: messages
/// carry a continuation, and callbacks. 3: what operators do to entities, pauses, and a dead letter's old place.
/// 4: outcomes say whose they are.
pub const FORMAT: u8 = 4;
/// The oldest version that this build reads. What later ones added stands at the ends of enums, so that all of 2 reads
/// as it is, but for rows of dead letters and outcomes.
pub const FORMAT_OLDEST: u8 = 2;

/// Bytes in a data file that are not what was written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {record}: {problem}")]
pub struct Corrupt {
    /// Which kind of record.
    pub record: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Whether this build reads folders and values of that version.
#[must_use]
pub fn reads(format: u8) -> bool {
    (FORMAT_OLDEST..=FORMAT).contains(&format)
}

/// Encodes a value behind its version byte.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Records hold no maps of unknown length and no failing serialisers, so encoding cannot fail.
    postcard::to_extend(value, vec![FORMAT])
        .unwrap_or_else(|error| unreachable!("records always encode: {error}"))
}

/// Decodes a value; `record` names it in the error.
///
/// # Errors
/// [`Corrupt`] for a version of the future, for bytes that do not decode, and for bytes left over.
pub fn decode<T: DeserializeOwned>(record: &'static str, bytes: &[u8]) -> Result<T, Corrupt> {
    let corrupt = |problem: String| Corrupt { record, problem };
    match bytes.split_first() {
        Some((format, rest)) if reads(*format) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok((_, left)) => Err(corrupt(format!("{} bytes too many", left.len()))),
            Err(error) => Err(corrupt(error.to_string())),
        },
        Some((version, _)) => Err(corrupt(other_format(u64::from(*version)))),
        None => Err(corrupt("empty".into())),
    }
}

/// Says that something was written by another build, and what helps.
#[must_use]
pub fn other_format(version: u64) -> String {
    let age = if version < u64::from(FORMAT) { "an older" } else { "a newer" };
    format!(
        "format version {version}; this build reads {FORMAT_OLDEST} to {FORMAT}: it was written by {age} build. Serve the folder \
         with that build, or start with an empty one"
    )
}

/// State rows of one entity: a user key and its new value, or `None` when removed.
pub type Row = (Bytes, Option<Bytes>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named() {
        let good = encode(&7u64);
        assert_eq!(decode::<u64>("seven", &good), Ok(7));
        assert!(decode::<u64>("seven", &[]).is_err());
        assert!(decode::<u64>("seven", &[FORMAT, 7, 7]).is_err());
        assert_eq!(decode::<u64>("seven", &[FORMAT_OLDEST, 7]), Ok(7));
        let newer = decode::<u64>("seven", &[FORMAT + 1, 7]).expect_err("newer");
        assert!(newer.to_string().contains("newer"), "{newer}");
        let older = decode::<u64>("seven", &[FORMAT_OLDEST - 1, 7]).expect_err("older");
        assert!(older.to_string().contains("older"), "{older}");
    }
}

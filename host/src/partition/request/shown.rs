//! How state and inputs are shown to people, and read back from what they edited. Invariant: a row that is shown and
//! handed back unchanged is the same bytes, whatever they are.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a key or value begins with that is shown as hex digits.
const HEX: &str = "hex:";

/// One row of an entity's state as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateEntry {
    /// The key: text when it is printable UTF-8, else `hex:…`.
    pub key: String,
    /// The value: JSON when it is JSON, else text or `hex:…`.
    #[serde(default)]
    pub value: Value,
    /// The value exactly, when it is text that `value` would not be written as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The value exactly, when it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl StateEntry {
    /// A row as it is shown.
    #[must_use]
    pub fn of(key: &[u8], value: &Bytes) -> Self {
        let shown = readable_value(value);
        let (mut text, mut hex) = (None, None);
        if serde_json::to_vec(&shown).is_ok_and(|written| written != *value) {
            match std::str::from_utf8(value) {
                Ok(exactly) => text = Some(exactly.to_owned()),
                Err(_) => hex = Some(HEXLOWER.encode(value)),
            }
        }
        Self { key: readable_key(key), value: shown, text, hex }
    }

    /// The key and value that somebody means: exactly what was shown, or another value as JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn row(&self) -> Result<(Bytes, Bytes), String> {
        let key = Self::key_of(&self.key)?;
        let exact = match (&self.text, &self.hex) {
            (Some(_), Some(_)) => return Err(format!("{}: text or hex, not both", self.key)),
            (Some(text), None) => Some(Bytes::from(text.clone())),
            (None, Some(digits)) => Some(self.digits(digits)?),
            (None, None) => None,
        };
        let value = match exact {
            Some(exact) if self.value.is_null() || readable_value(&exact) == self.value => exact,
            // JSON that was edited; its old text stands beside it.
            Some(exact) if serde_json::from_slice::<Value>(&exact).is_ok() => {
                self.value.to_string().into()
            }
            Some(_) => {
                return Err(format!(
                    "{}: its value is not JSON, so it is changed in text or hex, not in value",
                    self.key
                ));
            }
            None => self.value.to_string().into(),
        };
        Ok((key, value))
    }

    /// The state key that is shown so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn key_of(shown: &str) -> Result<Bytes, String> {
        let Some(digits) = shown.strip_prefix(HEX) else {
            return Ok(Bytes::copy_from_slice(shown.as_bytes()));
        };
        let key = HEXLOWER.decode(digits.as_bytes());
        key.map(Bytes::from).map_err(|_| format!("{shown}: the key is not hex digits in pairs"))
    }

    fn digits(&self, digits: &str) -> Result<Bytes, String> {
        let bytes = HEXLOWER.decode(digits.as_bytes());
        bytes.map(Bytes::from).map_err(|_| format!("{}: hex is not hex digits in pairs", self.key))
    }
}

/// A value as JSON when it is JSON, else as text or `hex:…`.
#[must_use]
pub fn readable_value(value: &Bytes) -> Value {
    if value.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(value).unwrap_or_else(|_| match std::str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => hex(value).into(),
    })
}

fn readable_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.chars().all(|c| !c.is_control()) && !text.starts_with(HEX) => {
            text.to_owned()
        }
        _ => hex(key),
    }
}

fn hex(bytes: &[u8]) -> String {
    HEX.to_owned() + &HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_that_is_shown_reads_back_as_it_was(
            key in proptest::collection::vec(any::<u8>(), 0..6),
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..6).prop_map(Bytes::from),
                "[ {}\\[\\]a\",:0-9.e]{0,8}".prop_map(Bytes::from),
                "hex:[0-9a-f]{0,4}".prop_map(Bytes::from),
            ],
        ) {
            let entry = StateEntry::of(&key, &value);
            prop_assert_eq!(entry.row(), Ok((Bytes::from(key), value)));
            let text = serde_json::to_string(&entry).expect("writes");
            prop_assert_eq!(serde_json::from_str::<StateEntry>(&text).expect("reads"), entry);
        }
    }

    #[test]
    fn an_edited_value_is_written_as_json_and_only_where_it_was_json() {
        let shown = StateEntry::of(b"k", &Bytes::from_static(b"{ \"n\": 1 }"));
        assert!(shown.text.is_some());
        let edited = StateEntry { value: serde_json::json!({"n": 2}), ..shown };
        assert_eq!(edited.row().expect("a row").1, Bytes::from_static(b"{\"n\":2}"));
        let shown = StateEntry::of(b"k", &Bytes::from_static(b"plain"));
        let edited = StateEntry { value: "other".into(), ..shown };
        assert!(edited.row().expect_err("ambiguous").contains("text or hex"));
    }
}

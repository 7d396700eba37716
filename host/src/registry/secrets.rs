//! An app's secrets: values for its handlers alone, in a file of their own that only the host's user can read. They are
//! not encrypted there, and a guest that writes one somewhere has written it. Invariant: nothing of this module
//! prints a secret, not as debug output, not as JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::{Deserialize, Serialize, Serializer};

use super::record;
use crate::ids::check_name;
use crate::limits;

/// One secret. It has no `Display`, and what prints it otherwise prints that it is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(value: Vec<u8>) -> Result<Self, String> {
        let (len, max) = (value.len(), limits::SECRET_BYTES_MAX);
        if len == 0 || len > max {
            return Err(format!("a secret has 1 to {max} bytes; this one has {len}"));
        }
        String::from_utf8(value).map(Self).map_err(|_| "a secret is UTF-8 text".into())
    }

    /// The value, for the guest that asks for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

/// All of one app's by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// The secret `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// With `secret` under `name`, or without it.
    ///
    /// # Errors
    /// What is wrong with the name, or with one more.
    pub(super) fn with(&self, name: &str, secret: Option<Secret>) -> Result<Self, String> {
        check_name("secret", name).map_err(|bad| bad.to_string())?;
        let mut all = self.0.clone();
        match secret {
            Some(secret) => drop(all.insert(name.into(), secret)),
            None if all.remove(name).is_none() => {
                return Err(format!("there is no secret {name:?}"));
            }
            None => {}
        }
        let max = limits::SECRETS_MAX;
        if all.len() > max {
            return Err(format!("an app has at most {max} secrets"));
        }
        Ok(Self(all))
    }

    /// The text of the file.
    pub(super) fn print(&self, app: &str) -> serde_json::Result<Vec<u8>> {
        let values = self.0.iter().map(|(name, secret)| (name.clone(), secret.0.clone())).collect();
        record::print(&Written { app: app.into(), secrets: values })
    }

    /// Reads the text of `app`'s file.
    pub(super) fn parse(app: &str, text: &[u8]) -> anyhow::Result<Self> {
        anyhow::ensure!(record::is_checked(text)?, "its checksum is gone");
        // The parser's message could quote what it did not expect.
        let written: Written =
            serde_json::from_slice(text).ok().context("it is not a file of secrets")?;
        let whose = written.app;
        anyhow::ensure!(whose == app, "it is the file of app {whose}");
        Ok(Self(written.secrets.into_iter().map(|(name, value)| (name, Secret(value))).collect()))
    }
}

/// The one form that shows them.
#[derive(Serialize, Deserialize)]
struct Written {
    app: String,
    secrets: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_and_print_nowhere_else() {
        let secret = Secret::new(b"hunter2".to_vec()).expect("right");
        let secrets = Secrets::default().with("token", Some(secret)).expect("right");
        let text = secrets.print("bank").expect("prints");
        assert_eq!(Secrets::parse("bank", &text).expect("sound"), secrets);
        assert_eq!(secrets.get("token").expect("there").reveal(), "hunter2");
        let shown = format!("{secrets:?} {}", serde_json::json!(secrets));
        assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
        assert!(Secrets::parse("shop", &text).is_err());
        let flipped: Vec<u8> =
            text.iter().map(|byte| if *byte == b'2' { b'3' } else { *byte }).collect();
        let error = format!("{:#}", Secrets::parse("bank", &flipped).expect_err("damaged"));
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn bad_ones_are_refused() {
        let good = || Secret::new(b"x".to_vec()).ok();
        let secrets = Secrets::default();
        assert!(Secret::new(vec![]).is_err() && Secret::new(vec![0xff]).is_err());
        assert!(Secret::new(vec![b'x'; limits::SECRET_BYTES_MAX + 1]).is_err());
        assert!(secrets.with("1", good()).expect_err("a name").contains("not a name"));
        assert!(secrets.with("a", None).expect_err("not there").contains("no secret"));
        let mut full = secrets;
        for n in 0..limits::SECRETS_MAX {
            full = full.with(&format!("s{n}"), good()).expect("room");
        }
        assert!(full.with("more", good()).is_err() && full.with("s1", good()).is_ok());
        assert_eq!(full.with("s1", None).expect("gone").names().count(), limits::SECRETS_MAX - 1);
    }
}

//! An app's secrets: values for its handlers alone, in a file of their own that only the host's user can read, sealed
//! where the host has a key and readable where it has none. A guest that writes one somewhere has written it.
//! Invariant: nothing of this module prints a secret, not as debug output, not as JSON.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::{Deserialize, Serialize, Serializer};

use super::record;
use super::seal::{self, Keyring, Sealer};
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

    /// The text of the file: sealed where there is a key, and something to seal.
    pub(super) fn print(&self, app: &str, sealer: Option<&Sealer>) -> anyhow::Result<Vec<u8>> {
        let app = app.to_owned();
        let Some(sealer) = sealer.filter(|_| !self.0.is_empty()) else {
            let values = self.0.iter().map(|(name, secret)| (name.clone(), secret.0.clone()));
            let secrets = Some(values.collect());
            return Ok(record::print(&Written { app, secrets, sealed: None })?);
        };
        let seal = |(name, secret): (&String, &Secret)| {
            Some((name.clone(), sealer.seal(&app, name, &secret.0)?))
        };
        let values = self.0.iter().map(seal).collect::<Option<_>>();
        let values = values.context("a secret cannot be sealed")?;
        let sealed = Some(Sealed { key: sealer.keys().first().into(), values });
        Ok(record::print(&Written { app, secrets: None, sealed })?)
    }

    /// Reads the text of `app`'s file.
    pub(super) fn parse(app: &str, text: &[u8], keys: Option<&Keyring>) -> anyhow::Result<Self> {
        let written = Written::parse(app, text)?;
        let open = |sealed: Sealed| {
            let keys = keys.with_context(|| format!("it is sealed with the key {}", sealed.key))?;
            let opened = sealed.values.into_iter().map(|(name, value)| {
                let value = keys.open(&sealed.key, app, &name, &value);
                let value = value.with_context(|| format!("{name} is not what was sealed"))?;
                Ok((name, value))
            });
            opened.collect::<anyhow::Result<BTreeMap<String, String>>>()
        };
        let values = match (written.secrets, written.sealed) {
            (_, Some(sealed)) => open(sealed)?,
            (values, None) => values.unwrap_or_default(),
        };
        Ok(Self(values.into_iter().map(|(name, value)| (name, Secret(value))).collect()))
    }
}

/// How a file of secrets is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// There are none in it.
    Empty,
    /// Whoever reads the file reads them.
    Readable,
    /// Sealed with the key of this name.
    Sealed(String),
}

impl Form {
    /// How `app`'s file is written, as far as can be told without a key.
    pub(super) fn of(app: &str, text: &[u8]) -> anyhow::Result<Self> {
        let written = Written::parse(app, text)?;
        Ok(match (written.secrets, written.sealed) {
            (_, Some(sealed)) => Self::Sealed(sealed.key),
            (Some(values), None) if !values.is_empty() => Self::Readable,
            _ => Self::Empty,
        })
    }
}

/// What is in the file: one of the two. It has no `Debug`, for one of them shows secrets.
#[derive(Serialize, Deserialize)]
struct Written {
    app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secrets: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    /// The name of the key.
    key: String,
    /// Each value for itself, by the secret's name.
    values: BTreeMap<String, String>,
}

impl Written {
    fn parse(app: &str, text: &[u8]) -> anyhow::Result<Self> {
        anyhow::ensure!(record::is_checked(text)?, "its checksum is gone");
        // The parser's message could quote what it did not expect.
        let written: Self =
            serde_json::from_slice(text).ok().context("it is not a file of secrets")?;
        let whose = &written.app;
        anyhow::ensure!(whose == app, "it is the file of app {whose}");
        let one = written.secrets.is_some() != written.sealed.is_some();
        anyhow::ensure!(one, "it is not a file of secrets");
        let values = written.sealed.iter().flat_map(|sealed| sealed.values.values());
        anyhow::ensure!(values.map(String::as_str).all(seal::is_sealed), "it is not sealed");
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn secrets_read_back_and_print_nowhere_else() {
        let secret = Secret::new(b"hunter2".to_vec()).expect("right");
        let secrets = Secrets::default().with("token", Some(secret)).expect("right");
        let text = secrets.print("bank", None).expect("prints");
        assert_eq!(Form::of("bank", &text).expect("sound"), Form::Readable);
        assert_eq!(Secrets::parse("bank", &text, None).expect("sound"), secrets);
        assert_eq!(secrets.get("token").expect("there").reveal(), "hunter2");
        let shown = format!("{secrets:?} {}", serde_json::json!(secrets));
        assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
        assert!(Secrets::parse("shop", &text, None).is_err());
        let flipped: Vec<u8> =
            text.iter().map(|byte| if *byte == b'2' { b'3' } else { *byte }).collect();
        let error = format!("{:#}", Secrets::parse("bank", &flipped, None).expect_err("damaged"));
        assert!(!error.contains("hunter"), "{error}");
    }

    #[test]
    fn what_is_sealed_was_moved_nowhere() {
        let sealer = Sealer::new(keys('1'), Arc::new(SystemClock::new()));
        let secret = |text: &str| Secret::new(text.into()).ok();
        let secrets = Secrets::default().with("token", secret("hunter2")).expect("right");
        let secrets = secrets.with("other", secret("nothing")).expect("right");
        let text = secrets.print("bank", Some(&sealer)).expect("prints");
        let shown = String::from_utf8_lossy(&text);
        assert!(!shown.contains("hunter2") && !shown.contains("nothing"), "{shown}");
        let others = keys('2');
        let parse = |app: &str, text: &[u8], keys| Secrets::parse(app, text, keys);
        assert_eq!(parse("bank", &text, Some(sealer.keys())).expect("opens"), secrets);
        let by = sealer.keys().first().to_owned();
        assert_eq!(Form::of("bank", &text).expect("sound"), Form::Sealed(by));
        assert!(parse("bank", &text, None).is_err());
        assert!(parse("bank", &text, Some(&others)).is_err());

        // Whoever may write the file can make its checksum right, and no more than that.
        let moved = |change: &dyn Fn(&mut Written)| {
            let mut written = Written::parse("bank", &text).expect("sound");
            change(&mut written);
            let app = written.app.clone();
            let text = record::print(&written).expect("prints");
            Form::of(&app, &text).expect("its form is right");
            parse(&app, &text, Some(sealer.keys())).map(drop)
        };
        moved(&|_| ()).expect("as it was");
        let values = |written: &mut Written, change: &dyn Fn(&mut BTreeMap<String, String>)| {
            change(&mut written.sealed.as_mut().expect("sealed").values);
        };
        let swapped = |values: &mut BTreeMap<String, String>| {
            let token = values.insert("token".into(), values["other"].clone());
            values.insert("other".into(), token.expect("there"));
        };
        moved(&|written| values(written, &swapped)).expect_err("to another name");
        let renamed = |values: &mut BTreeMap<String, String>| {
            let token = values.remove("token").expect("there");
            values.insert("mine".into(), token);
        };
        moved(&|written| values(written, &renamed)).expect_err("to a new name");
        moved(&|written| written.app = "shop".into()).expect_err("to another app");
        let empty = Secrets::default().print("bank", Some(&sealer)).expect("prints");
        assert_eq!(Form::of("bank", &empty).expect("sound"), Form::Empty, "it needs no key");
    }

    fn keys(digit: char) -> Keyring {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys");
        std::fs::write(&path, digit.to_string().repeat(64)).expect("written");
        Keyring::read(&path).expect("a key")
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

//! Seals secrets with a key that the operator keeps elsewhere, so that whoever reads the data folder or a copy of it
//! reads none. Knows no files but that of the keys. Invariant: what was sealed opens under the app and the name that
//! it was sealed for, and under no other; nothing of this module prints a key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::clock::Clock;
use crate::limits;

const KEY_BYTES: usize = 32;
/// What of the file's keys is used for what. Changing them makes all that was sealed unreadable.
const FOR_SEALING: &str = "keystead 2026-11-22 secrets of apps: sealing";
const FOR_NAMING: &str = "keystead 2026-11-22 secrets of apps: the name of a key";
/// Bytes of a key's name.
const NAME_BYTES: usize = 8;

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, io::Error),
    /// It holds something else. What it holds is not said.
    #[error("{0}: {1}; it has a key a line, 64 hex digits each (`openssl rand -hex 32` makes one)")]
    Malformed(PathBuf, String),
}

/// The keys of a host: the first one seals, all of them open.
pub struct Keyring(Vec<Key>);

struct Key {
    name: String,
    aead: LessSafeKey,
}

/// The keys and what makes nonces.
pub(super) struct Sealer {
    keys: Keyring,
    clock: Arc<dyn Clock>,
}

impl Keyring {
    /// The keys in a file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut text = String::new();
        let most = limits::SECRETS_KEY_FILE_BYTES_MAX;
        let read = File::open(path).and_then(|file| file.take(most + 1).read_to_string(&mut text));
        read.map_err(|error| KeyError::Read(path.into(), error))?;
        let malformed = |problem| KeyError::Malformed(path.into(), problem);
        if text.len() as u64 > most {
            return Err(malformed(format!("it has more than {most} bytes")));
        }
        Self::parse(&text).map_err(malformed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let keys = lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| {
            let bytes = HEXLOWER_PERMISSIVE.decode(line.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            let key = bytes.and_then(|bytes| Key::new(&bytes));
            key.ok_or_else(|| format!("line {number} is no key"))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        match keys.is_empty() {
            true => Err("it is empty".into()),
            false => Ok(Self(keys)),
        }
    }

    /// The name of the key that seals: of a key's hash, so it says nothing of the key.
    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", |key| &key.name)
    }

    /// Whether one of its keys has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|key| key.name == name)
    }

    /// What was sealed with the key `by` as the secret `name` of `app`.
    pub(super) fn open(&self, by: &str, app: &str, name: &str, sealed: &str) -> Option<String> {
        let mut bytes = decode(sealed)?;
        let aad = Aad::from(whose(app, name));
        let mut body = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let key = self.0.iter().find(|key| key.name == by)?;
        let value = key.aead.open_in_place(nonce, aad, &mut body).ok()?;
        String::from_utf8(value.to_vec()).ok()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.name)).finish()
    }
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let name = blake3::derive_key(FOR_NAMING, bytes);
        let sealing = blake3::derive_key(FOR_SEALING, bytes);
        let aead = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &sealing).ok()?);
        Some(Self { name: HEXLOWER.encode(&name[..NAME_BYTES]), aead })
    }
}

impl Sealer {
    /// Seals with the first of `keys`.
    pub(super) fn new(keys: Keyring, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    /// Its keys.
    pub(super) fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Seals `value` as the secret `name` of `app`: a nonce of its own, and what opens with it. The nonces are random;
    /// 96 bits are enough for four billion writes of secrets with one key.
    pub(super) fn seal(&self, app: &str, name: &str, value: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.clock.fill(&mut nonce);
        let mut body = value.as_bytes().to_vec();
        let key = self.keys.0.first()?;
        let aad = Aad::from(whose(app, name));
        let unique = Nonce::assume_unique_for_key(nonce);
        key.aead.seal_in_place_append_tag(unique, aad, &mut body).ok()?;
        Some(BASE64.encode(&[&nonce[..], &body].concat()))
    }
}

/// Whether a text has the form of something sealed.
pub(super) fn is_sealed(text: &str) -> bool {
    decode(text).is_some()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (bytes.len() > NONCE_LEN + CHACHA20_POLY1305.tag_len()).then_some(bytes)
}

/// What is authenticated beside a value. Names hold no line end.
fn whose(app: &str, name: &str) -> String {
    format!("keystead secret 1\n{app}\n{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn keys(lines: &[&str]) -> Keyring {
        let text: String = lines.iter().map(|digit| digit.repeat(64) + "\n").collect();
        Keyring::parse(&text).expect("keys")
    }

    fn sealer(lines: &[&str]) -> Sealer {
        Sealer::new(keys(lines), Arc::new(SystemClock::new()))
    }

    #[test]
    fn a_value_opens_as_what_it_was_sealed_and_as_nothing_else() {
        let sealer = sealer(&["1", "2"]);
        let (keys, by) = (sealer.keys(), sealer.keys().first().to_owned());
        let seal = |value| sealer.seal("bank", "token", value).expect("sealed");
        let sealed = seal("hunter2");
        assert!(is_sealed(&sealed) && !sealed.contains("hunter2"));
        assert_ne!(sealed, seal("hunter2"), "a nonce of its own");
        let open = |by: &str, app, name, text: &str| keys.open(by, app, name, text);
        assert_eq!(open(&by, "bank", "token", &sealed).as_deref(), Some("hunter2"));
        assert_eq!(open(&by, "shop", "token", &sealed), None);
        assert_eq!(open(&by, "bank", "other", &sealed), None);
        let second = keys.0[1].name.clone();
        assert_eq!(open(&second, "bank", "token", &sealed), None);
        assert_eq!(open("unknown", "bank", "token", &sealed), None);
        let bytes = decode(&sealed).expect("sealed");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(open(&by, "bank", "token", &BASE64.encode(&bad)), None, "byte {at}");
        }
        for short in ["", "AAAA", "not base64", &sealed[..36]] {
            assert_eq!(open(&by, "bank", "token", short), None, "{short}");
        }
    }

    #[test]
    fn a_file_of_keys_has_one_a_line_and_none_is_shown() {
        let good = format!("{}\r\n\n  {}  \n", "aB".repeat(32), "0".repeat(64));
        let keyring = Keyring::parse(&good).expect("keys");
        assert_eq!(keyring.0.len(), 2);
        assert_eq!(keyring.0[1].name, keys(&["0"]).first(), "whatever is around it");
        let short = "a".repeat(63);
        for bad in ["", "\n\n", &short, &format!("{good}x"), &"g".repeat(64)] {
            let problem = Keyring::parse(bad).map(drop).expect_err(bad);
            assert!(problem.len() < 30, "{problem}");
        }
        assert!(keyring.has(keyring.first()) && !keyring.has("x"));
        assert!(!format!("{keyring:?}").contains("abab"));
    }
}

//! Names of things: one newtype per id, checked where it is made, so that code below never re-checks.
//! An entity's address is the only thing handlers and the host have in common; it says nothing of machines.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is not a valid name, key or id. The message names the field and says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadId {
    /// Which part was wrong: `app`, `type`, `key`, `handler`, `message id`, …
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Checks an identifier: an ASCII letter, then letters, digits, `_` or `-`, at most
/// [`limits::NAME_BYTES_MAX`] bytes.
///
/// # Errors
/// [`BadId`] that names `field`.
pub fn check_name(field: &'static str, name: &str) -> Result<(), BadId> {
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if starts && rest && name.len() <= limits::NAME_BYTES_MAX {
        return Ok(());
    }
    Err(BadId {
        field,
        problem: format!(
            "{name:?} is not a name; a name starts with a letter, goes on with letters, digits, '_' or '-', \
             and has at most {} bytes",
            limits::NAME_BYTES_MAX
        ),
    })
}

/// The address of one entity, `app/type/key`. Cheap to clone.
#[derive(Clone)]
pub struct EntityRef(Arc<Parts>);

struct Parts {
    /// `app/type/key`; names hold no slash.
    text: Box<str>,
    /// Where the type and the key begin in it.
    kind_at: u16,
    key_at: u16,
    hash: u64,
}

impl EntityRef {
    /// Checks and joins the three parts. The key is any UTF-8 text of 1 to [`limits::KEY_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`BadId`] for the first part that is not right.
    pub fn new(app: &str, kind: &str, key: &str) -> Result<Self, BadId> {
        check_name("app", app)?;
        check_name("type", kind)?;
        if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
            let problem = format!(
                "has {} bytes; a key is any UTF-8 text of 1 to {} bytes",
                key.len(),
                limits::KEY_BYTES_MAX
            );
            return Err(BadId { field: "key", problem });
        }
        Ok(Self::join(app, kind, key))
    }

    fn join(app: &str, kind: &str, key: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [app, kind, key] {
            hasher.update(&(part.len() as u32).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        let hash = u64::from_be_bytes(first);
        let mut text = String::with_capacity(app.len() + kind.len() + key.len() + 2);
        for part in [app, "/", kind, "/", key] {
            text.push_str(part);
        }
        // Names are short, so both places fit.
        let (kind_at, key_at) = (app.len() + 1, app.len() + kind.len() + 2);
        let (kind_at, key_at) = (kind_at as u16, key_at as u16);
        Self(Arc::new(Parts { text: text.into_boxed_str(), kind_at, key_at, hash }))
    }

    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.0.text[..usize::from(self.0.kind_at) - 1]
    }

    /// The entity type's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.text[usize::from(self.0.kind_at)..usize::from(self.0.key_at) - 1]
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.text[usize::from(self.0.key_at)..]
    }

    /// The place in the hash ring, uniform over `u64` and the same on every machine and in every version.
    #[must_use]
    pub fn ring(&self) -> u64 {
        self.0.hash
    }
}

impl PartialEq for EntityRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.0.text == other.0.text)
    }
}

impl Eq for EntityRef {}

impl Hash for EntityRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for EntityRef {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntityRef {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.app(), self.kind(), self.key()).cmp(&(other.app(), other.kind(), other.key()))
    }
}

impl fmt::Display for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for EntityRef {
    type Err = BadId;

    /// Reads `APP/TYPE/KEY`; the key may hold further slashes.
    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(app), Some(kind), Some(key)) => Self::new(app, kind, key),
            _ => Err(BadId { field: "entity", problem: format!("{text:?} is not APP/TYPE/KEY") }),
        }
    }
}

impl Serialize for EntityRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.app(), self.kind(), self.key()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EntityRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (app, kind, key) = <(String, String, String)>::deserialize(deserializer)?;
        Self::new(&app, &kind, &key).map_err(serde::de::Error::custom)
    }
}

/// A message's id: its time of birth first, so that rows keyed by it are written nearly in order, then the
/// first 16 bits of its target's ring place, so that the owner can be found from the id alone, then chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(pub u128);

impl MessageId {
    /// Joins the parts; `chance` comes from [`crate::clock::Clock`].
    #[must_use]
    pub fn new(now_ms: u64, target: &EntityRef, chance: u64) -> Self {
        let time = u128::from(now_ms & 0xffff_ffff_ffff) << 80;
        let place = u128::from(target.ring() >> 48) << 64;
        Self(time | place | u128::from(chance))
    }

    /// When it was made, in milliseconds since 1970.
    #[must_use]
    pub fn at_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// A ring place that its owner owns too.
    #[must_use]
    pub fn ring(self) -> u64 {
        ((self.0 >> 64) as u64 & 0xffff) << 48
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msg_{:032x}", self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for MessageId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.strip_prefix("msg_")
            .filter(|hex| {
                hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
            .and_then(|hex| u128::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| BadId {
                field: "message id",
                problem: format!(
                    "{text:?} is not a message id; one looks like msg_ and 32 hex digits"
                ),
            })
    }
}

/// Lets the world outside call an entity back, once: the id of the message that waits for it, which finds its
/// owner, and a secret that nobody can guess. It shows itself only where it is handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallbackToken {
    id: MessageId,
    secret: [u8; 16],
}

impl CallbackToken {
    /// Joins the parts; `secret` is chance.
    #[must_use]
    pub fn new(id: MessageId, secret: [u8; 16]) -> Self {
        Self { id, secret }
    }

    /// The message that waits.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// What is kept instead of the secret: data files give nobody a token.
    #[must_use]
    pub fn proof(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }

    /// Whether the secret is the one that `proof` was made from. Takes the same time whatever differs.
    #[must_use]
    pub fn proves(&self, proof: &[u8; 32]) -> bool {
        // Hashes compare in constant time.
        blake3::hash(&self.secret) == blake3::Hash::from_bytes(*proof)
    }
}

impl fmt::Display for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:032x}", self.id, u128::from_be_bytes(self.secret))
    }
}

impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-…", self.id)
    }
}

impl FromStr for CallbackToken {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId {
            field: "callback token",
            problem: "it is not a token; one looks like msg_, 32 hex digits, '-' and 32 hex digits"
                .into(),
        };
        let (id, secret) = text.split_once('-').ok_or_else(bad)?;
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if secret.len() != 32 || !secret.bytes().all(hex) {
            return Err(bad());
        }
        let id = id.parse().map_err(|_| bad())?;
        let secret = u128::from_str_radix(secret, 16).map_err(|_| bad())?;
        Ok(Self { id, secret: secret.to_be_bytes() })
    }
}

/// A place in a partition's journal: batches are numbered from 1; 0 means nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A component version: the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId(pub [u8; 32]);

impl VersionId {
    /// The version that these component bytes are.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(*blake3::hash(component).as_bytes())
    }

    /// All of it in hex; `Display` gives the first 16 digits.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_string()
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..8] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        let entity: EntityRef = "bank/account/a/b c\u{e9}".parse().expect("valid");
        assert_eq!(entity.key(), "a/b c\u{e9}");
        assert_eq!(entity.to_string().parse::<EntityRef>().expect("valid"), entity);
    }

    #[test]
    fn bad_parts_are_named() {
        let field = |app: &str, kind: &str, key: &str| {
            EntityRef::new(app, kind, key).expect_err("bad").field
        };
        assert_eq!(field("", "t", "k"), "app");
        assert_eq!(field("a", "1t", "k"), "type");
        assert_eq!(field("a", "t", ""), "key");
        assert_eq!(field("a", "t", &"k".repeat(513)), "key");
        assert!(EntityRef::new("a", "t", &"k".repeat(512)).is_ok());
    }

    #[test]
    fn message_ids_read_back_and_find_their_owner() {
        let entity = EntityRef::new("a", "t", "k").expect("valid");
        let id = MessageId::new(1_700_000_000_000, &entity, 42);
        assert_eq!(id.to_string().parse::<MessageId>().expect("valid"), id);
        assert_eq!(id.ring() >> 48, entity.ring() >> 48);
        assert!("msg_12".parse::<MessageId>().is_err());
    }

    #[test]
    fn tokens_read_back_and_prove_themselves_only() {
        let token = CallbackToken::new(MessageId(42), [0xab; 16]);
        assert_eq!(token.to_string().parse::<CallbackToken>().expect("valid"), token);
        assert!(token.to_string().len() <= 128);
        assert!(token.proves(&token.proof()));
        let other = CallbackToken::new(MessageId(42), [0xac; 16]);
        assert!(!other.proves(&token.proof()));
        assert!(!format!("{token:?}").contains("abab"), "a secret in a log");
        let text = token.to_string();
        for bad in [
            "",
            "msg_2a-ab",
            &text[4..],
            &text[..68],
            &text.to_uppercase(),
            &text.replace('-', "+"),
        ] {
            assert!(bad.parse::<CallbackToken>().is_err(), "{bad}");
        }
        assert!(format!("{text}0").parse::<CallbackToken>().is_err());
    }
}

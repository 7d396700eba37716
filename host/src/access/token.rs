//! One token: its secret, which only its holder has, and what the host keeps of it. The secret is 32 random bytes, so
//! its hash needs no salt and no slow function: those make guessable secrets dear to guess, and would cost every
//! request milliseconds. Invariant: a secret is never in a log, and its text is given out once.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::Role;
use crate::clock::Clock;
use crate::ids::{BadId, check_name};
use crate::limits;

/// What a token's holder has.
pub struct Secret([u8; SECRET_BYTES]);

const SECRET_BYTES: usize = 32;
const PREFIX: &str = "ks_";
/// What the hash is for, so that it is no hash of anything else.
const PURPOSE: &str = "keystead 2026-11-22 access token";

impl Secret {
    /// The token as its holder writes it: `ks_` and 43 characters.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&self.0))
    }

    /// Reads what [`Secret::text`] wrote.
    ///
    /// # Errors
    /// [`BadToken`] for anything else.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let bytes = text.strip_prefix(PREFIX).map(|text| BASE64URL_NOPAD.decode(text.as_bytes()));
        let bytes = bytes.and_then(Result::ok).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| BadToken("it is ks_ and 43 characters".into()))
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(blake3::derive_key(PURPOSE, &self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ks_…")
    }
}

/// What the host keeps of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called where it is listed, revoked and audited; says nothing of the secret.
    pub id: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// What its holder may do.
    pub roles: BTreeSet<Role>,
    /// For which apps.
    pub apps: Apps,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it stops working, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Of its secret.
    #[serde(with = "hex")]
    pub(super) hash: blake3::Hash,
}

impl Token {
    /// Whether its holder may do what asks for `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.iter().any(|own| own.implies(role))
    }

    /// Whether its holder may make other tokens.
    pub(super) fn rules(&self) -> bool {
        self.has(Role::Admin) && self.apps == Apps::All
    }
}

/// The apps that a token is for; they need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apps {
    /// All of them, and the host itself.
    All,
    /// These.
    #[serde(untagged)]
    These(BTreeSet<String>),
}

impl Apps {
    /// Whether `app` is one of them.
    #[must_use]
    pub fn contains(&self, app: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(apps) => apps.contains(app),
        }
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What its holder may do.
    pub roles: BTreeSet<Role>,
    /// For which apps.
    pub apps: Apps,
    /// How long it works; for ever when not said.
    pub lasts: Option<Duration>,
}

/// A token that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token: {0}")]
pub struct BadToken(pub String);

impl From<BadId> for BadToken {
    fn from(bad: BadId) -> Self {
        Self(bad.to_string())
    }
}

impl NewToken {
    pub(super) fn make(self, clock: &dyn Clock) -> Result<(Secret, Token), BadToken> {
        self.check()?;
        let (mut secret, mut id) = ([0; SECRET_BYTES], [0; 8]);
        clock.fill(&mut secret);
        clock.fill(&mut id);
        let (secret, created_ms) = (Secret(secret), clock.now_ms());
        let Self { name, roles, apps, lasts } = self;
        let expires_ms = lasts.map(|lasts| created_ms.saturating_add(lasts.as_millis() as u64));
        let id = format!("tok_{}", HEXLOWER.encode(&id));
        let hash = secret.hash();
        Ok((secret, Token { id, name, roles, apps, created_ms, expires_ms, hash }))
    }

    fn check(&self) -> Result<(), BadToken> {
        let bad = |problem: &str| Err(BadToken(problem.to_owned()));
        let length = self.name.len();
        if length == 0 || length > limits::NAME_BYTES_MAX || self.name.chars().any(char::is_control)
        {
            let max = limits::NAME_BYTES_MAX;
            return bad(&format!("its name has 1 to {max} bytes and no control characters"));
        }
        if self.roles.is_empty() {
            return bad("it needs a role: invoke, read, operate or admin");
        }
        if let Apps::These(apps) = &self.apps {
            if apps.is_empty() || apps.len() > limits::TOKEN_APPS_MAX {
                return bad(&format!("it names 1 to {} apps, or all", limits::TOKEN_APPS_MAX));
            }
            apps.iter().try_for_each(|app| check_name("app", app))?;
        }
        match self.lasts {
            Some(lasts) if lasts.is_zero() || lasts > limits::TOKEN_TIME_MAX => {
                let max = limits::TOKEN_TIME_MAX.as_secs() / (24 * 3600);
                bad(&format!("it lasts for some time, at most {max} days"))
            }
            _ => Ok(()),
        }
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &blake3::Hash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hash.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<blake3::Hash, D::Error> {
        let text = String::deserialize(from)?;
        blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

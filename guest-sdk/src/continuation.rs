//! Replies: who hears how a message ended, and what they hear. Not the message itself, which is
//! [`Message`](crate::Message). Invariant: a reply has the type that its callee returns, because a [`Then`]
//! can be made by a reply handler's client only and the compiler compares the two.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::host::Continuation;

/// How a message ended. In JSON, and as a reply handler's argument `reply`, it is one of `{"ok": VALUE}`,
/// `{"rejected": {"code", "message", "details"}}` and `{"failed": {"code", "message"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<T> {
    /// The command succeeded and returned this.
    Ok(T),
    /// The command said no, for good: nothing of it is kept.
    Rejected(Failure),
    /// The command never ended: the code is `parked` (its attempts are used up), `cancelled` or `dropped`
    /// (by an operator) or `expired` (a callback that nobody resolved in time).
    Failed(Failure),
}

impl<T> Reply<T> {
    /// The value, or why there is none.
    ///
    /// # Errors
    /// The failure of both other kinds.
    pub fn result(self) -> Result<T, Failure> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Rejected(failure) | Self::Failed(failure) => Err(failure),
        }
    }

    /// The value, when there is one.
    #[must_use]
    pub fn ok(self) -> Option<T> {
        self.result().ok()
    }

    /// Whether the command succeeded.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}

/// Why a message did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether its handler said so.
    pub kind: FailureKind,
    /// What programs tell failures apart by.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// A JSON value for programs, as text.
    pub details: Option<String>,
}

impl Failure {
    /// The details as a `T`; none when there are none, or others.
    #[must_use]
    pub fn details_as<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.details.as_deref()?).ok()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// Which way a message did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Its handler rejected it.
    Rejected,
    /// It never ended.
    Failed,
}

/// A reply handler of this entity and what it is called with besides the [`Reply<R>`]:
/// `Order::reply().reserved(item)`.
#[must_use = "a reply handler hears of a message: .call_then(ctx, …)"]
pub struct Then<R> {
    kind: &'static str,
    handler: &'static str,
    context: Vec<u8>,
    of: PhantomData<fn(R)>,
}

impl<R> Then<R> {
    /// `handler` of type `kind` with the arguments `context`, a JSON object.
    #[doc(hidden)]
    pub fn new(kind: &'static str, handler: &'static str, context: Vec<u8>) -> Self {
        Self { kind, handler, context, of: PhantomData }
    }

    /// As an entity of type `own` hands it to the host.
    pub(crate) fn of(self, own: &str, patient: bool) -> Continuation {
        let Self { kind, handler, context, .. } = self;
        assert!(own == kind, "a reply to {own} can't call {handler} of {kind}");
        Continuation { handler, context, patient }
    }
}

// By hand, because a derive would ask the same of `R`.
impl<R> Clone for Then<R> {
    fn clone(&self) -> Self {
        Self::new(self.kind, self.handler, self.context.clone())
    }
}

impl<R> fmt::Debug for Then<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, handler, context, .. } = self;
        write!(f, "{handler} of {kind} with {}", context.escape_ascii())
    }
}

/// What the world outside resolves or rejects, made by [`Ctx::callback`](crate::Ctx::callback). It is a secret:
/// URL-safe text of at most 128 bytes that nobody can guess.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackToken(String);

impl CallbackToken {
    pub(crate) fn new(token: String) -> Self {
        Self(token)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for CallbackToken {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Not the secret: logs are read by others.
impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.rsplit_once('-').map_or("", |(id, _)| id);
        write!(f, "CallbackToken({id}-…)")
    }
}

/// The JSON of a reply.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape<T> {
    Ok(T),
    Rejected(Told),
    Failed(Told),
}

#[derive(Serialize, Deserialize)]
struct Told {
    code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Box<RawValue>>,
}

impl Told {
    fn into_failure(self, kind: FailureKind) -> Failure {
        let details = self.details.map(|json| Box::<str>::from(json).into_string());
        Failure { kind, code: self.code, message: self.message, details }
    }
}

impl From<&Failure> for Told {
    fn from(failure: &Failure) -> Self {
        let Failure { code, message, details, .. } = failure.clone();
        Self { code, message, details: details.and_then(|text| RawValue::from_string(text).ok()) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(match Shape::deserialize(json)? {
            Shape::Ok(value) => Self::Ok(value),
            Shape::Rejected(told) => Self::Rejected(told.into_failure(FailureKind::Rejected)),
            Shape::Failed(told) => Self::Failed(told.into_failure(FailureKind::Failed)),
        })
    }
}

impl<T: Serialize> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ok(value) => Shape::Ok(value).serialize(json),
            Self::Rejected(failure) => Shape::<()>::Rejected(failure.into()).serialize(json),
            Self::Failed(failure) => Shape::<()>::Failed(failure.into()).serialize(json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    fn failure(kind: FailureKind, code: &str, details: Option<&str>) -> Failure {
        let message = "only 3 left".to_owned();
        Failure { kind, code: code.to_owned(), message, details: details.map(str::to_owned) }
    }

    #[test]
    fn replies_read_and_write_as_the_interface_has_them() {
        let rejected = failure(FailureKind::Rejected, "sold_out", Some(r#"{"left":3}"#));
        let failed = failure(FailureKind::Failed, "parked", None);
        for (json, reply) in [
            (r#"{"ok":7}"#, Reply::Ok(7u64)),
            (
                r#"{"rejected":{"code":"sold_out","message":"only 3 left","details":{"left":3}}}"#,
                Reply::Rejected(rejected.clone()),
            ),
            (r#"{"failed":{"code":"parked","message":"only 3 left"}}"#, Reply::Failed(failed)),
        ] {
            assert_eq!(serde_json::from_str::<Reply<u64>>(json).expect(json), reply);
            assert_eq!(serde_json::to_string(&reply).expect(json), json);
            let value: serde_json::Value = serde_json::from_str(json).expect(json);
            assert_eq!(serde_json::from_value::<Reply<u64>>(value).expect(json), reply);
        }
        let null = r#"{"rejected":{"code":"a","message":"b","details":null}}"#;
        let reply: Reply<u64> = serde_json::from_str(null).expect("reads");
        assert_eq!(reply.result().expect_err("rejected").details, None);
        assert_eq!(rejected.details_as::<serde_json::Value>().expect("JSON")["left"], 3);
        assert_eq!(rejected.details_as::<Vec<u8>>(), None);
        assert_eq!(rejected.to_string(), "sold_out: only 3 left");
    }

    #[test]
    fn other_shapes_are_no_reply() {
        for json in ["{}", r#"{"ok":"x"}"#, r#"{"done":1}"#, "7", r#"{"ok":1,"failed":{}}"#] {
            assert!(serde_json::from_str::<Reply<u64>>(json).is_err(), "{json}");
        }
        assert_eq!(
            serde_json::from_str::<Reply<()>>(r#"{"ok":null}"#).expect("unit"),
            Reply::Ok(())
        );
        let bytes: Reply<Bytes> = serde_json::from_str(r#"{"ok":"AP8="}"#).expect("base64");
        assert_eq!(bytes, Reply::Ok(Bytes(vec![0, 255])));
    }
}

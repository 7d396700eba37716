//! The steps from an older version of an entity's state to the next; what `#[migrate(from = N)]` makes of a
//! method. Not when they run: that is `entity`. Invariant: a step reads and makes plain fields as JSON.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entity::Entity;
use crate::{Error, Result};

/// The plain fields of an entity that has stored none.
const NO_FIELDS: &[u8] = b"{}";

/// One step from a version of the state to the next. `#[handlers]` makes one of each method that is marked
/// with `#[migrate(from = 1)]`:
///
/// * `fn(old: V1) -> Self`, or `-> V2` on the way to a later version: `V1` reads the old plain fields, and
///   the result is the new ones.
/// * `fn(&mut self, old: V1)`: the same, when lazy fields change too. The plain fields of `self` are at
///   their defaults, the lazy ones are as stored.
/// * `fn(&mut self)`: the plain fields are as stored. For a change of lazy fields only.
///
/// Each may return a `Result`; one that fails leaves the state as it was, and the message is tried again.
///
/// Give `V1` serde's `#[serde(default)]`: what was never changed may never have been stored, as with a field
/// that was added later, or an entity that has entries in its maps and plain fields at their defaults.
pub struct Migration<E> {
    from: u32,
    step: fn(&[u8]) -> Result<Vec<u8>>,
    of: PhantomData<fn() -> E>,
}

impl<E> Migration<E> {
    /// The step from version `from` to the next: from the old plain fields as JSON to the new ones. Made of
    /// [`convert`], [`replace`], [`change`] or [`change_in_place`].
    #[must_use]
    pub const fn new(from: u32, step: fn(&[u8]) -> Result<Vec<u8>>) -> Self {
        Self { from, step, of: PhantomData }
    }
}

impl<E> fmt::Debug for Migration<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Migration(from {})", self.from)
    }
}

/// `fn(old: V1) -> V2`.
///
/// # Errors
/// The step's, or what is stored is no `Old`.
pub fn convert<Old: DeserializeOwned, New: Serialize>(
    old: &[u8],
    step: impl FnOnce(Old) -> Result<New>,
) -> Result<Vec<u8>> {
    serde_json::to_vec(&step(decode(old)?)?).map_err(|error| unfit(&error))
}

/// `fn(old: V1) -> Self`.
///
/// # Errors
/// The step's, or what is stored is no `Old`.
pub fn replace<E: Entity, Old: DeserializeOwned>(
    old: &[u8],
    step: impl FnOnce(Old) -> Result<E>,
) -> Result<Vec<u8>> {
    step(decode(old)?)?.plain().map_err(|error| unfit(&error))
}

/// `fn(&mut self, old: V1)`.
///
/// # Errors
/// The step's, or what is stored is no `Old`.
pub fn change<E: Entity, Old: DeserializeOwned>(
    old: &[u8],
    step: impl FnOnce(&mut E, Old) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut entity = E::load(NO_FIELDS).map_err(|error| unfit(&error))?;
    step(&mut entity, decode(old)?)?;
    entity.plain().map_err(|error| unfit(&error))
}

/// `fn(&mut self)`.
///
/// # Errors
/// The step's, or the plain fields do not fit what is stored.
pub fn change_in_place<E: Entity>(
    old: &[u8],
    step: impl FnOnce(&mut E) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut entity = E::load(old).map_err(|error| unfit(&error))?;
    step(&mut entity)?;
    entity.plain().map_err(|error| unfit(&error))
}

fn decode<Old: DeserializeOwned>(old: &[u8]) -> Result<Old> {
    serde_json::from_slice(old).map_err(|error| unfit(&error))
}

/// State that does not decode or encode: worth another attempt, because another version of the app may.
fn unfit(error: &serde_json::Error) -> Error {
    let text = format!("the plain fields do not fit what is stored: {error}");
    Error::retryable(text).with_code("state_mismatch")
}

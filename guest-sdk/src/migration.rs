//! State of an older version on its way to the code's. A command migrates inside its own transaction, before
//! its handler runs; a query never does. Invariant: state is read in the shape of the version it was written
//! in, or not at all.
//!
//! The state key `version` holds the version; without it the state is of version 1. Plain fields of a later
//! version are stored behind a space, which JSON passes over: code of version 1, which most types are, sees
//! by it whether there is a version to look up.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entity::{Entity, Handlers};
use crate::{Error, Result, host};

/// The state key of the plain fields.
const PLAIN_KEY: &[u8] = b"self";
/// The state key of the version.
const VERSION_KEY: &[u8] = b"version";
/// The plain fields of an entity that has stored none.
const NO_FIELDS: &[u8] = b"{}";
/// What stands before plain fields of a later version than 1.
const LATER: u8 = b' ';

/// The internal handler that brings an entity to the code's version.
pub(crate) const MIGRATE: &str = "keystead-migrate";
/// The code of a query's failure that asks for [`MIGRATE`].
pub(crate) const OUTDATED: &str = "state_outdated";

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

/// The oldest version that `E` reads: that of its first step, its own when it has none. Fails to compile when
/// the steps are not exactly those from there to its own version.
pub(crate) const fn oldest<E: Handlers>() -> u32 {
    let steps = E::MIGRATIONS;
    let mut oldest = E::VERSION;
    while oldest > 1 && position(steps, oldest - 1) < steps.len() {
        oldest -= 1;
    }
    assert!(
        (E::VERSION - oldest) as usize == steps.len(),
        "#[migrate(from = N)]: one step from each version to the next, up to the entity's own"
    );
    oldest
}

/// The position of the step from this version; the number of steps when there is none.
const fn position<E>(steps: &[Migration<E>], from: u32) -> usize {
    let mut at = 0;
    while at < steps.len() && steps[at].from != from {
        at += 1;
    }
    at
}

/// An entity as a call found it, in the code's version.
pub(crate) struct Loaded<E> {
    pub(crate) entity: E,
    /// Its plain fields as they were stored, or at their defaults; none when there were none.
    before: Option<Vec<u8>>,
    found: Found,
}

/// What the call found in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The code's version, so there is nothing to note.
    Current,
    /// Nothing: the version is stored with the first thing that is.
    Nothing,
    /// This older version.
    Older(u32),
}

/// Loads the entity that is called; a command brings it to the code's version first.
pub(crate) fn load<E: Handlers>(is_query: bool) -> Result<Loaded<E>> {
    let stored = if E::PLAIN { host::get(PLAIN_KEY) } else { None };
    match found::<E>(stored.as_deref())? {
        Found::Older(version) if is_query => Err(outdated::<E>(version)),
        Found::Older(version) => migrate(version),
        found => {
            let plain = stored.as_deref().unwrap_or(NO_FIELDS);
            let entity = E::load(plain).map_err(|error| unfit_now(&error))?;
            let before = match stored {
                None if E::PLAIN && !is_query => Some(encode(&entity)?),
                stored => stored,
            };
            Ok(Loaded { entity, before, found })
        }
    }
}

impl<E: Handlers> Loaded<E> {
    /// Writes what a command changed of the plain fields, and the version where it is to be noted.
    pub(crate) fn store(self) -> Result<()> {
        let Self { entity, before, found } = self;
        let after = if E::PLAIN { Some(encode(&entity)?) } else { None };
        let changed = before != after;
        match after {
            Some(after) if changed => host::set(PLAIN_KEY, &after),
            None if changed => host::delete(PLAIN_KEY),
            _ => {}
        }
        let note = match found {
            Found::Current => false,
            Found::Older(_) => true,
            Found::Nothing => changed || is_anything_stored(),
        };
        if note {
            host::set(VERSION_KEY, E::VERSION.to_string().as_bytes());
        }
        Ok(())
    }
}

fn found<E: Handlers>(stored: Option<&[u8]>) -> Result<Found> {
    let oldest = const { oldest::<E>() };
    let is_first = stored.is_some_and(|plain| plain.first() != Some(&LATER));
    if E::VERSION == 1 && is_first {
        return Ok(Found::Current);
    }
    let version = match host::get(VERSION_KEY) {
        Some(json) => str::from_utf8(&json).ok().and_then(|json| json.parse().ok()),
        None if E::VERSION == 1 => Some(1),
        None if stored.is_some() || is_anything_stored() => Some(1),
        None => return Ok(Found::Nothing),
    };
    match version {
        Some(version) if version == E::VERSION => Ok(Found::Current),
        Some(version) if (oldest..E::VERSION).contains(&version) => Ok(Found::Older(version)),
        version => Err(unknown::<E>(version, oldest)),
    }
}

/// Whether this entity has any state.
fn is_anything_stored() -> bool {
    // The least key there can be.
    !host::scan(&[0], None, 1, false).is_empty()
}

/// Runs the steps from `version` to the code's.
fn migrate<E: Handlers>(version: u32) -> Result<Loaded<E>> {
    let before = host::get(PLAIN_KEY);
    let mut plain = before.clone().unwrap_or_else(|| NO_FIELDS.to_vec());
    for from in version..E::VERSION {
        let step = E::MIGRATIONS[position(E::MIGRATIONS, from)].step;
        plain = step(&plain).map_err(|error| at_step(from, &error))?;
        if plain.is_empty() {
            // What an entity without plain fields makes of itself.
            plain = NO_FIELDS.to_vec();
        }
    }
    let entity = E::load(&plain).map_err(|error| unfit_now(&error))?;
    Ok(Loaded { entity, before, found: Found::Older(version) })
}

/// The plain fields as they are stored.
fn encode<E: Entity>(entity: &E) -> Result<Vec<u8>> {
    let mut plain = entity.plain().map_err(|error| unfit_now(&error))?;
    if E::VERSION > 1 {
        plain.insert(0, LATER);
    }
    Ok(plain)
}

fn outdated<E: Entity>(version: u32) -> Error {
    let text = format!("{} is of version {version}, {} is wanted", called(), E::VERSION);
    Error::retryable(text).with_code(OUTDATED)
}

fn unknown<E: Entity>(version: Option<u32>, oldest: u32) -> Error {
    let is = version.map_or("no number".to_owned(), |version| version.to_string());
    let knows = match E::VERSION {
        newest if newest == oldest => format!("only {newest}"),
        newest => format!("{oldest} to {newest}"),
    };
    mismatch(format!("the state of {} is of version {is}, and this code knows {knows}", called()))
}

/// State that does not decode or encode: worth another attempt, because another version of the app may.
fn unfit(error: &serde_json::Error) -> Error {
    mismatch(format!("the plain fields do not fit what is stored: {error}"))
}

/// The same outside of a step, which says itself what entity it is about.
fn unfit_now(error: &serde_json::Error) -> Error {
    mismatch(format!("the plain fields of {} do not fit what is stored: {error}", called()))
}

/// A step that says no is tried again as well: the message it came with is not to blame.
fn at_step(from: u32, error: &Error) -> Error {
    let text = format!("{}, its step from version {from}: {}", called(), error.message());
    let code = error.code().to_owned();
    Error::retryable(text).with_code(code)
}

fn mismatch(text: String) -> Error {
    Error::retryable(text).with_code("state_mismatch")
}

fn called() -> String {
    host::self_ref().to_string()
}

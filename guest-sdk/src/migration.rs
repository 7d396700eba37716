//! How older state becomes an entity: the steps that `#[migrate(from = N)]` names, run one after the other.
//! Not when, and not which version is stored: that is `entity`. Invariant: no step writes anything.

use serde::de::DeserializeOwned;

use crate::entity::{Entity, Handlers};
use crate::{Error, Result};

/// One step from older state; what `#[migrate(from = N)]` makes of a method.
#[derive(Debug, Clone, Copy)]
pub struct Migration<E> {
    from: u32,
    step: Step<E>,
}

/// All take the older plain fields, a JSON object.
#[derive(Debug, Clone, Copy)]
enum Step<E> {
    Next(fn(&[u8]) -> Result<Vec<u8>>),
    Whole(fn(&[u8]) -> Result<E>),
    Fill(fn(&mut E, &[u8]) -> Result<()>),
}

impl<E> Migration<E> {
    /// A step to the plain fields of version `from + 1`, a JSON object.
    #[must_use]
    pub const fn next(from: u32, step: fn(&[u8]) -> Result<Vec<u8>>) -> Self {
        Self { from, step: Step::Next(step) }
    }

    /// A step to the entity's own version.
    #[must_use]
    pub const fn whole(from: u32, step: fn(&[u8]) -> Result<E>) -> Self {
        Self { from, step: Step::Whole(step) }
    }

    /// A step to the entity's own version, called on an entity whose plain fields have their defaults.
    #[must_use]
    pub const fn fill(from: u32, step: fn(&mut E, &[u8]) -> Result<()>) -> Self {
        Self { from, step: Step::Fill(step) }
    }

    /// The version that it reads.
    #[must_use]
    pub const fn from(&self) -> u32 {
        self.from
    }
}

/// The entity whose plain fields were stored at version `from`; none when no step reads that version.
///
/// # Errors
/// A step's, and `state_mismatch` when what it reads or made does not fit.
pub fn run<E: Handlers>(mut from: u32, plain: &[u8]) -> Result<Option<E>> {
    let mut plain = std::borrow::Cow::Borrowed(plain);
    while from < E::VERSION {
        let Some(found) = E::MIGRATIONS.iter().find(|step| step.from == from) else {
            return Ok(None);
        };
        match found.step {
            Step::Whole(step) => return step(&plain).map(Some),
            Step::Fill(step) => {
                let mut entity = load::<E>(b"{}")?;
                step(&mut entity, &plain)?;
                return Ok(Some(entity));
            }
            Step::Next(step) => plain = step(&plain)?.into(),
        }
        from += 1;
    }
    load::<E>(&plain).map(Some)
}

/// The older plain fields as a step takes them; what the macro calls.
///
/// # Errors
/// `state_mismatch`, which another version of the app may mend.
pub fn read<T: DeserializeOwned>(plain: &[u8]) -> Result<T> {
    serde_json::from_slice(plain).map_err(|error| unfit::<T>(&error))
}

fn load<E: Entity>(plain: &[u8]) -> Result<E> {
    E::load(plain).map_err(|error| unfit::<E>(&error))
}

fn unfit<T>(error: &serde_json::Error) -> Error {
    let wanted = std::any::type_name::<T>();
    let text = format!("a migration reads {wanted}, and what is stored is not one: {error}");
    Error::retryable(text).with_code("state_mismatch")
}

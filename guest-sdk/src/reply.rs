//! A handler's return value on its way out. What the macros call.

use serde::Serialize;

use crate::error::HandlerError;
use crate::{Bytes, Error, Result};

/// What a handler returned. `.outcome()` is `?`-ready for a `Result` and for a plain value alike: the
/// method of the former is inherent, so it wins over the trait's.
#[derive(Debug)]
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
    /// The value, or the failure that the caller sees.
    ///
    /// # Errors
    /// The handler's.
    pub fn outcome(self) -> Result<T>
    where
        E: HandlerError,
    {
        self.0.map_err(HandlerError::into_error)
    }
}

/// A return value that is not a `Result`.
pub trait Plain {
    /// Its type.
    type Value;

    /// The value.
    ///
    /// # Errors
    /// None.
    fn outcome(self) -> Result<Self::Value>;
}

impl<T> Plain for Returned<T> {
    type Value = T;

    fn outcome(self) -> Result<T> {
        Ok(self.0)
    }
}

/// The value as JSON.
///
/// # Errors
/// When it has no JSON form, such as a map whose keys are not strings.
pub fn json<T: Serialize>(value: T) -> Result<Vec<u8>> {
    serde_json::to_vec(&value)
        .map_err(|error| Error::retryable(format!("the reply has no JSON form: {error}")))
}

/// The bytes as they are.
///
/// # Errors
/// None.
pub fn bytes(value: Bytes) -> Result<Vec<u8>> {
    Ok(value.0)
}

//! One value that is loaded when it is asked for.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{read, update, write};
use crate::host;

/// A field that is loaded on touch: for what is large and seldom needed.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// #[entity]
/// pub struct Page { views: u64, text: Value<String> }
///
/// #[handlers]
/// impl Page {
///     pub fn view(&mut self) -> u64 { self.views += 1; self.views }   // never loads the text
///     pub fn edit(&mut self, text: String) { self.text.set(&text); }
///     pub fn text(&self) -> Option<String> { self.text.get() }
/// }
/// ```
pub struct Value<T> {
    key: String,
    of: PhantomData<fn() -> T>,
}

impl<T> Value<T> {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { key: format!("v/{name}"), of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Value<T> {
    /// The value; none before the first [`set`](Self::set).
    #[must_use]
    pub fn get(&self) -> Option<T> {
        read(self.key.as_bytes())
    }

    /// Replaces the value.
    pub fn set(&mut self, value: &T) {
        write(self.key.as_bytes(), value);
    }

    /// Changes the value in place, starting from the default when there is none.
    pub fn update(&mut self, change: impl FnOnce(&mut T))
    where
        T: Default,
    {
        update(self.key.as_bytes(), change);
    }

    /// Removes the value and gives it back.
    pub fn take(&mut self) -> Option<T> {
        let value = self.get()?;
        host::delete(self.key.as_bytes());
        Some(value)
    }
}

impl<T> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.key)
    }
}

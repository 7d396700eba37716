//! Fields that are not loaded with their entity: [`Map`], [`List`] and [`Value`] read and write their parts
//! in the host's state, which is the transaction: it sees its own writes and forgets them when the call
//! fails. There is no cache here. Invariant: writing takes `&mut`, so a query can't.
//!
//! State keys: `m/FIELD/` and the ordered bytes of the map's key; `l/FIELD` with the length and `l/FIELD/`
//! with the position in big-endian; `v/FIELD`. Values are JSON.

mod key;
mod list;
mod map;
mod pages;
mod value;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;

pub use key::{KeyBytes, KeyPrefix, OrderedKey};
pub use list::{List, ListIter};
pub use map::{Iter, Map};
pub use value::Value;

/// The value at a state key.
///
/// # Panics
/// When what is stored there is not a `T`: nothing the handler could do about it.
fn read<T: DeserializeOwned>(key: &[u8]) -> Option<T> {
    Some(decode(key, &host::get(key)?))
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> T {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        let (key, wanted) = (key.escape_ascii(), std::any::type_name::<T>());
        panic!("what is stored at {key} is not a {wanted}: {error}")
    })
}

fn encode<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        panic!("the value for {} has no JSON form: {error}", key.escape_ascii())
    })
}

/// Writes a state key, unless it has that value already.
fn write<T: Serialize>(key: &[u8], value: &T) {
    let after = encode(key, value);
    if host::get(key).as_deref() != Some(after.as_slice()) {
        host::set(key, &after);
    }
}

/// Changes the value at a state key, or the default when there is none.
fn update<T>(key: &[u8], change: impl FnOnce(&mut T))
where
    T: Serialize + DeserializeOwned + Default,
{
    let before = host::get(key);
    let mut value = before.as_deref().map_or_else(T::default, |before| decode(key, before));
    change(&mut value);
    let after = encode(key, &value);
    if before.as_deref() != Some(after.as_slice()) {
        host::set(key, &after);
    }
}

#[cfg(test)]
mod tests;

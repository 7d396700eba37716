//! An ordered map whose entries are loaded one by one.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{KeyBytes, OrderedKey};
use super::{decode, read, update, write};
use crate::host::{self, Entry};

/// Entries that one page of an iteration fetches.
const PAGE_ENTRIES: u32 = 256;

/// An ordered map. Each entry is a state key of its own, so a call pays for the entries that it touches
/// and not for the map's size. Keys are strings, integers or booleans; iteration is in their order.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// #[entity]
/// pub struct Shelf { stock: Map<String, u64> }
///
/// #[handlers]
/// impl Shelf {
///     pub fn add(&mut self, item: String, by: u64) { self.stock.update(item, |count| *count += by); }
///     pub fn low(&self) -> Vec<String> {
///         self.stock.iter().filter(|(_, count)| *count < 10).map(|(item, _)| item).collect()
///     }
/// }
/// ```
pub struct Map<K, V> {
    /// `m/FIELD/`, before each entry's key.
    prefix: Vec<u8>,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Map<K, V> {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { prefix: format!("m/{name}/").into_bytes(), of: PhantomData }
    }

    fn entry_key<Q: KeyBytes + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.prefix.len() + 16);
        bytes.extend_from_slice(&self.prefix);
        key.write(&mut bytes);
        bytes
    }

    /// The first state key behind all entries: the prefix with its last byte, `/`, one higher.
    fn past(&self) -> Vec<u8> {
        let mut past = self.prefix.clone();
        past.pop();
        past.push(b'/' + 1);
        past
    }
}

impl<K: OrderedKey, V: Serialize + DeserializeOwned> Map<K, V> {
    /// The value of `key`.
    #[must_use]
    pub fn get<Q: KeyBytes + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        read(&self.entry_key(key))
    }

    /// Whether there is an entry for `key`.
    #[must_use]
    pub fn contains_key<Q: KeyBytes + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        host::get(&self.entry_key(key)).is_some()
    }

    /// Sets the value of `key`, replacing the one it has.
    #[allow(clippy::needless_pass_by_value, reason = "as in the maps of std")]
    pub fn insert(&mut self, key: K, value: V) {
        write(&self.entry_key(&key), &value);
    }

    /// Changes the value of `key` in place, starting from the default when there is none.
    #[allow(clippy::needless_pass_by_value, reason = "as in the maps of std")]
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        update(&self.entry_key(&key), change);
    }

    /// Removes the entry of `key` and gives its value back.
    pub fn remove<Q: KeyBytes + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entry_key = self.entry_key(key);
        let value = read(&entry_key)?;
        host::delete(&entry_key);
        Some(value)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let past = self.past();
        loop {
            let page = host::scan(&self.prefix, Some(&past), PAGE_ENTRIES, false);
            if page.is_empty() {
                return;
            }
            page.iter().for_each(|(key, _)| host::delete(key));
        }
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        host::scan(&self.prefix, Some(&self.past()), 1, false).is_empty()
    }

    /// The entry with the least key.
    #[must_use]
    pub fn first(&self) -> Option<(K, V)> {
        self.edge(false)
    }

    /// The entry with the greatest key.
    #[must_use]
    pub fn last(&self) -> Option<(K, V)> {
        self.edge(true)
    }

    /// All entries in order of their keys; `.rev()` goes backwards. They are fetched page by page.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.window(self.prefix.clone(), self.past())
    }

    /// The keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries with keys in `range`, in order: `map.range(3..)`, `map.range(a..=b)`.
    pub fn range(&self, range: impl RangeBounds<K>) -> Iter<'_, K, V> {
        let start = match range.start_bound() {
            Bound::Included(key) => self.entry_key(key),
            Bound::Excluded(key) => after(self.entry_key(key)),
            Bound::Unbounded => self.prefix.clone(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => after(self.entry_key(key)),
            Bound::Excluded(key) => self.entry_key(key),
            Bound::Unbounded => self.past(),
        };
        self.window(start, end)
    }

    fn window(&self, start: Vec<u8>, end: Vec<u8>) -> Iter<'_, K, V> {
        Iter { map: self, start, end, front: VecDeque::new(), back: VecDeque::new() }
    }

    fn edge(&self, descending: bool) -> Option<(K, V)> {
        let mut page = host::scan(&self.prefix, Some(&self.past()), 1, descending);
        page.pop().map(|entry| self.entry(&entry))
    }

    fn entry(&self, (key, value): &Entry) -> (K, V) {
        let Some(own) = K::read(&key[self.prefix.len()..]) else {
            panic!("{} is not a {}", key.escape_ascii(), std::any::type_name::<K>())
        };
        (own, decode(key, value))
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.prefix.escape_ascii())
    }
}

impl<'m, K: OrderedKey, V: Serialize + DeserializeOwned> IntoIterator for &'m Map<K, V> {
    type Item = (K, V);
    type IntoIter = Iter<'m, K, V>;

    fn into_iter(self) -> Iter<'m, K, V> {
        self.iter()
    }
}

/// The entries of a [`Map`] in order. `start..end` is what neither end has fetched.
#[derive(Debug)]
pub struct Iter<'m, K, V> {
    map: &'m Map<K, V>,
    start: Vec<u8>,
    end: Vec<u8>,
    front: VecDeque<Entry>,
    back: VecDeque<Entry>,
}

impl<K: OrderedKey, V: Serialize + DeserializeOwned> Iterator for Iter<'_, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        if self.front.is_empty() && self.start < self.end {
            let page = host::scan(&self.start, Some(&self.end), PAGE_ENTRIES, false);
            self.start =
                page.last().map_or_else(|| self.end.clone(), |(key, _)| after(key.clone()));
            self.front = page.into();
        }
        let entry = self.front.pop_front().or_else(|| self.back.pop_front())?;
        Some(self.map.entry(&entry))
    }
}

impl<K: OrderedKey, V: Serialize + DeserializeOwned> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<(K, V)> {
        if self.back.is_empty() && self.start < self.end {
            let page = host::scan(&self.start, Some(&self.end), PAGE_ENTRIES, true);
            self.end = page.last().map_or_else(|| self.start.clone(), |(key, _)| key.clone());
            self.back = page.into_iter().rev().collect();
        }
        let entry = self.back.pop_back().or_else(|| self.front.pop_back())?;
        Some(self.map.entry(&entry))
    }
}

/// The least state key behind `key`.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

//! An ordered map whose entries are loaded one by one.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{KeyBytes, KeyPrefix, OrderedKey};
use super::pages::{self, Pages, past};
use super::{decode, read, update, write};
use crate::host::{self, Entry};

/// Most entries that the host gives at once.
const SCAN_ENTRIES_MAX: u32 = 10_000;

/// An ordered map. Each entry is a state key of its own, so a call pays for the entries that it touches
/// and not for the map's size. Keys are what [`OrderedKey`] says: text, numbers, times, tuples of them, and
/// types of your own; iteration is in their order. A state key has at most 1024 bytes, the field's name
/// and the map's key together.
///
/// There is no `len`: somebody would have to count, and that is one more key to write for each insertion
/// and removal, and a read before each to see which it is. Where the number matters, keep it as a plain
/// field, which is loaded and stored with the others anyway.
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
        Pages::under(self.prefix.clone()).for_each(|(key, _)| host::delete(&key));
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        host::scan(&self.prefix, Some(&past(&self.prefix)), 1, false).is_empty()
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
        self.window(self.prefix.clone(), past(&self.prefix))
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
            Bound::Excluded(key) => pages::after(self.entry_key(key)),
            Bound::Unbounded => self.prefix.clone(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => pages::after(self.entry_key(key)),
            Bound::Excluded(key) => self.entry_key(key),
            Bound::Unbounded => past(&self.prefix),
        };
        self.window(start, end)
    }

    /// The entries whose keys start with `prefix`, in order: the first members of a tuple, or the first
    /// letters of a text.
    ///
    /// ```
    /// # use keystead_sdk::prelude::*;
    /// # #[entity] pub struct Shop { sales: Map<(String, u64), u64>, names: Map<String, u64> }
    /// # impl Shop { fn example(&self) {
    /// let of_ann = self.sales.prefix("ann");          // ("ann", 0) to ("ann", u64::MAX)
    /// let on_a = self.names.prefix("a");              // "a", "ann", "anna", …
    /// # drop((of_ann, on_a)); } }
    /// ```
    pub fn prefix<P: KeyPrefix<K> + ?Sized>(&self, prefix: &P) -> Iter<'_, K, V> {
        let mut start = self.prefix.clone();
        prefix.write_prefix(&mut start);
        Iter { map: self, pages: Pages::under(start) }
    }

    /// The first `limit` entries behind the key `after`, or from the start: one page of a listing. The next
    /// one is behind the last key of this one; a page with fewer than `limit` entries is the last.
    ///
    /// ```
    /// # use keystead_sdk::prelude::*;
    /// # #[entity] pub struct Shelf { stock: Map<String, u64> }
    /// # #[handlers] impl Shelf {
    /// pub fn page(&self, after: Option<String>) -> Vec<(String, u64)> {
    ///     self.stock.page(after.as_ref(), 100)
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn page(&self, after: Option<&K>, limit: u32) -> Vec<(K, V)> {
        let start =
            after.map_or_else(|| self.prefix.clone(), |key| pages::after(self.entry_key(key)));
        let pages = Pages::of(limit.min(SCAN_ENTRIES_MAX), start, past(&self.prefix));
        Iter { map: self, pages }.take(limit as usize).collect()
    }

    /// The last `limit` entries before the key `before`, or from the end, in falling order: a page of a
    /// listing that starts with the greatest key.
    #[must_use]
    pub fn page_back(&self, before: Option<&K>, limit: u32) -> Vec<(K, V)> {
        let end = before.map_or_else(|| past(&self.prefix), |key| self.entry_key(key));
        let pages = Pages::of(limit.min(SCAN_ENTRIES_MAX), self.prefix.clone(), end);
        Iter { map: self, pages }.rev().take(limit as usize).collect()
    }

    fn window(&self, start: Vec<u8>, end: Vec<u8>) -> Iter<'_, K, V> {
        Iter { map: self, pages: Pages::new(start, end) }
    }

    fn edge(&self, descending: bool) -> Option<(K, V)> {
        let mut page = host::scan(&self.prefix, Some(&past(&self.prefix)), 1, descending);
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

/// The entries of a [`Map`] in order.
#[derive(Debug)]
pub struct Iter<'m, K, V> {
    map: &'m Map<K, V>,
    pages: Pages,
}

impl<K: OrderedKey, V: Serialize + DeserializeOwned> Iterator for Iter<'_, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.pages.next().map(|entry| self.map.entry(&entry))
    }
}

impl<K: OrderedKey, V: Serialize + DeserializeOwned> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<(K, V)> {
        self.pages.next_back().map(|entry| self.map.entry(&entry))
    }
}

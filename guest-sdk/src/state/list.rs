//! A list whose items are loaded one by one.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{decode, encode, read, write};
use crate::host;

/// Items that one page of an iteration fetches.
const PAGE_ITEMS: u64 = 256;

/// A list that grows at its end. Each item is a state key of its own, so a push writes one item and the
/// length however long the list is.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// #[entity]
/// pub struct Chat { lines: List<String> }
///
/// #[handlers]
/// impl Chat {
///     pub fn say(&mut self, line: String) { self.lines.push(&line); }
///     pub fn last(&self, count: u64) -> Vec<String> {
///         self.lines.iter_from(self.lines.len().saturating_sub(count)).collect()
///     }
/// }
/// ```
pub struct List<T> {
    /// `l/FIELD`, where the length is.
    key: String,
    of: PhantomData<fn() -> T>,
}

impl<T> List<T> {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { key: format!("l/{name}"), of: PhantomData }
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        read(self.key.as_bytes()).unwrap_or(0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn item_key(&self, position: u64) -> Vec<u8> {
        [self.key.as_bytes(), b"/", &position.to_be_bytes()].concat()
    }

    fn set_len(&mut self, len: u64) {
        if len == 0 {
            host::delete(self.key.as_bytes());
        } else {
            host::set(self.key.as_bytes(), &encode(self.key.as_bytes(), &len));
        }
    }
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// The item at `position`, counted from 0.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<T> {
        read(&self.item_key(position))
    }

    /// Appends an item.
    pub fn push(&mut self, item: &T) {
        let len = self.len();
        let item_key = self.item_key(len);
        host::set(&item_key, &encode(&item_key, item));
        self.set_len(len + 1);
    }

    /// Removes the last item and gives it back.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.len().checked_sub(1)?;
        let item = self.get(last);
        host::delete(&self.item_key(last));
        self.set_len(last);
        item
    }

    /// Replaces the item at `position`.
    ///
    /// # Panics
    /// When there is no item at `position`.
    pub fn set(&mut self, position: u64, item: &T) {
        let len = self.len();
        assert!(position < len, "position {position} is outside of the {len} items");
        write(&self.item_key(position), item);
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        for position in 0..self.len() {
            host::delete(&self.item_key(position));
        }
        self.set_len(0);
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.iter_from(0)
    }

    /// The items from `position` on, in order.
    pub fn iter_from(&self, position: u64) -> impl Iterator<Item = T> {
        let end = self.len();
        let pages = (position..end).step_by(PAGE_ITEMS as usize);
        pages.flat_map(move |first| {
            let past = self.item_key(end.min(first.saturating_add(PAGE_ITEMS)));
            self.page(self.item_key(first), &past)
        })
    }

    /// The items in `start..past`, in as many scans as the host needs for them.
    fn page(&self, mut start: Vec<u8>, past: &[u8]) -> Vec<T> {
        let mut items = Vec::new();
        loop {
            let rows = host::scan(&start, Some(past), PAGE_ITEMS as u32, false);
            let Some((last, _)) = rows.last() else { return items };
            start.clone_from(last);
            start.push(0);
            items.extend(rows.iter().map(|(key, value)| decode::<T>(key, value)));
        }
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({})", self.key)
    }
}

//! A list whose items are loaded one by one.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pages::Pages;
use super::{decode, encode, read, write};
use crate::host::{self, Entry};

/// A list that grows at its end. Each item is a state key of its own, so a push writes one item and the
/// length however long the list is.
///
/// There is no `remove` or `insert` in the middle: each item behind that place would have to be written
/// anew. [`swap_remove`](Self::swap_remove) moves the last item into the gap instead; where order
/// matters and items go, a [`Map`](super::Map) with a growing number as its key is the better fit.
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
///     pub fn latest(&self, count: usize) -> Vec<String> {
///         self.lines.iter().rev().take(count).collect()
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

    /// Removes the item at `position` and gives it back; the last item takes its place.
    pub fn swap_remove(&mut self, position: u64) -> Option<T> {
        let last = self.len().checked_sub(1).filter(|last| position <= *last)?;
        let removed = self.get(position);
        let last_key = self.item_key(last);
        if position < last
            && let Some(moved) = host::get(&last_key)
        {
            host::set(&self.item_key(position), &moved);
        }
        host::delete(&last_key);
        self.set_len(last);
        removed
    }

    /// Shortens the list to `len` items; a list that is not longer stays as it is.
    pub fn truncate(&mut self, len: u64) {
        let before = self.len();
        if len < before {
            (len..before).for_each(|position| host::delete(&self.item_key(position)));
            self.set_len(len);
        }
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The first item.
    #[must_use]
    pub fn first(&self) -> Option<T> {
        self.get(0)
    }

    /// The last item.
    #[must_use]
    pub fn last(&self) -> Option<T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The items in order; `.rev()` goes backwards. They are fetched page by page.
    #[must_use]
    pub fn iter(&self) -> ListIter<'_, T> {
        self.iter_from(0)
    }

    /// The items from `position` on, in order.
    #[must_use]
    pub fn iter_from(&self, position: u64) -> ListIter<'_, T> {
        let len = self.len();
        let pages = Pages::new(self.item_key(position), self.item_key(len));
        ListIter { pages, left: len.saturating_sub(position), of: PhantomData }
    }
}

impl<'l, T: Serialize + DeserializeOwned> IntoIterator for &'l List<T> {
    type Item = T;
    type IntoIter = ListIter<'l, T>;

    fn into_iter(self) -> ListIter<'l, T> {
        self.iter()
    }
}

/// The items of a [`List`] in order.
#[derive(Debug)]
pub struct ListIter<'l, T> {
    pages: Pages,
    left: u64,
    of: PhantomData<&'l List<T>>,
}

impl<T: DeserializeOwned> ListIter<'_, T> {
    fn item(&mut self, entry: Option<Entry>) -> Option<T> {
        let (key, value) = entry?;
        self.left -= 1;
        Some(decode(&key, &value))
    }
}

impl<T: DeserializeOwned> Iterator for ListIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let entry = self.pages.next();
        self.item(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl<T: DeserializeOwned> DoubleEndedIterator for ListIter<'_, T> {
    fn next_back(&mut self) -> Option<T> {
        let entry = self.pages.next_back();
        self.item(entry)
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({})", self.key)
    }
}

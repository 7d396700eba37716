//! A window of the state's keys, fetched page by page from both ends. What maps and lists iterate with.
//! Invariant: an entry is fetched once, and not before somebody asks for it or one of its page.

use std::collections::VecDeque;

use crate::host::{self, Entry};

/// Entries of the first page, so that looking at the first few fetches few; each further one has twice as many.
const FIRST_ENTRIES: u32 = 16;
/// Entries of the largest page.
const PAGE_ENTRIES_MAX: u32 = 1024;
/// A page with fewer entries than were asked for is the last one, unless the host cut it for its size:
/// it gives 4 MiB, and a value has 1 MiB at most, so a page of up to this many bytes was not cut.
const CUT_BYTES_MIN: usize = 2 * 1024 * 1024;

/// Entries in the order of their keys.
#[derive(Debug)]
pub(crate) struct Pages {
    /// `start..end` is what neither end has fetched.
    start: Vec<u8>,
    end: Vec<u8>,
    front: VecDeque<Entry>,
    back: VecDeque<Entry>,
    entries: u32,
}

impl Pages {
    /// The entries with keys in `start..end`.
    pub(crate) fn new(start: Vec<u8>, end: Vec<u8>) -> Self {
        Self::of(FIRST_ENTRIES, start, end)
    }

    /// The same when it is known how many will be asked for.
    pub(crate) fn of(entries: u32, start: Vec<u8>, end: Vec<u8>) -> Self {
        Self { start, end, front: VecDeque::new(), back: VecDeque::new(), entries }
    }

    /// The entries whose keys start with `prefix`, which has a byte below 255.
    pub(crate) fn under(prefix: Vec<u8>) -> Self {
        let end = past(&prefix);
        Self::new(prefix, end)
    }

    fn fetch(&mut self, descending: bool) -> Vec<Entry> {
        let page = host::scan(&self.start, Some(&self.end), self.entries, descending);
        let bytes: usize = page.iter().map(|(key, value)| key.len() + value.len()).sum();
        let is_last = page.len() < self.entries as usize && bytes < CUT_BYTES_MIN;
        match page.last() {
            Some((last, _)) if !is_last && descending => self.end.clone_from(last),
            Some((last, _)) if !is_last => self.start = after(last.clone()),
            _ => self.start.clone_from(&self.end),
        }
        self.entries = self.entries.saturating_mul(2).min(PAGE_ENTRIES_MAX);
        page
    }
}

impl Iterator for Pages {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.front.is_empty() && self.start < self.end {
            self.front = self.fetch(false).into();
        }
        self.front.pop_front().or_else(|| self.back.pop_front())
    }
}

impl DoubleEndedIterator for Pages {
    fn next_back(&mut self) -> Option<Entry> {
        if self.back.is_empty() && self.start < self.end {
            self.back = self.fetch(true).into_iter().rev().collect();
        }
        self.back.pop_back().or_else(|| self.front.pop_back())
    }
}

/// The least state key behind `key`.
pub(crate) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The least state key behind all that start with `prefix`.
pub(crate) fn past(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX);
    let mut past = prefix[..=kept.expect("a field's prefix has a byte below 255")].to_vec();
    if let Some(last) = past.last_mut() {
        *last += 1;
    }
    past
}

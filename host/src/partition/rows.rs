//! State keys and their new values, `None` when removed, in key order. Most entities change a few keys between
//! checkpoints and most transactions touch one or two, so few rows are a sorted vector; a tree's smallest node
//! takes ten times the room, and allocating and filling it was a tenth of a call.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use bytes::Bytes;

use crate::limits;
use crate::record::Row;

/// Changed rows of one entity.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// Sorted by key, at most [`limits::ROWS_IN_VECTOR_MAX`].
    Few(Vec<Row>),
    /// More.
    Many(BTreeMap<Bytes, Option<Bytes>>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Few(vec![])
    }
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(rows) => rows.is_empty(),
            Self::Many(rows) => rows.is_empty(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        match self {
            Self::Few(rows) => find(rows, key).ok().map(|at| &rows[at].1),
            Self::Many(rows) => rows.get(key),
        }
    }

    /// Sets a row and returns what it was.
    pub(crate) fn insert(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        match self {
            Self::Many(rows) => rows.insert(key, value),
            Self::Few(rows) => match find(rows, &key) {
                Ok(at) => Some(std::mem::replace(&mut rows[at].1, value)),
                Err(at) if rows.len() < limits::ROWS_IN_VECTOR_MAX => {
                    if rows.is_empty() {
                        rows.reserve_exact(1);
                    }
                    rows.insert(at, (key, value));
                    None
                }
                Err(_) => {
                    let mut many: BTreeMap<_, _> = std::mem::take(rows).into_iter().collect();
                    many.insert(key, value);
                    *self = Self::Many(many);
                    None
                }
            },
        }
    }

    /// The rows within `range`, in key order from either end.
    pub(crate) fn range(&self, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Range<'_> {
        match self {
            Self::Many(rows) => Range::Many(rows.range::<[u8], _>(range)),
            Self::Few(rows) => {
                let (start, end) = range;
                let from = rows.partition_point(|(key, _)| match start {
                    Bound::Included(start) => key < start,
                    Bound::Excluded(start) => key <= start,
                    Bound::Unbounded => false,
                });
                let until = rows.partition_point(|(key, _)| match end {
                    Bound::Included(end) => key <= end,
                    Bound::Excluded(end) => key < end,
                    Bound::Unbounded => true,
                });
                Range::Few(rows[from..until.max(from)].iter())
            }
        }
    }

    pub(crate) fn iter(&self) -> Range<'_> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    pub(crate) fn into_vec(self) -> Vec<Row> {
        match self {
            Self::Few(rows) => rows,
            Self::Many(rows) => rows.into_iter().collect(),
        }
    }
}

impl FromIterator<Row> for Rows {
    fn from_iter<T: IntoIterator<Item = Row>>(rows: T) -> Self {
        let mut all = Self::default();
        for (key, value) in rows {
            all.insert(key, value);
        }
        all
    }
}

/// Rows in key order.
pub(crate) enum Range<'r> {
    Few(std::slice::Iter<'r, Row>),
    Many(btree_map::Range<'r, Bytes, Option<Bytes>>),
}

impl<'r> Iterator for Range<'r> {
    type Item = (&'r Bytes, &'r Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(rows) => rows.next().map(|(key, value)| (key, value)),
            Self::Many(rows) => rows.next(),
        }
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(rows) => rows.next_back().map(|(key, value)| (key, value)),
            Self::Many(rows) => rows.next_back(),
        }
    }
}

fn find(rows: &[Row], key: &[u8]) -> Result<usize, usize> {
    rows.binary_search_by(|(have, _)| have.as_ref().cmp(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_a_map_however_many(
            writes in proptest::collection::vec((0..40u8, any::<Option<u8>>()), 0..60),
            (start, end) in (0..42u8, 0..42u8),
        ) {
            let mut rows = Rows::default();
            let mut model = BTreeMap::new();
            let bytes = |n: u8| Bytes::from(vec![n]);
            for (key, value) in writes {
                let (key, value) = (bytes(key), value.map(bytes));
                prop_assert_eq!(rows.insert(key.clone(), value.clone()), model.insert(key, value));
            }
            prop_assert_eq!(rows.is_empty(), model.is_empty());
            prop_assert_eq!(rows.get(&[start]), model.get(&[start][..]));
            prop_assert!(rows.iter().eq(model.iter()));
            prop_assert!(rows.iter().rev().eq(model.iter().rev()));
            if start <= end {
                let (start, end) = ([start], [end]);
                let range = (Bound::Included(&start[..]), Bound::Excluded(&end[..]));
                prop_assert!(rows.range(range).eq(model.range::<[u8], _>(range)));
                let range = (Bound::Included(&start[..]), Bound::Included(&end[..]));
                prop_assert!(rows.range(range).rev().eq(model.range::<[u8], _>(range).rev()));
            }
            prop_assert_eq!(rows.into_vec(), model.into_iter().collect::<Vec<_>>());
        }
    }
}

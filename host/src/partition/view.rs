//! The view: uncheckpointed writes in memory over a snapshot of the state file. Two memtables at most: the
//! one being written, and the frozen one that a checkpoint is writing out. Invariant: memtable over frozen over
//! base is exactly the journal's prefix up to the last applied position; readers hold immutable parts of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::request::Scope;
use super::rows::Rows;
use crate::ids::{EntityRef, MessageId, Position};
use crate::limits;
use crate::record::delta::EntityWrites;
use crate::record::keys;
use crate::record::message::{DeadLetter, Message, Queued};
use crate::record::outcome::{Outcome, Remembered};
use crate::record::{self, Corrupt};
use crate::state::{Snapshot, Table};
use crate::storage::StorageError;

/// A value and the position that made it.
#[derive(Debug, Clone)]
pub(crate) struct Stamped<T> {
    pub(crate) cause: Position,
    pub(crate) value: T,
}

/// Changed rows of a table that is held in memory whole. A row that was born and removed between two
/// checkpoints is never written.
#[derive(Debug)]
pub(crate) struct Changes<K, V>(BTreeMap<K, Change<V>>);

#[derive(Debug)]
struct Change<V> {
    value: Option<V>,
    /// No earlier checkpoint knows the row.
    fresh: bool,
}

impl<K: Ord, V> Changes<K, V> {
    pub(crate) fn insert(&mut self, key: K, value: V) {
        // A dead letter that was retried and parked again has its old row in an earlier checkpoint.
        let fresh = self.0.get(&key).is_none_or(|change| change.fresh);
        self.0.insert(key, Change { value: Some(value), fresh });
    }

    pub(crate) fn update(&mut self, key: K, value: V) {
        let fresh = self.0.get(&key).is_some_and(|change| change.fresh);
        self.0.insert(key, Change { value: Some(value), fresh });
    }

    pub(crate) fn remove(&mut self, key: K) {
        if self.0.get(&key).is_some_and(|change| change.fresh) {
            self.0.remove(&key);
        } else {
            self.0.insert(key, Change { value: None, fresh: false });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Option<&V>)> {
        self.0.iter().map(|(key, change)| (key, change.value.as_ref()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// One entity's uncheckpointed state.
#[derive(Debug, Default)]
pub(crate) struct EntityRows {
    pub(crate) rows: Arc<Rows>,
    pub(crate) version: u64,
    pub(crate) cause: Position,
    /// These rows are all that it has, whatever earlier checkpoints hold.
    pub(crate) whole: bool,
    /// The version at which it was removed, when that was since the checkpoint.
    pub(crate) removed: Option<u64>,
}

/// The net change since a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    pub(crate) entities: HashMap<EntityRef, EntityRows>,
    pub(crate) mailbox: Changes<u64, Queued>,
    pub(crate) scheduled: Changes<(u64, u64), Arc<Message>>,
    pub(crate) dead: Changes<MessageId, Arc<DeadLetter>>,
    pub(crate) outcomes: HashMap<MessageId, Stamped<Arc<Outcome>>>,
    pub(crate) idempotency: HashMap<Vec<u8>, Stamped<Arc<Remembered>>>,
    pub(crate) pauses: BTreeMap<Scope, bool>,
    /// About how much memory it holds.
    pub(crate) bytes: usize,
    /// The last position applied to it.
    pub(crate) through: Position,
}

impl Memtable {
    pub(crate) fn is_empty(&self) -> bool {
        self.entities.is_empty()
            && self.mailbox.is_empty()
            && self.scheduled.is_empty()
            && self.dead.is_empty()
            && self.outcomes.is_empty()
            && self.idempotency.is_empty()
            && self.pauses.is_empty()
    }
}

/// The whole view of a partition.
pub(crate) struct View {
    pub(crate) table: Memtable,
    frozen: Option<Arc<Memtable>>,
    base: Arc<Snapshot>,
    /// Bytes of the state of entities whose app bounds them and that somebody measured: until they change.
    sizes: HashMap<EntityRef, u64>,
}

impl View {
    pub(crate) fn new(base: Arc<Snapshot>) -> Self {
        let table = Memtable { through: base.mark().position, ..Memtable::default() };
        Self { table, frozen: None, base, sizes: HashMap::new() }
    }

    /// Applies a transaction's state writes.
    pub(crate) fn write(&mut self, position: Position, writes: EntityWrites) {
        self.forget_size(&writes.entity);
        let entity = self.table.entities.entry(writes.entity).or_default();
        // A query that still reads the old rows keeps them; otherwise this changes them in place.
        let rows = Arc::make_mut(&mut entity.rows);
        for (key, value) in writes.rows {
            let key_bytes = key.len();
            self.table.bytes += 96 + key_bytes + value.as_ref().map_or(0, Bytes::len);
            if let Some(Some(old)) = rows.insert(key, value) {
                self.table.bytes = self.table.bytes.saturating_sub(96 + key_bytes + old.len());
            }
        }
        entity.version = writes.version;
        entity.cause = position;
    }

    /// Replaces an entity's whole state.
    pub(crate) fn rewrite(
        &mut self,
        position: Position,
        entity: &EntityRef,
        (version, removed): (u64, bool),
        rows: &[(Bytes, Bytes)],
    ) {
        self.forget_size(entity);
        let changed = self.table.entities.entry(entity.clone()).or_default();
        let size =
            |key: &Bytes, value: Option<&Bytes>| 96 + key.len() + value.map_or(0, Bytes::len);
        let old: usize = changed.rows.iter().map(|(key, value)| size(key, value.as_ref())).sum();
        let new: usize = rows.iter().map(|(key, value)| size(key, Some(value))).sum();
        self.table.bytes = self.table.bytes.saturating_sub(old) + new;
        let rows = rows.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        let removed = if removed { Some(version) } else { changed.removed };
        let rows = Arc::new(rows.collect());
        *changed = EntityRows { rows, version, cause: position, whole: true, removed };
    }

    /// Keeps how many bytes of state an entity has now, so that its next command need not read all of it.
    pub(crate) fn keep_size(&mut self, entity: &EntityRef, bytes: u64) {
        if self.sizes.len() >= limits::STATE_SIZES_MAX {
            self.sizes.clear();
        }
        self.sizes.insert(entity.clone(), bytes);
    }

    /// It changes.
    fn forget_size(&mut self, entity: &EntityRef) {
        // Where no app bounds states nothing is hashed.
        if !self.sizes.is_empty() {
            self.sizes.remove(entity);
        }
    }

    /// An immutable view of one entity, for an executor.
    pub(crate) fn entity(&self, entity: &EntityRef) -> EntityView {
        let live = self.table.entities.get(entity);
        let frozen = self.frozen.as_ref().and_then(|table| table.entities.get(entity));
        let newest = live.or(frozen);
        let layers = [live, frozen];
        // What is below a whole layer is gone.
        let whole = layers.iter().position(|layer| layer.is_some_and(|layer| layer.whole));
        let shown = |at: usize| layers[at].filter(|_| whole.is_none_or(|whole| at <= whole));
        EntityView {
            overlays: [0, 1].map(|at| shown(at).map(|e| e.rows.clone())),
            whole: whole.is_some(),
            removed: live.and_then(|e| e.removed).or(frozen.and_then(|e| e.removed)),
            known_size: self.sizes.get(entity).copied(),
            base: self.base.clone(),
            version: newest.map(|e| e.version),
            cause: newest.map(|e| e.cause).unwrap_or_default(),
        }
    }

    /// The outcome of a finished message, if it is kept.
    pub(crate) fn outcome(
        &self,
        id: MessageId,
    ) -> Result<Option<Stamped<Arc<Outcome>>>, ReadError> {
        let frozen = || self.frozen.as_ref().and_then(|table| table.outcomes.get(&id));
        if let Some(found) = self.table.outcomes.get(&id).or_else(frozen) {
            return Ok(Some(found.clone()));
        }
        let row = self.base.get(Table::Outcomes, &keys::message(id))?;
        let kept = row.map(|bytes| Outcome::of_row(&bytes)).transpose()?;
        Ok(kept.map(|kept| Stamped { cause: Position(0), value: Arc::new(kept) }))
    }

    /// What an idempotency key stands for; `key` is made by [`keys::idempotency`].
    pub(crate) fn remembered(
        &self,
        key: &[u8],
    ) -> Result<Option<Stamped<Arc<Remembered>>>, ReadError> {
        let frozen = || self.frozen.as_ref().and_then(|table| table.idempotency.get(key));
        if let Some(found) = self.table.idempotency.get(key).or_else(frozen) {
            return Ok(Some(found.clone()));
        }
        let row = self.base.get(Table::Idempotency, key)?;
        row.map(|bytes| checkpointed("idempotency key", &bytes)).transpose()
    }

    /// Takes the memtable for a checkpoint and goes on with an empty one. `None` when there is nothing to
    /// write or the last one is still being written.
    pub(crate) fn freeze(&mut self) -> Option<Arc<Memtable>> {
        if self.frozen.is_some() || self.table.is_empty() {
            return None;
        }
        let empty = Memtable { through: self.table.through, ..Memtable::default() };
        let table = Arc::new(std::mem::replace(&mut self.table, empty));
        self.frozen = Some(table.clone());
        Some(table)
    }

    /// A checkpoint of the frozen memtable is in `base` now.
    pub(crate) fn thaw(&mut self, base: Arc<Snapshot>) {
        self.frozen = None;
        self.base = base;
    }

    /// Bytes of uncheckpointed writes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes + self.frozen.as_ref().map_or(0, |table| table.bytes)
    }

    pub(crate) fn base(&self) -> &Arc<Snapshot> {
        &self.base
    }

    /// Every entity with uncheckpointed state.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &EntityRef> {
        let frozen = self.frozen.iter().flat_map(|table| table.entities.keys());
        self.table.entities.keys().chain(frozen)
    }
}

fn checkpointed<T: serde::de::DeserializeOwned>(
    name: &'static str,
    bytes: &[u8],
) -> Result<Stamped<Arc<T>>, ReadError> {
    Ok(Stamped { cause: Position(0), value: Arc::new(record::decode(name, bytes)?) })
}

/// Why the view could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// One entity at one moment.
#[derive(Clone)]
pub(crate) struct EntityView {
    /// Newest first.
    overlays: [Option<Arc<Rows>>; 2],
    /// The base's rows do not count.
    whole: bool,
    removed: Option<u64>,
    base: Arc<Snapshot>,
    version: Option<u64>,
    /// Bytes of all keys and values, when they were measured before.
    known_size: Option<u64>,
    /// What must be durable before anything computed from this view may leave.
    pub(crate) cause: Position,
}

/// Bounds of a scan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanBounds<'a> {
    pub(crate) start: &'a [u8],
    pub(crate) end: Option<&'a [u8]>,
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) descending: bool,
}

impl EntityView {
    /// The value of a state key; `prefix` is the entity's.
    pub(crate) fn get(&self, prefix: &[u8], key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        for rows in self.overlays.iter().flatten() {
            if let Some(value) = rows.get(key) {
                return Ok(value.clone());
            }
        }
        if self.whole {
            return Ok(None);
        }
        Ok(self.base.get(Table::Rows, &keys::row(prefix, key))?)
    }

    /// The version at which it was removed last; 0 when it never was.
    pub(crate) fn removed(&self, prefix: &[u8]) -> Result<u64, ReadError> {
        if let Some(version) = self.removed {
            return Ok(version);
        }
        let row = self.base.get(Table::Rows, &keys::removed(prefix.to_vec()))?;
        row.map_or(Ok(0), |bytes| Ok(record::decode("removed entity", &bytes)?))
    }

    /// The number of committed transactions that wrote state.
    pub(crate) fn version(&self, prefix: &[u8]) -> Result<u64, ReadError> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let row = self.base.get(Table::Rows, &keys::meta(prefix.to_vec()))?;
        row.map_or(Ok(0), |bytes| Ok(record::decode("entity", &bytes)?))
    }

    /// Bytes of all keys and values; reads all of them when nobody has.
    pub(crate) fn size(&self, prefix: &[u8]) -> Result<u64, ReadError> {
        let measure = || self.size_with(prefix, &Rows::default());
        let Some(known) = self.known_size else { return measure() };
        let is_known = |all| all == known;
        debug_assert!(measure().map_or(true, is_known), "what was measured is not so any more");
        Ok(known)
    }

    /// The same with `writes` over them; reads all of them.
    pub(crate) fn size_with(&self, prefix: &[u8], writes: &Rows) -> Result<u64, ReadError> {
        let (mut all, mut start) = (0, Vec::new());
        loop {
            let bounds = ScanBounds {
                start: &start,
                end: None,
                entries_max: limits::SCAN_ENTRIES_MAX,
                bytes_max: limits::SCAN_BYTES_MAX,
                descending: false,
            };
            let page = self.scan(prefix, writes, bounds)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            start = [last, &[0][..]].concat();
            all += page.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        }
    }

    /// Merges the call's own `writes`, the memtables and the base.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        writes: &Rows,
        bounds: ScanBounds<'_>,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        type Source<'s> =
            Box<dyn Iterator<Item = Result<(Bytes, Option<Bytes>), StorageError>> + 's>;
        if bounds.end.is_some_and(|end| end <= bounds.start) {
            return Ok(vec![]);
        }
        let mut sources: Vec<std::iter::Peekable<Source<'_>>> = vec![];
        for rows in std::iter::once(writes).chain(self.overlays.iter().flatten().map(Arc::as_ref)) {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let range = (Included(bounds.start), bounds.end.map_or(Unbounded, Excluded));
            let rows = rows.range(range);
            let rows = rows.map(|(key, value)| Ok((key.clone(), value.clone())));
            let rows: Source<'_> =
                if bounds.descending { Box::new(rows.rev()) } else { Box::new(rows) };
            sources.push(rows.peekable());
        }
        let start = keys::row(prefix, bounds.start);
        let end = bounds.end.map_or_else(|| keys::rows_end(prefix), |end| keys::row(prefix, end));
        let skip = prefix.len() + 1;
        if self.whole {
            return merge(&mut sources, bounds);
        }
        let base = self.base.range(Table::Rows, &start, Some(&end))?;
        let base: Source<'_> = if bounds.descending {
            Box::new(base.rev().map(move |row| row.map(|(k, v)| (k.slice(skip..), Some(v)))))
        } else {
            Box::new(base.map(move |row| row.map(|(k, v)| (k.slice(skip..), Some(v)))))
        };
        sources.push(base.peekable());
        merge(&mut sources, bounds)
    }
}

/// The first rows of `sources`, earlier sources hiding later ones.
fn merge<I>(
    sources: &mut [std::iter::Peekable<I>],
    bounds: ScanBounds<'_>,
) -> Result<Vec<(Bytes, Bytes)>, ReadError>
where
    I: Iterator<Item = Result<(Bytes, Option<Bytes>), StorageError>>,
{
    let mut found = vec![];
    let mut bytes = 0;
    while found.len() < bounds.entries_max && bytes < bounds.bytes_max {
        let mut next: Option<Bytes> = None;
        for source in sources.iter_mut() {
            if matches!(source.peek(), Some(Err(_))) {
                source.next().transpose()?;
            }
            let Some(Ok((key, _))) = source.peek() else { continue };
            let nearer = next.as_ref().is_none_or(|best| (key < best) != bounds.descending);
            if nearer && next.as_ref() != Some(key) {
                next = Some(key.clone());
            }
        }
        let Some(key) = next else { break };
        let mut value = None;
        for source in sources.iter_mut() {
            if source.peek().is_some_and(|row| row.as_ref().is_ok_and(|row| row.0 == key)) {
                let row = source.next().transpose()?;
                value = value.or(row.map(|row| row.1));
            }
        }
        if let Some(Some(value)) = value {
            bytes += key.len() + value.len();
            found.push((key, value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::Mark;
    use crate::state::StateFile;

    /// Writes, each a key and a value or a removal.
    fn layer() -> impl Strategy<Value = BTreeMap<u8, Option<u8>>> {
        proptest::collection::btree_map(0..12u8, any::<Option<u8>>(), 0..8)
    }

    fn rows(layer: &BTreeMap<u8, Option<u8>>) -> Rows {
        let bytes = |n: u8| Bytes::from(vec![n]);
        layer.iter().map(|(k, v)| (bytes(*k), v.map(bytes))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn reads_see_the_newest_layer(
            layers in proptest::collection::vec(layer(), 4),
            (start, end) in (0..12u8, 0..14u8),
            limit in 1..12usize,
            descending: bool,
            hidden: bool,
        ) {
            let folder = tempfile::tempdir().expect("folder");
            let file = StateFile::open(folder.path()).expect("opens");
            let entity = EntityRef::new("a", "t", "k\u{0}k").expect("valid");
            let prefix = keys::entity_prefix(&entity);
            let base = file.write(Mark::default(), |writer| {
                for (key, value) in rows(&layers[3]).into_vec() {
                    writer.put(Table::Rows, &keys::row(&prefix, &key), value.as_deref())?;
                }
                writer.put(Table::Rows, &keys::meta(prefix.clone()), Some(&record::encode(&7u64)))
            }).expect("written");
            let overlays = [Some(Arc::new(rows(&layers[1]))), Some(Arc::new(rows(&layers[2])))];
            let (whole, removed) = (hidden, None);
            let view =
                EntityView { overlays, whole, removed, base, version: None, known_size: None, cause: Position(0) };
            prop_assert_eq!(view.version(&prefix).expect("reads"), 7);
            let mut model = BTreeMap::new();
            for layer in layers.iter().rev().skip(usize::from(hidden)) {
                model.extend(layer.clone());
            }
            let mut wanted: Vec<_> = model.iter()
                .filter(|(key, value)| **key >= start && **key < end && value.is_some())
                .map(|(key, value)| (*key, value.expect("some"))).collect();
            if descending {
                wanted.reverse();
            }
            wanted.truncate(limit);
            let (start, end) = ([start], [end]);
            let bounds = ScanBounds {
                start: &start, end: Some(&end), entries_max: limit, bytes_max: 1 << 20, descending,
            };
            let found = view.scan(&prefix, &rows(&layers[0]), bounds).expect("scans");
            let found: Vec<_> = found.iter().map(|(k, v)| (k[0], v[0])).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_row_that_came_and_went_is_never_written() {
        let mut changes: Changes<u64, &str> = Changes::default();
        changes.insert(1, "a");
        changes.update(1, "b");
        changes.remove(1);
        changes.remove(2);
        assert_eq!(changes.iter().collect::<Vec<_>>(), [(&2, None)]);
    }

    #[test]
    fn a_row_that_comes_back_and_goes_is_removed_from_the_base() {
        let mut changes: Changes<u64, &str> = Changes::default();
        changes.remove(1);
        changes.insert(1, "again");
        changes.remove(1);
        assert_eq!(changes.iter().collect::<Vec<_>>(), [(&1, None)]);
    }
}

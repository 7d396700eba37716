//! Fields that are not loaded with their entity: [`Map`], [`List`] and [`Value`] read and write their parts
//! in the host's state, which is the transaction: it sees its own writes and forgets them when the call
//! fails. There is no cache here. Invariant: writing takes `&mut`, so a query can't.
//!
//! State keys: `m/FIELD/` and the ordered bytes of the map's key; `l/FIELD` with the length and `l/FIELD/`
//! with the position in big-endian; `v/FIELD`. Values are JSON.

mod key;
mod list;
mod map;
mod value;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;

pub use key::{KeyBytes, OrderedKey};
pub use list::List;
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
mod tests {
    use super::*;
    use crate::host::native::{Call, run};

    /// Runs `body` on `state` and gives back how often it wrote, and the state.
    fn on(state: Call, body: impl FnOnce()) -> (usize, Call) {
        let ((), call) = run(Call { writes: 0, ..state }, body);
        (call.writes, call)
    }

    #[test]
    fn only_what_changes_is_written() {
        let fields = || (Map::field("m"), List::field("l"), Value::field("v"));
        let (writes, state) = on(Call::default(), || {
            let (mut map, mut list, mut value) = fields();
            map.insert("a".to_owned(), 1u64);
            map.insert("b".to_owned(), 2u64);
            list.push(&7u8);
            value.set(&"text".to_owned());
        });
        assert_eq!(writes, 5, "two entries, an item, a length, a value");
        let (writes, state) = on(state, || {
            let (mut map, mut list, mut value) = fields();
            map.insert("a".to_owned(), 1u64);
            map.update("b".to_owned(), |two| *two = 2);
            assert_eq!(map.remove("c"), None);
            list.set(0, &7u8);
            value.set(&"text".to_owned());
        });
        assert_eq!(writes, 0);
        let keys: Vec<_> = state.state.keys().map(|key| key.escape_ascii().to_string()).collect();
        assert_eq!(keys, ["l/l", r"l/l/\x00\x00\x00\x00\x00\x00\x00\x00", "m/m/a", "m/m/b", "v/v"]);
    }

    #[test]
    fn maps_iterate_in_order_from_both_ends_over_many_pages() {
        on(Call::default(), || {
            let mut map = Map::<i64, i64>::field("numbers");
            let mut other = Map::<i64, i64>::field("number");
            other.insert(5, 5);
            let all: Vec<i64> = (-700..700).collect();
            all.iter().for_each(|number| map.insert(*number, number * 2));
            assert!(map.keys().eq(all.iter().copied()));
            assert!(map.keys().rev().eq(all.iter().rev().copied()));
            let range: Vec<_> = map.range(-3..=3).collect();
            assert_eq!(range, (-3..=3).map(|n| (n, n * 2)).collect::<Vec<_>>());
            assert_eq!(map.range(698..).map(|(key, _)| key).collect::<Vec<_>>(), [698, 699]);
            assert_eq!(map.range(..-699).map(|(key, _)| key).collect::<Vec<_>>(), [-700]);
            assert_eq!((map.first(), map.last()), (Some((-700, -1400)), Some((699, 1398))));

            // From both ends at once, each entry comes once.
            let (mut iter, mut seen) = (map.iter(), Vec::new());
            while let Some((key, _)) = iter.next() {
                seen.push(key);
                seen.extend(iter.next_back().map(|(key, _)| key));
            }
            assert!(iter.next_back().is_none());
            seen.sort_unstable();
            assert_eq!(seen, all);

            map.clear();
            assert!(map.is_empty() && map.first().is_none() && map.iter().next_back().is_none());
            assert_eq!(other.get(&5), Some(5));
        });
    }

    #[test]
    fn lists_push_pop_and_iterate() {
        on(Call::default(), || {
            let mut list = List::<u64>::field("l");
            assert!(list.is_empty() && list.pop().is_none());
            (0..600).for_each(|item| list.push(&item));
            assert_eq!((list.len(), list.get(599), list.get(600)), (600, Some(599), None));
            assert!(list.iter().eq(0..600));
            assert!(list.iter_from(590).eq(590..600));
            assert_eq!(list.iter_from(600).next(), None);
            list.set(0, &9);
            assert_eq!((list.pop(), list.len(), list.get(0)), (Some(599), 599, Some(9)));
            list.clear();
            assert!(list.is_empty() && list.get(0).is_none());
        });
    }

    #[test]
    fn values_start_empty_and_can_be_taken() {
        on(Call::default(), || {
            let mut value = Value::<Vec<u8>>::field("v");
            assert_eq!(value.get(), None);
            value.update(|bytes| bytes.push(1));
            value.update(|bytes| bytes.push(2));
            assert_eq!(value.take(), Some(vec![1, 2]));
            assert_eq!(value.get(), None);
        });
    }

    #[test]
    #[should_panic(expected = "what is stored at m/m/a is not a u64")]
    fn what_does_not_decode_says_where() {
        on(Call::default(), || {
            Map::<String, String>::field("m").insert("a".to_owned(), "x".to_owned());
            let _ = Map::<String, u64>::field("m").get("a");
        });
    }
}

//! Fields on their own, and what a handler touches: each test lists the calls of the host's state.
#![allow(unreachable_pub, missing_docs, reason = "handlers are pub, and the entities are of tests")]

use crate::host::native::{Call, Touch, run};
use crate::prelude::*;

/// Runs `body` on `state` and gives back how often it wrote, and the state.
fn on(state: Call, body: impl FnOnce()) -> (usize, Call) {
    let ((), call) = run(Call { touched: Vec::new(), ..state }, body);
    let writes = call.touched.iter().filter(|(touch, _)| *touch == Touch::Write).count();
    (writes, call)
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

#[test]
fn maps_list_page_by_page_and_by_prefix() {
    on(Call::default(), || {
        let mut sales = Map::<(String, u64), u64>::field("sales");
        for who in ["an", "ann", "anna", "bob"] {
            (0..40).for_each(|day| sales.insert((who.to_owned(), day), day));
        }
        sales.insert(("ann".to_owned(), u64::MAX), 1);
        let days: Vec<_> = sales.prefix("ann").map(|((_, day), _)| day).collect();
        assert_eq!(days, (0..40).chain([u64::MAX]).collect::<Vec<_>>());
        assert_eq!(sales.prefix("ann").next_back().map(|(_, sold)| sold), Some(1));
        assert_eq!(sales.prefix("a").count(), 0);

        let (mut after, mut pages) = (None, Vec::new());
        loop {
            let page = sales.page(after.as_ref(), 50);
            after = page.last().map(|(key, _)| key.clone());
            pages.push(page.len());
            if page.len() < 50 {
                break;
            }
        }
        assert_eq!(pages, [50, 50, 50, 11]);
        let backwards = sales.page_back(after.as_ref(), 2);
        assert_eq!(backwards, [(("bob".to_owned(), 38), 38), (("bob".to_owned(), 37), 37)]);
        assert_eq!(sales.page_back(None, 1)[0].0, ("bob".to_owned(), 39));
        assert_eq!(sales.page(None, 0), []);

        let mut names = Map::<String, ()>::field("names");
        for name in ["b", "ba", "bb", "c", "a\u{10ffff}"] {
            names.insert(name.to_owned(), ());
        }
        assert!(names.prefix("b").map(|(name, ())| name).eq(["b", "ba", "bb"]));
        assert_eq!(names.prefix("").count(), 5);
    });
}

#[test]
fn lists_go_backwards_and_swap_out_an_item() {
    on(Call::default(), || {
        let mut list = List::<u64>::field("l");
        (0..300).for_each(|item| list.push(&item));
        assert!(list.iter().rev().eq((0..300).rev()));
        assert!(list.iter().skip(1).step_by(2).eq((0..150).map(|half| half * 2 + 1)));
        assert_eq!((list.first(), list.last()), (Some(0), Some(299)));
        assert_eq!(list.iter_from(290).size_hint(), (10, Some(10)));
        let mut both = list.iter_from(297);
        assert_eq!((both.next(), both.next_back(), both.next()), (Some(297), Some(299), Some(298)));
        assert_eq!((both.next(), both.next_back()), (None, None));

        assert_eq!((list.swap_remove(1), list.get(1), list.len()), (Some(1), Some(299), 299));
        assert_eq!((list.swap_remove(298), list.len()), (Some(298), 298));
        assert_eq!((list.swap_remove(298), list.len()), (None, 298));
        list.truncate(500);
        list.truncate(2);
        assert!(list.iter().eq([0, 299]));
    });
}

/// One field of each kind.
#[entity]
pub struct Shelf {
    plain: u64,
    #[serde(rename = "second")]
    other: Option<Vec<Option<u8>>>,
    map: Map<String, Option<(u64, Vec<String>)>>,
    #[state(rename = "entries")]
    list: List<u64>,
    value: Value<Option<u64>>,
}

#[handlers]
impl Shelf {
    pub fn nothing(&mut self) {}

    pub fn same(&mut self) {
        self.plain += 0;
        self.other = Some(vec![None, Some(1)]);
    }

    pub fn put(&mut self, key: String, number: u64) {
        self.map.insert(key, Some((number, vec!["x".to_owned()])));
    }

    pub fn bump(&mut self, key: String) {
        self.map.update(key, |entry| {
            let (number, _) = entry.get_or_insert_default();
            *number += 1;
        });
    }

    pub fn push(&mut self, number: u64) {
        self.list.push(&number);
    }

    pub fn note(&mut self, number: Option<u64>) {
        self.value.set(&number);
    }

    pub fn entry(&self, key: String) -> Option<(u64, Vec<String>)> {
        self.map.get(&key).flatten()
    }

    pub fn first_three(&self) -> Vec<String> {
        self.map.keys().take(3).collect()
    }

    pub fn latest(&self) -> Option<u64> {
        self.list.iter().next_back()
    }
}

/// Runs a handler, and lists the keys it read, scanned from, and wrote.
fn touched(call: Call, handler: &str, input: &str) -> (Call, Vec<String>) {
    let shelf = crate::EntityType::of::<Shelf>();
    let read_only = shelf.kind_of(handler) == Some(crate::HandlerKind::Query);
    let call = Call { touched: Vec::new(), read_only, ..call };
    let (reply, call) = run(call, || shelf.handle(handler, input.as_bytes()));
    reply.unwrap_or_else(|error| panic!("{handler}: {error:?}"));
    let line = |(touch, key): &(Touch, Vec<u8>)| {
        let key = key.strip_suffix(7u64.to_be_bytes().as_slice()).unwrap_or(key);
        format!("{touch:?} {}", key.escape_ascii())
    };
    let lines = call.touched.iter().map(line).collect();
    (call, lines)
}

#[test]
fn a_handler_reads_what_it_touches_and_writes_what_it_changes() {
    let mut call = Call::default();
    call.state.insert(b"l/entries".to_vec(), b"7".to_vec());
    call.state.insert(b"self".to_vec(), br#"{"plain":1,"second":[null,1]}"#.to_vec());
    for (handler, input, expected) in [
        ("nothing", "{}", vec!["Read self"]),
        ("same", "{}", vec!["Read self"]),
        ("put", r#"{"key":"a","number":1}"#, vec!["Read self", "Read m/map/a", "Write m/map/a"]),
        ("put", r#"{"key":"a","number":1}"#, vec!["Read self", "Read m/map/a"]),
        ("bump", r#"{"key":"a"}"#, vec!["Read self", "Read m/map/a", "Write m/map/a"]),
        ("entry", r#"{"key":"a"}"#, vec!["Read self", "Read m/map/a"]),
        (
            "push",
            r#"{"number":5}"#,
            vec!["Read self", "Read l/entries", "Write l/entries/", "Write l/entries"],
        ),
        ("note", r#"{"number":5}"#, vec!["Read self", "Read v/value", "Write v/value"]),
        ("note", "{}", vec!["Read self", "Read v/value", "Write v/value"]),
        ("note", r#"{"number":null}"#, vec!["Read self", "Read v/value"]),
    ] {
        let lines;
        (call, lines) = touched(call, handler, input);
        assert_eq!(lines, expected, "{handler} {input}");
    }
    assert_eq!(call.state[b"m/map/a".as_slice()], br#"[2,["x"]]"#);
    assert_eq!(call.state[b"v/value".as_slice()], b"null");
}

#[test]
fn a_million_entries_cost_a_call_nothing() {
    let mut call = Call::default();
    let entry = |n: u32| (format!("m/map/{n:07}").into_bytes(), b"[1,[]]".to_vec());
    call.state = (0..1_000_000).map(entry).collect();
    let item = |n: u64| ([b"l/entries/".as_slice(), &n.to_be_bytes()].concat(), b"1".to_vec());
    call.state.extend((0..100_000).map(item));
    call.state.insert(b"l/entries".to_vec(), b"100000".to_vec());
    call.state.insert(b"self".to_vec(), br#"{"plain":1,"second":null}"#.to_vec());
    for (handler, input, calls) in [
        ("nothing", "{}", 1),
        ("bump", r#"{"key":"0500000"}"#, 3),
        ("put", r#"{"key":"new","number":1}"#, 3),
        ("entry", r#"{"key":"0999999"}"#, 2),
        ("first_three", "{}", 2),
        ("push", r#"{"number":5}"#, 4),
        ("latest", "{}", 3),
    ] {
        let lines;
        (call, lines) = touched(call, handler, input);
        assert_eq!(lines.len(), calls, "{handler}: {lines:?}");
    }
}

#[test]
fn iterating_fetches_no_more_than_it_needs() {
    let entry = |n: u32| (format!("m/map/{n:07}").into_bytes(), b"null".to_vec());
    let filled =
        |entries: u32| Call { state: (0..entries).map(entry).collect(), ..Call::default() };
    let map = || Map::<String, Option<u8>>::field("map");
    for (entries, taken, scans) in
        [(0, 1, 1), (15, 99, 1), (16, 16, 1), (16, 17, 2), (1_000, 1_000, 6), (50_000, 40, 2)]
    {
        let (_, call) = on(filled(entries), || assert!(map().iter().take(taken).count() <= taken));
        assert_eq!(call.touched.len(), scans, "{taken} of {entries}");
        let (_, call) =
            on(filled(entries), || assert!(map().iter().rev().take(taken).count() <= taken));
        assert_eq!(call.touched.len(), scans, "the last {taken} of {entries}");
    }
    let (_, call) = on(filled(500), || assert_eq!(map().page(None, 300).len(), 300));
    assert_eq!(call.touched.len(), 1);
}

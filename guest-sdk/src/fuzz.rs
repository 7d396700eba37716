//! What a guest decodes, of any bytes: keys, arguments, replies and stored rows. What is accepted is what was
//! written, and what is not is an error or a panic that says where: never another value in silence.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use keystead_fuzz::{Source, target};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use crate::activity::{Activities, Partner};
use crate::host::native::{Call, run};
use crate::input::{self, Arg};
use crate::prelude::*;
use crate::state::{KeyBytes, KeyPrefix, OrderedKey};
use crate::{Bytes, EntityRef, Reply, Reservations, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    hall: String,
    row: i16,
    place: (char, bool),
}
crate::ordered_key!(Seat { hall: String, row: i16, place: (char, bool) });

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(Seat);
crate::ordered_key!(Ticket(Seat));

/// Bytes of keys: they sort as the keys do and read back, alone and followed by another, and any bytes that are
/// accepted as a key are that key's own.
#[test]
fn ordered_keys() {
    target!(ordered_keys).runs(10_000).check(|input| {
        let source = &mut Source::new(input);
        keys(source, |source| source.number());
        keys(source, |source| source.number() as i64);
        keys(source, |source| source.number() as i8);
        keys(source, |source| u128::from(source.number()) << source.below(64));
        keys(source, |source| source.flag());
        keys(source, |source| source.text(1).chars().next().unwrap_or('\0'));
        keys(source, |source| source.text(5));
        keys(source, |source| source.bytes(5).to_vec());
        keys(source, |source| Timestamp::from_ms(source.number()));
        keys(source, |source| [source.byte(), source.byte()]);
        keys(source, |source| (source.text(3), source.number()));
        keys(source, |source| (source.bytes(3).to_vec(), source.text(3), source.flag()));
        keys(source, |source| ((source.text(2), source.text(2)), source.text(2)));
        keys(source, entity);
        keys(source, seat);
        keys(source, |source| Ticket(seat(source)));
        keys(source, partner);
        let (first, second, prefix) = (source.text(3), source.text(3), source.text(3));
        let under = |key: &(String, String), prefix: &str| {
            let mut start = vec![];
            KeyPrefix::<(String, String)>::write_prefix(prefix, &mut start);
            written(key, false).starts_with(&start)
        };
        assert_eq!(under(&(first.clone(), second), &prefix), first == prefix);
    });
}

/// Arguments: accepted when serde's derive would, with the same values; else an error that is final and named. What
/// is written reads back.
#[test]
fn arguments() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Transfer {
        to: String,
        amount: u64,
        now: Option<bool>,
        data: Option<Bytes>,
    }
    let seeds =
        [r#"{"to":"bob","amount":5}"#, r#"{"now":null,"to":"","amount":1,"data":"AP8="}"#, ""];
    target!(arguments).seeds(seeds).runs(20_000).check(|bytes| {
        let read = || {
            let (mut to, mut amount) =
                (Arg::<String>::required("to"), Arg::<u64>::required("amount"));
            let mut now = Arg::<Option<bool>>::optional("now");
            let mut data = Arg::<Option<Bytes>>::optional("data");
            input::read(bytes, &mut [&mut to, &mut amount, &mut now, &mut data])?;
            let (to, amount) = (to.take(), amount.take());
            Ok::<_, Error>(Transfer { to, amount, now: now.take(), data: data.take() })
        };
        let derived = match bytes.trim_ascii().is_empty() {
            true => serde_json::from_slice::<Transfer>(b"{}"),
            false => serde_json::from_slice::<Transfer>(bytes),
        };
        // A struct may come as a list of its fields, too; arguments come by name.
        let derived = derived.ok().filter(|_| !bytes.trim_ascii().starts_with(b"["));
        match read() {
            Ok(transfer) => {
                let Transfer { to, amount, now, data } = &transfer;
                let again =
                    input::object(&[("to", to), ("amount", amount), ("now", now), ("data", data)]);
                assert_eq!(
                    serde_json::from_slice::<Transfer>(&again).ok().as_ref(),
                    Some(&transfer)
                );
                assert_eq!(Some(transfer), derived, "{}", bytes.escape_ascii());
            }
            Err(error) => {
                assert_eq!(error.code(), "invalid_input");
                assert!(!error.is_retryable() && derived.is_none(), "{error:?}");
            }
        }
    });
}

/// Replies: any text is one of the three kinds or none; what is accepted is written back to the same reply.
#[test]
fn replies() {
    let seeds = [
        r#"{"ok":{"a":[1]}}"#,
        r#"{"rejected":{"code":"c","message":"m","details":{"x":1}}}"#,
        r#"{"failed":{"code":"parked","message":"m","details":null}}"#,
    ];
    target!(replies).seeds(seeds).runs(20_000).check(|bytes| {
        let Ok(reply) = serde_json::from_slice::<Reply<JsonValue>>(bytes) else { return };
        let value: JsonValue = serde_json::from_slice(bytes).expect("it was read");
        let members = value.as_object().expect("an object");
        let kind = match &reply {
            Reply::Ok(_) => "ok",
            Reply::Rejected(_) => "rejected",
            Reply::Failed(_) => "failed",
        };
        assert!(members.len() == 1 && members.contains_key(kind), "{value}");
        let written = serde_json::to_string(&reply).expect("JSON");
        assert_eq!(serde_json::from_str::<Reply<JsonValue>>(&written).expect("reads"), reply);
        if let Err(failure) = &reply.result() {
            let _ = failure.details_as::<BTreeMap<String, u64>>();
            assert!(
                failure
                    .details
                    .as_ref()
                    .is_none_or(|text| serde_json::from_str::<JsonValue>(text).is_ok())
            );
        }
    });
}

/// Rows of any bytes below fields: each reads as its own JSON, in the order of the keys and from both ends, or the
/// handler ends saying where; writing keeps to its own entry.
#[test]
fn stored_rows() {
    target!(stored_rows).runs(7_500).check(|input| {
        let source = &mut Source::new(input);
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for _ in 0..source.below(8) {
            let mut key = source
                .pick(&[&b"m/m/"[..], b"l/l/", b"l/l", b"v/v", b"a/a/e", b"a/a/o", b"r/r/", b"m/"])
                .to_vec();
            match source.below(4) {
                0 => key.extend_from_slice(&(source.below(5) as u64).to_be_bytes()),
                1 => {}
                _ => key.extend_from_slice(source.bytes(6)),
            }
            let value: Vec<u8> = match source.below(4) {
                0 => source.bytes(12).to_vec(),
                1 => b"{\"seen\":1,\"sent\":2,\"accepted\":3,\"state\":4}".to_vec(),
                _ => source.below(300).to_string().into(),
            };
            rows.insert(key, value);
        }
        maps::<String>(&rows, &source.text(2));
        maps::<u64>(&rows, &(source.below(4) as u64));
        maps::<(String, u8)>(&rows, &(source.text(2), source.byte()));
        lists(&rows, source.below(5) as u64);
        others(&rows, &source.text(3));
    });
}

/// Two keys in both of their forms, and what is left of the input as one.
fn keys<K: OrderedKey + Ord + std::fmt::Debug>(
    source: &mut Source<'_>,
    mut make: impl FnMut(&mut Source<'_>) -> K,
) {
    let (one, two) = (make(source), make(source));
    assert_eq!(written(&one, false).cmp(&written(&two, false)), one.cmp(&two), "{one:?} {two:?}");
    assert_eq!(K::read(&written(&one, false)).as_ref(), Some(&one));
    let (first, second) = (written(&one, true), written(&two, true));
    assert_eq!(first.cmp(&second), one.cmp(&two), "{one:?} {two:?} as parts");
    assert_eq!(first.starts_with(&second), one == two, "{one:?} starts as {two:?}");
    let both = [&first[..], &second].concat();
    let mut left = both.as_slice();
    assert_eq!(K::read_part(&mut left).as_ref(), Some(&one));
    assert_eq!(left, second);
    let bytes = source.clone().rest();
    if let Some(key) = K::read(bytes) {
        assert_eq!(written(&key, false), bytes, "{key:?} has two forms");
    }
    let mut left = bytes;
    if let Some(key) = K::read_part(&mut left) {
        assert_eq!([&written(&key, true), left].concat(), bytes, "{key:?} has two forms");
    }
}

fn written(key: &(impl KeyBytes + ?Sized), part: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if part {
        key.write_part(&mut out);
    } else {
        key.write(&mut out);
    }
    out
}

fn entity(source: &mut Source<'_>) -> EntityRef {
    EntityRef { kind: source.text(3), key: source.text(4) }
}

fn seat(source: &mut Source<'_>) -> Seat {
    let (hall, row) = (source.text(3), source.number() as i16);
    Seat { hall, row, place: (char::from(source.byte()), source.flag()) }
}

fn partner(source: &mut Source<'_>) -> Partner {
    if source.flag() { Partner::Entity(entity(source)) } else { Partner::Outside(source.text(4)) }
}

/// What `body` gives on these rows, or where it says that it cannot; and the rows after it.
fn on<R>(
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
    body: impl FnOnce() -> R,
) -> (Result<R, String>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let call = Call { state: rows.clone(), ..Call::default() };
    let (result, call) = run(call, || catch_unwind(AssertUnwindSafe(body)));
    let result = result.map_err(|panic| {
        let text = panic.downcast::<String>().expect("a panic that says where");
        let named = text.starts_with("what is stored at ")
            || text.contains(" is not a ")
            || text.contains(" names no ");
        assert!(named, "{text}");
        *text
    });
    (result, call.state)
}

/// The rows below `prefix`, read as JSON; none when one of them is no key or no number.
fn numbers<K: OrderedKey>(
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
    prefix: &[u8],
) -> Option<Vec<(K, u64)>> {
    let own = rows.iter().filter(|(key, _)| key.starts_with(prefix));
    own.map(|(key, value)| {
        Some((K::read(&key[prefix.len()..])?, serde_json::from_slice(value).ok()?))
    })
    .collect()
}

fn maps<K: OrderedKey + Ord + Clone + std::fmt::Debug>(rows: &BTreeMap<Vec<u8>, Vec<u8>>, key: &K) {
    let field = || Map::<K, u64>::field("m");
    let model = numbers::<K>(rows, b"m/m/");
    assert_eq!(on(rows, || field().iter().collect::<Vec<_>>()).0.ok(), model);
    let back = on(rows, || field().iter().rev().collect::<Vec<_>>()).0;
    assert_eq!(back.ok().map(|all| all.into_iter().rev().collect()), model);
    if let Some(model) = &model {
        let from = on(rows, || field().range(key.clone()..).collect::<Vec<_>>()).0;
        let wanted: Vec<_> = model.iter().filter(|(own, _)| own >= key).cloned().collect();
        assert_eq!(from.as_ref(), Ok(&wanted));
        let until = on(rows, || field().range(..=key.clone()).count()).0;
        let wanted = model.iter().filter(|(own, _)| own <= key).count();
        assert_eq!(until, Ok(wanted));
        let page = on(rows, || field().page(Some(key), 2)).0.expect("all can be read");
        let behind = model.iter().filter(|(own, _)| own > key).take(2).cloned();
        assert_eq!(page, behind.collect::<Vec<_>>());
    }
    let at = [&b"m/m/"[..], &written(key, false)].concat();
    let (read, _) = on(rows, || field().get(key));
    let stored = rows.get(&at).map(|value| serde_json::from_slice::<u64>(value).ok());
    match stored {
        Some(None) => assert!(read.is_err(), "{read:?}"),
        stored => assert_eq!(read, Ok(stored.flatten())),
    }
    let (done, after) = on(rows, || field().insert(key.clone(), 77));
    let mut wanted = rows.clone();
    wanted.insert(at, b"77".to_vec());
    assert_eq!((done, after), (Ok(()), wanted), "another entry was touched");
}

fn lists(rows: &BTreeMap<Vec<u8>, Vec<u8>>, position: u64) {
    let stored = |key: &[u8]| rows.get(key).map(|value| serde_json::from_slice::<u64>(value).ok());
    let at = |position: u64| [&b"l/l/"[..], &position.to_be_bytes()].concat();
    let (read, _) = on(rows, || List::<u64>::field("l").get(position));
    match stored(&at(position)) {
        Some(None) => assert!(read.is_err()),
        stored => assert_eq!(read, Ok(stored.flatten())),
    }
    let len = match stored(b"l/l") {
        None => 0,
        Some(Some(len)) => len,
        Some(None) => {
            assert!(on(rows, || List::<u64>::field("l").len()).0.is_err());
            return;
        }
    };
    let (done, after) = on(rows, || List::<u64>::field("l").push(&77));
    let mut wanted = rows.clone();
    wanted.insert(at(len), b"77".to_vec());
    wanted.insert(b"l/l".to_vec(), (len + 1).to_string().into());
    assert_eq!((done, after), (Ok(()), wanted), "another item was touched");
    let items: Option<Vec<u64>> =
        (0..len).map(|position| stored(&at(position)).flatten()).collect();
    let whole = rows.keys().filter(|key| key.starts_with(b"l/l/")).count() as u64 == len;
    if let (Some(items), true) = (items, whole) {
        assert_eq!(on(rows, || List::field("l").iter().collect::<Vec<u64>>()).0, Ok(items.clone()));
        let back = on(rows, || List::field("l").iter().rev().collect::<Vec<u64>>()).0;
        assert_eq!(back, Ok(items.into_iter().rev().collect()));
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    by: String,
}

fn others(rows: &BTreeMap<Vec<u8>, Vec<u8>>, name: &str) {
    let (read, _) = on(rows, || Value::<u64>::field("v").get());
    match rows.get(&b"v/v"[..]).map(|value| serde_json::from_slice::<u64>(value).ok()) {
        Some(None) => assert!(read.is_err()),
        stored => assert_eq!(read, Ok(stored.flatten())),
    }
    let contacts = on(rows, || Activities::<u64>::field("a").iter().count()).0;
    let own = rows.iter().filter(|(key, _)| key.starts_with(b"a/a/"));
    if own.clone().count() == 0 {
        assert_eq!(contacts, Ok(0));
    }
    let _ = on(rows, || Activities::<u64>::field("a").get(name));
    let _ = on(rows, || Reservations::<Held>::field("r").get(name));
}

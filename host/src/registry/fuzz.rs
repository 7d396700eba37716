//! Describe documents and JSON Schemas of any kind: a deploy ends in bounded time and memory, a check says what its
//! library says, and what is said to fit does: nothing that was accepted before a deploy is refused after it.

use keystead_fuzz::{Source, peak_bytes, target};
use serde_json::{Map, Value, json};

use super::contract::{Body, Contract};
use super::fits::fits;
use super::lineage::{self, Lineage};
use super::record::{self, Record};
use crate::limits;

/// Memory for a document of one byte: members of its JSON, its schemas compiled, and patterns at their limit.
const DOCUMENT_GROWTH: u64 = 32 * 1024;
/// The same, however small the document: what the library needs to begin with, and one pattern.
const DOCUMENT_ROOM: u64 = 32 * 1024 * 1024;

/// Any bytes, and documents with any schemas: refused in words, or a contract that breaks nothing of itself.
#[test]
fn documents() {
    let seeds = (0..12_u8).map(|n| document(&mut Source::new(&noise(n))).to_string());
    target!(documents).seeds(seeds).runs(2_500).check(|input| {
        let (parsed, peak) = peak_bytes(|| Contract::parse(input));
        let most = DOCUMENT_ROOM + DOCUMENT_GROWTH * input.len() as u64;
        assert!(peak <= most, "{peak} bytes for {}", input.len());
        match parsed {
            Ok(contract) => whole(&contract),
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with("the component's describe document is not right: "));
                assert!(text.len() < 2_000 + 2 * input.len(), "{text}");
            }
        }
    });
}

/// A deploy after another: what both compare takes bounded time, and a handler's inputs that the old one took are
/// taken by the new one, unless a break is named.
#[test]
fn deploys() {
    target!(deploys).runs(12_000).check(|input| {
        let source = &mut Source::new(input);
        let old = document(source);
        let new = if source.flag() { changed(&old, source) } else { document(source) };
        let parse = |document: &Value| Contract::parse(document.to_string().as_bytes()).ok();
        let (Some(old), Some(new)) = (parse(&old), parse(&new)) else { return };
        let breaks = new.breaks(&old);
        let mut states = Lineage::new();
        lineage::extend(&mut states, &old);
        let _ = lineage::unreadable(&states, &new);
        lineage::extend(&mut states, &new);
        let text = serde_json::to_string(&states).expect("JSON");
        assert_eq!(serde_json::from_str::<Lineage>(&text).expect("reads back"), states);
        for (kind, entity) in &old.entities {
            for (name, handler) in &entity.handlers {
                let place = format!("- {kind}.{name}: ");
                let broken = |text: &String| {
                    text.starts_with(&place)
                        || *text == format!("- {kind}: the entity type is gone")
                };
                if breaks.iter().any(broken) {
                    continue;
                }
                let Some(now) = new.handler(kind, name) else {
                    assert_eq!(entity.migrate.as_ref(), Some(name), "gone, and not said");
                    continue;
                };
                for _ in 0..8 {
                    // Of its own arguments: one that nothing was said about may have another type now.
                    let Body::Json(schema) = &handler.input else { continue };
                    let names = schema["properties"].as_object().into_iter().flatten();
                    let names = names.filter(|_| source.below(4) > 0).map(|(name, _)| name.clone());
                    let names: Vec<_> = names.collect();
                    let given = names.into_iter().map(|name| (name, value(source, 1)));
                    let value = Value::Object(given.collect()).to_string();
                    if handler.check_input(value.as_bytes()).is_ok() {
                        let taken = now.check_input(value.as_bytes());
                        assert_eq!(
                            taken,
                            Ok(()),
                            "{value} to {place}{:?} then {:?}",
                            handler.input,
                            now.input
                        );
                    }
                }
            }
        }
    });
}

/// A check says what the library says, in bounded words; bytes that are no JSON are refused.
#[test]
fn inputs() {
    target!(inputs).runs(2_500).check(|input| {
        let source = &mut Source::new(input);
        let schema = schema(source);
        let document = json!({"entities": [{"type": "a", "handlers": [{"name": "h", "kind": "command",
            "input": {"json": schema}, "output": {"json": true}}]}]});
        let Ok(contract) = Contract::parse(document.to_string().as_bytes()) else { return };
        let handler = contract.handler("a", "h").expect("there");
        let oracle = jsonschema::options().offline().build(&schema).expect("it was accepted");
        for _ in 0..8 {
            let value = value(source, 0);
            let checked = handler.check_input(value.to_string().as_bytes());
            assert_eq!(checked.is_ok(), oracle.is_valid(&value), "{value} to {schema}: {checked:?}");
            let words = checked.err().unwrap_or_default();
            assert!(words.len() < 4 * limits::MESSAGE_BYTES_MAX + input.len(), "{words}");
        }
        let bytes = source.clone().rest();
        let checked = handler.check_input(bytes);
        let json = bytes.is_empty() || serde_json::from_slice::<Value>(bytes).is_ok();
        assert!(json || checked.is_err(), "{bytes:?} is taken");
    });
}

/// If one schema is said to fit into another, every value of the first is one of the second.
#[test]
fn fitting_schemas() {
    target!(fitting_schemas).runs(15_000).check(|input| {
        let source = &mut Source::new(input);
        let old = schema(source);
        let new = if source.flag() { changed(&old, source) } else { schema(source) };
        assert!(fits(&old, &old), "{old} does not fit itself");
        if !fits(&old, &new) {
            return;
        }
        let compile = |schema| jsonschema::options().offline().build(schema);
        let (Ok(before), Ok(after)) = (compile(&old), compile(&new)) else { return };
        // What two alternatives would read is read all the same.
        if new.to_string().contains("oneOf") {
            return;
        }
        for _ in 0..16 {
            let value = value(source, 0);
            let kept = !before.is_valid(&value) || after.is_valid(&value);
            assert!(kept, "{value} fits {old} and not {new}");
        }
    });
}

/// An app's record of any bytes: what reads is what was written, for its app alone; else it is refused.
#[test]
fn app_records() {
    let record = |at: u64| {
        let version = crate::ids::VersionId::of(&at.to_le_bytes());
        let kept = record::Deployment { version, deployed_at_ms: at, types: vec![] };
        let app = "bank".into();
        let (versions, lives) = (vec![kept], vec![version]);
        Record { format: record::FORMAT, app, versions, lives, ..Record::default() }
    };
    let texts: Vec<_> = [1, u64::MAX].map(|at| record::print(&record(at)).expect("JSON")).into();
    let known: Vec<_> = texts.iter().map(|text| text.escape_ascii().to_string()).collect();
    assert!(known.iter().all(|text| text.contains("check")));
    target!(app_records).seeds(texts.clone()).runs(15_000).check(|input| {
        let (read, peak) = peak_bytes(|| record::parse("bank", input));
        assert!(peak <= 64 * 1024 + 64 * input.len() as u64, "{peak} bytes for {}", input.len());
        let Ok(read) = read else { return };
        let unchecked = read.format < 3;
        assert!(record::parse("shop", input).is_err() || unchecked, "another app's");
        let read = Record { format: record::FORMAT, ..read };
        let written = record::print(&read).expect("JSON");
        assert_eq!(record::parse("bank", &written).ok().as_ref(), Some(&read));
        // A text that reads as checked without being one that was written would have to find a hash.
        let same = |text: &Vec<u8>| record::parse("bank", text).is_ok_and(|known| known == read);
        assert!(unchecked || texts.iter().any(same), "{}", input.escape_ascii());
    });
}

/// What holds for a contract that was accepted.
fn whole(contract: &Contract) {
    assert_eq!(contract.breaks(contract), Vec::<String>::new());
    let mut states = Lineage::new();
    lineage::extend(&mut states, contract);
    assert_eq!(lineage::unreadable(&states, contract), Vec::<String>::new());
    let again = Contract::parse(contract.document.to_string().as_bytes()).expect("it was accepted");
    assert_eq!(again.document, contract.document);
    for handler in contract.entities.values().flat_map(|entity| entity.handlers.values()) {
        let _ = handler.check_input(b"");
        let _ = handler.check_input(br#"{"a":[{"a":1},"b",null],"b":{"a":{}}}"#);
    }
}

/// Bytes that decide differently for each `n`.
pub(crate) fn noise(n: u8) -> Vec<u8> {
    (0..300_u32).map(|at| (at * at * 7 + at * 13 + u32::from(n) * 101) as u8).collect()
}

/// A describe document whose schemas are anything.
pub(crate) fn document(source: &mut Source<'_>) -> Value {
    let body = |source: &mut Source<'_>| match source.below(8) {
        0 => json!({"bytes": "image/png"}),
        1..5 => {
            let required = &["a", "b"][..source.below(3)];
            json!({"json": {"type": "object", "additionalProperties": false, "required": required,
                "properties": {"a": part(source, 2), "b": part(source, 2)}}})
        }
        _ => json!({ "json": schema(source) }),
    };
    let entity = |source: &mut Source<'_>, kind: &str| {
        let handlers: Vec<_> = ["h", "q"][..=source.below(2)]
            .iter()
            .map(|name| {
                let kind = source.pick(&["command", "query", "internal"]);
                json!({"name": name, "kind": kind, "input": body(source), "output": body(source)})
            })
            .collect();
        let mut entity = json!({"type": kind, "handlers": handlers});
        if source.flag() {
            let fields: Map<_, _> = ["f", "g"][..source.below(3)]
                .iter()
                .map(|name| {
                    let kind = source.pick(&["plain", "map", "list", "value"]);
                    ((*name).to_owned(), json!({"kind": kind, "schema": schema(source)}))
                })
                .collect();
            entity["state"] = json!({"version": 1 + source.below(3), "fields": fields});
        }
        if source.below(4) == 3 {
            entity["migrate"] = "h".into();
        }
        entity
    };
    let kinds = ["a", "b"];
    let entities: Vec<_> =
        kinds[..=source.below(2)].iter().map(|kind| entity(source, kind)).collect();
    json!({ "entities": entities })
}

/// A schema of any shape, with definitions that refer to each other.
pub(crate) fn schema(source: &mut Source<'_>) -> Value {
    let mut whole = part(source, 0);
    let definitions: Map<_, _> = ["d", "e"][..source.below(3)]
        .iter()
        .map(|name| ((*name).to_owned(), part(source, 1)))
        .collect();
    if let (Some(members), false) = (whole.as_object_mut(), definitions.is_empty()) {
        members.insert("$defs".into(), definitions.into());
    }
    whole
}

fn part(source: &mut Source<'_>, depth: usize) -> Value {
    if source.is_empty() || depth > 4 {
        return json!({});
    }
    let mut members = Map::new();
    for _ in 0..=source.below(3) {
        let (name, value) = keyword(source, depth + 1);
        members.insert(name.into(), value);
    }
    match source.below(24) {
        0 => json!(true),
        1 => json!(false),
        _ => members.into(),
    }
}

fn keyword(source: &mut Source<'_>, depth: usize) -> (&'static str, Value) {
    const TYPES: [&str; 7] = ["integer", "number", "string", "boolean", "null", "array", "object"];
    let small = |source: &mut Source<'_>| json!(source.below(4));
    let parts = |source: &mut Source<'_>| -> Value {
        (0..=source.below(3)).map(|_| part(source, depth)).collect::<Vec<_>>().into()
    };
    let named = |source: &mut Source<'_>| -> Value {
        let names = ["a", "b", "c"];
        let names = &names[..=source.below(3)];
        names
            .iter()
            .map(|name| ((*name).to_owned(), part(source, depth)))
            .collect::<Map<_, _>>()
            .into()
    };
    match source.below(24) {
        0..5 => ("type", (*source.pick(&TYPES)).into()),
        5 => ("type", json!([source.pick(&TYPES), "null"])),
        6 => ("minimum", small(source)),
        7 => ("maximum", small(source)),
        8 => ("minLength", small(source)),
        9 => ("maxItems", small(source)),
        10 | 11 => ("properties", named(source)),
        12 => ("required", json!(["a", "b"][..=source.below(2)])),
        13 => ("additionalProperties", part(source, depth)),
        14 => ("items", part(source, depth)),
        15 => ("prefixItems", parts(source)),
        16 => ("anyOf", parts(source)),
        17 => ("oneOf", parts(source)),
        18 => ("allOf", parts(source)),
        19 | 20 => {
            ("$ref", (*source.pick(&["#", "#/$defs/d", "#/$defs/e", "#/properties/a"])).into())
        }
        21 => ("enum", json!([value(source, 3), value(source, 3)])),
        22 => match source.below(4) {
            0 => ("patternProperties", json!({"^a": part(source, depth)})),
            1 => ("pattern", (*source.pick(&["^a+$", "(a|b)*c", "\\w{3}"])).into()),
            2 => ("const", value(source, 3)),
            _ => ("not", part(source, depth)),
        },
        _ => match source.below(4) {
            0 => ("default", value(source, 2)),
            1 => ("examples", json!([value(source, 2)])),
            2 => ("uniqueItems", true.into()),
            _ => ("title", source.text(5).into()),
        },
    }
}

/// The same with one keyword of a place in it changed.
fn changed(value: &Value, source: &mut Source<'_>) -> Value {
    let mut changed = value.clone();
    let mut place = &mut changed;
    for _ in 0..source.below(8) {
        let inner = match &*place {
            Value::Object(members) => members.values().any(|one| one.is_object() || one.is_array()),
            Value::Array(items) => items.iter().any(|one| one.is_object() || one.is_array()),
            _ => false,
        };
        if !inner {
            break;
        }
        let choice = source.byte();
        let nth = |count: usize| usize::from(choice) % count.max(1);
        place = match place {
            Value::Object(members) => {
                let mut all: Vec<_> =
                    members.values_mut().filter(|one| one.is_object() || one.is_array()).collect();
                let at = nth(all.len());
                all.swap_remove(at)
            }
            Value::Array(items) => {
                let mut all: Vec<_> =
                    items.iter_mut().filter(|one| one.is_object() || one.is_array()).collect();
                let at = nth(all.len());
                all.swap_remove(at)
            }
            _ => unreachable!("it has members"),
        };
    }
    if let Value::Object(members) = place {
        let (name, value) = keyword(source, 2);
        members.insert(name.into(), value);
    }
    changed
}

/// A JSON value that schemas from here are often about.
pub(crate) fn value(source: &mut Source<'_>, depth: usize) -> Value {
    match source.below(if depth > 3 { 7 } else { 12 }) {
        0 => json!(source.below(6)),
        1 => json!(source.number()),
        2 => json!(-(source.below(300) as i64)),
        3 => json!(source.below(9) as f64 / 2.0),
        4 => (*source.pick(&["", "a", "abc", "aa"])).into(),
        5 => source.flag().into(),
        6 => Value::Null,
        7 | 8 => (0..source.below(4)).map(|_| value(source, depth + 1)).collect::<Vec<_>>().into(),
        _ => {
            let names = ["a", "b", "c", "d"];
            let names = &names[..source.below(5)];
            names
                .iter()
                .map(|name| ((*name).to_owned(), value(source, depth + 1)))
                .collect::<Map<_, _>>()
                .into()
        }
    }
}

/// What a handler of the document takes.
pub(crate) fn takes(document: &Value) -> Body {
    Body::Json(document["entities"][0]["handlers"][0]["input"]["json"].clone())
}

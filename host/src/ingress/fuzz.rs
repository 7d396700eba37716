//! Requests of any kind to handlers of any kind: addresses, arguments in queries, bodies, times, and the OpenAPI
//! document. Each ends in bounded time and memory, however the component describes itself.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use keystead_fuzz::{Source, peak_bytes, target};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::address::Address;
use super::{arguments, due, input, openapi};
use crate::edge::query::Params;
use crate::engine::Due;
use crate::ids::EntityRef;
use crate::limits;
use crate::registry::{Body, Contract, HandlerKind, fuzz as documents};

/// Memory of an OpenAPI document: what each has, some for each handler, and some for each byte that describes them.
const OPENAPI_ROOM: u64 = 2 * 1024 * 1024;
const OPENAPI_GROWTH: u64 = 200;

/// Paths: an entity's own path finds it, and what is found is what was asked for.
#[test]
fn addresses() {
    target!(addresses).seed("bank/account/a%2Fb/deposit").runs(20_000).check(|bytes| {
        let path = String::from_utf8_lossy(bytes);
        match Address::decode("call", &path) {
            Ok(address) => {
                let entity = &address.entity;
                let key = utf8_percent_encode(entity.key(), NON_ALPHANUMERIC);
                let path = format!("{}/{}/{key}/{}", entity.app(), entity.kind(), address.handler);
                let again = Address::decode("call", &path).expect("its own path");
                assert_eq!((&again.entity, &again.handler), (entity, &address.handler));
            }
            Err(problem) => assert!([400, 404].contains(&problem.status().as_u16())),
        }
        let source = &mut Source::new(bytes);
        let (one, two) = (source.text(8), source.text(8));
        let entity = |key: &str| EntityRef::new("a", "t", key);
        let found = |key: &str| {
            let path = format!("a/t/{}/h", utf8_percent_encode(key, NON_ALPHANUMERIC));
            Address::decode("call", &path).map(|address| address.entity).ok()
        };
        assert_eq!(found(&one), entity(&one).ok());
        assert_eq!(
            found(&one).is_some() && found(&one) == found(&two),
            one == two && !one.is_empty()
        );
    });
}

/// Arguments in a query, to any schema: an object with each name once, or a refusal. What was text stays that text.
#[test]
fn query_arguments() {
    let seeds = ["a=5&b=x", "a=%5B1%5D&a=2"].map(|query| [&[0; 40][..], query.as_bytes()].concat());
    target!(query_arguments).seeds(seeds).runs(5_000).check(|bytes| {
        let source = &mut Source::new(bytes);
        let document = documents::document(source);
        let body = documents::takes(&document);
        let Body::Json(root) = &body else { return };
        let query = String::from_utf8_lossy(sent(source));
        for query in [&*query, "a=1&b=x&c=null&a=%7B%7D"] {
            let Ok(input) = arguments::from_query(Some(query), &body) else { continue };
            if input.is_empty() {
                continue;
            }
            let read: Value = serde_json::from_slice(&input).expect("JSON");
            let members = read.as_object().expect("an object");
            assert!(members.len() <= query.split('&').count(), "{query}: {read}");
            assert!(input.len() <= 12 * query.len() + 64, "{query}: {read}");
            let pairs = Params::new(Some(query)).and_then(Params::rest).expect("it was read");
            let properties = &arguments::follow(root, root)["properties"];
            for (name, value) in pairs {
                // What no schema says anything of is the text that it is.
                let untold = properties.get(&*name).is_none();
                assert!(!untold || read[&*name] == *value, "{query}: {read}");
            }
        }
        // The shape of a schema that refers to itself is found, too.
        let property = json!({"$ref": "#/$defs/d"});
        let _ = arguments::Shape::of(root, &property);
    });
}

/// Bodies to JSON handlers: taken when they are nothing or an object that fits, and refused with 400 or 415.
#[test]
fn bodies() {
    let seeds =
        [r#"{"a":5}"#, "", "[]", r#"{"a":"#].map(|body| [&[0; 40][..], body.as_bytes()].concat());
    target!(bodies).seeds(seeds).runs(3_000).check(|bytes| {
        let source = &mut Source::new(bytes);
        let mut document = documents::document(source);
        let any = json!({"name": "any", "kind": "command", "input": {"json": true}, "output": {"json": true}});
        let entities = document["entities"].as_array_mut().expect("a list");
        entities.push(json!({"type": "z", "handlers": [any]}));
        let Ok(contract) = Contract::parse(document.to_string().as_bytes()) else { return };
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(source.bytes(30)) {
            headers.insert(CONTENT_TYPE, value);
        }
        let body = Bytes::copy_from_slice(sent(source));
        for headers in [&headers, &HeaderMap::new()] {
            for handler in contract.entities.values().flat_map(|entity| entity.handlers.values()) {
                match input::take(headers, body.clone(), handler) {
                    Ok(taken) => {
                        assert_eq!(taken.bytes, body);
                        let json = matches!(handler.input, Body::Json(_));
                        assert_eq!(json, taken.content_type.is_none());
                        let object = || {
                            serde_json::from_slice::<Value>(&body)
                                .is_ok_and(|read| read.is_object())
                        };
                        assert!(!json || body.is_empty() || object(), "{body:?}");
                    }
                    Err(problem) => assert!([400, 415].contains(&problem.status().as_u16())),
                }
            }
        }
    });
}

/// When a send is due: now, or after now and within the longest delay; else refused with 400.
#[test]
fn dues() {
    let seeds =
        ["delay=10s", "at=2030-01-31T08:00:00Z", "delay=PT1H&at=", "at=1969-01-01T00:00:00Z"];
    target!(dues).seeds(seeds).runs(20_000).check(|bytes| {
        let query = String::from_utf8_lossy(bytes);
        let now_ms = 1_700_000_000_000;
        match due::read(Some(&query), now_ms) {
            Ok(Due::Now) => {}
            Ok(Due::AtMs(at_ms)) => {
                let most = now_ms + limits::DELAY_MAX.as_millis() as u64;
                assert!(at_ms > now_ms && at_ms <= most, "{query}: {at_ms}");
            }
            Err(problem) => assert_eq!(problem.status().as_u16(), 400, "{query}"),
        }
    });
}

/// The OpenAPI document of any contract: one is made, of bounded size, with each handler that anybody may call.
#[test]
fn openapi_documents() {
    let text = |n: u8| documents::document(&mut Source::new(&documents::noise(n))).to_string();
    target!(openapi_documents).seeds((0..12).map(text)).runs(1_500).check(|bytes| {
        let Ok(contract) = Contract::parse(bytes) else { return };
        let (document, peak) = peak_bytes(|| openapi::document("app", "v", &contract));
        let handlers = contract.entities.values().flat_map(|entity| entity.handlers.values());
        let open = handlers.clone().filter(|handler| handler.kind != HandlerKind::Internal).count();
        let room = OPENAPI_ROOM * (1 + open as u64) + OPENAPI_GROWTH * bytes.len() as u64;
        assert!(peak <= room, "{peak} bytes for {}", bytes.len());
        let paths = document["paths"].as_object().expect("paths");
        for (kind, entity) in &contract.entities {
            for (name, handler) in &entity.handlers {
                let verb = if handler.kind == HandlerKind::Query { "read" } else { "call" };
                let path = format!("/v1/{verb}/app/{kind}/{{key}}/{name}");
                let open = handler.kind != HandlerKind::Internal;
                assert_eq!(paths.contains_key(&path), open, "{path}");
            }
        }
    });
}

/// What is left of an input, as a client's text: decisions before it that were not needed are 0.
fn sent<'i>(source: &Source<'i>) -> &'i [u8] {
    let rest = source.clone().rest();
    &rest[rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len())..]
}

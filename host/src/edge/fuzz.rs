//! What clients send beside bodies: paths, queries, header fields and times. What is encoded reads back as it was,
//! two different keys never meet, limits hold, and what is refused is refused in bounded words.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use keystead_fuzz::{Source, target};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::query::Params;
use super::{Problem, headers, path, time};
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::limits;

/// As little as a client may encode.
const LEAST: &AsciiSet = &CONTROLS.add(b'/').add(b'%').add(b'?').add(b'#').add(b' ').add(b'.');

/// Keys in paths: each reads back from its encodings and from no other's; a raw segment decodes once, to text.
#[test]
fn segments() {
    target!(segments).runs(30_000).check(|input| {
        let source = &mut Source::new(input);
        let (one, two) = (source.text(12), source.text(12));
        let all = |key: &str| utf8_percent_encode(key, NON_ALPHANUMERIC).to_string();
        let least = |key: &str| utf8_percent_encode(key, LEAST).to_string();
        for raw in [all(&one), least(&one)] {
            let read = path::segment("key", &raw);
            assert_eq!(read.ok().as_deref(), (!one.is_empty()).then_some(one.as_str()), "{raw}");
            let path = format!("app/type/{raw}/handler");
            assert_eq!(path::split(&path), Some(["app", "type", &raw, "handler"]), "{raw}");
        }
        assert_eq!(all(&one) == least(&two) || least(&one) == least(&two), one == two);
        let raw = source.text(20);
        match path::segment("key", &raw) {
            // Decoding gives one byte for three, or the byte itself.
            Ok(read) => {
                let escapes = raw.matches('%').count();
                assert_eq!(read.len() + 2 * escapes, raw.len(), "{raw:?} is {read:?}");
                assert_eq!(path::segment("key", &all(&read)).ok().as_deref(), Some(&*read));
            }
            Err(error) => assert_eq!(error.field, "key"),
        }
    });
}

/// Names, addresses and ids: what is accepted is within its limits, prints as it reads, and has one reading.
#[test]
fn names() {
    let entity = EntityRef::new("bank", "account", "a/b").expect("valid");
    let id = MessageId::new(1_700_000_000_000, &entity, 42);
    let token = CallbackToken::new(id, [0xab; 16]);
    let seeds = [entity.to_string(), id.to_string(), token.to_string()];
    target!(names).seeds(seeds).runs(30_000).check(|input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(entity) = text.parse::<EntityRef>() {
            assert_eq!(entity.to_string(), text);
            assert!((1..=limits::KEY_BYTES_MAX).contains(&entity.key().len()));
            assert!(entity.app().len().max(entity.kind().len()) <= limits::NAME_BYTES_MAX);
            assert!(!entity.app().contains('/') && !entity.kind().contains('/'));
            let again = EntityRef::new(entity.app(), entity.kind(), entity.key());
            assert_eq!(again.map(|again| again.ring()), Ok(entity.ring()));
        }
        if let Ok(id) = text.parse::<MessageId>() {
            assert_eq!(id.to_string(), text);
        }
        if let Ok(token) = text.parse::<CallbackToken>() {
            assert_eq!(token.to_string(), text);
            assert!(token.proves(&token.proof()));
        }
        let source = &mut Source::new(input);
        let parts = [source.text(3), source.text(3), source.text(6)];
        let other = [source.text(3), source.text(3), source.text(6)];
        let of = |parts: &[String; 3]| EntityRef::new(&parts[0], &parts[1], &parts[2]);
        if let (Ok(one), Ok(two)) = (of(&parts), of(&other)) {
            assert_eq!(one == two, parts == other);
            assert_eq!(one.cmp(&two), parts.cmp(&other));
        }
    });
}

/// Queries: pairs that were encoded read back in their order; any text is read or refused with 400.
#[test]
fn queries() {
    target!(queries).seed("delay=10s&at=2030-01-31T08:00:00%2B01:00&limit=5").runs(20_000).check(
        |input| {
            let source = &mut Source::new(input);
            let pairs: Vec<_> =
                (0..source.below(4)).map(|_| (source.text(4), source.text(6))).collect();
            let encode = |text: &str, source: &mut Source<'_>| {
                let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                if source.flag() { encoded.replace("%20", "+") } else { encoded }
            };
            let query: Vec<_> = pairs
                .iter()
                .map(|(name, value)| format!("{}={}", encode(name, source), encode(value, source)))
                .collect();
            let query = query.join("&");
            let read = Params::new(Some(&query)).expect("splits").rest().expect("decodes");
            let read: Vec<_> = read.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            assert_eq!(read, pairs, "{query}");

            let any = String::from_utf8_lossy(input);
            let refused = |problem: &Problem| assert_eq!(problem.status().as_u16(), 400, "{any}");
            match Params::new(Some(&any)) {
                Err(problem) => refused(&problem),
                Ok(mut params) => {
                    match params.limit() {
                        Ok(limit) => assert!((1..=limits::PAGE_ROWS_MAX).contains(&limit)),
                        Err(problem) => refused(&problem),
                    }
                    let taken = params.text("delay").and_then(|_| params.literal("at")).err();
                    taken.iter().for_each(&refused);
                    params.rest().err().iter().for_each(&refused);
                }
            }
        },
    );
}

/// Header fields: a key of a client is printable, short and the same quoted and bare; a trace is well-formed.
#[test]
fn header_fields() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    target!(header_fields).seeds([trace, "\"a\\\"b\"", "key"]).runs(30_000).check(|input| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return };
        let with = |name: HeaderName, value: HeaderValue| HeaderMap::from_iter([(name, value)]);
        match headers::idempotency_key(&with(headers::IDEMPOTENCY_KEY, value.clone())) {
            Ok(key) => {
                let key = key.expect("one is given");
                assert!((1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
                assert!(key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{key:?}");
                let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
                let quoted = HeaderValue::from_str(&quoted).expect("printable");
                let again = headers::idempotency_key(&with(headers::IDEMPOTENCY_KEY, quoted));
                assert_eq!(again.expect("valid"), Some(key));
            }
            Err(problem) => {
                assert_eq!(problem.status().as_u16(), 400);
                assert!(problem.detail().len() < 300, "{}", problem.detail());
            }
        }
        if let Some(trace) = headers::traceparent(&with(headers::TRACEPARENT, value.clone())) {
            assert!(trace.len() <= 128 && trace.is_ascii() && !trace.contains(char::is_whitespace));
            assert_eq!(trace.as_bytes(), input);
        }
        let _ = headers::unambiguous(
            http::Version::HTTP_11,
            &with(http::header::TRANSFER_ENCODING, value),
        );
    });
}

/// Durations and moments: within their bounds or refused by name; a moment that is written reads back.
#[test]
fn times() {
    const MAX: Duration = Duration::from_secs(3_660 * 86_400);
    let seeds =
        ["10s", "PT10S", "1h 30m", "2 days", "2030-01-31T08:00:00Z", "-1s", "P1Y2M", "3660d"];
    target!(times).seeds(seeds).runs(30_000).check(|input| {
        let text = String::from_utf8_lossy(input);
        match time::duration("delay", &text, MAX) {
            Ok(duration) => assert!(duration <= MAX, "{text}"),
            Err(problem) => {
                assert_eq!(problem.status().as_u16(), 400);
                assert!(problem.detail().starts_with("delay: "), "{}", problem.detail());
            }
        }
        if let Ok(ms) = time::moment_ms("at", &text)
            && let Some(written) = time::rfc3339(ms)
        {
            assert_eq!(time::moment_ms("at", &written).ok(), Some(ms), "{text}");
        }
        let ms = Source::new(input).number();
        if let Some(written) = time::rfc3339(ms) {
            assert_eq!(time::moment_ms("at", &written).ok(), Some(ms));
        }
    });
}

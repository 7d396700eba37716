//! Requests that are wrong as HTTP, a row each, to both listeners: each is refused or means what it says, and the host
//! goes on.

use serde_json::json;

use crate::harness::{Guest, Host};
use crate::watch::{Process, assert_no_panic, closes_down_to};
use crate::wire::Wire;

const OK: &[u16] = &[200];
const BAD: &[u16] = &[400];
/// Refused by the HTTP library: told, or closed without a word.
const CLOSED: &[u16] = &[];

/// A request: its name, its bytes, and the statuses that it may have; none at all stands for a closed connection, which
/// every refusal may be.
type Row = (&'static str, fn() -> Vec<u8>, &'static [u16]);

const CALL: &str = "POST /v1/call/app/probe/a/bump HTTP/1.1\r\n";

fn call(headers: &str, body: &str) -> Vec<u8> {
    format!("{CALL}Host: localhost\r\n{headers}\r\n{body}").into_bytes()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

fn post(target: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn raw(head: &[u8]) -> Vec<u8> {
    [head, b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"].concat()
}

const LENGTHS: [Row; 16] = [
    (
        "two lengths that agree",
        || call("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        &[200, 400],
    ),
    ("two lengths that differ", || call("Content-Length: 2\r\nContent-Length: 3\r\n", "{}x"), BAD),
    ("a list of lengths", || call("Content-Length: 2, 3\r\n", "{}x"), BAD),
    ("a negative length", || call("Content-Length: -2\r\n", "{}"), BAD),
    ("a length with a sign", || call("Content-Length: +2\r\n", "{}"), BAD),
    (
        "a length beyond all numbers",
        || call("Content-Length: 99999999999999999999999\r\n", ""),
        BAD,
    ),
    ("a length that is none", || call("Content-Length: two\r\n", "{}"), BAD),
    ("a length of 4 EiB", || call("Content-Length: 4611686018427387904\r\n", ""), &[413]),
    (
        "a length and chunks",
        || call("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        &[200, 400],
    ),
    (
        "chunks of another coding",
        || call("Transfer-Encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        BAD,
    ),
    ("a coding that is not chunks", || call("Transfer-Encoding: gzip\r\n", "{}"), BAD),
    (
        "a chunk of a length that is none",
        || call("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
        BAD,
    ),
    (
        "a chunk beyond all numbers",
        || call("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}"),
        BAD,
    ),
    (
        "a chunk of 16 EiB",
        || {
            let chunk = format!("fffffffffffffffe\r\n{}", "x".repeat(2 << 20));
            call("Transfer-Encoding: chunked\r\n", &chunk)
        },
        &[400, 413],
    ),
    (
        "a chunk that goes on",
        || call("Transfer-Encoding: chunked\r\n", "1\r\n{}\r\n0\r\n\r\n"),
        BAD,
    ),
    (
        "a chunk with endless extensions",
        || {
            call(
                "Transfer-Encoding: chunked\r\n",
                &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000)),
            )
        },
        BAD,
    ),
];

const HEADERS: [Row; 14] = [
    (
        "two hosts",
        || b"GET /v1/read/app/probe/a/count HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        BAD,
    ),
    ("no host", || b"GET /v1/read/app/probe/a/count HTTP/1.1\r\n\r\n".to_vec(), BAD),
    (
        "two keys",
        || call("Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 0\r\n", ""),
        BAD,
    ),
    (
        "two types",
        || {
            call(
                "Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n",
                "{}",
            )
        },
        BAD,
    ),
    (
        "a type that is no text",
        || call("Content-Type: \u{ff}\r\nContent-Length: 2\r\n", "{}"),
        &[400, 415],
    ),
    (
        "a header that goes on in the next line",
        || call("X: a\r\n b\r\nContent-Length: 0\r\n", ""),
        BAD,
    ),
    ("a header without a colon", || call("nothing\r\nContent-Length: 0\r\n", ""), BAD),
    ("a space before the colon", || call("Content-Length : 0\r\n", ""), BAD),
    ("a header of control characters", || call("X: \u{1}\u{7f}\r\nContent-Length: 0\r\n", ""), BAD),
    ("a NUL in a header", || call("X: a\0b\r\nContent-Length: 0\r\n", ""), BAD),
    (
        "a hundred headers",
        || call(&format!("{}Content-Length: 0\r\n", "X: y\r\n".repeat(99)), ""),
        &[431],
    ),
    ("ten thousand headers", || call(&"X: y\r\n".repeat(10_000), ""), &[431]),
    ("a header of a megabyte", || call(&format!("X: {}\r\n", "y".repeat(1 << 20)), ""), &[431]),
    (
        "a page of another origin",
        || call("Origin: http://evil.example\r\nContent-Length: 0\r\n", ""),
        &[403],
    ),
];

const TARGETS: [Row; 20] = [
    ("a NUL in a key", || post("/v1/call/app/probe/a%00b/bump"), OK),
    ("dots in a key, escaped", || post("/v1/call/app/probe/%2e%2e/bump"), OK),
    ("dots in a key, bare", || post("/v1/call/app/probe/../bump"), BAD),
    ("a way up and out", || get("/v1/read/app/probe/a/../../../../etc/passwd"), &[400, 404]),
    ("slashes in a key, escaped", || post("/v1/call/app/probe/%2f..%2f..%2fetc/bump"), OK),
    ("an escape of an escape", || post("/v1/call/app/probe/%252e%252e%252f/bump"), OK),
    ("an overlong slash", || post("/v1/call/app/probe/%c0%af/bump"), BAD),
    ("a lone surrogate", || post("/v1/call/app/probe/%ed%a0%80/bump"), BAD),
    ("an escape cut short", || post("/v1/call/app/probe/a%2/bump"), BAD),
    ("a NUL in an app", || post("/v1/call/ap%00p/probe/a/bump"), BAD),
    ("raw bytes in a key", || raw(b"POST /v1/call/app/probe/\xff\xfe/bump"), BAD),
    ("a raw NUL", || raw(b"POST /v1/call/app/probe/a\0/bump"), BAD),
    ("a raw space", || raw(b"POST /v1/call/app/probe/a b/bump"), BAD),
    ("an absolute target", || get("http://localhost/v1/read/app/probe/a/count"), OK),
    (
        "an absolute target elsewhere",
        || get("http://evil.example:1/v1/read/app/probe/a/count"),
        &[200, 400, 421],
    ),
    ("an asterisk", || raw(b"OPTIONS *"), &[404, 405]),
    ("an authority", || raw(b"CONNECT localhost:80"), &[400, 404, 405]),
    ("no target", || raw(b"GET "), BAD),
    ("a target of a megabyte", || get(&format!("/v1/{}", "x".repeat(1 << 20))), &[414, 431]),
    ("a fragment", || post("/v1/call/app/probe/a/bump#x"), &[200, 400, 404]),
];

const LINES: [Row; 9] = [
    ("nothing like HTTP", || b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".repeat(40), CLOSED),
    ("a method of its own", || raw(b"BREW /v1/call/app/probe/a/bump"), &[405]),
    ("a method that is none", || raw(b"P\x01ST /v1/call/app/probe/a/bump"), BAD),
    ("a method of a megabyte", || raw(&b"X".repeat(1 << 20)), &[400, 431]),
    ("HTTP of the next century", || b"GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(), BAD),
    ("HTTP/1.0", || b"GET /v1/read/app/probe/a/count HTTP/1.0\r\n\r\n".to_vec(), OK),
    ("HTTP/0.9", || b"GET /\r\n\r\n".to_vec(), BAD),
    (
        "lines without returns",
        || b"GET /v1/read/app/probe/a/count HTTP/1.1\nHost: localhost\n\n".to_vec(),
        &[200, 400],
    ),
    ("a return in the middle", || b"GET /\rx HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), BAD),
];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_and_the_host_goes_on() {
    let host = Host::with(Guest::Hostile, "app").await;
    let process = Process::of(&host);
    let client = host.client();
    client.call("app/probe/a", "bump", json!({})).ok().await;
    let base_files = process.open_files();
    let rows: Vec<Row> = [&LENGTHS[..], &HEADERS, &TARGETS, &LINES].concat();
    let mut wrong = Vec::new();
    for (name, bytes, statuses) in &rows {
        let answered = one(&host.addresses().ingress, &bytes()).await;
        let expected = answered.map_or(!statuses.contains(&200) || statuses.len() > 1, |status| {
            statuses.contains(&status) || (statuses.is_empty() && status == 400)
        });
        println!("{name}: {answered:?}");
        if !expected {
            wrong.push(format!("{name}: {answered:?} is none of {statuses:?}"));
        }
        // The admin API has other routes; it must be as hard to break.
        let admin = one(&host.addresses().admin, &bytes()).await;
        if admin.is_some_and(|status| status >= 500) {
            wrong.push(format!("{name}, to the admin API: {admin:?}"));
        }
        let bumped = client.call("app/probe/b", "bump", json!({})).answer().await;
        bumped.expect_status(200);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    closes_down_to(process, base_files + 4).await;
    assert_no_panic(&host);
}

/// The status that comes first; none when the host closes without a word.
async fn one(address: &str, bytes: &[u8]) -> Option<u16> {
    let mut wire = Wire::to(address).await;
    wire.say(bytes).await;
    wire.statuses(1).await.first().copied()
}

/// What one connection is told depends on where its requests end: each of many in a row must have its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_smuggle_nothing() {
    let host = Host::with(Guest::Hostile, "app").await;
    let mut wire = Wire::to(&host.addresses().ingress).await;
    let one = call("Content-Length: 2\r\n", "{}");
    let many = 200;
    assert!(wire.say(&one.repeat(many)).await);
    assert_eq!(wire.statuses(many).await, vec![200; many]);
    assert_eq!(host.client().value("app/probe/a", "count").await, many);
    // Both lengths at once: a proxy may believe the other one. What follows must not be a request.
    let hidden = String::from_utf8(call("Content-Length: 2\r\n", "{}")).expect("text");
    let outer = format!("0\r\n\r\n{hidden}");
    let headers = format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", outer.len());
    let mut wire = Wire::to(&host.addresses().ingress).await;
    wire.say(&call(&headers, &outer)).await;
    let answered = wire.statuses(2).await;
    println!("a length, chunks, and a request within: {answered:?}");
    assert!(answered.len() <= 1, "the hidden request was answered: {answered:?}");
    assert_no_panic(&host);
}

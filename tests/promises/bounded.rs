//! Promise 8: bad input at each door, and too much of anything, gets its code and a message that says what would be
//! right, and nothing changes. One row per mistake; each row is followed by a look at everything.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Client, Guest, Host, Request};

const CALL: &str = "/v1/call/app/probe/a/append";
const MIB: usize = 1024 * 1024;

/// A mistake: its name, how it is made, its status and code, and words that its detail must have.
type Mistake = (&'static str, fn(&Client) -> Request, u16, &'static str, &'static str);

/// Everything that an operator can see, but for positions and counters of work.
async fn everything(host: &Host) -> Value {
    let client = host.client();
    let totals = host.quiet().await;
    let entities = client.admin(Method::GET, "/admin/v1/entities/app/probe").ok().await;
    let apps = client.admin(Method::GET, "/admin/v1/apps").ok().await;
    let dead = host.dead_letters().await;
    let a = host.entity("app/probe/a").await;
    json!({"totals": format!("{totals:?}"), "entities": entities, "apps": apps, "dead": dead, "a": a})
}

async fn host() -> Host {
    let host = Host::with(Guest::Hostile, "app").await;
    host.client().call("app/probe/a", "append", json!({"n": 1})).ok().await;
    host
}

async fn check(mistakes: &[Mistake]) {
    let host = host().await;
    let client = host.client();
    let before = everything(&host).await;
    for (name, request, status, code, words) in mistakes {
        let answer = request(&client).answer().await;
        println!("{name}: {}", answer.text());
        let problem = answer.expect_problem(*status, code);
        let detail = problem.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(words), "{name}: {detail:?} does not say {words:?}");
        assert_ne!(problem.json()["source"], "handler", "{name}: no handler ran: {problem:?}");
        let after = everything(&host).await;
        assert_eq!(after, before, "{name} changed something");
    }
}

fn post(client: &Client, path: impl Into<String>) -> Request {
    client.ingress(Method::POST, path).json(json!({"n": 2}))
}

fn long_key(bytes: usize) -> String {
    format!("/v1/call/app/probe/{}/append", "k".repeat(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_refused() {
    let mistakes: [Mistake; 14] = [
        ("bad UTF-8", |c| post(c, "/v1/call/app/probe/%ff/append"), 400, "malformed", "key"),
        ("half an escape", |c| post(c, "/v1/call/app/probe/%4/append"), 400, "malformed", "key"),
        ("empty key", |c| post(c, "/v1/call/app/probe//append"), 400, "malformed", "key"),
        ("key of 513 bytes", |c| post(c, long_key(513)), 400, "malformed", "512"),
        (
            "unknown app",
            |c| post(c, "/v1/call/nobody/probe/a/append"),
            404,
            "unknown_app",
            "nobody",
        ),
        (
            "unknown type",
            |c| post(c, "/v1/call/app/nothing/a/append"),
            404,
            "unknown_type",
            "nothing",
        ),
        ("unknown handler", |c| post(c, "/v1/call/app/probe/a/fly"), 404, "unknown_handler", "fly"),
        ("to nobody", |c| post(c, "/v1/send/nobody/probe/a/append"), 404, "unknown_app", "nobody"),
        ("to no handler", |c| post(c, "/v1/send/app/probe/a/fly"), 404, "unknown_handler", "fly"),
        ("read no handler", |c| post(c, "/v1/read/app/probe/a/fly"), 404, "unknown_handler", "fly"),
        ("no such path", |c| post(c, "/v2/call/app/probe/a/append"), 404, "unknown_route", "route"),
        (
            "a segment more",
            |c| post(c, "/v1/call/app/probe/a/append/x"),
            404,
            "unknown_route",
            "%2F",
        ),
        ("wrong method", |c| c.ingress(Method::PUT, CALL), 405, "method_not_allowed", "POST"),
        ("not an id", |c| c.ingress(Method::GET, "/v1/messages/7"), 400, "malformed", "msg_"),
    ];
    check(&mistakes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_are_refused() {
    fn body(client: &Client, body: &'static str) -> Request {
        let request = client.ingress(Method::POST, CALL).body(body);
        request.header("Content-Type", "application/json")
    }
    fn large(client: &Client, path: &str) -> Request {
        client.ingress(Method::POST, path).json(json!({"n": 1, "pad": "x".repeat(MIB)}))
    }
    let mistakes: [Mistake; 12] = [
        ("another type", |c| body(c, r#"{"n": "one"}"#), 400, "invalid_input", "n"),
        ("negative", |c| body(c, r#"{"n": -1}"#), 400, "invalid_input", "n"),
        ("missing", |c| body(c, "{}"), 400, "invalid_input", "n"),
        ("nothing", |c| body(c, ""), 400, "invalid_input", "n"),
        ("unknown member", |c| body(c, r#"{"n": 1, "m": 2}"#), 400, "invalid_input", "m"),
        ("an array", |c| body(c, "[1]"), 400, "malformed", "object"),
        ("a number", |c| body(c, "1"), 400, "malformed", "object"),
        ("not JSON", |c| body(c, "n=1"), 400, "malformed", "JSON"),
        ("half of JSON", |c| body(c, r#"{"n": 1"#), 400, "malformed", "JSON"),
        ("a form", |c| form(c), 415, "unsupported_media_type", "application/json"),
        ("too large", |c| large(c, CALL), 413, "too_large", "1048576"),
        ("too large", |c| large(c, "/v1/send/app/probe/a/append"), 413, "too_large", "1048576"),
    ];
    check(&mistakes).await;
}

fn form(client: &Client) -> Request {
    let request = client.ingress(Method::POST, CALL).body("n=1");
    request.header("Content-Type", "application/x-www-form-urlencoded")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_options_are_refused() {
    fn send(client: &Client, query: &str) -> Request {
        post(client, format!("/v1/send/app/probe/a/append?{query}"))
    }
    fn key(client: &Client, key: &str) -> Request {
        post(client, CALL).key(key)
    }
    let mistakes: [Mistake; 13] = [
        ("no duration", |c| send(c, "delay=banana"), 400, "malformed", "banana"),
        ("no unit", |c| send(c, "delay=10"), 400, "malformed", "delay"),
        ("negative delay", |c| send(c, "delay=-1s"), 400, "malformed", "negative"),
        ("delay of a life", |c| send(c, "delay=999999h"), 400, "malformed", "delay"),
        ("no time", |c| send(c, "at=tomorrow"), 400, "malformed", "RFC 3339"),
        ("in a thousand years", |c| send(c, "at=2999-01-01T00:00:00Z"), 400, "malformed", "days"),
        ("both", |c| send(c, "delay=1s&at=2999-01-01T00:00:00Z"), 400, "malformed", "delay"),
        ("twice", |c| send(c, "delay=1s&delay=2s"), 400, "malformed", "more than once"),
        ("a slip", |c| send(c, "dealy=1s"), 400, "malformed", "dealy"),
        ("empty key", |c| key(c, ""), 400, "malformed", "idempotency-key"),
        ("key of 256 bytes", |c| key(c, &"k".repeat(256)), 400, "malformed", "255"),
        ("open quote", |c| key(c, "\"abc"), 400, "malformed", "quoted"),
        ("two keys", |c| key(c, "a").key("b"), 400, "malformed", "more than once"),
    ];
    check(&mistakes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_reads_are_refused() {
    fn read(client: &Client, rest: &str) -> Request {
        client.ingress(Method::GET, format!("/v1/read/app/probe/a/{rest}"))
    }
    let mistakes: [Mistake; 3] = [
        ("no place", |c| read(c, "at_place"), 400, "invalid_input", "place"),
        ("not a number", |c| read(c, "at_place?place=one"), 400, "invalid_input", "place"),
        ("unknown", |c| read(c, "at_place?place=0&x=1"), 400, "invalid_input", "x"),
    ];
    check(&mistakes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_deploys_are_refused() {
    fn deploy(client: &Client, query: &str, component: Vec<u8>) -> Request {
        let request = client.admin(Method::PUT, format!("/admin/v1/apps/app{query}"));
        request.header("Content-Type", "application/wasm").body(component)
    }
    /// The empty core module, which is no component.
    const CORE: &[u8] = b"\0asm\x01\0\0\0";
    /// The empty component: valid, and without our world's exports.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    let mistakes: [Mistake; 8] = [
        ("text", |c| deploy(c, "", b"hello".to_vec()), 422, "bad_component", "not a WebAssembly"),
        ("nothing", |c| deploy(c, "", Vec::new()), 400, "malformed", "empty"),
        ("core module", |c| deploy(c, "", CORE.to_vec()), 422, "bad_component", "component"),
        ("empty component", |c| deploy(c, "", EMPTY.to_vec()), 422, "bad_component", "handler"),
        ("half", |c| deploy(c, "", [EMPTY, &[1, 9]].concat()), 422, "bad_component", ""),
        ("no JSON", |c| deploy(c, "?config=x", EMPTY.to_vec()), 400, "malformed", "config"),
        (
            "unknown setting",
            |c| deploy(c, "?config=%7B%22a%22:1%7D", CORE.to_vec()),
            400,
            "malformed",
            "config",
        ),
        (
            "a bad name",
            |c| c.admin(Method::PUT, "/admin/v1/apps/7up").body(CORE),
            400,
            "malformed",
            "app",
        ),
    ];
    check(&mistakes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_admin_requests_are_refused() {
    fn get(client: &Client, path: &str) -> Request {
        client.admin(Method::GET, format!("/admin/v1/{path}"))
    }
    const NO_ID: &str = "msg_00000000000000000000000000000000";
    let mistakes: [Mistake; 9] = [
        ("no entity", |c| get(c, "entities/app/probe/none"), 404, "unknown_entity", "none"),
        ("no app", |c| get(c, "apps/nobody"), 404, "unknown_app", "nobody"),
        (
            "no dead letter",
            |c| get(c, &format!("dead/{NO_ID}")),
            404,
            "unknown_dead_letter",
            "msg_",
        ),
        ("retry nothing", |c| retry(c, NO_ID), 404, "unknown_dead_letter", "msg_"),
        ("not an id", |c| get(c, "dead/7"), 400, "malformed", "msg_"),
        ("limit of 0", |c| get(c, "dead?limit=0"), 400, "malformed", "limit"),
        ("limit of 1001", |c| get(c, "entities/app/probe?limit=1001"), 400, "malformed", "limit"),
        ("no logs", |c| get(c, "apps/nobody/logs"), 404, "unknown_app", "nobody"),
        ("no such path", |c| get(c, "everything"), 404, "unknown_route", "route"),
    ];
    check(&mistakes).await;
}

fn retry(client: &Client, id: &str) -> Request {
    client.admin(Method::POST, format!("/admin/v1/dead/{id}/retry"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_keys_and_bodies_are_accepted() {
    let host = host().await;
    let client = host.client();
    assert_eq!(post(&client, long_key(512)).key(&"k".repeat(255)).answer().await.status, 200);
    let strange = "/v1/call/app/probe/%E2%82%AC%2F..%20%00%22/append";
    assert_eq!(post(&client, strange).answer().await.status, 200);
    let strange = strange.replace("/call/", "/read/").replace("/append", "/list");
    let read = client.ingress(Method::GET, strange).answer().await.expect_status(200);
    assert_eq!(read.json(), json!([2]));
    let note = "x".repeat(MIB - 100);
    let kept = client.call("app/probe/a", "note", json!({"text": note})).answer().await;
    assert_eq!(kept.expect_status(200).json(), MIB - 100);
    let none = client.ingress(Method::POST, "/v1/call/app/probe/a/bump").answer().await;
    assert_eq!(none.expect_status(200).json(), 1, "no body at all stands for no arguments");
}

/// Sends `head`, says that more comes, and goes away.
async fn hang_up(address: &str, head: String) -> String {
    let address = address.strip_prefix("http://").expect("an http address");
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.shutdown().await.expect("half closed");
    let mut answer = Vec::new();
    // However the host ends the connection is its own business.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_uploads_change_nothing() {
    let host = host().await;
    let before = everything(&host).await;
    let addresses = host.addresses();
    let component = Guest::Ledger.component().await;
    let length = component.len();
    let requests = [
        (
            &addresses.ingress,
            format!(
                "POST {CALL} HTTP/1.1\r\nHost: localhost\r\n\
            Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{\"n\": 2}}"
            ),
        ),
        (
            &addresses.ingress,
            format!(
                "POST {CALL} HTTP/1.1\r\nHost: localhost\r\n\
            Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{{\"n\": 2}}\r\n"
            ),
        ),
        (
            &addresses.admin,
            format!(
                "PUT /admin/v1/apps/app?breaking=true HTTP/1.1\r\nHost: localhost\r\n\
            Content-Type: application/wasm\r\nContent-Length: {length}\r\n\r\n\0asm"
            ),
        ),
    ];
    for (address, request) in requests {
        let answer = hang_up(address, request.clone()).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{request:?} was answered:\n{answer}");
        assert_eq!(everything(&host).await, before, "{request:?} changed something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_over_the_limit_is_refused_by_its_length_alone() {
    let host = host().await;
    let before = everything(&host).await;
    let head =
        "PUT /admin/v1/apps/app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554433\r\n\r\n";
    let answer = hang_up(&host.addresses().admin, head.to_owned()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("\"too_large\"") && answer.contains("33554432"), "{answer}");
    assert_eq!(everything(&host).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_not_http_or_too_long_are_refused() {
    let host = host().await;
    let before = everything(&host).await;
    let ingress = host.addresses().ingress;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for request in ["hello\r\n\r\n".to_owned(), long, many] {
        let answer = hang_up(&ingress, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert_eq!(everything(&host).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaking_deploy_is_refused_unless_it_is_meant() {
    let host = host().await;
    let before = everything(&host).await;
    let component = Guest::Ledger.component().await;
    let put = |query: &str| {
        let path = format!("/admin/v1/apps/app{query}");
        host.client().admin(Method::PUT, path).body(component.clone()).answer()
    };
    let refused: Answer = put("").await.expect_problem(422, "breaking_change");
    assert!(refused.text().contains("probe"), "it does not say what breaks: {refused:?}");
    assert_eq!(everything(&host).await, before);
    put("?breaking=true").await.expect_status(200);
    let gone = host.client().call("app/probe/a", "append", json!({"n": 1})).answer().await;
    gone.expect_problem(404, "unknown_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mailbox_says_when_to_come_back_and_keeps_what_it_took() {
    let host = Host::start().await;
    let config = json!({"mailbox_max": 4, "deadline_ms": 5_000});
    host.deploy_with(Guest::Hostile, "app", config).await;
    let client = host.client();
    let endless = client.call("app/probe/a", "misbehave", json!({"how": "loop", "to": "x"}));
    let endless = tokio::spawn(endless.answer());
    let mut accepted = 0;
    let mut refused = 0;
    while refused < 3 {
        let sent = client.send("app/probe/a", "append", json!({"n": accepted})).answer().await;
        if sent.status == 202 {
            accepted += 1;
            assert!(accepted < 10_000, "the mailbox has no end");
        } else {
            let sent = sent.expect_problem(429, "mailbox_full");
            assert!(sent.header("retry-after").is_some(), "{sent:?}");
            assert_eq!(sent.json()["retryable"], true);
            refused += 1;
        }
        let other = client.call("app/probe/other", "bump", json!({})).answer().await;
        other.expect_status(200);
    }
    endless.await.expect("no panic");
    host.quiet().await;
    let expected: Vec<u64> = (0..accepted).collect();
    assert_eq!(client.value("app/probe/a", "list").await, json!(expected), "accepted, then lost");
}

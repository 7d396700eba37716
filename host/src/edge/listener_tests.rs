//! The listener over real sockets on port 0, with short bounds and a stub in the place of routes.
//! Each test waits on what the other side does, never on a clock of its own; one bound over all of
//! them fails a hang.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::listener::{Bounds, Closing, serve};
use super::{JSON, Reply, body, reply, stream};

const SHORT: Duration = Duration::from_millis(100);
const BODY: body::Bounds = body::Bounds { bytes_max: 1_000, time_max: SHORT };

struct Host {
    addr: SocketAddr,
    closing: watch::Sender<bool>,
    served: JoinHandle<()>,
    /// `/wait` has begun.
    begun: Arc<Notify>,
    /// `/wait` may end.
    end: Arc<Notify>,
}

impl Host {
    async fn start(bounds: Bounds) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = socket.local_addr().expect("bound");
        let closing = watch::Sender::new(false);
        let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let notes = (Arc::clone(&begun), Arc::clone(&end));
        let handle = move |request| stub(request, notes.clone());
        let served = tokio::spawn(serve(socket, None, bounds, Closing::new(&closing), handle));
        Self { addr, closing, served, begun, end }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("connects")
    }
}

async fn stub(request: Request<Incoming>, (begun, end): (Arc<Notify>, Arc<Notify>)) -> Reply {
    let (parts, mut incoming) = request.into_parts();
    match parts.uri.path() {
        "/wait" => {
            begun.notify_one();
            end.notified().await;
            reply(StatusCode::OK, JSON, Bytes::from_static(b"waited"))
        }
        "/panic" => panic!("on purpose"),
        "/stream" => stream::reply(JSON, 6, move |to| {
            to.write_all(b"abc")?;
            to.flush()?;
            tokio::runtime::Handle::current().block_on(end.notified());
            to.write_all(b"def")
        }),
        _ => match body::read(&mut incoming, BODY).await {
            Ok(body) => reply(StatusCode::OK, JSON, body),
            Err(error) => super::refused(&parts, &mut incoming, error.into(), 10_000).await,
        },
    }
}

/// Reads one response: its head and its `content-length` of body.
async fn response(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().expect("a number"));
            if body.len() >= length {
                return text;
            }
        }
        let mut more = [0; 4096];
        match within(stream.read(&mut more)).await.expect("reads") {
            0 => panic!("closed after {text:?}"),
            n => read.extend_from_slice(&more[..n]),
        }
    }
}

async fn ask(stream: &mut TcpStream, wire: &str) -> String {
    stream.write_all(wire.as_bytes()).await.expect("writes");
    response(stream).await
}

async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close as well.
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

async fn within<F: Future>(future: F) -> F::Output {
    let bound = Duration::from_secs(20);
    tokio::time::timeout(bound, future).await.expect("a test step hangs")
}

const SHORT_HEADS: Bounds = Bounds { head_time_max: SHORT, ..Bounds::INGRESS };

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let host = Host::start(Bounds::INGRESS).await;
    let mut stream = host.connect().await;
    for n in 0..3 {
        let wire = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n{n}");
        let text = ask(&mut stream, &wire).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with(&format!("\r\n\r\n{n}")), "{text}");
    }
    let chunked = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    assert!(ask(&mut stream, chunked).await.ends_with("\r\n\r\nabc"));
}

#[tokio::test]
async fn slow_heads_are_closed_wherever_they_stop() {
    let host = Host::start(SHORT_HEADS).await;
    for part in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HT", "GET / HTTP/1.1\r\nhost: h\r\n"] {
        let mut stream = host.connect().await;
        stream.write_all(part.as_bytes()).await.expect("writes");
        assert_closed(&mut stream).await;
    }
    let mut stream = host.connect().await;
    let text = ask(&mut stream, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("writes");
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn a_connection_waits_for_its_next_head_longer_than_a_head_may_take() {
    let host = Host::start(SHORT_HEADS).await;
    let wire = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n1";
    let mut waiting = host.connect().await;
    assert!(ask(&mut waiting, wire).await.starts_with("HTTP/1.1 200"));
    // In two pieces, so that bytes of a body come by themselves.
    let mut other = host.connect().await;
    other.write_all(&wire.as_bytes()[..wire.len() - 1]).await.expect("writes");
    assert!(ask(&mut other, "1").await.starts_with("HTTP/1.1 200"));
    // By the time that three slow ones were closed, one after the other, they have waited for thrice as long.
    for _ in 0..3 {
        let mut slow = host.connect().await;
        assert!(ask(&mut slow, wire).await.starts_with("HTTP/1.1 200"));
        slow.write_all(b"POST / HT").await.expect("writes");
        assert_closed(&mut slow).await;
    }
    for mut stream in [waiting, other] {
        assert!(ask(&mut stream, wire).await.starts_with("HTTP/1.1 200"), "it was closed");
        // And a head in many pieces is one head still.
        within(async {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SHORT / 20).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_its_time() {
    let host = Host::start(Bounds { idle_time_max: SHORT, ..Bounds::INGRESS }).await;
    let mut stream = host.connect().await;
    let wire = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    assert!(ask(&mut stream, wire).await.starts_with("HTTP/1.1 200"));
    assert_closed(&mut stream).await;
}

#[tokio::test]
async fn a_connection_is_not_idle_while_an_answer_is_made() {
    let host = Host::start(Bounds { idle_time_max: SHORT, ..Bounds::INGRESS }).await;
    let mut streamed = host.connect().await;
    let wire = "GET /stream HTTP/1.1\r\nhost: h\r\n\r\n";
    streamed.write_all(wire.as_bytes()).await.expect("writes");
    // By the time that three idle ones were closed, one after the other, it was idle for thrice as long.
    for _ in 0..3 {
        let mut idle = host.connect().await;
        let wire = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
        assert!(ask(&mut idle, wire).await.starts_with("HTTP/1.1 200"));
        assert_closed(&mut idle).await;
    }
    host.end.notify_one();
    let text = response(&mut streamed).await;
    assert!(text.ends_with("\r\n\r\nabcdef"), "{text}");
    assert_closed(&mut streamed).await;
}

#[tokio::test]
async fn heads_over_their_bytes_or_lines_get_431() {
    let host = Host::start(Bounds::INGRESS).await;
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(17 * 1024));
    let text = ask(&mut host.connect().await, &long).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let lines = |n: usize| format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "x: y\r\n".repeat(n - 1));
    let mut stream = host.connect().await;
    assert!(ask(&mut stream, &lines(64)).await.starts_with("HTTP/1.1 200"));
    let text = ask(&mut stream, &lines(65)).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    assert!(text.contains("\"too_many_headers\""), "{text}");
}

#[tokio::test]
async fn bodies_over_their_bound_get_413_and_slow_ones_408() {
    let host = Host::start(Bounds::INGRESS).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\n";
    let said = format!("{head}content-length: 1001\r\n\r\n{}", "x".repeat(1001));
    let mut stream = host.connect().await;
    let text = ask(&mut stream, &said).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("\"code\":\"too_large\""), "{text}");
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(0x3e9));
    let counted = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}");
    let text = ask(&mut stream, &counted).await;
    assert!(text.starts_with("HTTP/1.1 413"), "the connection went on: {text}");
    let asked = format!("{head}expect: 100-continue\r\ncontent-length: 900000\r\n\r\n");
    let text = ask(&mut host.connect().await, &asked).await;
    assert!(text.starts_with("HTTP/1.1 413"), "without a 100: {text}");
    let slow = format!("{head}content-length: 10\r\n\r\nabc");
    let text = ask(&mut host.connect().await, &slow).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
}

#[tokio::test]
async fn http2_requests_share_a_connection_and_its_idle_end_closes_it() {
    let host = Host::start(Bounds { idle_time_max: SHORT, ..SHORT_HEADS }).await;
    let io = TokioIo::new(host.connect().await);
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("shakes hands");
    let connection = tokio::spawn(connection);
    let send = |path: &str, body: &'static str| {
        let uri = format!("http://h{path}");
        let request = Request::post(uri).body(Full::<Bytes>::from(body)).expect("valid");
        client.clone().send_request(request)
    };
    let waiting = tokio::spawn(send("/wait", ""));
    within(host.begun.notified()).await;
    let echoed = within(send("/", "over it")).await.expect("answers");
    assert_eq!(echoed.status(), StatusCode::OK);
    assert_eq!(echoed.collect().await.expect("reads").to_bytes(), "over it");
    let panicked = within(send("/panic", "")).await.expect("answers");
    assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
    host.end.notify_one();
    let waited = within(waiting).await.expect("joins").expect("answers");
    assert_eq!(waited.status(), StatusCode::OK);
    let long = Request::get("http://h/").header("x", "x".repeat(20 * 1024));
    let long = long.body(Full::default()).expect("valid");
    match within(client.clone().send_request(long)).await {
        Ok(reply) => assert_eq!(reply.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        // The client may know the bound from the settings and refuse by itself.
        Err(error) => assert!(error.is_user() || !error.is_closed(), "{error}"),
    }
    // The client still holds the connection open: it is the host that ends it.
    within(connection).await.expect("joins").expect("a graceful end");
    drop(client);
}

#[tokio::test]
async fn a_panic_costs_its_request_only() {
    let host = Host::start(Bounds::INGRESS).await;
    let mut stream = host.connect().await;
    let text = ask(&mut stream, "GET /panic HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(text.contains("\"code\":\"internal\""), "{text}");
    let text = ask(&mut stream, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn beyond_the_cap_clients_are_told_and_later_served() {
    let host = Host::start(Bounds { connections_max: 1, ..Bounds::INGRESS }).await;
    let mut first = host.connect().await;
    let wire = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    assert!(ask(&mut first, wire).await.starts_with("HTTP/1.1 200"));
    let mut second = host.connect().await;
    let text = ask(&mut second, wire).await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(text.contains("\r\nretry-after: 1\r\n"), "{text}");
    assert!(text.contains("\"too_many_connections\""), "{text}");
    assert_closed(&mut second).await;
    drop(first);
    within(async {
        while !ask(&mut host.connect().await, wire).await.starts_with("HTTP/1.1 200") {}
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_lets_open_requests_end_and_takes_no_new_ones() {
    let host = Host::start(Bounds::INGRESS).await;
    let mut idle = host.connect().await;
    assert!(ask(&mut idle, "GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let mut open = host.connect().await;
    open.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("writes");
    within(host.begun.notified()).await;
    host.closing.send_replace(true);
    assert_closed(&mut idle).await;
    assert!(TcpStream::connect(host.addr).await.is_err(), "the socket is gone");
    assert!(!host.served.is_finished());
    host.end.notify_one();
    let text = response(&mut open).await;
    assert!(text.ends_with("waited"), "{text}");
    within(host.served).await.expect("returns");
}

#[tokio::test]
async fn a_shutdown_drops_what_does_not_end() {
    let host = Host::start(Bounds { drain_time_max: SHORT, ..Bounds::INGRESS }).await;
    let mut open = host.connect().await;
    open.write_all(b"GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("writes");
    within(host.begun.notified()).await;
    host.closing.send_replace(true);
    within(host.served).await.expect("returns");
    assert_closed(&mut open).await;
}

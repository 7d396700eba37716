//! A collector of OpenTelemetry that takes OTLP over HTTP as its specification has it and nothing else. It can be told
//! to refuse, or to keep silent.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::{PATIENCE, eventually};

/// One span as it came.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) name: String,
    pub(super) kind: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) failed: bool,
    pub(super) attributes: BTreeMap<String, String>,
    /// The process that it is from.
    pub(super) instance: String,
}

impl Span {
    pub(super) fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|found| found == value)
    }

    pub(super) fn entity(&self) -> &str {
        &self.attributes["keystead.entity"]
    }
}

/// A running collector.
pub(super) struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    spans: Mutex<Vec<Span>>,
    /// Values of the header `api-key`.
    keys: Mutex<BTreeSet<String>>,
    /// How many exports to refuse yet.
    refuse: AtomicUsize,
    refused: AtomicUsize,
    silent: bool,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// One that refuses the first `refuse` exports.
    pub(super) async fn start(refuse: usize) -> Self {
        Self::with(Shared { refuse: refuse.into(), ..Shared::default() }).await
    }

    /// One that answers nobody.
    pub(super) async fn silent() -> Self {
        Self::with(Shared { silent: true, ..Shared::default() }).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().expect("not poisoned").clone()
    }

    /// Refusals that were given.
    pub(super) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    pub(super) fn keys(&self) -> BTreeSet<String> {
        self.shared.keys.lock().expect("not poisoned").clone()
    }

    /// The spans of a trace, once `whole` says that they are all there.
    pub(super) async fn whole(&self, trace: &str, whole: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually(&format!("trace {trace} is whole"), PATIENCE, || async {
            let of_it = |span: &Span| span.trace == trace;
            let spans: Vec<Span> = self.spans().into_iter().filter(of_it).collect();
            if whole(&spans) { Ok(spans) } else { Err(format!("{spans:#?}")) }
        })
        .await
    }

    async fn with(shared: Shared) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = socket.local_addr().expect("bound");
        let shared = Arc::new(shared);
        let task = tokio::spawn(serve(socket, shared.clone()));
        Self { address, shared, task }
    }
}

async fn serve(socket: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = socket.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| take(request, shared.clone()));
            let http = auto::Builder::new(TokioExecutor::new());
            // The host may be killed in the middle.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if shared.silent {
        std::future::pending::<()>().await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::new(Full::default()));
    };
    let mut answer = Response::new(Full::from("{}"));
    let more = |left: usize| left.checked_sub(1);
    if shared.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok() {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert("retry-after", "0".parse().expect("valid"));
        return Ok(answer);
    }
    assert_eq!((&head.method, head.uri.path()), (&Method::POST, "/v1/traces"));
    assert_eq!(head.headers["content-type"], "application/json");
    if let Some(key) = head.headers.get("api-key") {
        let key = key.to_str().expect("text").to_owned();
        shared.keys.lock().expect("not poisoned").insert(key);
    }
    let body: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
    shared.spans.lock().expect("not poisoned").extend(spans(&body));
    Ok(answer)
}

/// Reads `ExportTraceServiceRequest`; panics at what the specification does not have.
fn spans(body: &Value) -> Vec<Span> {
    let mut found = vec![];
    for resource in list(&body["resourceSpans"]) {
        let about = attributes(&resource["resource"]["attributes"]);
        assert_eq!(about["service.name"], "keystead");
        for scope in list(&resource["scopeSpans"]) {
            found.extend(list(&scope["spans"]).iter().map(|s| span(s, &about)));
        }
    }
    assert!(!found.is_empty(), "an export of nothing");
    found
}

fn span(span: &Value, about: &BTreeMap<String, String>) -> Span {
    let hex = |name: &str, digits: usize| {
        let text = text(&span[name]);
        let good = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        assert!(text.len() == digits && text.bytes().all(good), "{name} of {span}");
        assert!(text.bytes().any(|b| b != b'0'), "{name} of {span}");
        text.to_owned()
    };
    let time = |name: &str| text(&span[name]).parse::<u64>().expect("nanoseconds");
    let read = Span {
        trace: hex("traceId", 32),
        id: hex("spanId", 16),
        parent: span.get("parentSpanId").map(|_| hex("parentSpanId", 16)),
        name: text(&span["name"]).into(),
        kind: span["kind"].as_u64().expect("a kind"),
        began: time("startTimeUnixNano"),
        ended: time("endTimeUnixNano"),
        failed: span["status"]["code"] == 2,
        attributes: attributes(&span["attributes"]),
        instance: about["service.instance.id"].clone(),
    };
    assert!(read.began <= read.ended, "{read:?}");
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    let age = now.abs_diff(u128::from(read.ended));
    assert!(age < 2 * PATIENCE.as_nanos(), "{age} ns old: {read:?}");
    read
}

fn attributes(list_: &Value) -> BTreeMap<String, String> {
    let pair = |attribute: &Value| {
        let value = &attribute["value"];
        // Integers of 64 bits are strings in this JSON.
        let value = value["stringValue"].as_str().or_else(|| value["intValue"].as_str());
        (text(&attribute["key"]).to_owned(), value.expect("a string or an integer").to_owned())
    };
    list(list_).iter().map(pair).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("a list, not {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}"))
}

//! A plain HTTP/1.1 client over the host's two listeners. It never retries, so what a test sees is what the
//! host did; after a restart it finds the new ports by itself.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

/// Longer than any wait of the host.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// Shorter than the host's, so that no request meets a connection that is just being closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3);

/// Where a host listens now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) ingress: String,
    pub(crate) admin: String,
}

/// A handle on both listeners of one host.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    addresses: Arc<Mutex<Addresses>>,
}

/// No answer came: the host was killed, or hung.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl Client {
    pub(crate) fn new() -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_max_idle_per_host(64)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_timer(TokioTimer::new())
            .build(HttpConnector::new());
        Self { pool, addresses: Arc::default() }
    }

    pub(crate) fn moved_to(&self, addresses: Addresses) {
        *self.addresses.lock().expect("not poisoned") = addresses;
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.lock().expect("not poisoned").clone()
    }

    /// A request to ingress; `path` is encoded already.
    pub(crate) fn ingress(&self, method: Method, path: impl Into<String>) -> Request {
        self.request(false, method, path.into())
    }

    /// A request to the admin API; `path` is encoded already.
    pub(crate) fn admin(&self, method: Method, path: impl Into<String>) -> Request {
        self.request(true, method, path.into())
    }

    /// `POST /v1/call/{entity}/{handler}`.
    pub(crate) fn call(&self, entity: &str, handler: &str, input: Value) -> Request {
        self.ingress(Method::POST, format!("/v1/call/{entity}/{handler}")).json(input)
    }

    /// `POST /v1/send/{entity}/{handler}`.
    pub(crate) fn send(&self, entity: &str, handler: &str, input: Value) -> Request {
        self.ingress(Method::POST, format!("/v1/send/{entity}/{handler}")).json(input)
    }

    /// `POST /v1/read/{entity}/{handler}`.
    pub(crate) fn read(&self, entity: &str, handler: &str, input: Value) -> Request {
        self.ingress(Method::POST, format!("/v1/read/{entity}/{handler}")).json(input)
    }

    /// The value of a query; panics when there is none.
    pub(crate) async fn value(&self, entity: &str, handler: &str) -> Value {
        self.read(entity, handler, Value::Object(serde_json::Map::new())).ok().await
    }

    fn request(&self, to_admin: bool, method: Method, path: String) -> Request {
        Request {
            client: self.clone(),
            to_admin,
            method,
            path,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

/// One request, not sent yet.
#[must_use]
pub(crate) struct Request {
    client: Client,
    to_admin: bool,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With an `Idempotency-Key`.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better with json! at the call")]
    pub(crate) fn json(self, value: Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// Sends it once and waits for the whole answer.
    pub(crate) async fn try_answer(self) -> Result<Answer, Broken> {
        let what = format!("{} {}", self.method, self.path);
        let addresses = self.client.addresses();
        let base = if self.to_admin { addresses.admin } else { addresses.ingress };
        let mut request = http::Request::builder().method(self.method).uri(base + &self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).map_err(|e| Broken(e.to_string()))?;
        let exchange = async {
            let response = self.client.pool.request(request).await.map_err(|e| format!("{e:?}"))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|e| format!("{e:?}"))?.to_bytes();
            Ok(Answer {
                what: what.clone(),
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        };
        match tokio::time::timeout(ANSWER_TIME_MAX, exchange).await {
            Ok(done) => done.map_err(|why: String| Broken(format!("{what}: {why}"))),
            Err(_) => Err(Broken(format!("{what}: no answer within {ANSWER_TIME_MAX:?}"))),
        }
    }

    /// Sends it to a host that must be there.
    pub(crate) async fn answer(self) -> Answer {
        self.try_answer().await.unwrap_or_else(|broken| panic!("no answer to {}", broken.0))
    }

    /// Sends it and gives the JSON value of an answer that must be 200.
    pub(crate) async fn ok(self) -> Value {
        self.answer().await.expect_status(200).json()
    }
}

/// A whole answer.
#[derive(Clone)]
pub(crate) struct Answer {
    what: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is empty.
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `Keystead-Id` that every answer carries.
    pub(crate) fn id(&self) -> String {
        self.header("keystead-id").unwrap_or_else(|| panic!("no Keystead-Id in {self:?}")).into()
    }

    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "expected {status}, got {self:?}");
        self
    }

    /// Checks that this is a problem document with `status` and `code`, whole as the contract has it.
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "expected {status} {code}, got {self:?}");
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "not a problem document: {self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "expected {status} {code}, got {self:?}");
        assert_eq!(problem["status"], status, "the document's status differs in {self:?}");
        assert!(problem["retryable"].is_boolean(), "no retryable in {self:?}");
        let source = problem["source"].as_str();
        assert!(matches!(source, Some("ingress" | "handler" | "admin")), "no source in {self:?}");
        let explains = problem["detail"].as_str().is_some_and(|detail| !detail.is_empty());
        assert!(explains, "no detail in {self:?}");
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(1_000).collect();
        write!(f, "the answer to {}: {} {:?}\n{shown}", self.what, self.status, self.headers)
    }
}

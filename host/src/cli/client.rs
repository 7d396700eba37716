//! A small HTTP client for the verbs that talk to a host. It is not general: whole bodies,
//! one answer per request. Invariant: every part of a path and query is percent-encoded here and nowhere else.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::trust::{self, Roots};
use crate::limits;

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a verb finds the admin API.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AdminUrl {
    /// The host's admin API
    #[arg(
        long,
        value_name = "URL",
        env = "KEYSTEAD_ADMIN",
        default_value = "http://127.0.0.1:7071",
        value_parser = check_url
    )]
    admin: String,
    #[command(flatten)]
    with: Credentials,
}

/// Where a verb finds ingress.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct IngressUrl {
    /// The host's ingress
    #[arg(
        long,
        value_name = "URL",
        env = "KEYSTEAD_INGRESS",
        default_value = "http://127.0.0.1:7070",
        value_parser = check_url
    )]
    ingress: String,
    #[command(flatten)]
    with: Credentials,
}

/// Who a verb is to a host that asks.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Credentials {
    /// The token to bring; KEYSTEAD_TOKEN keeps it out of the list of processes
    #[arg(long, value_name = "TOKEN", env = "KEYSTEAD_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// What signs the host's certificate, in PEM, where it is none that browsers know
    #[arg(long, value_name = "FILE", env = "KEYSTEAD_CA", value_parser = Roots::read)]
    ca: Option<Roots>,
}

/// A token's text. It is never shown, and is checked by the host.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Token {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl Credentials {
    /// The client of the listener at `base`.
    pub(super) fn client(&self, base: &str) -> Client {
        let mut client = Client::with_roots(base, self.ca.as_ref());
        client.token.clone_from(&self.token);
        client
    }
}

impl AdminUrl {
    pub(super) fn client(&self) -> Client {
        self.with.client(&self.admin)
    }
}

impl IngressUrl {
    pub(super) fn client(&self) -> Client {
        self.with.client(&self.ingress)
    }
}

/// One host's listener.
#[derive(Debug, Clone)]
pub(super) struct Client {
    base: String,
    token: Option<Token>,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A path below the base, built from parts that are encoded as they are added.
#[derive(Debug, Clone)]
pub(super) struct Path(String);

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer that comes in pieces.
#[derive(Debug)]
pub(super) struct Download<'a> {
    from: &'a Client,
    body: Incoming,
}

/// An error that the host explained.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    code: String,
    detail: String,
    pub(super) document: Value,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no host answers at {0}; start one with `keystead serve` or `keystead dev`")]
    Unreachable(String),
    #[error("{} ({})", .0.detail, .0.code)]
    Problem(Box<Problem>),
    #[error("{url} is not trusted: {why}; --ca FILE names what signs its certificate")]
    Untrusted { url: String, why: String },
    #[error("{0} gave no answer within {s} s", s = limits::CLIENT_TIME_MAX.as_secs())]
    TimedOut(String),
    #[error("the connection to {url} broke before the whole answer came: {why}")]
    Broken { url: String, why: String },
    #[error("{url} answered {status}, not as a Keystead host does: {body}")]
    Foreign { url: String, status: StatusCode, body: String },
    #[error("the request makes no sense: {0}")]
    Malformed(#[from] http::Error),
}

impl ClientError {
    /// The host's explanation, when it gave one.
    pub(super) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

impl Path {
    /// Starts with fixed text, e.g. `/admin/v1/apps`.
    pub(super) fn new(fixed: &'static str) -> Self {
        Self(fixed.to_owned())
    }

    /// Adds a segment.
    pub(super) fn part(mut self, segment: &str) -> Self {
        self.0.push('/');
        match segment {
            // Dots alone would be taken for a step up or nowhere by anything on the way.
            "." => self.0.push_str("%2E"),
            ".." => self.0.push_str("%2E%2E"),
            _ => self.0.extend(utf8_percent_encode(segment, RESERVED)),
        }
        self
    }

    /// Adds a query parameter.
    pub(super) fn query(mut self, name: &'static str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, RESERVED));
        self
    }

    /// Adds a query parameter when there is a value.
    pub(super) fn maybe(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Client {
    #[cfg(test)]
    pub(super) fn new(base: &str) -> Self {
        Self::with_roots(base, None)
    }

    /// Trusts `roots`, or who browsers trust.
    fn with_roots(base: &str, roots: Option<&Roots>) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build(trust::connector(roots));
        Self { base: base.trim_end_matches('/').to_owned(), token: None, pool }
    }

    /// Fetches a JSON document.
    pub(super) async fn get(&self, path: Path) -> Result<Value, ClientError> {
        self.document(Method::GET, path, Bytes::new()).await
    }

    /// Sends a request without headers of its own and reads the JSON answer; null when it is empty.
    pub(super) async fn document(
        &self,
        method: Method,
        path: Path,
        body: Bytes,
    ) -> Result<Value, ClientError> {
        let answer = self.request(method, path, &[], body).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|_| self.foreign(answer.status, &answer.body))
    }

    /// Sends a request and waits for the whole answer, at most [`limits::CLIENT_TIME_MAX`].
    pub(super) async fn request(
        &self,
        method: Method,
        path: Path,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let request = self.prepare(method, &path, headers, body)?;
        let exchange = async { self.collect(self.send(request).await?).await };
        self.checked(self.in_time(exchange).await?)
    }

    /// Fetches what may be of any size, a piece at a time.
    pub(super) async fn download(&self, path: &Path) -> Result<Download<'_>, ClientError> {
        let request = self.prepare(Method::GET, path, &[], Bytes::new())?;
        let answer = self.in_time(self.send(request)).await?;
        if answer.status().is_success() {
            return Ok(Download { from: self, body: answer.into_body() });
        }
        let answer = self.in_time(self.collect(answer)).await?;
        let status = answer.status;
        self.checked(answer).and_then(|answer| Err(self.foreign(status, &answer.body)))
    }

    fn prepare(
        &self,
        method: Method,
        path: &Path,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{}", self.base, path.0));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(Token(token)) = self.token.as_ref().filter(|token| !token.0.is_empty()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        Ok(request.body(Full::new(body))?)
    }

    fn checked(&self, answer: Answer) -> Result<Answer, ClientError> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        match Problem::read(&answer) {
            Some(problem) => Err(ClientError::Problem(Box::new(problem))),
            None => Err(self.foreign(answer.status, &answer.body)),
        }
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let done = tokio::time::timeout(limits::CLIENT_TIME_MAX, exchange).await;
        done.map_err(|_| ClientError::TimedOut(self.base.clone()))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        self.pool.request(request).await.map_err(|error| {
            if let Some(why) = trust::refusal(&error) {
                return ClientError::Untrusted { url: self.base.clone(), why };
            }
            if error.is_connect() {
                return ClientError::Unreachable(self.base.clone());
            }
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            self.broken(why)
        })
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Answer, ClientError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, limits::CLIENT_BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.broken(error.to_string()))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    fn broken(&self, why: String) -> ClientError {
        ClientError::Broken { url: self.base.clone(), why }
    }

    fn foreign(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let start = &body[..body.len().min(limits::FOREIGN_BODY_BYTES_SHOWN)];
        let body = String::from_utf8_lossy(start).trim().to_owned();
        ClientError::Foreign { url: self.base.clone(), status, body }
    }
}

impl Download<'_> {
    /// The next piece; none at the end. What is cut before its end is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Self { from, body } = self;
        let next = async {
            loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(from.broken(error.to_string())),
                    Some(Ok(frame)) => {
                        if let Ok(piece) = frame.into_data() {
                            return Ok(Some(piece));
                        }
                    }
                }
            }
        };
        from.in_time(next).await
    }
}

impl Answer {
    /// True when the body is JSON or other text.
    pub(super) fn is_text(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        kind.is_some_and(|kind| kind.contains("json") || kind.starts_with("text/"))
    }
}

impl Problem {
    /// Reads problem+json; `None` when the body is something else.
    fn read(answer: &Answer) -> Option<Self> {
        let document: Value = serde_json::from_slice(&answer.body).ok()?;
        let code = document.get("code")?.as_str()?.to_owned();
        let detail = document.get("detail").or_else(|| document.get("title"));
        let detail = detail.and_then(Value::as_str).unwrap_or("the host gave no detail").to_owned();
        Some(Self { code, detail, document })
    }
}

/// Accepts `http://host[:port]`, and the same with https, with or without a slash at the end.
fn check_url(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("http:// and https:// are spoken; it looks like http://127.0.0.1:7070".into());
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err("it takes a host and port only, like http://127.0.0.1:7070".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn keys_are_encoded_whole() {
        let path = |key: &str| Path::new("/v1/call").part(key).as_str().to_owned();
        assert_eq!(path("alice-1_a.b~c"), "/v1/call/alice-1_a.b~c");
        assert_eq!(path("a/b c%?#"), "/v1/call/a%2Fb%20c%25%3F%23");
        assert_eq!(path("\u{e9}\n"), "/v1/call/%C3%A9%0A");
        assert_eq!(path(".."), "/v1/call/%2E%2E");
        assert_eq!(path("."), "/v1/call/%2E");
        assert_eq!(path("..."), "/v1/call/...");
    }

    #[test]
    fn queries_are_encoded_and_joined() {
        let path = Path::new("/v1/send").query("delay", "10s").maybe("at", Some("a&b=+"));
        assert_eq!(path.maybe("no", None).as_str(), "/v1/send?delay=10s&at=a%26b%3D%2B");
    }

    #[test]
    fn only_hosts_are_taken() {
        assert_eq!(check_url("http://localhost:1/").expect("valid"), "http://localhost:1");
        for bad in ["ftp://a", "localhost:7070", "http://a/b", "http://a?x", "", "http://"] {
            assert!(check_url(bad).is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn any_key_makes_a_uri_and_reads_back(key in "\\PC{1,64}") {
            let path = Path::new("/v1/read").part(&key);
            let uri: Uri = format!("http://h{}", path.as_str()).parse().expect("a URI");
            let segment = uri.path().rsplit('/').next().expect("a segment");
            let back = percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8");
            prop_assert_eq!(back, key);
        }
    }

    /// Answers one connection with `answer` and gives the base URL.
    async fn host(answer: String) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            stream.write_all(answer.as_bytes()).await.expect("write");
        });
        base
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn problems_keep_code_detail_and_document() {
        let body = r#"{"code":"unknown_app","detail":"no app bank","retryable":false}"#;
        let client = Client::new(&host(http("404 Not Found", body)).await);
        let error = client.get(Path::new("/x")).await.expect_err("404");
        assert_eq!(error.to_string(), "no app bank (unknown_app)");
        let problem = error.problem().expect("a problem");
        assert_eq!(problem.document["retryable"], false);
    }

    #[tokio::test]
    async fn other_servers_are_called_foreign() {
        let client = Client::new(&host(http("502 Bad Gateway", "<html>")).await);
        let error = client.get(Path::new("/x")).await.expect_err("502");
        assert!(error.to_string().contains("502 Bad Gateway, not as a Keystead host does: <html>"));
        let client = Client::new(&host(http("200 OK", "hello")).await);
        let error = client.get(Path::new("/x")).await.expect_err("not JSON");
        assert!(matches!(error, ClientError::Foreign { .. }));
    }

    #[tokio::test]
    async fn a_cut_answer_is_broken_not_unreachable() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned();
        let error = Client::new(&host(cut).await).get(Path::new("/x")).await.expect_err("cut");
        assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    }

    #[tokio::test]
    async fn no_host_says_how_to_start_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        drop(listener);
        let error = Client::new(&base).get(Path::new("/x")).await.expect_err("nobody");
        let expected =
            format!("no host answers at {base}; start one with `keystead serve` or `keystead dev`");
        assert_eq!(error.to_string(), expected);
    }
}

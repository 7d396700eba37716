//! Errors as HTTP says them: problem documents (RFC 9457) with a stable `code`. Errors of the rooms
//! below become a status here, in `ingress::answer` and in `admin::deploy`, and nowhere else.
//! Invariant: every answer that is not a success went through [`Problem::into_reply`].

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;

use super::Reply;
use super::headers::KEYSTEAD_ID;
use crate::ids::{BadId, MessageId};
use crate::limits;
use crate::partition::request::{DeadLetterInfo, Refusal};
use crate::registry::OverQuota;

/// Who says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The host, before or instead of the handler.
    Ingress,
    /// The user's handler.
    Handler,
    /// The admin API.
    Admin,
}

/// An error on its way out. One pointer wide, so that results that carry it stay small.
#[derive(Debug)]
pub struct Problem(Box<Fields>);

#[derive(Debug)]
struct Fields {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    source: Source,
    retryable: bool,
    retry_after_s: Option<u64>,
    allow: Option<Cow<'static, str>>,
    challenge: Option<&'static str>,
    id: Option<MessageId>,
    details: Option<Value>,
    dead_letter: Option<DeadLetterInfo>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    title: String,
    status: u16,
    detail: &'a str,
    code: &'a str,
    source: Source,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<&'a DeadLetterInfo>,
}

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

impl Problem {
    /// An error of the ingress that a retry does not help.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Fields {
            status,
            code: code.into(),
            detail: detail.into(),
            source: Source::Ingress,
            retryable: false,
            retry_after_s: None,
            allow: None,
            challenge: None,
            id: None,
            details: None,
            dead_letter: None,
        }))
    }

    /// 400: the request makes no sense.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 404: what the request names does not exist; `code` says which part.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 405: the path exists, the method does not.
    #[must_use]
    pub fn method_not_allowed(allow: impl Into<Cow<'static, str>>) -> Self {
        let allow = allow.into();
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("this path takes {allow}"),
        );
        problem.0.allow = Some(allow);
        problem
    }

    /// 500: the host's own failure.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).retryable()
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Says when it may.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self.retryable()
    }

    /// Says who refused.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.0.source = source;
        self
    }

    /// Says how to authenticate.
    #[must_use]
    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// Names the message.
    #[must_use]
    pub fn id(mut self, id: MessageId) -> Self {
        self.0.id = Some(id);
        self
    }

    /// Adds what programs may want to know.
    #[must_use]
    pub fn details(mut self, details: Option<Value>) -> Self {
        self.0.details = details;
        self
    }

    /// Adds the parked message.
    #[must_use]
    pub fn dead_letter(mut self, dead_letter: DeadLetterInfo) -> Self {
        self.0.dead_letter = Some(dead_letter);
        self
    }

    /// The status it will be sent with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Its code when the host itself says no: one of a closed set, which a handler's are not.
    #[must_use]
    pub fn own_code(&self) -> Option<&'static str> {
        match self.0.code {
            Cow::Borrowed(code) if self.0.source != Source::Handler => Some(code),
            _ => None,
        }
    }

    /// Its sentence for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The response that says it.
    #[must_use]
    pub fn into_reply(self) -> Reply {
        let fields = &*self.0;
        let document = Document {
            kind: problem_type(&fields.code),
            title: title(&fields.code),
            status: fields.status.as_u16(),
            detail: &fields.detail,
            code: &fields.code,
            source: fields.source,
            retryable: fields.retryable,
            id: fields.id.map(|id| id.to_string()),
            details: fields.details.as_ref(),
            dead_letter: fields.dead_letter.as_ref(),
        };
        // A document of strings, numbers and JSON values always writes; an empty body would say
        // less, not lie.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = fields.status;
        let headers = reply.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, PROBLEM_JSON);
        let mut text = |name: HeaderName, value: Option<String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        };
        text(RETRY_AFTER, fields.retry_after_s.map(|seconds| seconds.to_string()));
        text(ALLOW, fields.allow.as_deref().map(str::to_owned));
        text(WWW_AUTHENTICATE, fields.challenge.map(str::to_owned));
        text(KEYSTEAD_ID, document.id);
        reply
    }
}

impl From<BadId> for Problem {
    fn from(bad: BadId) -> Self {
        Self::malformed(bad.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::MailboxFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "mailbox_full"),
            Refusal::OverQuota { .. } => (StatusCode::TOO_MANY_REQUESTS, "over_quota"),
            Refusal::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Refusal::IdempotencyMismatch => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch")
            }
            Refusal::Paused => (StatusCode::SERVICE_UNAVAILABLE, "paused"),
            Refusal::Removed => (StatusCode::CONFLICT, "entity_removed"),
            Refusal::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "result_timeout"),
        };
        let problem = Self::new(status, code, refusal.to_string());
        match refusal {
            Refusal::MailboxFull { .. }
            | Refusal::OverQuota { .. }
            | Refusal::Overloaded { .. }
            | Refusal::Unavailable(_) => problem.retry_after_s(limits::RETRY_AFTER.as_secs()),
            Refusal::Paused => problem.retry_after_s(limits::RETRY_AFTER.as_secs()),
            // Safe with an Idempotency-Key: the retry attaches to the command that still runs.
            Refusal::TimedOut { id, .. } => problem.id(id).retryable(),
            Refusal::IdempotencyMismatch | Refusal::Removed => problem,
        }
    }
}

impl From<OverQuota> for Problem {
    fn from(over: OverQuota) -> Self {
        let seconds = over.retry_after.as_secs() + u64::from(over.retry_after.subsec_nanos() > 0);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "over_quota", over.to_string())
            .retry_after_s(seconds.max(1))
    }
}

/// A handler's code is open text; only what can stand in a URN becomes one.
fn problem_type(code: &str) -> Cow<'static, str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !code.is_empty() && code.len() <= limits::NAME_BYTES_MAX && code.bytes().all(plain) {
        return Cow::Owned(format!("urn:keystead:error:{code}"));
    }
    Cow::Borrowed("about:blank")
}

/// `mailbox_full` is titled "Mailbox full".
fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn shown(problem: Problem) -> (http::response::Parts, Value) {
        let (parts, body) = problem.into_reply().into_parts();
        let bytes = body.collect().await.expect("full").to_bytes();
        (parts, serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[tokio::test]
    async fn a_document_has_its_members_and_no_empty_ones() {
        let id: MessageId = "msg_0000000000000000000000000000002a".parse().expect("valid");
        let problem =
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "insufficient_funds", "no \"money\"")
                .source(Source::Handler)
                .id(id);
        let (parts, document) = shown(problem).await;
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(parts.headers["keystead-id"], id.to_string());
        assert!(!parts.headers.contains_key("retry-after"));
        assert_eq!(
            document,
            serde_json::json!({
                "type": "urn:keystead:error:insufficient_funds",
                "title": "Insufficient funds", "status": 422,
                "detail": "no \"money\"", "code": "insufficient_funds", "source": "handler",
                "retryable": false, "id": id.to_string(),
            })
        );
    }

    #[tokio::test]
    async fn refusals_have_their_status_and_say_when_to_retry() {
        let cases = [
            (Refusal::MailboxFull { waiting: 3 }, 429, "mailbox_full", true, Some("1")),
            (Refusal::OverQuota { what: "bytes", max: 9 }, 429, "over_quota", true, Some("1")),
            (Refusal::Overloaded { what: "messages" }, 503, "overloaded", true, Some("1")),
            (Refusal::Unavailable("closing".into()), 503, "unavailable", true, Some("1")),
            (Refusal::IdempotencyMismatch, 422, "idempotency_mismatch", false, None),
            (Refusal::Paused, 503, "paused", true, Some("1")),
            (Refusal::Removed, 409, "entity_removed", false, None),
            (
                Refusal::TimedOut { ms: 30_000, id: MessageId(42) },
                504,
                "result_timeout",
                true,
                None,
            ),
        ];
        for (refusal, status, code, retryable, retry_after) in cases {
            let detail = refusal.to_string();
            let (parts, document) = shown(refusal.into()).await;
            assert_eq!(parts.status.as_u16(), status, "{code}");
            assert_eq!(
                parts.headers.get("retry-after").map(|v| v.to_str().expect("text")),
                retry_after
            );
            assert_eq!(document["code"], code);
            assert_eq!(document["retryable"], retryable);
            assert_eq!(document["detail"], detail);
            assert_eq!(document["source"], "ingress");
        }
    }

    #[tokio::test]
    async fn who_waited_too_long_is_told_by_which_id_to_ask() {
        let id = MessageId(42);
        let (parts, document) = shown(Refusal::TimedOut { ms: 30_000, id }.into()).await;
        assert_eq!(parts.headers["keystead-id"], id.to_string());
        assert_eq!(document["id"], id.to_string());
        assert!(document["detail"].as_str().is_some_and(|text| text.contains(&id.to_string())));
    }

    #[tokio::test]
    async fn a_code_that_is_no_urn_part_keeps_the_blank_type() {
        let (_, document) =
            shown(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "Zu wenig: é", "")).await;
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["code"], "Zu wenig: é");
        assert_eq!(title("é_x"), "é x");
        assert_eq!(title(""), "");
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_the_right_ones() {
        let (parts, _) = shown(Problem::method_not_allowed("GET, POST")).await;
        assert_eq!(parts.headers["allow"], "GET, POST");
    }
}

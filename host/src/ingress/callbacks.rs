//! Callbacks: `POST /v1/callbacks/{token}/resolve|reject`. Whoever has the token says, once, what an entity waits
//! to hear. A token that is wrong in any way is unknown: nothing here tells a guess how near it was.

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use http::request::Parts;
use hyper::body::{Body as _, Incoming};
use serde::Deserialize;
use serde_json::Value;

use super::{Ingress, answer, input};
use crate::edge::headers::IDEMPOTENCY_REPLAYED;
use crate::edge::query::Params;
use crate::edge::{self, JSON, Problem, Reply, body, path};
use crate::engine::Failure;
use crate::ids::{CallbackToken, MessageId};
use crate::limits;
use crate::partition::request::{CallbackUsed, Verdict};

impl Ingress {
    /// `POST /v1/callbacks/{token}/resolve|reject`; `rest` follows `/v1/callbacks/`.
    pub(super) async fn callback(
        &self,
        parts: &Parts,
        incoming: &mut Incoming,
        rest: &str,
    ) -> Result<Reply, Problem> {
        let (token, verb) = route(rest)?;
        Params::new(parts.uri.query())?.finish("a callback takes its value in the body")?;
        // Nothing sent is no value, whatever type a client gives to nothing.
        if !incoming.is_end_stream() {
            input::json_only(&parts.headers)?;
        }
        let body = body::read(incoming, body::Bounds::MESSAGE).await?;
        let verdict = match verb {
            Verb::Resolve => Verdict::Resolved(value(body)?),
            Verb::Reject => Verdict::Rejected(rejection(&body)?),
        };
        let Ok(token) = token.parse::<CallbackToken>() else { return Err(unknown()) };
        used(token.id(), self.router.use_callback(token, verdict).await?.into_inner())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Resolve,
    Reject,
}

fn route(rest: &str) -> Result<(&str, Verb), Problem> {
    match path::split(rest) {
        Some([token, "resolve"]) => Ok((token, Verb::Resolve)),
        Some([token, "reject"]) => Ok((token, Verb::Reject)),
        _ => {
            let detail =
                "the routes are /v1/callbacks/{token}/resolve and /v1/callbacks/{token}/reject";
            Err(Problem::not_found("unknown_route", detail))
        }
    }
}

/// The value that a callback is resolved with: any JSON, null when there is none.
fn value(body: Bytes) -> Result<Bytes, Problem> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"null"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(Problem::malformed(format!("the body is not JSON: {error}"))),
    }
}

/// Why a callback is rejected.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejection {
    #[serde(default = "rejected")]
    code: String,
    message: String,
    details: Option<Value>,
}

fn rejected() -> String {
    "rejected".into()
}

fn rejection(body: &[u8]) -> Result<Failure, Problem> {
    let shape = "a rejection is a JSON object with message, and maybe code and details";
    let Rejection { code, message, details } = serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("{shape}: {error}")))?;
    let snake = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if code.is_empty() || code.len() > limits::NAME_BYTES_MAX || !code.bytes().all(snake) {
        let max = limits::NAME_BYTES_MAX;
        let detail = format!("code: it is snake_case, of 1 to {max} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail));
    }
    if message.len() > limits::REPLY_MESSAGE_BYTES_MAX {
        let max = limits::REPLY_MESSAGE_BYTES_MAX;
        let detail = format!("message: it has {} bytes; at most {max} are taken", message.len());
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail));
    }
    let details = details.map(|details| Bytes::from(details.to_string()));
    Ok(Failure { code, message, details, retryable: false })
}

fn used(id: MessageId, used: CallbackUsed) -> Result<Reply, Problem> {
    let accepted = |status| {
        // Both members are plain ASCII words: nothing here needs escaping.
        let body = Bytes::from(format!(r#"{{"id":"{id}","status":"{status}"}}"#));
        let mut reply = edge::reply(StatusCode::ACCEPTED, JSON, body);
        answer::mark(&mut reply, id, None);
        reply
    };
    match used {
        CallbackUsed::Now => Ok(accepted("accepted")),
        CallbackUsed::Before => {
            let mut reply = accepted("previously_accepted");
            reply.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            Ok(reply)
        }
        CallbackUsed::Otherwise => {
            let detail =
                "this callback was resolved or rejected before, with another verdict or body";
            Err(Problem::new(StatusCode::CONFLICT, "callback_settled", detail).id(id))
        }
        CallbackUsed::Unknown => Err(unknown()),
    }
}

fn unknown() -> Problem {
    let detail = "no callback waits for this token: it expired, was withdrawn, or never was";
    Problem::not_found("unknown_callback", detail)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    #[test]
    fn two_routes_and_no_other() {
        assert_eq!(route("t/resolve").expect("a route"), ("t", Verb::Resolve));
        assert_eq!(route("t/reject").expect("a route"), ("t", Verb::Reject));
        for rest in ["", "t", "t/", "t/resolved", "t/resolve/", "t/u/resolve"] {
            assert_eq!(route(rest).expect_err(rest).code(), "unknown_route");
        }
    }

    #[test]
    fn values_are_any_json() {
        for (body, expected) in [("", "null"), ("1", "1"), ("[{}]", "[{}]"), ("\"\"", "\"\"")] {
            assert_eq!(value(body.into()).expect("JSON"), expected);
        }
        for body in ["{", "1 2", "\u{1}", "x"] {
            assert_eq!(value(body.into()).expect_err(body).code(), "malformed");
        }
    }

    #[test]
    fn rejections_have_a_message_and_a_code() {
        let told = rejection(br#"{"message":"no"}"#).expect("a rejection");
        assert_eq!((told.code.as_str(), told.message.as_str()), ("rejected", "no"));
        assert!(!told.retryable && told.details.is_none());
        let told = rejection(br#"{"code":"too_late","message":"","details":{"by":2}}"#);
        let told = told.expect("a rejection");
        assert_eq!(told.details.as_deref(), Some(&b"{\"by\":2}"[..]));
        let long = json!({"message": "x".repeat(limits::REPLY_MESSAGE_BYTES_MAX + 1)}).to_string();
        for (body, code, says) in [
            ("", "malformed", "EOF"),
            ("{}", "malformed", "`message`"),
            (r#"{"message":1}"#, "malformed", "string"),
            (r#"{"message":"","why":1}"#, "malformed", "`why`"),
            (r#"{"message":"","code":"Too Late"}"#, "invalid_input", "code:"),
            (r#"{"message":"","code":""}"#, "invalid_input", "code:"),
            (&long, "invalid_input", "message:"),
        ] {
            let problem = rejection(body.as_bytes()).expect_err(body);
            assert_eq!((problem.code(), problem.status().as_u16()), (code, 400), "{body}");
            assert!(problem.detail().contains(says), "{body}: {}", problem.detail());
        }
    }

    #[tokio::test]
    async fn each_use_has_its_answer() {
        let id = MessageId(42);
        for (how, status) in
            [(CallbackUsed::Now, "accepted"), (CallbackUsed::Before, "previously_accepted")]
        {
            let reply = used(id, how).expect("accepted");
            assert_eq!(reply.status(), StatusCode::ACCEPTED);
            assert_eq!(reply.headers()["keystead-id"], id.to_string());
            let body = reply.into_body().collect().await.expect("full").to_bytes();
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body, json!({"id": id.to_string(), "status": status}));
        }
        let problem = used(id, CallbackUsed::Otherwise).expect_err("settled");
        assert_eq!((problem.status().as_u16(), problem.code()), (409, "callback_settled"));
        let problem = used(id, CallbackUsed::Unknown).expect_err("unknown");
        assert_eq!((problem.status().as_u16(), problem.code()), (404, "unknown_callback"));
    }
}

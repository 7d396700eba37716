//! What came of a command or query, in HTTP's words: the handler's value, its rejection, its
//! failure. With `edge::problem` the only place where an outcome gets its status.

use bytes::Bytes;
use http::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::{Response, StatusCode};
use serde_json::Value;

use crate::edge::headers::{IDEMPOTENCY_EXPIRES, IDEMPOTENCY_REPLAYED, KEYSTEAD_ID};
use crate::edge::{JSON, Problem, Reply, Source, reply as edge_reply, time};
use crate::engine::{Failure, Trap};
use crate::ids::MessageId;
use crate::partition::request::{Answer, CallFailure, CallResult};
use crate::registry::Body;

/// The response to a call; `output` is what the handler gives, when that is known.
pub(super) fn reply(answer: Answer, output: Option<&Body>) -> Reply {
    let Answer { id, result, replayed, expires_ms, .. } = answer;
    let mut reply = match result {
        CallResult::Reply(value) => value_reply(value, output),
        CallResult::Rejected(failure) => rejected(failure).id(id).into_reply(),
        CallResult::Failed(failure) => failed(failure).id(id).into_reply(),
    };
    mark(&mut reply, id, expires_ms);
    if replayed {
        reply.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    reply
}

/// The response to a read: the entity's version is its `ETag`, and 304 when the client has that
/// one.
pub(super) fn read_reply(answer: Answer, output: &Body, asked: &HeaderMap) -> Reply {
    let (id, version) = (answer.id, answer.version);
    if !matches!(answer.result, CallResult::Reply(_)) {
        return reply(answer, Some(output));
    }
    let etag = format!("\"{version}\"");
    let mut reply = if has_version(asked, &etag) {
        let mut unchanged = Response::default();
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        mark(&mut unchanged, id, None);
        unchanged
    } else {
        reply(answer, Some(output))
    };
    if let Ok(etag) = HeaderValue::try_from(etag) {
        reply.headers_mut().insert(ETAG, etag);
    }
    reply
}

/// Adds what every answer carries.
pub(super) fn mark(reply: &mut Reply, id: MessageId, expires_ms: Option<u64>) {
    let headers = reply.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(KEYSTEAD_ID, id);
    }
    let expires = expires_ms.and_then(time::rfc3339);
    if let Some(expires) = expires.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(IDEMPOTENCY_EXPIRES, expires);
    }
}

fn value_reply(value: Bytes, output: Option<&Body>) -> Reply {
    const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
    let content_type = match output {
        Some(Body::Json(_)) if value.is_empty() => {
            return edge_reply(StatusCode::OK, JSON, Bytes::from_static(b"null"));
        }
        Some(Body::Json(_)) => JSON,
        Some(Body::Bytes(content_type)) => HeaderValue::from_str(content_type).unwrap_or(BYTES),
        // An outcome does not say which handler made it: JSON shows by itself.
        None if serde_json::from_slice::<serde::de::IgnoredAny>(&value).is_ok() => JSON,
        None => BYTES,
    };
    edge_reply(StatusCode::OK, content_type, value)
}

fn rejected(failure: Failure) -> Problem {
    let status = match failure.code.as_str() {
        "invalid_input" => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    from_handler(status, failure)
}

pub(super) fn failed(failure: CallFailure) -> Problem {
    let helps = match &failure {
        CallFailure::Error(failure) => failure.retryable,
        CallFailure::Trap(trap) => trap.is_retryable(),
        // A deploy may bring it.
        CallFailure::NoHandler(_) => true,
    };
    let problem = match failure {
        CallFailure::Error(failure) => from_handler(StatusCode::INTERNAL_SERVER_ERROR, failure),
        CallFailure::NoHandler(what) => Problem::not_found("unknown_handler", what),
        CallFailure::Trap(trap) => {
            let (status, code) = match trap {
                Trap::Deadline(_) => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
                Trap::Panic(_) => (StatusCode::INTERNAL_SERVER_ERROR, "handler_panicked"),
                Trap::Memory(_)
                | Trap::Stack
                | Trap::Fault(_)
                | Trap::ReadOnly(_)
                | Trap::Other(_)
                | Trap::Misuse(_) => (StatusCode::INTERNAL_SERVER_ERROR, "handler_trapped"),
            };
            Problem::new(status, code, trap.to_string())
        }
    };
    let problem = problem.source(Source::Handler);
    if helps { problem.retryable() } else { problem }
}

fn from_handler(status: StatusCode, failure: Failure) -> Problem {
    let details = failure.details.map(|details| {
        let text = || Value::String(String::from_utf8_lossy(&details).into_owned());
        serde_json::from_slice(&details).unwrap_or_else(|_| text())
    });
    Problem::new(status, failure.code, failure.message).source(Source::Handler).details(details)
}

/// Whether `If-None-Match` names this version; `W/` makes no difference when comparing to read
/// again.
pub(super) fn has_version(asked: &HeaderMap, etag: &str) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    fn answer(result: CallResult) -> Answer {
        Answer { id: MessageId(42), result, version: 7, replayed: false, expires_ms: None }
    }

    fn value(text: &'static str) -> CallResult {
        CallResult::Reply(Bytes::from_static(text.as_bytes()))
    }

    fn failure(code: &str, details: Option<&'static [u8]>) -> Failure {
        let details = details.map(Bytes::from_static);
        Failure { code: code.into(), message: "no".into(), details, retryable: false }
    }

    async fn shown(reply: Reply) -> (u16, HeaderMap, Bytes) {
        let (parts, body) = reply.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.expect("full").to_bytes())
    }

    #[tokio::test]
    async fn values_come_as_they_are_with_their_type() {
        let json = Body::Json(json!({}));
        let png = Body::Bytes("image/png".to_owned());
        for (output, text, content_type, body) in [
            (Some(&json), "37", "application/json", "37"),
            (Some(&json), "", "application/json", "null"),
            (Some(&png), "37", "image/png", "37"),
            (Some(&Body::Bytes("bad\ntype".to_owned())), "x", "application/octet-stream", "x"),
            (None, "{\"a\":1}", "application/json", "{\"a\":1}"),
            (None, "\u{1}\u{2}", "application/octet-stream", "\u{1}\u{2}"),
        ] {
            let (status, headers, shown) = shown(reply(answer(value(text)), output)).await;
            assert_eq!(
                (status, &headers[CONTENT_TYPE], &shown[..]),
                (200, &HeaderValue::from_static(content_type), body.as_bytes())
            );
            assert_eq!(headers[KEYSTEAD_ID], MessageId(42).to_string());
            assert!(!headers.contains_key(IDEMPOTENCY_REPLAYED));
            assert!(!headers.contains_key(IDEMPOTENCY_EXPIRES));
        }
    }

    #[tokio::test]
    async fn replays_say_so_whatever_they_replay() {
        for result in [value("1"), CallResult::Rejected(failure("rejected", None))] {
            let replayed = Answer { replayed: true, expires_ms: Some(0), ..answer(result) };
            let (_, headers, _) = shown(reply(replayed, None)).await;
            assert_eq!(headers[IDEMPOTENCY_REPLAYED], "true");
            assert_eq!(headers[IDEMPOTENCY_EXPIRES], "1970-01-01T00:00:00Z");
        }
    }

    #[tokio::test]
    async fn outcomes_of_handlers_have_their_status_and_code() {
        let trap = |trap| CallResult::Failed(CallFailure::Trap(trap));
        let passing = Failure { retryable: true, ..failure("error", None) };
        for (result, status, code, retryable) in [
            (
                CallResult::Rejected(failure("insufficient_funds", None)),
                422,
                "insufficient_funds",
                false,
            ),
            (CallResult::Rejected(failure("invalid_input", None)), 400, "invalid_input", false),
            (CallResult::Failed(CallFailure::Error(passing)), 500, "error", true),
            (CallResult::Failed(CallFailure::Error(failure("parked", None))), 500, "parked", false),
            (
                CallResult::Failed(CallFailure::NoHandler("gone".into())),
                404,
                "unknown_handler",
                true,
            ),
            (trap(Trap::Deadline(5)), 504, "deadline_exceeded", true),
            (trap(Trap::Panic("oops".into())), 500, "handler_panicked", true),
            (trap(Trap::Memory(5)), 500, "handler_trapped", true),
            (trap(Trap::Stack), 500, "handler_trapped", true),
            (trap(Trap::Fault("no room".into())), 500, "handler_trapped", true),
            (trap(Trap::Misuse("limit".into())), 500, "handler_trapped", false),
            (trap(Trap::ReadOnly("query".into())), 500, "handler_trapped", false),
            (trap(Trap::Other("unreachable".into())), 500, "handler_trapped", true),
        ] {
            let (said, headers, body) = shown(reply(answer(result), None)).await;
            let document: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(said, status, "{document}");
            assert_eq!(document["code"], code);
            assert_eq!(document["retryable"], retryable, "{code}");
            assert_eq!(document["source"], "handler");
            assert_eq!(document["id"], MessageId(42).to_string());
            assert_eq!(headers[KEYSTEAD_ID], MessageId(42).to_string());
        }
    }

    #[tokio::test]
    async fn details_of_a_rejection_are_passed_on() {
        for (details, member) in
            [(&b"{\"need\":5}"[..], json!({"need": 5})), (b"\xff", json!("\u{fffd}"))]
        {
            let rejected = CallResult::Rejected(failure("rejected", Some(details)));
            let (_, _, body) = shown(reply(answer(rejected), None)).await;
            let document: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(document["details"], member);
        }
    }

    #[tokio::test]
    async fn reads_carry_their_version_and_are_not_sent_twice() {
        let json = Body::Json(json!({}));
        for (tag, status) in [
            ("\"7\"", 304),
            ("W/\"7\"", 304),
            ("\"1\", \"7\"", 304),
            ("*", 304),
            ("\"8\"", 200),
            ("7", 200),
            ("\"77\"", 200),
        ] {
            let mut asked = HeaderMap::new();
            asked.insert(IF_NONE_MATCH, HeaderValue::from_str(tag).expect("valid"));
            let (said, headers, body) = shown(read_reply(answer(value("37")), &json, &asked)).await;
            assert_eq!(said, status, "{tag}");
            assert_eq!(headers[ETAG], "\"7\"");
            assert_eq!(headers[KEYSTEAD_ID], MessageId(42).to_string());
            assert_eq!(body, if status == 304 { "" } else { "37" });
        }
        let rejected = CallResult::Rejected(failure("rejected", None));
        let (status, headers, _) =
            shown(read_reply(answer(rejected), &json, &HeaderMap::new())).await;
        assert_eq!(status, 422);
        assert!(!headers.contains_key(ETAG));
    }
}

//! A request's body as a handler's input: JSON handlers take one JSON object of arguments, bytes
//! handlers take what comes. Invariant: an input that leaves here fits the handler's schema.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as _, Incoming};
use serde::de::IgnoredAny;

use crate::edge::{Problem, body, headers};
use crate::registry::{Body, Handler};

/// An input and its content type when it is not JSON.
pub(super) struct Input {
    pub(super) bytes: Bytes,
    pub(super) content_type: Option<String>,
}

/// Reads and checks the body.
pub(super) async fn read(
    parts: &Parts,
    incoming: &mut Incoming,
    handler: &Handler,
    bytes_max: usize,
) -> Result<Input, Problem> {
    // Nothing sent is no argument, whatever type a client gives to nothing.
    let content_type = match &handler.input {
        Body::Json(_) if incoming.is_end_stream() => None,
        input => content_type(&parts.headers, input)?,
    };
    let bytes = body::read(incoming, body::Bounds { bytes_max, ..body::Bounds::MESSAGE }).await?;
    checked(bytes, content_type, handler)
}

/// Checks a body that has been read.
pub(super) fn take(headers: &HeaderMap, bytes: Bytes, handler: &Handler) -> Result<Input, Problem> {
    let content_type = content_type(headers, &handler.input)?;
    checked(bytes, content_type, handler)
}

fn checked(
    bytes: Bytes,
    content_type: Option<String>,
    handler: &Handler,
) -> Result<Input, Problem> {
    if matches!(handler.input, Body::Json(_)) {
        object(&bytes)?;
    }
    check(handler, &bytes)?;
    Ok(Input { bytes, content_type })
}

/// Checks an input against the handler's schema.
pub(super) fn check(handler: &Handler, input: &[u8]) -> Result<(), Problem> {
    handler
        .check_input(input)
        .map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail))
}

/// Refuses headers of anything but plain JSON.
pub(super) fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    content_type(headers, &Body::Json(serde_json::Value::Null)).map(|_| ())
}

/// The type that the handler is told: none for JSON. A missing one is taken for what the handler
/// expects.
fn content_type(headers: &HeaderMap, input: &Body) -> Result<Option<String>, Problem> {
    let unsupported =
        |detail| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(unsupported(format!(
            "the content encoding {coding:?} is not taken; send it plain"
        )));
    }
    let given = headers::single(headers, &CONTENT_TYPE)?;
    match (input, given) {
        (Body::Json(_), None) => Ok(None),
        (Body::Json(_), Some(given)) if is_json(given.as_bytes()) => Ok(None),
        (Body::Json(_), Some(given)) => Err(unsupported(format!(
            "this route takes application/json in UTF-8, not {given:?} \
             (with curl: --json instead of --data)"
        ))),
        (Body::Bytes(_), None) => Ok(Some("application/octet-stream".to_owned())),
        (Body::Bytes(_), Some(given)) => match given.to_str() {
            Ok(given) => Ok(Some(given.to_owned())),
            Err(_) => Err(Problem::malformed("the header content-type is not ASCII text")),
        },
    }
}

/// `application/json`, whatever its parameters, as long as the text is UTF-8.
fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(b"application/json")
        && parts.all(|parameter| match parameter.split_at_checked(8) {
            Some((name, value)) if name.eq_ignore_ascii_case(b"charset=") => {
                let value = value.strip_prefix(b"\"").unwrap_or(value);
                value.strip_suffix(b"\"").unwrap_or(value).eq_ignore_ascii_case(b"utf-8")
            }
            _ => true,
        })
}

/// Checks that a body is one JSON object or empty, and says where it is not.
fn object(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let not_json = |why: String| Problem::malformed(format!("the body is not JSON: {why}"));
    let text = std::str::from_utf8(body)
        .map_err(|error| not_json(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(error.to_string()))?;
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    let detail =
        "the body must be one JSON object whose members are the handler's arguments by name";
    Err(Problem::malformed(detail))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn told(input: &Body, given: Option<&str>) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(given).expect("valid"));
        }
        content_type(&headers, input).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn json_handlers_take_json_and_nothing_else() {
        let json = Body::Json(json!({}));
        for given in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; x=y",
        ] {
            assert_eq!(told(&json, Some(given)), Ok(None), "{given}");
        }
        assert_eq!(told(&json, None), Ok(None));
        for given in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "application/json; charset=latin1",
            "",
        ] {
            assert_eq!(told(&json, Some(given)), Err(415), "{given}");
        }
    }

    #[test]
    fn bytes_handlers_take_any_type_as_it_came() {
        let bytes = Body::Bytes("image/png".to_owned());
        assert_eq!(told(&bytes, Some("Image/JPEG")), Ok(Some("Image/JPEG".to_owned())));
        assert_eq!(told(&bytes, Some("application/json")), Ok(Some("application/json".to_owned())));
        assert_eq!(told(&bytes, None), Ok(Some("application/octet-stream".to_owned())));
        assert_eq!(told(&bytes, Some("x/é")), Err(400));
    }

    #[test]
    fn compressed_and_twice_typed_bodies_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let problem = content_type(&headers, &Body::Json(json!({}))).expect_err("gzip");
        assert_eq!(problem.code(), "unsupported_media_type");
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
        assert!(content_type(&headers, &Body::Json(json!({}))).is_ok());
        headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(content_type(&headers, &Body::Json(json!({}))).is_err());
    }

    #[test]
    fn bodies_are_one_object_or_the_place_is_named() {
        assert!(object(b"").is_ok());
        assert!(object(b" {\"to\":\"bob\",\"amount\":5}\n").is_ok());
        for (body, says) in [
            (&b"{\"amount\":5"[..], "line 1 column 11"),
            (b"{\"a\":1}\n{}", "line 2 column 1"),
            (b"banana", "line 1 column 1"),
            (b"{\"a\":\"\xff\"}", "not UTF-8 at byte 6"),
            (b"[1]", "one JSON object"),
            (b"5", "one JSON object"),
            (b"null", "one JSON object"),
            (b" ", "EOF"),
        ] {
            let problem = object(body).expect_err("bad");
            assert_eq!(problem.code(), "malformed");
            assert!(problem.detail().contains(says), "{}", problem.detail());
        }
    }
}

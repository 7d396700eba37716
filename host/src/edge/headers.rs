//! The header fields that Keystead reads and writes by name.

use std::borrow::Cow;

use http::Version;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::problem::Problem;
use crate::limits;

/// The message's id, on every answer that has one.
pub const KEYSTEAD_ID: HeaderName = HeaderName::from_static("keystead-id");
/// The client's key, under which a first answer is kept.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` on a first answer that is sent again.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Until when the client's key is remembered.
pub const IDEMPOTENCY_EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Refuses what two readers of one request could take for two different requests.
///
/// # Errors
/// 400 when the host is not said once, or the body comes in another transfer coding than `chunked`.
pub fn unambiguous(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let host = single(headers, &HOST)?;
    if version == Version::HTTP_11 && host.is_none() {
        return Err(Problem::malformed("a request of HTTP/1.1 must have the header host"));
    }
    match single(headers, &TRANSFER_ENCODING)? {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            let detail = format!("the transfer encoding {coding:?} is not taken; chunked is");
            Err(Problem::malformed(detail))
        }
        _ => Ok(()),
    }
}

/// The field `name` when it is there once.
///
/// # Errors
/// 400 when it is there more than once.
pub fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Problem::malformed(format!("the header {name} is given more than once"))),
    }
}

/// The client's key: 1 to [`limits::IDEMPOTENCY_KEY_BYTES_MAX`] bytes of printable ASCII, bare or
/// as the quoted string of the IETF draft. `"abc"` and `abc` are the same key.
///
/// # Errors
/// 400 when it is neither, or given more than once.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let bad = |why: &str| Problem::malformed(format!("the header idempotency-key {why}"));
    let key = match value.as_bytes() {
        [b'"', quoted @ ..] => unquote(quoted)
            .map(Cow::Owned)
            .ok_or_else(|| bad("opens a quoted string and does not end it rightly"))?,
        bare => Cow::Borrowed(bare),
    };
    let max = limits::IDEMPOTENCY_KEY_BYTES_MAX;
    if key.is_empty() || key.len() > max {
        return Err(bad(&format!("has {} bytes; it must have 1 to {max}", key.len())));
    }
    match std::str::from_utf8(&key) {
        Ok(text) if key.iter().all(|b| (b' '..=b'~').contains(b)) => Ok(Some(text.to_owned())),
        _ => Err(bad("has a byte that is not printable ASCII")),
    }
}

/// The caller's `traceparent` when it is well-formed; the standard says to go on without a wrong
/// one.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let text = values.next()?.to_str().ok()?;
    (values.next().is_none() && is_traceparent(text)).then_some(text)
}

/// The string after its opening quote, as RFC 8941 writes strings.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => match bytes.next()? {
                byte @ (b'"' | b'\\') => text.push(*byte),
                _ => return None,
            },
            byte => text.push(*byte),
        }
    }
    bytes.next().is_none().then_some(text)
}

/// `00-` 32 hex digits `-` 16 hex digits `-` 2 hex digits; neither id zero; later versions may go
/// on after a `-`.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &[u8]| hex(part) && part.iter().any(|b| *b != b'0');
    let bytes = text.as_bytes();
    let Some((head, more)) = bytes.split_at_checked(55) else { return false };
    let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
    let length = match &head[..2] {
        b"ff" => false,
        b"00" => more.is_empty(),
        _ => text.len() <= TRACEPARENT_BYTES_MAX && (more.is_empty() || more[0] == b'-'),
    };
    dashes && length && hex(&head[..2]) && id(&head[3..35]) && id(&head[36..52]) && hex(&head[53..])
}

/// A later version's longer form is carried through every hop, so it is bounded here.
const TRACEPARENT_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_bytes(value).expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_request_can_be_read_in_one_way_only() {
        let check = |fields: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            unambiguous(Version::HTTP_11, &headers).map_err(|problem| problem.status().as_u16())
        };
        let host = (HOST, "localhost");
        assert_eq!(check(std::slice::from_ref(&host)), Ok(()));
        assert_eq!(check(&[host.clone(), (TRANSFER_ENCODING, "Chunked")]), Ok(()));
        assert_eq!(check(&[]), Err(400));
        assert_eq!(check(&[host.clone(), (HOST, "evil.example")]), Err(400));
        assert_eq!(check(&[host.clone(), (TRANSFER_ENCODING, "gzip, chunked")]), Err(400));
        let twice = [host, (TRANSFER_ENCODING, "chunked"), (TRANSFER_ENCODING, "chunked")];
        assert_eq!(check(&twice), Err(400));
        let http2 = unambiguous(Version::HTTP_2, &HeaderMap::new());
        assert!(http2.is_ok(), "there the authority stands in the target");
    }

    #[test]
    fn keys_are_bare_or_quoted() {
        let key = |value: &[u8]| {
            idempotency_key(&with(&IDEMPOTENCY_KEY, &[value])).expect("valid").expect("there")
        };
        assert_eq!(key(b"abc-1"), "abc-1");
        assert_eq!(key(b"\"abc-1\""), "abc-1");
        assert_eq!(key(b"the same"), "the same");
        assert_eq!(key(br#""a\"b\\c d""#), r#"a"b\c d"#);
        assert_eq!(key(&[b'k'; 255]), "k".repeat(255));
        assert_eq!(idempotency_key(&HeaderMap::new()).expect("valid"), None);
    }

    #[test]
    fn wrong_keys_are_refused() {
        let refused = |values: &[&[u8]]| {
            let problem = idempotency_key(&with(&IDEMPOTENCY_KEY, values)).expect_err("bad");
            assert_eq!(problem.code(), "malformed");
            problem.detail().to_owned()
        };
        assert!(refused(&[b"a", b"a"]).contains("more than once"));
        assert!(refused(&[&[b'k'; 256]]).contains("256 bytes"));
        assert!(refused(&[b""]).contains("0 bytes"));
        assert!(refused(&[b"\"\""]).contains("0 bytes"));
        for open in [&b"\"abc"[..], b"\"abc\" ; x=1", b"\"a\\", b"\"a\\n\"", b"\""] {
            assert!(refused(&[open]).contains("quoted"), "{open:?}");
        }
        for hidden in [&b"a\tb"[..], b"\xc3\xa9", b"\"\xc3\xa9\""] {
            assert!(refused(&[hidden]).contains("printable"), "{hidden:?}");
        }
    }

    #[test]
    fn only_well_formed_trace_parents_are_carried() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let carried =
            |value: &str| traceparent(&with(&TRACEPARENT, &[value.as_bytes()])).map(str::to_owned);
        assert_eq!(carried(good).as_deref(), Some(good));
        let later = format!("01{}-more", &good[2..]);
        assert_eq!(carried(&later).as_deref(), Some(later.as_str()));
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replacen("00", "ff", 1),
            &format!("{good}-more"),
            &format!("01{}more", &good[2..]),
            &good.replace('-', "_"),
        ] {
            assert_eq!(carried(bad), None, "{bad}");
        }
        assert_eq!(traceparent(&with(&TRACEPARENT, &[good.as_bytes(), good.as_bytes()])), None);
    }
}

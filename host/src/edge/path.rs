//! Decodes what stands between two slashes of a path. Each segment is percent-decoded once, after
//! the split, so a key may hold `/` (as `%2F`) and any other text. Invariant: what comes out is
//! valid UTF-8.

use std::borrow::Cow;

use crate::ids::BadId;

/// Splits `path` at its slashes; `None` when there are more or fewer than `N` segments.
#[must_use]
pub fn split<const N: usize>(path: &str) -> Option<[&str; N]> {
    let mut parts = path.split('/');
    let mut segments = [""; N];
    for segment in &mut segments {
        *segment = parts.next()?;
    }
    parts.next().is_none().then_some(segments)
}

/// Decodes one segment; `field` names it in the error. A bare `.` or `..` is refused, because
/// proxies and clients resolve it away; `%2E` and `%2E%2E` are text like any other (nothing here
/// becomes a file name).
///
/// # Errors
/// [`BadId`] when it is empty, a dot segment, wrongly encoded or not UTF-8.
pub fn segment<'a>(field: &'static str, raw: &'a str) -> Result<Cow<'a, str>, BadId> {
    let bad = |problem: &str| BadId { field, problem: problem.to_owned() };
    match raw {
        "" => Err(bad("is empty in the path")),
        "." | ".." => Err(bad("is a dot segment; write each dot as %2E to mean the text itself")),
        _ => decode(field, raw),
    }
}

/// Percent-decodes `raw`.
///
/// # Errors
/// [`BadId`] when a `%` is not followed by two hex digits, or the result is not UTF-8.
pub fn decode<'a>(field: &'static str, raw: &'a str) -> Result<Cow<'a, str>, BadId> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let bytes = raw.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1).zip(bytes.get(at + 2));
        let Some((high, low)) = digits.and_then(|(&h, &l)| Some((hex(h)?, hex(l)?))) else {
            let problem = format!("has a '%' at byte {at} that two hex digits do not follow");
            return Err(BadId { field, problem });
        };
        decoded.push(high << 4 | low);
        at += 3;
    }
    match String::from_utf8(decoded) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let problem = format!("is not UTF-8 at byte {at} after percent-decoding");
            Err(BadId { field, problem })
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_split_into_exactly_the_segments_asked_for() {
        assert_eq!(split("a/b/c"), Some(["a", "b", "c"]));
        assert_eq!(split("a//c"), Some(["a", "", "c"]));
        assert_eq!(split::<3>("a/b"), None);
        assert_eq!(split::<3>("a/b/c/"), None);
    }

    #[test]
    fn segments_decode_once() {
        let key = |raw| segment("key", raw).expect("valid").into_owned();
        assert_eq!(key("plain"), "plain");
        assert_eq!(key("a%2Fb%2fc"), "a/b/c");
        assert_eq!(key("%252F"), "%2F");
        assert_eq!(key("gr%C3%BC%C3%9Fe+du"), "grüße+du");
        assert_eq!(key("%2e%2E"), "..");
        assert_eq!(key("%00"), "\0");
        assert_eq!(key("..."), "...");
    }

    #[test]
    fn wrong_segments_are_named_with_the_place() {
        let problem = |raw| segment("key", raw).expect_err("bad").to_string();
        assert_eq!(problem(""), "key: is empty in the path");
        assert!(problem("..").contains("%2E"));
        assert!(problem(".").contains("%2E"));
        for raw in ["ab%", "ab%4", "ab%g0", "ab%+1"] {
            assert!(problem(raw).contains("byte 2"), "{raw}");
        }
        assert!(problem("ab%FF").contains("not UTF-8 at byte 2"));
        assert!(problem("%ED%A0%80").contains("not UTF-8"), "a lone surrogate");
    }

    proptest! {
        #[test]
        fn every_key_reads_back(key in ".{1,40}") {
            let raw = utf8_percent_encode(&key, NON_ALPHANUMERIC);
            let raw = raw.to_string();
            prop_assert_eq!(segment("key", &raw).expect("valid"), key);
        }
    }
}

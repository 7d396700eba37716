//! What a request says of who sends it: `Authorization: Bearer ks_…`, and nothing else. The header is taken out of the
//! head before anybody looks at the request, so that no credential can be stored with a message, handed to a guest or
//! written to a log. Refusals say the same whether what was asked for exists or not.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{StatusCode, header};
use serde_json::json;

use super::Reply;
use super::problem::Problem;
use crate::access::{BadToken, Denied, Secret};

/// The token that came with a request; text that is none is an error, and nothing of it is kept.
pub type Credential = Option<Result<Secret, BadToken>>;

/// Takes the credential out of a request's head.
pub fn take(headers: &mut HeaderMap) -> Credential {
    if !headers.contains_key(AUTHORIZATION) {
        return None;
    }
    let malformed = || BadToken("one is given, as: Bearer ks_…".into());
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let secret = only.and_then(bearer).ok_or_else(malformed);
    headers.remove(AUTHORIZATION);
    Some(secret)
}

/// A scheme's name is read in any case (RFC 9110), a token as it is.
fn bearer(value: &HeaderValue) -> Option<Secret> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))?;
    Secret::parse(token).ok()
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        let challenge = match &denied {
            Denied::Missing => "Bearer realm=\"keystead\"",
            Denied::Malformed => "Bearer realm=\"keystead\", error=\"invalid_request\"",
            Denied::Unknown | Denied::Expired(_) => {
                "Bearer realm=\"keystead\", error=\"invalid_token\""
            }
            Denied::Role { .. } | Denied::App(_) | Denied::Host => {
                let details = match denied {
                    Denied::Role { needs, has } => Some(json!({"needs": needs, "has": has})),
                    _ => None,
                };
                return Self::new(StatusCode::FORBIDDEN, "forbidden", detail).details(details);
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail).challenge(challenge)
    }
}

/// Keeps an answer out of every cache: it holds a secret.
pub fn keep_private(reply: &mut Reply) {
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ks_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn took(values: &[&str]) -> Option<bool> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        let credential = take(&mut headers);
        assert!(headers.is_empty(), "it is left to nobody");
        credential.map(|credential| credential.is_ok())
    }

    #[test]
    fn one_bearer_token_is_taken_and_anything_else_is_malformed() {
        assert_eq!(took(&[]), None);
        for good in ["Bearer ", "bearer ", "BEARER  "] {
            assert_eq!(took(&[&format!("{good}{TOKEN}")]), Some(true), "{good}");
        }
        let (bearer, longer) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}A"));
        let (tab, basic) = (format!("Bearer\t{TOKEN}"), format!("Basic {TOKEN}"));
        for bad in ["", "Bearer", "Bearer ", TOKEN, &longer, &tab, &basic, "Basic dXNlcjpwYXNz"] {
            assert_eq!(took(&[bad]), Some(false), "{bad:?}");
        }
        assert_eq!(took(&[&bearer, &bearer]), Some(false), "two of them");
    }

    #[test]
    fn who_is_unknown_gets_401_with_a_challenge_and_who_may_not_403() {
        for denied in [Denied::Missing, Denied::Malformed, Denied::Unknown] {
            let reply = Problem::from(denied).into_reply();
            assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
            let challenge = reply.headers()[header::WWW_AUTHENTICATE].to_str().expect("text");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
        for denied in [Denied::App("bank".into()), Denied::Host] {
            let problem = Problem::from(denied);
            assert_eq!((problem.status(), problem.code()), (StatusCode::FORBIDDEN, "forbidden"));
        }
    }
}

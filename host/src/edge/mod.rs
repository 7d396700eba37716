//! HTTP plumbing that ingress and admin share: the listener with its bounds, reading bodies,
//! decoding paths and queries, and errors as problem documents. Knows no route and asks no router
//! or registry. Invariant: nothing a client sends is kept beyond a bound of `limits`, in bytes or
//! in time.

pub mod body;
pub mod credential;
mod expiry;
#[cfg(test)]
mod fuzz;
pub mod guard;
pub mod headers;
pub mod listener;
pub mod page;
pub mod path;
pub mod problem;
pub mod query;
pub mod time;
pub mod tls;

#[cfg(test)]
mod listener_tests;

use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use crate::limits;

pub use problem::{Problem, Source};

/// What every route answers with.
pub type Reply = Response<Full<Bytes>>;

/// Runs a handler for somebody at the admin listener, with the checks and the answers of ingress. A trait, so that
/// admin need not know ingress.
pub trait Tries: Send + Sync {
    /// Answers as ingress would; `rest` is `{app}/{type}/{key}/{handler}` of the path.
    fn attempt<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a mut Incoming,
        rest: &'a str,
    ) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;
}

/// The content type of JSON.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A reply with these bytes.
#[must_use]
pub fn reply(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// A reply with this value as JSON.
///
/// # Errors
/// 500 when the value cannot be written as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::internal(format!("the answer is not JSON: {error}")))?;
    Ok(reply(status, JSON, body.into()))
}

/// Ends a refused request: sees to it that the client gets the answer even while it still sends, as
/// long as no more than `discard_bytes_max` of its body are left.
pub async fn refused(
    parts: &Parts,
    body: &mut Incoming,
    problem: Problem,
    discard_bytes_max: usize,
) -> Reply {
    // A client that asked first gets its answer at once, and one that was too slow has had its
    // time.
    let asked_first = parts.headers.contains_key(EXPECT);
    if !asked_first && problem.status() != StatusCode::REQUEST_TIMEOUT {
        let time_max = limits::DISCARD_TIME_MAX;
        // Who may not come in does not get to send much either.
        let stranger = matches!(problem.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let discard_bytes_max = match stranger {
            true => limits::STRANGER_DISCARD_BYTES_MAX.min(discard_bytes_max),
            false => discard_bytes_max,
        };
        body::discard(body, body::Bounds { bytes_max: discard_bytes_max, time_max }).await;
    }
    problem.into_reply()
}

//! Reads request bodies within bounds of bytes and time. A body that says it is too large is
//! refused unread; one that does not say is counted. Invariant: at most `bytes_max` and one frame
//! are ever held.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Problem;
use crate::{clock, limits};

/// The bounds of one body.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most bytes.
    pub bytes_max: usize,
    /// Most time to send them.
    pub time_max: Duration,
}

impl Bounds {
    /// The bounds of a message's body.
    pub const MESSAGE: Self =
        Self { bytes_max: limits::BODY_BYTES_MAX, time_max: limits::BODY_TIME_MAX };
    /// The bounds of an uploaded component.
    pub const COMPONENT: Self =
        Self { bytes_max: limits::COMPONENT_BYTES_MAX, time_max: limits::BODY_TIME_MAX };
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It has, or says it has, more bytes than it may.
    #[error("the body is larger than {bytes_max} bytes, the most this route takes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive within {} ms", time_max.as_millis())]
    TooSlow {
        /// The bound.
        time_max: Duration,
    },
    /// It ended early or its encoding is wrong.
    #[error("the body could not be read to its end: {0}")]
    Broken(String),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            }
            BodyError::TooSlow { .. } => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail).retryable()
            }
            BodyError::Broken(_) => Self::malformed(detail),
        }
    }
}

/// Reads all of `body`.
///
/// # Errors
/// [`BodyError`].
pub async fn read<B>(body: &mut B, bounds: Bounds) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let Bounds { bytes_max, time_max } = bounds;
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge { bytes_max });
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let read = clock::within(time_max, collect(body, bytes_max)).await;
    read.unwrap_or(Err(BodyError::TooSlow { time_max }))
}

/// Throws away what is left of a body that will not be used. A client that is still sending when
/// its connection closes loses the answer, so the answer waits for it; one that has more to say
/// than the bounds allow does not get to say it.
pub async fn discard<B>(body: &mut B, bounds: Bounds)
where
    B: Body<Data = Bytes> + Unpin,
{
    let bytes_max = bounds.bytes_max as u64;
    if body.is_end_stream() || body.size_hint().lower() > bytes_max {
        return;
    }
    let rest = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, |data| data.len() as u64);
            if seen > bytes_max {
                break;
            }
        }
    };
    // Too slow or not: the answer goes out now.
    let _ = tokio::time::timeout(bounds.time_max, rest).await;
}

async fn collect<B>(body: &mut B, bytes_max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - whole.len() {
            return Err(BodyError::TooLarge { bytes_max });
        }
        // A small body is copied: as a slice it would keep its connection's whole read buffer while
        // it waits.
        if whole.is_empty() && body.is_end_stream() {
            let small = data.len() <= limits::BODY_COPY_BYTES_MAX;
            return Ok(if small { Bytes::copy_from_slice(&data) } else { data });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{Empty, Full};
    use hyper::body::Frame;

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes_max: 8, time_max: Duration::from_secs(1) };

    /// A body in frames that does not tell its length.
    struct Frames(Vec<Frame<Bytes>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let frame = (!self.0.is_empty()).then(|| Ok(self.0.remove(0)));
            Poll::Ready(frame)
        }
    }

    /// A body that never comes.
    struct Silence;

    impl Body for Silence {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    fn data(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn bodies_are_joined_up_to_the_bound() {
        let mut full = Full::new(Bytes::from_static(b"12345678"));
        assert_eq!(read(&mut full, BOUNDS).await.expect("fits"), "12345678");
        let mut empty = Empty::<Bytes>::new();
        assert_eq!(read(&mut empty, BOUNDS).await.expect("fits"), "");
        let trailers = Frame::trailers(http::HeaderMap::new());
        let mut frames = Frames(vec![data("123"), data(""), data("45678"), trailers]);
        assert_eq!(read(&mut frames, BOUNDS).await.expect("fits"), "12345678");
    }

    #[tokio::test]
    async fn one_byte_more_is_refused_said_or_counted() {
        let mut said = Full::new(Bytes::from_static(b"123456789"));
        let error = read(&mut said, BOUNDS).await.expect_err("too large");
        assert!(matches!(error, BodyError::TooLarge { bytes_max: 8 }));
        assert!(!said.is_end_stream(), "nothing was read of it");
        let mut counted = Frames(vec![data("12345678"), data("9"), data("more")]);
        let error = read(&mut counted, BOUNDS).await.expect_err("too large");
        assert_eq!(Problem::from(error).status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(counted.0.len(), 1, "reading stopped there");
    }

    #[tokio::test]
    async fn a_silent_body_ends_by_its_time() {
        let bounds = Bounds { bytes_max: 8, time_max: Duration::from_millis(10) };
        let error = read(&mut Silence, bounds).await.expect_err("silence");
        assert_eq!(Problem::from(error).code(), "body_timeout");
        discard(&mut Silence, bounds).await; // ends too
    }

    #[tokio::test]
    async fn what_is_left_is_thrown_away_within_bounds() {
        let mut left = Frames(vec![data("1"), data("2")]);
        discard(&mut left, BOUNDS).await;
        assert_eq!(left.0.len(), 0);
        let mut said = Full::new(Bytes::from_static(b"123456789"));
        discard(&mut said, BOUNDS).await;
        assert!(!said.is_end_stream(), "it said that it is too much");
        let mut much = Frames(vec![data("12345678"), data("9"), data("more")]);
        discard(&mut much, BOUNDS).await;
        assert_eq!(much.0.len(), 1, "only so much is read to be polite");
    }
}

//! Bodies of replies: bytes that are there, or pieces that a blocking thread makes while they are sent. Knows nothing of
//! what is sent. Invariants: no more than a few pieces wait, a client that takes none for too long loses its answer, and
//! one that is cut is seen to be: it is shorter than its length says.

use std::any::Any;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Reply;
use crate::limits;

/// What a reply holds.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Full(Full<Bytes>),
    /// What is still being made.
    Stream(Stream),
}

/// The pieces of an answer.
#[derive(Debug)]
pub struct Stream {
    pieces: Receiver<io::Result<Bytes>>,
    /// Bytes that are to come.
    left: u64,
    /// Lives as long as this does.
    held: Option<Box<dyn Any + Send + Sync>>,
}

/// Where a thread writes an answer. It waits when the client is slow.
pub struct Pieces {
    to: Sender<io::Result<Bytes>>,
    next: BytesMut,
    runtime: Handle,
}

/// A reply of exactly `bytes` bytes, which `make` writes on a thread where it may block. When it fails, or writes fewer,
/// the connection ends before the answer does.
pub fn reply<F>(content_type: HeaderValue, bytes: u64, make: F) -> Reply
where
    F: FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static,
{
    let (to, pieces) = channel(limits::STREAM_PIECES_MAX);
    let mut writer = Pieces { to, next: BytesMut::new(), runtime: Handle::current() };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = make(&mut writer).and_then(|()| writer.flush()) {
            // Nobody may listen any more, which is why it failed then.
            let _ = writer.send(Err(error));
        }
    });
    let mut reply = Response::new(Body::Stream(Stream { pieces, left: bytes, held: None }));
    *reply.status_mut() = StatusCode::OK;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

impl Body {
    /// Keeps `guard` until the last byte of it is sent, or will not be.
    pub fn hold(&mut self, guard: impl Send + Sync + 'static) {
        match self {
            // As good as sent: hyper has all of it.
            Self::Full(_) => drop(guard),
            Self::Stream(stream) => stream.held = Some(Box::new(guard)),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => stream.poll(cx).map(|piece| piece.map(|p| p.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Stream(stream) => stream.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Stream(stream) => SizeHint::with_exact(stream.left),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.pieces.poll_recv(cx)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        };
        match self.left.checked_sub(piece.len() as u64) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(io::Error::other("more than was said")))),
        }
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Pieces {
    fn send(&mut self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sending = self.to.send_timeout(piece, limits::STREAM_STALL_MAX);
        self.runtime.block_on(sending).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = limits::STREAM_PIECE_BYTES - self.next.len();
        let taken = room.min(bytes.len());
        self.next.extend_from_slice(&bytes[..taken]);
        if self.next.len() >= limits::STREAM_PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.next.is_empty() {
            return Ok(());
        }
        let piece = self.next.split().freeze();
        self.send(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    use super::*;

    const KIND: HeaderValue = HeaderValue::from_static("application/x-tar");

    fn body(bytes: u64, make: impl FnOnce(&mut Pieces) -> io::Result<()> + Send + 'static) -> Body {
        reply(KIND, bytes, make).into_body()
    }

    #[tokio::test]
    async fn what_is_written_comes_whole_and_its_length_is_known() {
        let wanted: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let wrote = wanted.clone();
        let body = body(wanted.len() as u64, move |to| to.write_all(&wrote));
        assert_eq!(body.size_hint().exact(), Some(wanted.len() as u64));
        assert_eq!(body.collect().await.expect("whole").to_bytes(), wanted);
    }

    #[tokio::test]
    async fn one_that_ends_early_or_fails_is_an_error() {
        let short = body(10, |to| to.write_all(b"123"));
        let error = short.collect().await.map(drop).expect_err("short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let failed = body(10, |_| Err(io::Error::other("on purpose")));
        assert!(failed.collect().await.map(drop).expect_err("failed").to_string().contains("purp"));
        let long = body(2, |to| to.write_all(b"123"));
        assert!(long.collect().await.map(drop).expect_err("long").to_string().contains("more"));
    }

    #[tokio::test]
    async fn few_pieces_wait_and_what_is_held_goes_with_the_body() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let held = Arc::new(());
        let pieces = 1_000;
        let mut body = body(pieces * limits::STREAM_PIECE_BYTES as u64, move |to| {
            for _ in 0..pieces {
                to.write_all(&vec![7; limits::STREAM_PIECE_BYTES])?;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        body.hold(Arc::clone(&held));
        for n in 1..=20 {
            let frame = body.frame().await.expect("more").expect("sound");
            assert_eq!(frame.data_ref().map(Bytes::len), Some(limits::STREAM_PIECE_BYTES));
            // One more is on its way at most.
            let most = n + limits::STREAM_PIECES_MAX + 1;
            assert!(made.load(Ordering::Relaxed) <= most, "{} made", made.load(Ordering::Relaxed));
        }
        assert_eq!(Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

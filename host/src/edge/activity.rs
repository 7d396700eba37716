//! What a connection is doing: how many requests it has begun, how many are open, and whether bytes of a next head have
//! come. Knows no clock but the one of whoever asks, and costs a request two or three stores in memory. Invariant:
//! only an HTTP/1 connection without an open request is within a head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What one connection does. All of it happens in its own task, or is only counted.
#[derive(Default)]
pub(super) struct Activity {
    started: AtomicU64,
    open: AtomicUsize,
    /// It speaks HTTP/1, as its first request has shown.
    is_http1: AtomicBool,
    /// Bytes came since the last request began, while none was open.
    has_more: AtomicBool,
}

/// An open request.
pub(super) struct Open(Arc<Activity>);

/// The head that is being read.
#[derive(Default)]
pub(super) struct Head {
    /// Requests that began before it.
    after: u64,
    due: Option<Instant>,
}

/// A connection's bytes; it tells the activity that some came.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl Activity {
    /// A request begins: its head is read.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Open {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.has_more.store(false, Ordering::Relaxed);
        self.is_http1.store(version < Version::HTTP_2, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Requests that have begun.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether no request is open.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Whether a head has begun and has not ended. A head that was sent before the answer to the request before it is not
    /// seen, until more of it comes: that connection counts as idle.
    fn is_within_head(&self) -> bool {
        let is_http1 = || self.is_http1.load(Ordering::Relaxed);
        self.has_more.load(Ordering::Relaxed) && is_http1() && self.is_quiet()
    }

    fn came(&self) {
        if self.is_quiet() {
            self.has_more.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Head {
    /// Until when it must be there, if it has begun since this was asked last.
    pub(super) fn begun(&mut self, activity: &Activity, time_max: Duration) -> Option<Instant> {
        if !activity.is_within_head() || self.due(activity).is_some() {
            return None;
        }
        self.after = activity.started();
        self.due = Some(Instant::now() + time_max);
        self.due
    }

    /// Until when it must be there, if there is one.
    pub(super) fn due(&self, activity: &Activity) -> Option<Instant> {
        let same = activity.is_within_head() && self.after == activity.started();
        self.due.filter(|_| same)
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.activity.came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

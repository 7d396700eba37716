//! Accepts connections and serves HTTP/1.1 and HTTP/2 (prior knowledge) on them, within bounds.
//! Knows no route: it is given one function from request to reply. Invariant: every connection
//! ends, by its own will or by a bound: silent, idle and stalled ones are closed, a panic costs one
//! request, a shutdown at most `drain_time`.
//!
//! With TLS, handshakes are shaken within their connection's own task and time, so a slow one holds nobody up, and
//! a client that speaks plain HTTP is told so.
//!
//! Beyond the connection cap a client is accepted and told 503 with `Retry-After`, and its
//! connection closed; left in the kernel's queue it could not tell an overloaded host from a lost
//! one.

use std::convert::Infallible;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Head, Watched};
use super::problem::Problem;
use super::tls::Tls;
use super::{Reply, headers};
use crate::limits;
use crate::metrics;

/// The bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What the listener is called in metrics.
    pub name: &'static str,
    /// Open connections.
    pub connections_max: usize,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header lines of a request.
    pub headers_max: usize,
    /// Time to send a request's head, from its first byte; a new connection's first one from the beginning.
    pub head_time_max: Duration,
    /// Time without a new request after which a connection without an open one is closed; it may be up to twice as
    /// long, for nothing looks at the clock for each request.
    pub idle_time_max: Duration,
    /// Time that open requests get at shutdown.
    pub drain_time_max: Duration,
}

impl Bounds {
    /// The bounds of the ingress listener.
    pub const INGRESS: Self = Self {
        name: "ingress",
        connections_max: limits::CONNECTIONS_MAX,
        head_bytes_max: limits::HEAD_BYTES_MAX,
        headers_max: limits::HEADERS_MAX,
        head_time_max: limits::HEAD_TIME_MAX,
        idle_time_max: limits::IDLE_TIME_MAX,
        drain_time_max: limits::DRAIN_TIME_MAX,
    };
    /// The bounds of the admin listener.
    pub const ADMIN: Self =
        Self { name: "admin", connections_max: limits::ADMIN_CONNECTIONS_MAX, ..Self::INGRESS };
}

/// Tells listeners and long waits that the host shuts down. Dropping the sender tells it too.
#[derive(Debug, Clone)]
pub struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Listens to `sender`.
    #[must_use]
    pub fn new(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Waits until the shutdown begins.
    pub async fn begun(&mut self) {
        // An error means that the sender is gone, and with it the server.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

/// Serves `socket`, by TLS where it is given, until `closing`, then drains and returns.
pub async fn serve<F, Fut>(
    socket: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    mut closing: Closing,
    handle: F,
) where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    let http = Arc::new(protocols(&bounds));
    let open = Arc::new(Semaphore::new(bounds.connections_max));
    let refused = Arc::new(Semaphore::new(limits::REFUSED_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = closing.begun() => break,
            stream = accept(&socket) => stream,
            Some(_) = connections.join_next() => continue,
        };
        if let Ok(slot) = Arc::clone(&open).try_acquire_owned() {
            let mut connection =
                Connection { bounds, closing: closing.clone(), activity: Arc::default() };
            let http = Arc::clone(&http);
            let handle = handle.clone();
            let acceptor = tls.as_ref().map(Tls::acceptor);
            let counted = metrics::Connection::opened(bounds.name);
            connections.spawn(async move {
                match acceptor {
                    None => connection.run(&http, stream, handle).await,
                    Some(acceptor) => {
                        if let Some(stream) = connection.shake(acceptor, stream).await {
                            connection.run(&http, stream, handle).await;
                        }
                    }
                }
                drop((slot, counted));
            });
            continue;
        }
        metrics::connection_refused(bounds.name);
        if tls.is_some() {
            // What is said before a handshake is not understood, and a handshake is work: it is dropped.
            drop(stream);
        } else if let Ok(slot) = Arc::clone(&refused).try_acquire_owned() {
            connections.spawn(async move {
                // A client that does not take its refusal in time does without.
                let _ = timeout(limits::REFUSAL_TIME_MAX, refuse(stream, too_many())).await;
                drop(slot);
            });
        }
        // Beyond both caps the stream is dropped: even refusing is bounded.
    }
    drop(socket);
    drain(connections, bounds.drain_time_max).await;
}

fn protocols(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // Header lines are counted in `answer`: hyper's own count would cost an allocation for each
    // request.
    // Heads are timed in `Connection::run`: hyper's own timer also counts a connection that waits for its next head.
    http.http1().header_read_timeout(None).max_buf_size(bounds.head_bytes_max);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits::HTTP2_RESETS_PENDING_MAX)
        .max_local_error_reset_streams(limits::HTTP2_ERRORS_MAX)
        .max_send_buf_size(limits::HTTP2_SEND_BYTES_MAX)
        .keep_alive_interval(bounds.idle_time_max / 2)
        .keep_alive_timeout(bounds.head_time_max);
    http
}

async fn accept(socket: &TcpListener) -> TcpStream {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                // Without it small replies wait for acknowledgements; a socket that refuses is
                // closed already.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a client beyond the cap is told.
fn too_many() -> Problem {
    let detail = "the host has as many open connections as it may; try again later";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail);
    problem.retry_after_s(limits::RETRY_AFTER.as_secs())
}

/// What a client is told that speaks plain HTTP where TLS is spoken.
fn plain_http() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "tls_required", "this port speaks TLS; use https://")
}

/// Tells a client why nothing of it is served, and waits for it to close, so that the answer is not lost in a
/// reset.
async fn refuse(mut stream: TcpStream, problem: Problem) {
    let (parts, body) = problem.into_reply().into_parts();
    let body = body.collect().await.unwrap_or_default().to_bytes();
    let mut wire = format!("HTTP/1.1 {}\r\nconnection: close\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            wire.extend_from_slice(part);
        }
    }
    wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    wire.extend_from_slice(&body);
    if stream.write_all(&wire).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut unread = [0; 1024];
    while matches!(stream.read(&mut unread).await, Ok(1..)) {}
}

async fn drain(mut connections: JoinSet<()>, drain_time_max: Duration) {
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(drain_time_max, ended).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are dropped at shutdown");
        connections.shutdown().await;
    }
}

/// What the first byte of a TLS connection says.
const TLS_HANDSHAKE: u8 = 0x16;

struct Connection {
    bounds: Bounds,
    closing: Closing,
    activity: Arc<Activity>,
}

impl Connection {
    /// The TLS connection of a stream; `None` when there will be none. A shutdown does not wait for it.
    async fn shake(
        &mut self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
    ) -> Option<TlsStream<TcpStream>> {
        let shaking = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1..) if first[0] == TLS_HANDSHAKE => acceptor.accept(stream).await.map(Some),
                Ok(1..) => {
                    let _ = timeout(limits::REFUSAL_TIME_MAX, refuse(stream, plain_http())).await;
                    Ok(None)
                }
                nothing => nothing.map(|_| None),
            }
        };
        let shaken = tokio::select! {
            () = self.closing.begun() => return None,
            shaken = timeout(limits::TLS_HANDSHAKE_TIME_MAX, shaking) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                None
            }
        }
    }

    async fn run<S, F, Fut>(mut self, http: &auto::Builder<TokioExecutor>, stream: S, handle: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(Request<Incoming>) -> Fut,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let headers_max = self.bounds.headers_max;
        let activity = Arc::clone(&self.activity);
        let service = service_fn(move |request: Request<Incoming>| {
            let open = activity.begin(request.version());
            // In a box: hyper moves what it is given several times, and a handler's future has kilobytes.
            let reply = acceptable(&request, headers_max).map(|()| Box::pin(handle(request)));
            async move {
                let mut reply = answer(reply).await;
                reply.body_mut().hold(open);
                Ok::<_, Infallible>(reply)
            }
        });
        let stream = Watched::new(stream, Arc::clone(&self.activity));
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        // hyper's timer of heads cannot tell one that is slow from a connection that waits for its next; idle HTTP/2
        // connections and stalled readers it never times: this watch closes a connection that has not begun, is slow
        // with a head, has gone idle, or does not end.
        let Self { bounds, closing, activity } = &mut self;
        let mut begun = pin!(closing.begun());
        let mut watch = pin!(sleep(bounds.head_time_max));
        let (mut head, mut seen, mut ending) = (Head::default(), 0, false);
        loop {
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Event::Ended(ended));
                }
                if !ending && begun.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Closing);
                }
                match head.begun(activity, bounds.head_time_max) {
                    Some(due) if due < watch.deadline() => watch.as_mut().reset(due),
                    _ => {}
                }
                watch.as_mut().poll(cx).map(|()| Event::Due)
            });
            match event.await {
                Event::Ended(ended) => return tell(ended),
                Event::Closing => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                Event::Due => {
                    let (now, started) = (Instant::now(), activity.started());
                    let idle = started == seen && activity.is_quiet();
                    match head.due(activity) {
                        Some(due) if due <= now => return,
                        Some(due) => {
                            watch.as_mut().reset(due);
                            continue;
                        }
                        None if idle && (ending || started == 0) => return,
                        None if idle => {
                            ending = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        None => {}
                    }
                    seen = started;
                    watch.as_mut().reset(now + bounds.idle_time_max);
                }
            }
        }
    }
}

fn tell<E: Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What a connection comes to.
enum Event<E> {
    Ended(Result<(), E>),
    /// The host shuts down.
    Closing,
    /// It is time to look at what it does.
    Due,
}

/// Checks what holds for every route.
fn acceptable(request: &Request<Incoming>, headers_max: usize) -> Result<(), Problem> {
    if request.headers().len() > headers_max {
        let detail = format!("the request has more than {headers_max} header lines");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "too_many_headers", detail));
    }
    headers::unambiguous(request.version(), request.headers())
}

/// Awaits the handler's reply; a panic becomes a 500, and so costs its own request only.
async fn answer<Fut: Future<Output = Reply>>(reply: Result<Pin<Box<Fut>>, Problem>) -> Reply {
    let mut reply = match reply {
        Ok(reply) => reply,
        Err(problem) => return problem.into_reply(),
    };
    std::future::poll_fn(|cx| {
        // Unwind safe: after a panic the future is never polled again, and what it shares guards
        // itself.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| reply.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| {
            tracing::error!("a request panicked");
            Poll::Ready(Problem::internal("the host failed at this request").into_reply())
        })
    })
    .await
}

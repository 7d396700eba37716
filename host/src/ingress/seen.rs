//! What is measured of one request while it passes through ingress: what it asked for, of which app, how it ended and
//! how long that took. It changes nothing of the request.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::clock::Clock;
use crate::ids::EntityRef;
use crate::metrics::{AppMetrics, RequestKind};
use crate::partition::request::Invocation;
use crate::registry::App;
use crate::trace::{self, Context, Span, What};

/// One request under way.
pub(super) struct Seen {
    kind: RequestKind,
    began: Duration,
    app: Option<Arc<AppMetrics>>,
    span: Option<Begun>,
}

/// A span that has not ended.
struct Begun {
    context: Context,
    parent: Option<u64>,
    entity: EntityRef,
    handler: String,
}

impl Seen {
    /// It begins.
    pub(super) fn begin(path: &str, clock: &dyn Clock) -> Self {
        Self { kind: kind(path), began: clock.monotonic(), app: None, span: None }
    }

    /// When it began, on the monotonic clock.
    pub(super) fn began(&self) -> Duration {
        self.began
    }

    /// It is for this app.
    pub(super) fn app(&mut self, app: &App) {
        self.app = Some(Arc::clone(&app.metrics));
    }

    /// It asks for this, which is given its place in the trace.
    pub(super) fn asks(&mut self, invocation: Invocation, clock: &dyn Clock) -> Invocation {
        if !trace::on() {
            return invocation;
        }
        let Some((context, parent)) = trace::begin(invocation.trace.as_deref(), clock) else {
            return invocation;
        };
        let (entity, handler) = (invocation.entity.clone(), invocation.handler.clone());
        self.span = Some(Begun { context, parent, entity, handler });
        Invocation { trace: Some(context.to_string()), ..invocation }
    }

    /// It was answered; `nobody` measures what is for no app.
    pub(super) fn end(
        self,
        method: &Method,
        status: StatusCode,
        clock: &dyn Clock,
        nobody: &AppMetrics,
    ) {
        let (now, status) = (clock.monotonic(), status.as_u16());
        let took = now.saturating_sub(self.began);
        self.app.as_deref().unwrap_or(nobody).request(self.kind, status, took);
        let Some(Begun { context, parent, entity, handler }) = self.span else { return };
        let verb = match self.kind {
            RequestKind::Send => "send",
            RequestKind::Read => "read",
            _ => "call",
        };
        // The routes that begin spans take these two only.
        let method = if method == Method::GET { "GET" } else { "POST" };
        let what = What::Request { verb, method, status };
        let (began, ended) = (self.began, now);
        trace::ended(Span { context, parent, began, ended, entity, handler, what });
    }
}

fn kind(path: &str) -> RequestKind {
    let route = path.strip_prefix("/v1/").and_then(|route| route.split_once('/'));
    match route.map(|(verb, _)| verb) {
        Some("call") => RequestKind::Call,
        Some("send") => RequestKind::Send,
        Some("read") => RequestKind::Read,
        Some("messages") => RequestKind::Message,
        Some("callbacks") => RequestKind::Callback,
        _ => RequestKind::Other,
    }
}

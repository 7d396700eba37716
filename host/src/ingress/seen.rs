//! What is measured of one request while it passes through ingress: what it asked for, of which app, how it ended and
//! how long that took. It changes nothing of the request.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::clock::Clock;
use crate::metrics::{AppMetrics, RequestKind};
use crate::registry::App;

/// One request under way.
pub(super) struct Seen {
    kind: RequestKind,
    began: Duration,
    app: Option<Arc<AppMetrics>>,
}

impl Seen {
    /// It begins.
    pub(super) fn begin(path: &str, clock: &dyn Clock) -> Self {
        Self { kind: kind(path), began: clock.monotonic(), app: None }
    }

    /// It is for this app.
    pub(super) fn app(&mut self, app: &App) {
        self.app = Some(Arc::clone(&app.metrics));
    }

    /// It was answered; `nobody` measures what is for no app.
    pub(super) fn end(self, status: StatusCode, clock: &dyn Clock, nobody: &AppMetrics) {
        let took = clock.monotonic().saturating_sub(self.began);
        self.app.as_deref().unwrap_or(nobody).request(self.kind, status.as_u16(), took);
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

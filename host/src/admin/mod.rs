//! The door for operators: JSON over HTTP on its own loopback listener, behind the CLI and the
//! console. Finds the route and keeps web pages out; the rooms below do the work. Knows no entity's
//! meaning and keeps nothing.

mod apps;
mod dead;
mod entities;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::edge::listener::Closing;
use crate::edge::{self, Problem, Reply, Source, guard};
use crate::limits;
use crate::registry::Registry;
use crate::router::Router;

/// Serves the admin listener. Share it in an [`Arc`].
pub struct Admin {
    router: Router,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    closing: Closing,
    /// One deploy at a time: compiling takes all the memory and processor that it may.
    deploys: Arc<Semaphore>,
    started: Duration,
}

impl Admin {
    /// Over this router and registry; long waits end when `closing` begins.
    #[must_use]
    pub fn new(
        router: Router,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        closing: Closing,
    ) -> Self {
        let started = clock.monotonic();
        Self { router, registry, clock, closing, deploys: Arc::new(Semaphore::new(1)), started }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Reply {
        let (parts, mut body) = request.into_parts();
        match self.route(&parts, &mut body).await {
            Ok(reply) => reply,
            Err(problem) => {
                let problem = problem.source(Source::Admin);
                let discard_bytes_max = limits::ADMIN_DISCARD_BYTES_MAX;
                edge::refused(&parts, &mut body, problem, discard_bytes_max).await
            }
        }
    }

    async fn route(&self, parts: &Parts, body: &mut Incoming) -> Result<Reply, Problem> {
        guard::loopback_host(parts)?;
        guard::same_origin(parts)?;
        let route = Route::find(parts.uri.path())?;
        let allow = route.allow();
        match (route, &parts.method) {
            (Route::Health, &Method::GET) => edge::json(StatusCode::OK, &json!({"status": "ok"})),
            (Route::Status, &Method::GET) => self.status().await,
            (Route::Apps, &Method::GET) => self.apps(),
            (Route::App(app), &Method::GET) => self.app(app),
            (Route::App(app), &Method::PUT) => self.deploy(parts, body, app).await,
            (Route::Logs(app), &Method::GET) => self.logs(parts, app).await,
            (Route::Entities(app, kind), &Method::GET) => self.entities(parts, app, kind).await,
            (Route::Entity(app, kind, key), &Method::GET) => self.entity(app, kind, key).await,
            (Route::DeadLetters, &Method::GET) => self.dead_letters(parts).await,
            (Route::DeadLetter(id), &Method::GET) => self.dead_letter(id).await,
            (Route::DeadLetter(id), &Method::DELETE) => self.dead_drop(id).await,
            (Route::DeadRetry(id), &Method::POST) => self.dead_retry(id).await,
            _ => Err(Problem::method_not_allowed(allow)),
        }
    }

    async fn status(&self) -> Result<Reply, Problem> {
        let uptime = self.clock.monotonic().saturating_sub(self.started);
        let body = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": uptime.as_millis() as u64,
            "partitions": self.router.status().await?,
        });
        edge::json(StatusCode::OK, &body)
    }
}

/// The paths under `/admin/v1/`, their parts not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Status,
    Apps,
    App(&'a str),
    Logs(&'a str),
    Entities(&'a str, &'a str),
    Entity(&'a str, &'a str, &'a str),
    DeadLetters,
    DeadLetter(&'a str),
    DeadRetry(&'a str),
}

impl<'a> Route<'a> {
    fn find(path: &'a str) -> Result<Self, Problem> {
        let mut segments = [""; 4];
        let mut count = 0;
        for segment in path.strip_prefix("/admin/v1/").into_iter().flat_map(|rest| rest.split('/'))
        {
            // Beyond four the path is no route; it only has to stay distinct from those that are.
            segments[count.min(3)] = segment;
            count += 1;
        }
        let [verb, first, second, third] = segments;
        match (verb, count) {
            ("health", 1) => Ok(Self::Health),
            ("status", 1) => Ok(Self::Status),
            ("apps", 1) => Ok(Self::Apps),
            ("apps", 2) => Ok(Self::App(first)),
            ("apps", 3) if second == "logs" => Ok(Self::Logs(first)),
            ("entities", 3) => Ok(Self::Entities(first, second)),
            ("entities", 4) => Ok(Self::Entity(first, second, third)),
            ("dead", 1) => Ok(Self::DeadLetters),
            ("dead", 2) => Ok(Self::DeadLetter(first)),
            ("dead", 3) if second == "retry" => Ok(Self::DeadRetry(first)),
            _ => Err(Problem::not_found("unknown_route", format!("{path} is no admin route"))),
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::App(_) => "GET, PUT",
            Self::DeadLetter(_) => "GET, DELETE",
            Self::DeadRetry(_) => "POST",
            _ => "GET",
        }
    }
}

/// The last row's mark when a page is full: there may be more after it.
fn next<T, M>(rows: &[T], limit: usize, mark: impl FnOnce(&T) -> M) -> Option<M> {
    rows.last().filter(|_| rows.len() >= limit).map(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        let find = |path: &'static str| Route::find(path).expect(path);
        assert_eq!(find("/admin/v1/health"), Route::Health);
        assert_eq!(find("/admin/v1/status"), Route::Status);
        assert_eq!(find("/admin/v1/apps"), Route::Apps);
        assert_eq!(find("/admin/v1/apps/bank"), Route::App("bank"));
        assert_eq!(find("/admin/v1/apps/bank/logs"), Route::Logs("bank"));
        assert_eq!(find("/admin/v1/entities/bank/account"), Route::Entities("bank", "account"));
        let entity = Route::Entity("bank", "account", "a%2Fb");
        assert_eq!(find("/admin/v1/entities/bank/account/a%2Fb"), entity);
        assert_eq!(find("/admin/v1/dead"), Route::DeadLetters);
        assert_eq!(find("/admin/v1/dead/msg_1"), Route::DeadLetter("msg_1"));
        assert_eq!(find("/admin/v1/dead/msg_1/retry"), Route::DeadRetry("msg_1"));
        for path in [
            "/",
            "/admin/v1",
            "/admin/v1/",
            "/admin/v2/health",
            "/v1/health",
            "/admin/v1/health/",
            "/admin/v1/apps/bank/log",
            "/admin/v1/apps/bank/logs/x",
            "/admin/v1/entities/bank",
            "/admin/v1/entities/a/b/c/d",
            "/admin/v1/entities/a/b/c/d/e",
            "/admin/v1/dead/msg_1/retry/now",
        ] {
            assert_eq!(Route::find(path).expect_err(path).code(), "unknown_route");
        }
    }

    #[test]
    fn a_full_page_says_where_the_next_begins() {
        assert_eq!(next(&[1, 2], 2, |row| *row), Some(2));
        assert_eq!(next(&[1], 2, |row| *row), None);
        assert_eq!(next::<u8, u8>(&[], 2, |row| *row), None);
    }
}

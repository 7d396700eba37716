//! The door for operators: JSON over HTTP on its own loopback listener, behind the CLI and the
//! console. `routes` finds the route; this keeps web pages out; the rooms below do the work. Knows no entity's
//! meaning and keeps nothing.

mod apps;
mod dead;
mod entities;
mod messages;
mod openapi;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::edge::listener::Closing;
use crate::edge::{self, Problem, Reply, Source, guard};
use crate::limits;
use crate::partition::request::Settle;
use crate::registry::Registry;
use crate::router::Router;
use messages::entity_of;
use routes::{Found, Id};

/// Serves the admin listener. Share it in an [`Arc`].
pub struct Admin {
    router: Router,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    closing: Closing,
    /// One deploy at a time: compiling takes all the memory and processor that it may.
    deploys: Arc<Semaphore>,
    /// Few entities are written at once: each body is in memory whole.
    puts: Semaphore,
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
        let deploys = Arc::new(Semaphore::new(1));
        let puts = Semaphore::new(limits::ADMIN_PUTS_MAX);
        Self { router, registry, clock, closing, deploys, puts, started }
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
        let Found { route, parts: [first, second, third] } =
            routes::find(&parts.method, parts.uri.path())?;
        match route.id {
            Id::Health => edge::json(StatusCode::OK, &json!({"status": "ok"})),
            Id::Status => self.status().await,
            Id::OpenApi => self.openapi(),
            Id::Apps => self.apps(),
            Id::App => self.app(first),
            Id::Deploy => self.deploy(parts, body, first).await,
            Id::Logs => self.logs(parts, first).await,
            Id::Entities => self.entities(parts, first, second).await,
            Id::Entity => self.entity(entity_of([first, second, third])?).await,
            Id::EntityPut => self.entity_put(parts, body, entity_of([first, second, third])?).await,
            Id::EntityRemove => self.entity_remove(entity_of([first, second, third])?).await,
            Id::Export => self.export(parts, first, second).await,
            Id::Pauses => self.pauses().await,
            Id::Pause => self.pause(parts, true).await,
            Id::Resume => self.pause(parts, false).await,
            Id::Messages => self.messages(parts, false).await,
            Id::Message => self.message(first).await,
            Id::MessageCancel => self.message_cancel(first).await,
            Id::Timers => self.messages(parts, true).await,
            Id::TimerCancel => self.timer_cancel(parts, entity_of([first, second, third])?).await,
            Id::DeadLetters => self.dead_letters(parts).await,
            Id::DeadLetter => self.dead_letter(first).await,
            Id::DeadDrop => self.dead_drop(first).await,
            Id::DeadEdit => self.dead_edit(parts, body, first).await,
            Id::DeadRetryAll => self.dead_many(parts, Settle::Retry).await,
            Id::DeadDropAll => self.dead_many(parts, Settle::Drop).await,
            Id::DeadRetry => self.dead_retry(first).await,
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

/// The last row's mark when a page is full: there may be more after it.
fn next<T, M>(rows: &[T], limit: usize, mark: impl FnOnce(&T) -> M) -> Option<M> {
    rows.last().filter(|_| rows.len() >= limit).map(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_says_where_the_next_begins() {
        assert_eq!(next(&[1, 2], 2, |row| *row), Some(2));
        assert_eq!(next(&[1], 2, |row| *row), None);
        assert_eq!(next::<u8, u8>(&[], 2, |row| *row), None);
    }
}

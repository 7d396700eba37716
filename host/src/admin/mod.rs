//! The door for operators: JSON over HTTP on its own loopback listener, behind the CLI and the
//! console. `routes` finds the route; this keeps web pages out; the rooms below do the work. Knows no entity's
//! meaning and keeps nothing.

mod apps;
mod audit;
mod dead;
mod entities;
mod history;
mod me;
mod messages;
mod openapi;
mod routes;
mod settings;
mod snapshots;
mod tokens;
mod trial;
mod versions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{OnceCell, Semaphore};

use crate::access::audit::{Audit, Facts};
use crate::access::{Access, Caller, Door};
use crate::backup::Backups;
use crate::clock::Clock;
use crate::edge::credential::{self, Credential};
use crate::edge::listener::Closing;
use crate::edge::{self, Problem, Reply, Source, Tries, guard};
use crate::limits;
use crate::metrics::{self, Gauges, ServedApp};
use crate::partition::request::Settle;
use crate::registry::{App, Registry};
use crate::router::Router;
use messages::entity_of;
use routes::{Found, Id};

/// Serves the admin listener. Share it in an [`Arc`].
pub struct Admin {
    router: Router,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    closing: Closing,
    access: Arc<Access>,
    audit: Arc<Audit>,
    door: Door,
    /// Whether it listens on loopback, where web pages might reach it by names of their own.
    loopback: bool,
    /// One deploy at a time: compiling takes all the memory and processor that it may.
    deploys: Arc<Semaphore>,
    backups: Backups,
    /// Set once metrics know the newest snapshot.
    snapshots_seen: OnceCell<()>,
    /// One snapshot at a time.
    copies: Semaphore,
    /// Few entities are written at once: each body is in memory whole.
    puts: Semaphore,
    started: Duration,
    /// Where ingress listens, and itself.
    ingress: (SocketAddr, Arc<dyn Tries>),
}

/// What the listener works with.
pub struct Tools {
    /// Where entities are.
    pub router: Router,
    /// Where apps are.
    pub registry: Arc<Registry>,
    /// Time and chance.
    pub clock: Arc<dyn Clock>,
    /// Ends long waits.
    pub closing: Closing,
    /// Who may come in, and what they change.
    pub access: (Arc<Access>, Arc<Audit>),
    /// Whether it listens on loopback.
    pub loopback: bool,
    /// The snapshots of the data folder.
    pub backups: Backups,
    /// Where ingress listens, and itself.
    pub ingress: (SocketAddr, Arc<dyn Tries>),
}

impl Admin {
    /// With these tools.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        let Tools { router, registry, clock, closing, access, loopback, backups, ingress } = tools;
        let (access, audit) = access;
        Self {
            started: clock.monotonic(),
            door: Door::new(Arc::clone(&access), false),
            deploys: Arc::new(Semaphore::new(1)),
            snapshots_seen: OnceCell::new(),
            copies: Semaphore::new(1),
            puts: Semaphore::new(limits::ADMIN_PUTS_MAX),
            router,
            registry,
            clock,
            closing,
            access,
            audit,
            loopback,
            backups,
            ingress,
        }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Reply {
        let (mut parts, mut body) = request.into_parts();
        let credential = credential::take(&mut parts.headers);
        match self.route(&parts, &mut body, &credential).await {
            Ok(reply) => reply,
            Err(problem) => {
                problem.own_code().into_iter().for_each(metrics::request_refused);
                let problem = problem.source(Source::Admin);
                let discard_bytes_max = limits::ADMIN_DISCARD_BYTES_MAX;
                edge::refused(&parts, &mut body, problem, discard_bytes_max).await
            }
        }
    }

    async fn route(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        credential: &Credential,
    ) -> Result<Reply, Problem> {
        // Elsewhere it has a certificate, which names it, and asks for tokens, which no page has.
        if self.loopback {
            guard::loopback_host(parts)?;
        }
        guard::same_origin(parts)?;
        let found = routes::find(&parts.method, parts.uri.path())?;
        let caller = self.admit(&found, credential)?;
        if parts.method != Method::GET {
            return self.change(parts, body, &found, &caller).await;
        }
        let reply = self.answer(parts, body, &found, &caller, &mut Facts::default()).await?;
        // It may have waited. Of a change the answer is told: it has happened.
        self.door.still(&caller)?;
        Ok(reply)
    }

    fn admit(&self, found: &Found<'_>, credential: &Credential) -> Result<Caller, Problem> {
        let app = found.app();
        let Some(scope) = found.scope(&app) else { return Ok(Caller::Anyone) };
        let caller = self.door.admit(credential.as_ref(), found.route.roles(), scope)?;
        app?;
        Ok(caller)
    }

    async fn answer(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        found: &Found<'_>,
        caller: &Caller,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let Found { route, parts: [first, second, third, _] } = *found;
        match route.id {
            Id::Health => edge::json(StatusCode::OK, &json!({"status": "ok"})),
            Id::Me => Self::me(caller),
            Id::Status => self.status().await,
            Id::Metrics => Ok(self.metrics().await),
            Id::OpenApi => self.openapi(),
            Id::Apps => self.apps(caller),
            Id::App => self.app(first),
            Id::Deploy => self.deploy(parts, body, first, facts).await,
            Id::Versions => self.versions(first).await,
            Id::Config => self.config(first),
            Id::Activate
            | Id::RollBack
            | Id::Ramp
            | Id::Configure
            | Id::SetSecret
            | Id::UnsetSecret => self.change_app(parts, body, found, facts).await,
            Id::Logs => self.logs(parts, first).await,
            Id::Entities => self.entities(parts, first, second).await,
            Id::EntityTypes => self.entity_types(first).await,
            Id::Entity => self.entity(parts, entity_of([first, second, third])?).await,
            Id::EntityPut => {
                self.entity_put(parts, body, entity_of([first, second, third])?, facts).await
            }
            Id::EntityRemove => self.entity_remove(entity_of([first, second, third])?, facts).await,
            Id::Export => self.export(parts, first, second).await,
            Id::Pauses => self.pauses().await,
            Id::Pause => self.pause(parts, true, facts).await,
            Id::Resume => self.pause(parts, false, facts).await,
            Id::Messages => self.messages(parts, false).await,
            Id::Message => self.message(first).await,
            Id::MessageCancel => self.message_cancel(first).await,
            Id::Timers => self.messages(parts, true).await,
            Id::TimerCancel => self.timer_cancel(parts, entity_of([first, second, third])?).await,
            Id::History => self.history(parts, first, second, third).await,
            Id::Turns => self.turns(parts).await,
            Id::Journey => self.journey(first).await,
            Id::TryApps => self.try_apps(caller),
            Id::TryApp => self.try_app(first),
            Id::Try => {
                let rest = parts.uri.path().strip_prefix("/admin/v1/try/").unwrap_or_default();
                Ok(self.ingress.1.attempt(parts, body, rest).await)
            }
            Id::DeadLetters => self.dead_letters(parts, caller).await,
            Id::DeadLetter => self.dead_letter(first, caller).await,
            Id::DeadDrop => self.dead_drop(first, caller, facts).await,
            Id::DeadRetry => self.dead_retry(first, caller, facts).await,
            Id::DeadEdit => self.dead_edit(parts, body, first, caller, facts).await,
            Id::DeadRetryAll => self.dead_many(parts, Settle::Retry, facts).await,
            Id::DeadDropAll => self.dead_many(parts, Settle::Drop, facts).await,
            Id::Tokens => self.tokens(),
            Id::TokenCreate => self.token_create(parts, body, facts).await,
            Id::TokenRevoke => self.token_revoke(first, facts).await,
            Id::Audit => self.audit_log(parts).await,
            Id::Snapshots => self.snapshots().await,
            Id::Snapshot => self.snapshot(parts).await,
            Id::SnapshotRemove => self.snapshot_remove(first).await,
        }
    }

    /// `GET /metrics`.
    async fn metrics(&self) -> Reply {
        self.snapshots_seen.get_or_init(|| self.look_at_snapshots()).await;
        let served = |app: Arc<App>| {
            let ramp = self.registry.ramped(&app.name);
            let ramp = ramp.map(|(version, percent)| (version.to_string(), percent));
            ServedApp { name: app.name.clone(), live: app.version.to_string(), ramp }
        };
        let apps = self.registry.apps().into_iter().map(served).collect();
        let disk = self.backups.room().map(|room| (room.free_bytes, room.bytes));
        let page = metrics::page(&Gauges { apps, disk, ..self.router.gauges().await });
        edge::reply(StatusCode::OK, PROMETHEUS, page.into())
    }

    async fn status(&self) -> Result<Reply, Problem> {
        let uptime = self.clock.monotonic().saturating_sub(self.started);
        let body = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ingress": self.ingress.0.to_string(),
            "uptime_ms": uptime.as_millis() as u64,
            "partitions": self.router.status().await?,
        });
        edge::json(StatusCode::OK, &body)
    }
}

const PROMETHEUS: HeaderValue = HeaderValue::from_static(metrics::CONTENT_TYPE);

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

//! The door for users: `call`, `send`, `read`, `messages`, `callbacks` and `openapi` over HTTP. Finds the route, asks
//! the door, checks everything that can be checked without the entity, asks the router, and says the outcome in
//! HTTP's words. Keeps nothing. Invariant: what the router gets names a handler that exists, of the
//! right kind, with an input that fits.

mod address;
mod answer;
mod arguments;
mod callbacks;
mod docs;
mod due;
#[cfg(test)]
mod fuzz;
mod input;
mod messages;
mod openapi;
pub mod routes;
mod seen;
mod trial;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;

use crate::access::{Caller, Door, Scope};
use crate::clock::Clock;
use crate::edge::credential::{self, Credential};
use crate::edge::headers::{self, IDEMPOTENCY_REPLAYED};
use crate::edge::listener::Closing;
use crate::edge::query::Params;
use crate::edge::{self, JSON, Problem, Reply, guard, path};
use crate::ids::EntityRef;
use crate::limits;
use crate::metrics::{self, AppMetrics, QuotaKind};
use crate::partition::request::{Accepted, Invocation, Send};
use crate::registry::{App, Contract, Handler, HandlerKind, Registry, Ticket};
use crate::router::Router;
use address::Address;
use routes::{Found, Id};
use seen::Seen;

/// Serves the ingress listener. Share it in an [`Arc`].
pub struct Ingress {
    router: Router,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    closing: Closing,
    /// Measures requests that are for no app.
    nobody: Arc<AppMetrics>,
    door: Door,
}

impl Ingress {
    /// Over this router and registry; long waits end when `closing` begins, and
    /// `door` says who may come in.
    #[must_use]
    pub fn new(
        router: Router,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        closing: Closing,
        door: Door,
    ) -> Self {
        Self { router, registry, clock, closing, nobody: metrics::app(""), door }
    }

    /// Answers one request, given in its parts so that its future holds them once.
    pub async fn handle(self: Arc<Self>, mut parts: Parts, mut body: Incoming) -> Reply {
        let credential = credential::take(&mut parts.headers);
        let mut seen = Seen::begin(parts.uri.path(), &*self.clock);
        let reply = match self.route(&parts, &mut body, &mut seen, &credential).await {
            Ok(reply) => reply,
            Err(problem) => {
                problem.own_code().into_iter().for_each(metrics::request_refused);
                edge::refused(&parts, &mut body, problem, limits::DISCARD_BYTES_MAX).await
            }
        };
        seen.end(&parts.method, reply.status(), &*self.clock, &self.nobody);
        reply
    }

    async fn route(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        seen: &mut Seen,
        credential: &Credential,
    ) -> Result<Reply, Problem> {
        guard::same_origin(parts)?;
        let found = routes::find(&parts.method, parts.uri.path())?;
        let caller = self.admit(&found, credential)?;
        let rest = found.rest;
        let reply = match found.route.id {
            Id::Call => self.call(parts, body, rest, seen, &caller).await,
            Id::Send => self.send(parts, body, rest, seen, &caller).await,
            Id::Read => self.read(parts, body, rest, seen, &caller).await,
            Id::Message => self.message(parts, rest, &caller).await,
            Id::Cancel => self.cancel(parts, rest, &caller).await,
            Id::Callback => self.callback(parts, body, rest).await,
            Id::OpenApi => self.openapi(parts, rest, &caller),
            Id::Docs => self.docs(rest),
        }?;
        if parts.method == Method::GET {
            // It may have waited. Of a change the answer is told: it has happened.
            self.door.still(&caller)?;
        }
        Ok(reply)
    }

    fn admit(&self, found: &Found<'_>, credential: &Credential) -> Result<Caller, Problem> {
        if found.route.roles.is_empty() || !self.door.asks() {
            return Ok(Caller::Anyone);
        }
        let app = found.app().map(|app| path::segment("app", app)).transpose();
        // Who is not let in does not hear what is wrong with the path.
        let scope = app.as_ref().map_or(Scope::Shown, |app| match app {
            Some(app) => Scope::App(app),
            None => Scope::Shown,
        });
        let caller = self.door.admit(credential.as_ref(), found.route.roles, scope)?;
        app?;
        Ok(caller)
    }

    async fn call(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        rest: &str,
        seen: &mut Seen,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let address = Address::decode("call", rest)?;
        let app = self.serving(&address, caller)?;
        seen.app(&app);
        let _ticket = self.ticket(&app, &address.entity, seen)?;
        let handler = address.find(&app.contract, HandlerKind::Command)?;
        Params::new(parts.uri.query())?.finish("call takes its arguments in the body")?;
        let input = input::read(parts, body, handler, app.config.quotas.message_bytes_max).await;
        let input = input.inspect_err(|problem| over_size(&app, problem))?;
        let invocation = seen.asks(invocation(parts, address, input)?, &*self.clock);
        let answer = self.router.call(invocation).await?.into_inner();
        Ok(answer::reply(answer, Some(&handler.output)))
    }

    async fn send(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        rest: &str,
        seen: &mut Seen,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let address = Address::decode("send", rest)?;
        let app = self.serving(&address, caller)?;
        seen.app(&app);
        let _ticket = self.ticket(&app, &address.entity, seen)?;
        let handler = address.find(&app.contract, HandlerKind::Command)?;
        let due = due::read(parts.uri.query(), self.clock.now_ms())?;
        let input = input::read(parts, body, handler, app.config.quotas.message_bytes_max).await;
        let input = input.inspect_err(|problem| over_size(&app, problem))?;
        let invocation = seen.asks(invocation(parts, address, input)?, &*self.clock);
        let accepted = self.router.send(Send { invocation, due }).await?.into_inner();
        Ok(accepted_reply(&accepted))
    }

    async fn read(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        rest: &str,
        seen: &mut Seen,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let address = Address::decode("read", rest)?;
        let app = self.serving(&address, caller)?;
        seen.app(&app);
        let _ticket = self.ticket(&app, &address.entity, seen)?;
        let handler = address.find(&app.contract, HandlerKind::Query)?;
        let input = query_input(parts, body, handler, app.config.quotas.message_bytes_max).await;
        let input = input.inspect_err(|problem| over_size(&app, problem))?;
        // A query leaves nothing behind, so there is nothing for an Idempotency-Key to guard.
        let invocation = Invocation { idempotency_key: None, ..invocation(parts, address, input)? };
        let invocation = seen.asks(invocation, &*self.clock);
        let answer = self.router.read(invocation).await?.into_inner();
        Ok(answer::read_reply(answer, &handler.output, &parts.headers))
    }

    /// Holds a request against its app's quotas, before anything of it is read.
    fn ticket(&self, app: &App, entity: &EntityRef, seen: &Seen) -> Result<Ticket, Problem> {
        let ticket = app.quota.admit(&app.config.quotas, entity, seen.began());
        Ok(ticket.inspect_err(|over| app.metrics.over_quota(over.quota))?)
    }

    /// The version of the app that the entity is on.
    fn serving(&self, address: &Address<'_>, caller: &Caller) -> Result<Arc<App>, Problem> {
        let entity = &address.entity;
        let app = self.registry.serving(entity, &address.handler);
        app.ok_or_else(|| self.unknown_app(entity.app(), caller))
    }

    /// The live version.
    fn app(&self, name: &str, caller: &Caller) -> Result<Arc<App>, Problem> {
        self.registry.app(name).ok_or_else(|| self.unknown_app(name, caller))
    }

    fn unknown_app(&self, name: &str, caller: &Caller) -> Problem {
        let apps = self.registry.apps();
        let names = apps.iter().map(|app| app.name.as_str()).filter(|name| caller.sees(name));
        let known = address::listed(names.collect::<Vec<_>>().into_iter());
        Problem::not_found("unknown_app", format!("there is no app {name:?}; deployed: {known}"))
    }
}

/// Counts a body that was over the app's own bound, not over the host's.
fn over_size(app: &App, problem: &Problem) {
    let own = app.config.quotas.message_bytes_max < limits::BODY_BYTES_MAX;
    if own && problem.code() == "too_large" {
        app.metrics.over_quota(QuotaKind::MessageBytes);
    }
}

/// Reads a call from a request whose body is there already: what [`Ingress::handle`] does before it asks the
/// router, for `benches/stages.rs`. `rest` follows `/v1/call/` in the path.
///
/// # Errors
/// [`Problem`], as the client would see it.
#[doc(hidden)]
pub fn decode(
    parts: &Parts,
    rest: &str,
    contract: &Contract,
    body: Bytes,
) -> Result<Invocation, Problem> {
    let address = Address::decode("call", rest)?;
    let handler = address.find(contract, HandlerKind::Command)?;
    let input = input::take(&parts.headers, body, handler)?;
    invocation(parts, address, input)
}

async fn query_input(
    parts: &Parts,
    body: &mut Incoming,
    handler: &Handler,
    bytes_max: usize,
) -> Result<input::Input, Problem> {
    if parts.method == Method::POST {
        Params::new(parts.uri.query())?.finish("a read by POST takes its arguments in the body")?;
        return input::read(parts, body, handler, bytes_max).await;
    }
    if !hyper::body::Body::is_end_stream(body) {
        let detail =
            "a read by GET takes its arguments as query parameters; POST it to give a body";
        return Err(Problem::malformed(detail));
    }
    let bytes = arguments::from_query(parts.uri.query(), &handler.input)?;
    input::check(handler, &bytes)?;
    Ok(input::Input { bytes, content_type: None })
}

fn invocation(
    parts: &Parts,
    address: Address<'_>,
    input: input::Input,
) -> Result<Invocation, Problem> {
    Ok(Invocation {
        entity: address.entity,
        handler: address.handler.into_owned(),
        input: input.bytes,
        content_type: input.content_type,
        trace: headers::traceparent(&parts.headers).map(str::to_owned),
        idempotency_key: headers::idempotency_key(&parts.headers)?,
    })
}

fn accepted_reply(accepted: &Accepted) -> Reply {
    let id = accepted.id;
    let status = if accepted.previously { "previously_accepted" } else { "accepted" };
    // Both members are plain ASCII words: nothing here needs escaping.
    let body = Bytes::from(format!(r#"{{"id":"{id}","status":"{status}"}}"#));
    let mut reply = edge::reply(StatusCode::ACCEPTED, JSON, body);
    answer::mark(&mut reply, id, accepted.expires_ms);
    let headers = reply.headers_mut();
    if accepted.previously {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Ok(location) = HeaderValue::try_from(format!("/v1/messages/{id}")) {
        headers.insert(http::header::LOCATION, location);
    }
    reply
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_accepted_send_says_its_id_and_where_to_ask() {
        let id = "msg_0000000000000000000000000000002a".parse().expect("valid");
        let reply = accepted_reply(&Accepted { id, previously: true, expires_ms: Some(1_000) });
        assert_eq!(reply.status(), StatusCode::ACCEPTED);
        assert_eq!(reply.headers()["location"], format!("/v1/messages/{id}"));
        assert_eq!(reply.headers()["keystead-id"], id.to_string());
        assert_eq!(reply.headers()["idempotency-replayed"], "true");
        assert_eq!(reply.headers()["idempotency-expires"], "1970-01-01T00:00:01Z");
        let body = reply.into_body().collect().await.expect("full").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let expected = serde_json::json!({"id": id.to_string(), "status": "previously_accepted"});
        assert_eq!(body, expected);
    }
}

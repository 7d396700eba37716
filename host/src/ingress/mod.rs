//! The door for users: `call`, `send`, `read`, `messages`, `callbacks` and `openapi` over HTTP. Finds the route, checks
//! everything that can be checked without the entity, asks the router, and says the outcome in
//! HTTP's words. Keeps nothing. Invariant: what the router gets names a handler that exists, of the
//! right kind, with an input that fits.

mod address;
mod answer;
mod arguments;
mod callbacks;
mod docs;
mod due;
mod input;
mod messages;
mod openapi;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::edge::headers::{self, IDEMPOTENCY_REPLAYED};
use crate::edge::listener::Closing;
use crate::edge::query::Params;
use crate::edge::{self, JSON, Problem, Reply, guard};
use crate::limits;
use crate::partition::request::{Accepted, Invocation, Send};
use crate::registry::{App, Contract, Handler, HandlerKind, Registry};
use crate::router::Router;
use address::Address;

/// Serves the ingress listener. Share it in an [`Arc`].
pub struct Ingress {
    router: Router,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    closing: Closing,
}

impl Ingress {
    /// Over this router and registry; long waits end when `closing` begins.
    #[must_use]
    pub fn new(
        router: Router,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        closing: Closing,
    ) -> Self {
        Self { router, registry, clock, closing }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Reply {
        let (parts, mut body) = request.into_parts();
        match self.route(&parts, &mut body).await {
            Ok(reply) => reply,
            Err(problem) => {
                edge::refused(&parts, &mut body, problem, limits::DISCARD_BYTES_MAX).await
            }
        }
    }

    async fn route(&self, parts: &Parts, body: &mut Incoming) -> Result<Reply, Problem> {
        guard::same_origin(parts)?;
        let path = parts.uri.path();
        if let Some(rest) = path.strip_prefix("/docs")
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return match parts.method {
                Method::GET => self.docs(rest),
                _ => Err(Problem::method_not_allowed("GET")),
            };
        }
        let route = path.strip_prefix("/v1/").and_then(|route| route.split_once('/'));
        match (route, &parts.method) {
            (Some(("call", rest)), &Method::POST) => self.call(parts, body, rest).await,
            (Some(("send", rest)), &Method::POST) => self.send(parts, body, rest).await,
            (Some(("read", rest)), &(Method::GET | Method::POST)) => {
                self.read(parts, body, rest).await
            }
            (Some(("messages", id)), &Method::GET) => self.message(parts, id).await,
            (Some(("messages", id)), &Method::DELETE) => self.cancel(parts, id).await,
            (Some(("openapi", app)), &Method::GET) => self.openapi(parts, app),
            (Some(("openapi", _)), _) => Err(Problem::method_not_allowed("GET")),
            (Some(("callbacks", rest)), &Method::POST) => self.callback(parts, body, rest).await,
            (Some(("call" | "send" | "callbacks", _)), _) => {
                Err(Problem::method_not_allowed("POST"))
            }
            (Some(("read", _)), _) => Err(Problem::method_not_allowed("GET, POST")),
            (Some(("messages", _)), _) => Err(Problem::method_not_allowed("GET, DELETE")),
            _ => Err(Problem::not_found("unknown_route", format!("{path} is no route; {ROUTES}"))),
        }
    }

    async fn call(&self, parts: &Parts, body: &mut Incoming, rest: &str) -> Result<Reply, Problem> {
        let address = Address::decode("call", rest)?;
        let app = self.serving(&address)?;
        let handler = address.find(&app.contract, HandlerKind::Command)?;
        Params::new(parts.uri.query())?.finish("call takes its arguments in the body")?;
        let input = input::read(parts, body, handler).await?;
        let invocation = invocation(parts, address, input)?;
        let answer = self.router.call(invocation).await?.into_inner();
        Ok(answer::reply(answer, Some(&handler.output)))
    }

    async fn send(&self, parts: &Parts, body: &mut Incoming, rest: &str) -> Result<Reply, Problem> {
        let address = Address::decode("send", rest)?;
        let app = self.serving(&address)?;
        let handler = address.find(&app.contract, HandlerKind::Command)?;
        let due = due::read(parts.uri.query(), self.clock.now_ms())?;
        let input = input::read(parts, body, handler).await?;
        let invocation = invocation(parts, address, input)?;
        let accepted = self.router.send(Send { invocation, due }).await?.into_inner();
        Ok(accepted_reply(&accepted))
    }

    async fn read(&self, parts: &Parts, body: &mut Incoming, rest: &str) -> Result<Reply, Problem> {
        let address = Address::decode("read", rest)?;
        let app = self.serving(&address)?;
        let handler = address.find(&app.contract, HandlerKind::Query)?;
        let input = query_input(parts, body, handler).await?;
        // A query leaves nothing behind, so there is nothing for an Idempotency-Key to guard.
        let invocation = Invocation { idempotency_key: None, ..invocation(parts, address, input)? };
        let answer = self.router.read(invocation).await?.into_inner();
        Ok(answer::read_reply(answer, &handler.output, &parts.headers))
    }

    /// The version of the app that the entity is on.
    fn serving(&self, address: &Address<'_>) -> Result<Arc<App>, Problem> {
        let entity = &address.entity;
        let app = self.registry.serving(entity, &address.handler);
        app.ok_or_else(|| self.unknown_app(entity.app()))
    }

    /// The live version.
    fn app(&self, name: &str) -> Result<Arc<App>, Problem> {
        self.registry.app(name).ok_or_else(|| self.unknown_app(name))
    }

    fn unknown_app(&self, name: &str) -> Problem {
        let apps = self.registry.apps();
        let names: Vec<_> = apps.iter().map(|app| app.name.as_str()).collect();
        let known = address::listed(names.into_iter());
        Problem::not_found("unknown_app", format!("there is no app {name:?}; deployed: {known}"))
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

const ROUTES: &str = "POST /v1/call/{app}/{type}/{key}/{handler}, POST /v1/send/…, GET /v1/read/…, \
                      GET /v1/messages/{id}, POST /v1/callbacks/{token}/resolve or …/reject and \
                      GET /v1/openapi/{app} are (a '/' within a key is written %2F)";

async fn query_input(
    parts: &Parts,
    body: &mut Incoming,
    handler: &Handler,
) -> Result<input::Input, Problem> {
    if parts.method == Method::POST {
        Params::new(parts.uri.query())?.finish("a read by POST takes its arguments in the body")?;
        return input::read(parts, body, handler).await;
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

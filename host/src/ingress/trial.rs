//! Trying a handler through the admin listener, whose pages may ask no other one. It takes the ways of ingress, with the
//! same checks and the same answers; what it adds is the choice between call, send and read.

use std::pin::Pin;

use http::request::Parts;
use hyper::body::Incoming;

use super::Ingress;
use super::seen::Seen;
use crate::access::Caller;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, Tries, path};
use crate::ids::EntityRef;
use crate::limits;
use crate::registry::HandlerKind;

impl Tries for Ingress {
    fn attempt<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a mut Incoming,
        rest: &'a str,
    ) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(async move {
            match self.tried(parts, body, rest).await {
                Ok(reply) => reply,
                Err(problem) => {
                    edge::refused(parts, body, problem, limits::DISCARD_BYTES_MAX).await
                }
            }
        })
    }
}

impl Ingress {
    async fn tried(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        rest: &str,
    ) -> Result<Reply, Problem> {
        let how = Params::new(parts.uri.query())?.text("how")?;
        let verb = match how.as_deref() {
            None if self.is_query(rest) => "read",
            None => "call",
            Some(verb @ ("call" | "send" | "read")) => verb,
            Some(other) => {
                let detail = format!("how: {other:?} is none of call, send and read");
                return Err(Problem::malformed(detail));
            }
        };
        let own = |pair: &&str| *pair != "how" && !pair.starts_with("how=");
        let query: Vec<_> = parts.uri.query().unwrap_or("").split('&').filter(own).collect();
        let query = query.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let mut passed = parts.clone();
        passed.uri = format!("/v1/{verb}/{rest}{mark}{query}")
            .parse()
            .map_err(|error| Problem::malformed(format!("the path is none: {error}")))?;
        // The admin listener has asked for the role already.
        let caller = Caller::Anyone;
        let mut seen = Seen::begin(passed.uri.path(), &*self.clock);
        let reply = match verb {
            "send" => self.send(&passed, body, rest, &mut seen, &caller).await,
            "read" => self.read(&passed, body, rest, &mut seen, &caller).await,
            _ => self.call(&passed, body, rest, &mut seen, &caller).await,
        };
        let status = reply.as_ref().map_or_else(Problem::status, http::Response::status);
        seen.end(&passed.method, status, &*self.clock, &self.nobody);
        reply
    }

    fn is_query(&self, rest: &str) -> bool {
        let named = || {
            let [app, kind, key, handler] = path::split(rest)?;
            let app = path::segment("app", app).ok()?;
            let kind = path::segment("type", kind).ok()?;
            let handler = path::segment("handler", handler).ok()?;
            let entity = EntityRef::new(&app, &kind, &path::segment("key", key).ok()?).ok()?;
            // The version that would run it: a ramped one may have what the live one has not.
            let app = self.registry.serving(&entity, &handler)?;
            Some(app.contract.handler(&kind, &handler)?.kind == HandlerKind::Query)
        };
        named().unwrap_or(false)
    }
}

//! Every route of ingress, one row each: what finds it and what it asks of who calls it. The dispatch, the door and the
//! tests of access read this table, so a route cannot be reached without a decision of who may.
//!
//! A callback asks for no token: its path holds one, which the host made for whoever is to answer, works once and
//! expires; that is somebody outside who has no other. The page under `/docs` is the same for all apps and says
//! nothing of them: what it shows it asks for at `/v1/openapi/{app}`, with a token where one is needed.

use http::Method;

use crate::access::Role;
use crate::access::Role::{Invoke, Operate, Read};
use crate::edge::Problem;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Which.
    pub id: Id,
    /// Its method.
    pub method: Method,
    /// Its path; a segment in braces is a part that the caller chooses.
    pub path: &'static str,
    /// Any of these roles opens it; none are needed when there are none.
    pub roles: &'static [Role],
}

/// The routes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table says what each one is")]
pub enum Id {
    Call,
    Send,
    Read,
    Message,
    Cancel,
    Callback,
    OpenApi,
    Docs,
}

/// All of them.
pub static ROUTES: &[Route] = &[
    route(Id::Call, Method::POST, "/v1/call/{app}/{type}/{key}/{handler}", &[Invoke]),
    route(Id::Send, Method::POST, "/v1/send/{app}/{type}/{key}/{handler}", &[Invoke]),
    route(Id::Read, Method::GET, "/v1/read/{app}/{type}/{key}/{handler}", &[Invoke, Read]),
    route(Id::Read, Method::POST, "/v1/read/{app}/{type}/{key}/{handler}", &[Invoke, Read]),
    route(Id::Message, Method::GET, "/v1/messages/{id}", &[Invoke, Read]),
    route(Id::Cancel, Method::DELETE, "/v1/messages/{id}", &[Invoke, Operate]),
    route(Id::Callback, Method::POST, "/v1/callbacks/{token}/{verb}", &[]),
    route(Id::OpenApi, Method::GET, "/v1/openapi/{app}", &[Invoke, Read]),
    route(Id::Docs, Method::GET, "/docs/{app}", &[]),
];

/// A route and what follows its fixed part in the path.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) route: &'static Route,
    pub(super) rest: &'a str,
}

impl<'a> Found<'a> {
    /// The app that the path names, not decoded yet, for routes that name one.
    pub(super) fn app(&self) -> Option<&'a str> {
        let names_app = self.route.path.split('/').nth(3) == Some("{app}");
        names_app.then(|| self.rest.split('/').next().unwrap_or_default())
    }
}

/// The route of a method and a path. The parts that callers choose are counted by who reads them.
///
/// # Errors
/// 404 for an unknown path, 405 with what is allowed for an unknown method.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<Found<'a>, Problem> {
    let mut allow: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some(rest) = route.rest(path) else { continue };
        if route.method == *method {
            return Ok(Found { route, rest });
        }
        allow.push(route.method.as_str());
    }
    if allow.is_empty() {
        let detail = format!("{path} is no route; {KNOWN}");
        return Err(Problem::not_found("unknown_route", detail));
    }
    Err(Problem::method_not_allowed(allow.join(", ")))
}

const KNOWN: &str = "POST /v1/call/{app}/{type}/{key}/{handler}, POST /v1/send/…, GET /v1/read/…, \
                     GET /v1/messages/{id}, POST /v1/callbacks/{token}/resolve or …/reject and \
                     GET /v1/openapi/{app} are (a '/' within a key is written %2F)";

const fn route(id: Id, method: Method, path: &'static str, roles: &'static [Role]) -> Route {
    Route { id, method, path, roles }
}

impl Route {
    /// What follows the fixed part of this route's path in `path`; `None` when that is of another route.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let fixed = self.path.split_once("/{").map_or(self.path, |(fixed, _)| fixed);
        let rest = path.strip_prefix(fixed)?;
        match self.id {
            // The page's own files and the list of apps are below it too.
            Id::Docs => (rest.is_empty() || rest.starts_with('/')).then_some(rest),
            _ => rest.strip_prefix('/'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        for (method, path, id, rest, app) in [
            (Method::POST, "/v1/call/bank/account/a/add", Id::Call, "bank/account/a/add", "bank"),
            (Method::POST, "/v1/call/b%61nk", Id::Call, "b%61nk", "b%61nk"),
            (Method::GET, "/v1/read/bank/account/a/sum", Id::Read, "bank/account/a/sum", "bank"),
            (Method::GET, "/v1/openapi/bank", Id::OpenApi, "bank", "bank"),
            (Method::DELETE, "/v1/messages/msg_1", Id::Cancel, "msg_1", ""),
            (Method::POST, "/v1/callbacks/t/resolve", Id::Callback, "t/resolve", ""),
            (Method::GET, "/docs", Id::Docs, "", ""),
            (Method::GET, "/docs/page.js", Id::Docs, "/page.js", ""),
        ] {
            let found = find(&method, path).expect(path);
            assert_eq!((found.route.id, found.rest), (id, rest), "{path}");
            let named = found.app().filter(|_| found.route.id != Id::Docs);
            assert_eq!(named.unwrap_or_default(), app, "{path}");
        }
        for path in
            ["/", "/v1", "/v1/call", "/v1/calls/a", "/v2/call/a", "/docsx", "/admin/v1/apps"]
        {
            assert_eq!(find(&Method::POST, path).expect_err(path).code(), "unknown_route");
        }
        let problem = find(&Method::PUT, "/v1/messages/msg_1").expect_err("a method");
        assert_eq!(problem.detail(), "this path takes GET, DELETE");
    }

    #[test]
    fn every_route_that_names_an_app_has_a_role_but_the_page() {
        for route in ROUTES {
            let open = matches!(route.id, Id::Callback | Id::Docs);
            assert_eq!(route.roles.is_empty(), open, "{}", route.path);
        }
    }
}

//! Whom a request is for: `{app}/{type}/{key}/{handler}` of a path, checked against what the app
//! offers. Every part that does not exist has its own code, and the message lists what there is.

use std::borrow::Cow;

use crate::edge::{Problem, path};
use crate::ids::{self, EntityRef};
use crate::registry::{Contract, Handler, HandlerKind};
use http::StatusCode;

/// An entity and the name of one of its handlers.
#[derive(Debug)]
pub(super) struct Address<'a> {
    pub(super) entity: EntityRef,
    pub(super) handler: Cow<'a, str>,
}

impl<'a> Address<'a> {
    /// Reads what follows `/v1/{verb}/`.
    pub(super) fn decode(verb: &str, rest: &'a str) -> Result<Self, Problem> {
        let Some([app, kind, key, handler]) = path::split(rest) else {
            let detail = format!(
                "the route is /v1/{verb}/{{app}}/{{type}}/{{key}}/{{handler}}, \
                 a '/' within a key written %2F"
            );
            return Err(Problem::not_found("unknown_route", detail));
        };
        let app = path::segment("app", app)?;
        let kind = path::segment("type", kind)?;
        let key = path::segment("key", key)?;
        let handler = path::segment("handler", handler)?;
        let entity = EntityRef::new(&app, &kind, &key)?;
        ids::check_name("handler", &handler)?;
        Ok(Self { entity, handler })
    }

    /// The handler it names, when the app has it and it is of the kind `wanted`.
    pub(super) fn find<'c>(
        &self,
        contract: &'c Contract,
        wanted: HandlerKind,
    ) -> Result<&'c Handler, Problem> {
        let (app, kind) = (self.entity.app(), self.entity.kind());
        let Some(entity) = contract.entities.get(kind) else {
            let known = listed(contract.entities.keys().map(String::as_str));
            let detail = format!("app {app:?} has no entity type {kind:?}; it has: {known}");
            return Err(Problem::not_found("unknown_type", detail));
        };
        let Some(handler) = entity.handlers.get(&*self.handler) else {
            let callable = entity.handlers.values();
            let callable = callable.filter(|handler| handler.kind != HandlerKind::Internal);
            let callable: Vec<_> = callable.map(|handler| handler.name.as_str()).collect();
            let known = listed(callable.into_iter());
            let name = &self.handler;
            let detail = format!("{app}/{kind} has no handler {name:?}; it has: {known}");
            return Err(Problem::not_found("unknown_handler", detail));
        };
        if handler.kind == wanted {
            return Ok(handler);
        }
        Err(self.wrong_kind(handler.kind))
    }

    fn wrong_kind(&self, is: HandlerKind) -> Problem {
        let (name, app, kind) = (&self.handler, self.entity.app(), self.entity.kind());
        let route = format!("{app}/{kind}/{{key}}/{name}");
        let detail = match is {
            HandlerKind::Command => {
                format!("{name} is a command; POST /v1/call/{route} or /v1/send/{route}")
            }
            HandlerKind::Query => format!("{name} is a query; GET or POST /v1/read/{route}"),
            HandlerKind::Internal => {
                let detail = format!(
                    "{name} is internal to {app}/{kind}: entities of the app, timers and replies call it, and \
                     nobody outside"
                );
                return Problem::not_found("unknown_handler", detail);
            }
        };
        Problem::new(StatusCode::BAD_REQUEST, "wrong_kind", detail)
    }
}

/// The first names, for a message.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<_> = names.take(SHOWN).collect();
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_decode_segment_by_segment() {
        let address =
            Address::decode("call", "bank/account/a%2Fb%20%C3%A9/deposit").expect("valid");
        assert_eq!(address.entity, EntityRef::new("bank", "account", "a/b é").expect("valid"));
        assert_eq!(address.handler, "deposit");
        let longest = "k".repeat(512);
        assert!(Address::decode("call", &format!("bank/account/{longest}/deposit")).is_ok());
    }

    #[test]
    fn wrong_addresses_say_which_part_and_why() {
        let refused = |rest: &str| {
            let problem = Address::decode("call", rest).expect_err(rest);
            (problem.status().as_u16(), problem.detail().to_owned())
        };
        for rest in ["", "bank", "bank/account/alice", "bank/account/a/b/deposit", "b/a/k/h/"] {
            let (status, detail) = refused(rest);
            assert_eq!(status, 404, "{rest}");
            assert!(detail.contains("/v1/call/{app}/{type}/{key}/{handler}"), "{detail}");
        }
        for (rest, part) in [
            ("b%61d!/account/alice/deposit", "app:"),
            ("bank//alice/deposit", "type:"),
            ("bank/account//deposit", "key:"),
            ("bank/account/%FF/deposit", "key:"),
            ("bank/account/%F/deposit", "key:"),
            ("bank/account/../deposit", "key:"),
            (&format!("bank/account/{}/deposit", "k".repeat(513)), "key:"),
            ("bank/account/alice/de%2Fposit", "handler:"),
        ] {
            let (status, detail) = refused(rest);
            assert_eq!(status, 400, "{rest}");
            assert!(detail.starts_with(part), "{rest}: {detail}");
        }
    }

    #[test]
    fn lists_of_names_stay_short() {
        assert_eq!(listed([].into_iter()), "none");
        assert_eq!(listed(["a", "b"].into_iter()), "a, b");
        assert!(listed(vec!["n"; 23].into_iter()).ends_with("n and 3 more"));
    }

    #[test]
    fn a_handler_of_the_other_kind_is_shown_its_route() {
        let address = Address::decode("call", "bank/account/alice/balance").expect("valid");
        let problem = address.wrong_kind(HandlerKind::Query);
        assert_eq!((problem.status(), problem.code()), (StatusCode::BAD_REQUEST, "wrong_kind"));
        assert!(problem.detail().contains("/v1/read/bank/account/{key}/balance"));
        assert!(address.wrong_kind(HandlerKind::Command).detail().contains("/v1/send/bank"));
    }

    #[test]
    fn internal_handlers_are_nobodys_outside() {
        let any = r#"{"input":{"json":{}},"output":{"json":{}},"#;
        let document = format!(
            r#"{{"entities":[{{"type":"account","handlers":[{any}"name":"heard","kind":"internal"}},
               {any}"name":"deposit","kind":"command"}}]}}]}}"#
        );
        let contract = Contract::parse(document.as_bytes()).expect("right");
        for wanted in [HandlerKind::Command, HandlerKind::Query] {
            let address = Address::decode("call", "bank/account/alice/heard").expect("valid");
            let problem = address.find(&contract, wanted).err().expect("refused");
            assert_eq!((problem.status().as_u16(), problem.code()), (404, "unknown_handler"));
            assert!(problem.detail().contains("heard is internal"), "{}", problem.detail());
        }
        let address = Address::decode("call", "bank/account/alice/none").expect("valid");
        let problem = address.find(&contract, HandlerKind::Command).err().expect("refused");
        assert!(problem.detail().ends_with("it has: deposit"), "{}", problem.detail());
    }
}

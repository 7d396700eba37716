//! Every route of the admin API, one row each: what finds it, what it takes, and which role it asks for. The dispatch,
//! the API's own OpenAPI document and the tests of access read this table, so none of them can miss a route.

use std::borrow::Cow;

use http::Method;

use super::reach::Reach;
use crate::access::{Role, Scope};
use crate::edge::{Problem, path};
use crate::ids::BadId;

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    /// Which.
    pub(super) id: Id,
    /// Its method.
    pub(super) method: Method,
    /// Its path; a segment in braces is a part that the caller chooses.
    pub(super) path: &'static str,
    /// What it asks of who calls it.
    pub(super) role: Role,
    /// What it does, in a few words.
    pub(super) about: &'static str,
    /// Its query parameters, each with what it means.
    pub(super) query: &'static [(&'static str, &'static str)],
}

/// The routes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Id {
    Health,
    Me,
    Status,
    Metrics,
    OpenApi,
    Apps,
    App,
    Deploy,
    Versions,
    Activate,
    RollBack,
    Ramp,
    Config,
    Configure,
    SetSecret,
    UnsetSecret,
    Logs,
    Entities,
    Entity,
    EntityPut,
    EntityRemove,
    Export,
    Pauses,
    Pause,
    Resume,
    Messages,
    Message,
    MessageCancel,
    Timers,
    TimerCancel,
    History,
    Turns,
    Journey,
    TryApps,
    TryApp,
    Try,
    DeadLetters,
    DeadLetter,
    DeadDrop,
    DeadEdit,
    DeadRetry,
    DeadRetryAll,
    DeadDropAll,
    Snapshots,
    Snapshot,
    SnapshotGet,
    SnapshotRemove,
    Tokens,
    TokenCreate,
    TokenRevoke,
    Audit,
}

/// A route and the parts of its path, not decoded yet, in order.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) route: &'static Route,
    pub(super) parts: [&'a str; PARTS_MAX],
}

impl<'a> Found<'a> {
    /// The app that the path names; empty when it names none.
    ///
    /// # Errors
    /// When it is wrongly encoded.
    pub(super) fn app(&self) -> Result<Cow<'a, str>, BadId> {
        let mut named = self.route.braced().zip(self.parts);
        match named.find(|(name, _)| *name == "app") {
            Some((_, raw)) => path::segment("app", raw),
            None => Ok(Cow::Borrowed("")),
        }
    }

    /// What the door is asked about; `None` when nobody is asked.
    pub(super) fn scope<'s>(&self, app: &'s Result<Cow<'a, str>, BadId>) -> Option<Scope<'s>> {
        match self.route.reach() {
            Reach::Open => None,
            Reach::Shown | Reach::Token => Some(Scope::Shown),
            Reach::Host => Some(Scope::Host),
            // Who is not let in does not hear what is wrong with the path.
            Reach::App => Some(app.as_ref().map_or(Scope::Shown, |app| Scope::App(app))),
        }
    }
}

/// The most segments in braces that a path has.
const PARTS_MAX: usize = 4;

const AFTER: (&str, &str) = ("after", "the `next` of the page before");
const LIMIT: (&str, &str) = ("limit", "rows of a page, 1 to 1000");
const APP: (&str, &str) = ("app", "of this app only");
const KIND: (&str, &str) = ("type", "of this entity type only");
const KEY: (&str, &str) = ("key", "of the entity with this key only");
const SENDER: (&str, &str) = ("sender", "sent by this entity, `app/type/key`");
const HANDLER: (&str, &str) = ("handler", "for this handler only");
const REASON: (&str, &str) = ("reason", "whose reason contains this");
const PARKED_FROM: (&str, &str) = ("parked_from", "parked at this RFC 3339 time or later");
const PARKED_UNTIL: (&str, &str) = ("parked_until", "parked before this RFC 3339 time");
const STEP: (&str, &str) = ("after", "the `next` of the step before");
const THROUGH: (&str, &str) =
    ("through", "the `through` of the step before: what is parked since is not of this pass");

const BREAKING: (&str, &str) = ("breaking", "true: also when callers or stored state may break");

/// All of them.
pub(super) static ROUTES: &[Route] = &[
    route(Id::Health, Method::GET, "/admin/v1/health", Role::Read, "Whether the host answers", &[]),
    route(
        Id::Me,
        Method::GET,
        "/admin/v1/me",
        Role::Read,
        "Who asks: the token's name, its roles with those that they imply, and its apps",
        &[],
    ),
    route(Id::Status, Method::GET, "/admin/v1/status", Role::Read, "Gauges of the host", &[]),
    route(
        Id::Metrics,
        Method::GET,
        "/metrics",
        Role::Read,
        "Metrics as Prometheus reads them",
        &[],
    ),
    route(
        Id::OpenApi,
        Method::GET,
        "/admin/v1/openapi",
        Role::Read,
        "This API, as OpenAPI 3.1",
        &[],
    ),
    route(Id::Apps, Method::GET, "/admin/v1/apps", Role::Read, "All apps", &[]),
    route(Id::App, Method::GET, "/admin/v1/apps/{app}", Role::Read, "An app and its contract", &[]),
    route(
        Id::Deploy,
        Method::PUT,
        "/admin/v1/apps/{app}",
        Role::Admin,
        "Makes the component in the body the app's live version",
        &[
            BREAKING,
            ("config", "the app's configuration, as JSON; without it the app keeps the one it has"),
            ("activate", "false: keep it beside the live version, which stays live"),
            ("dry_run", "true: say what would change, and change nothing"),
        ],
    ),
    route(
        Id::Versions,
        Method::GET,
        "/admin/v1/apps/{app}/versions",
        Role::Read,
        "An app's kept versions, the last deployed first, its ramp, and the last one that halted",
        &[],
    ),
    route(
        Id::Activate,
        Method::POST,
        "/admin/v1/apps/{app}/versions/{version}/activate",
        Role::Admin,
        "Makes a kept version, named by the beginning of its hash, the live one",
        &[BREAKING],
    ),
    route(
        Id::RollBack,
        Method::POST,
        "/admin/v1/apps/{app}/rollback",
        Role::Admin,
        "Makes the version before the live one live again",
        &[("breaking", "true: also when it does not read state that may be there")],
    ),
    route(
        Id::Ramp,
        Method::POST,
        "/admin/v1/apps/{app}/versions/{version}/ramp",
        Role::Admin,
        "Puts a share of the app's entities on a kept version",
        &[("percent", "the share, 0 to 100; 0 ends the ramp"), BREAKING],
    ),
    route(
        Id::Config,
        Method::GET,
        "/admin/v1/apps/{app}/config",
        Role::Read,
        "An app's configuration, and the names of its secrets",
        &[],
    ),
    route(
        Id::Configure,
        Method::PATCH,
        "/admin/v1/apps/{app}/config",
        Role::Admin,
        "Changes settings: a JSON merge patch, where null makes one the default",
        &[],
    ),
    route(
        Id::SetSecret,
        Method::PUT,
        "/admin/v1/apps/{app}/secrets/{name}",
        Role::Admin,
        "Sets a secret to the body, which is text; it is never shown again",
        &[],
    ),
    route(
        Id::UnsetSecret,
        Method::DELETE,
        "/admin/v1/apps/{app}/secrets/{name}",
        Role::Admin,
        "Removes a secret",
        &[],
    ),
    route(
        Id::Logs,
        Method::GET,
        "/admin/v1/apps/{app}/logs",
        Role::Read,
        "What an app's guests log",
        &[("after", "the last line's number"), LIMIT, ("wait", "how long to wait for a line")],
    ),
    route(
        Id::Entities,
        Method::GET,
        "/admin/v1/entities/{app}/{type}",
        Role::Read,
        "Entities in order of their keys",
        &[("prefix", "what their keys begin with"), AFTER, LIMIT],
    ),
    route(
        Id::Entity,
        Method::GET,
        "/admin/v1/entities/{app}/{type}/{key}",
        Role::Read,
        "One entity with its state",
        &[],
    ),
    route(
        Id::EntityPut,
        Method::PUT,
        "/admin/v1/entities/{app}/{type}/{key}",
        Role::Operate,
        "Writes an entity's state, in a turn of its own; the body is as it is shown",
        &[
            ("if_version", "the version that it must have, `absent`, or `any`"),
            (
                "mode",
                "replace (the default), merge, or import: replace, with timers and the version",
            ),
        ],
    ),
    route(
        Id::EntityRemove,
        Method::DELETE,
        "/admin/v1/entities/{app}/{type}/{key}",
        Role::Operate,
        "Removes all of an entity: state, timers, mailbox, dead letters",
        &[],
    ),
    route(
        Id::Export,
        Method::GET,
        "/admin/v1/export/{app}/{type}",
        Role::Read,
        "Entities whole, each as it is at one moment; pages may be short",
        &[("prefix", "what their keys begin with"), AFTER, LIMIT],
    ),
    route(Id::Pauses, Method::GET, "/admin/v1/pauses", Role::Read, "What is paused", &[]),
    route(
        Id::Pause,
        Method::PUT,
        "/admin/v1/pauses",
        Role::Operate,
        "Pauses an app, a type, an entity, or everything: commands wait, queries go on",
        &[APP, KIND, KEY, ("all", "true: everything")],
    ),
    route(
        Id::Resume,
        Method::DELETE,
        "/admin/v1/pauses",
        Role::Operate,
        "Ends a pause",
        &[APP, KIND, KEY, ("all", "true: the pause of everything")],
    ),
    route(
        Id::Messages,
        Method::GET,
        "/admin/v1/messages",
        Role::Read,
        "Messages that wait: in mailboxes as they arrived, then scheduled ones by time",
        &[
            APP,
            KIND,
            KEY,
            SENDER,
            ("stage", "queued, running, backing_off or scheduled"),
            AFTER,
            LIMIT,
        ],
    ),
    route(
        Id::Message,
        Method::GET,
        "/admin/v1/messages/{id}",
        Role::Read,
        "One message that waits or is dead, with its input",
        &[],
    ),
    route(
        Id::MessageCancel,
        Method::DELETE,
        "/admin/v1/messages/{id}",
        Role::Operate,
        "Cancels a message that has not started",
        &[],
    ),
    route(
        Id::Timers,
        Method::GET,
        "/admin/v1/timers",
        Role::Read,
        "Named timers: those that are due and wait, then the others by time",
        &[APP, KIND, KEY, AFTER, LIMIT],
    ),
    route(
        Id::TimerCancel,
        Method::DELETE,
        "/admin/v1/timers/{app}/{type}/{key}",
        Role::Operate,
        "Cancels an entity's timer",
        &[("name", "the timer's name")],
    ),
    route(
        Id::History,
        Method::GET,
        "/admin/v1/entities/{app}/{type}/{key}/history",
        Role::Read,
        "What an entity did lately, the newest first",
        &[AFTER, LIMIT],
    ),
    route(
        Id::Turns,
        Method::GET,
        "/admin/v1/turns",
        Role::Read,
        "What all entities did lately, the newest first",
        &[("app", "of this app only"), AFTER, LIMIT],
    ),
    route(
        Id::Journey,
        Method::GET,
        "/admin/v1/messages/{id}/journey",
        Role::Read,
        "What caused a message and what came of it",
        &[],
    ),
    route(
        Id::TryApps,
        Method::GET,
        "/admin/v1/try",
        Role::Invoke,
        "The names of the apps whose handlers the caller may try",
        &[],
    ),
    route(
        Id::TryApp,
        Method::GET,
        "/admin/v1/try/{app}",
        Role::Invoke,
        "The handlers of an app that may be called from outside: of the live version, then of a ramped one",
        &[],
    ),
    route(
        Id::Try,
        Method::POST,
        "/admin/v1/try/{app}/{type}/{key}/{handler}",
        Role::Invoke,
        "Calls a command or reads a query as ingress would, which answers",
        &[
            ("how", "call, send or read; without it, read for a query and call for a command"),
            ("delay", "for a send: how long it waits"),
            ("at", "for a send: when it is due"),
        ],
    ),
    route(
        Id::DeadLetters,
        Method::GET,
        "/admin/v1/dead",
        Role::Read,
        "Dead letters in order of their ids",
        &[APP, KIND, HANDLER, REASON, PARKED_FROM, PARKED_UNTIL, AFTER, LIMIT],
    ),
    route(
        Id::DeadRetryAll,
        Method::POST,
        "/admin/v1/dead/retry",
        Role::Operate,
        "Sends those that match again, in the order in which they arrived; one step of them",
        &[APP, KIND, HANDLER, REASON, PARKED_FROM, PARKED_UNTIL, STEP, THROUGH, LIMIT],
    ),
    route(
        Id::DeadDropAll,
        Method::POST,
        "/admin/v1/dead/drop",
        Role::Operate,
        "Forgets those that match; one step of them",
        &[APP, KIND, HANDLER, REASON, PARKED_FROM, PARKED_UNTIL, STEP, THROUGH, LIMIT],
    ),
    route(
        Id::DeadEdit,
        Method::PUT,
        "/admin/v1/dead/{id}",
        Role::Operate,
        "Changes its input to the body, which must fit its handler",
        &[("retry", "true: sends it again, too")],
    ),
    route(Id::DeadLetter, Method::GET, "/admin/v1/dead/{id}", Role::Read, "One dead letter", &[]),
    route(Id::DeadDrop, Method::DELETE, "/admin/v1/dead/{id}", Role::Operate, "Forgets it", &[]),
    route(
        Id::DeadRetry,
        Method::POST,
        "/admin/v1/dead/{id}/retry",
        Role::Operate,
        "Sends it again, with its attempts at zero",
        &[],
    ),
    route(Id::Snapshots, Method::GET, "/admin/v1/snapshots", Role::Read, "All snapshots", &[]),
    route(
        Id::Snapshot,
        Method::POST,
        "/admin/v1/snapshots",
        Role::Admin,
        "Copies what the host holds at one moment, while it goes on",
        &[("name", "the snapshot's name; the time by default")],
    ),
    route(
        Id::SnapshotGet,
        Method::GET,
        "/admin/v1/snapshots/{name}",
        Role::Admin,
        "A snapshot as one tar archive, to keep elsewhere; in the audit log like a change",
        &[],
    ),
    route(
        Id::SnapshotRemove,
        Method::DELETE,
        "/admin/v1/snapshots/{name}",
        Role::Admin,
        "Removes a snapshot",
        &[],
    ),
    route(Id::Tokens, Method::GET, "/admin/v1/tokens", Role::Admin, "All tokens", &[]),
    route(
        Id::TokenCreate,
        Method::POST,
        "/admin/v1/tokens",
        Role::Admin,
        "Makes a token; the answer is the only one with its secret",
        &[],
    ),
    route(
        Id::TokenRevoke,
        Method::DELETE,
        "/admin/v1/tokens/{id}",
        Role::Admin,
        "Takes a token away, from the next request on",
        &[],
    ),
    route(
        Id::Audit,
        Method::GET,
        "/admin/v1/audit",
        Role::Admin,
        "Who changed what, oldest first",
        &[("after", "the last line's number"), LIMIT],
    ),
];

/// The route of a method and a path.
///
/// # Errors
/// 404 for an unknown path, 405 with what is allowed for an unknown method.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Result<Found<'a>, Problem> {
    let mut allow: Vec<&str> = Vec::new();
    for route in ROUTES {
        let Some(parts) = parts(route.path, path) else { continue };
        if route.method == *method {
            return Ok(Found { route, parts });
        }
        allow.push(route.method.as_str());
    }
    if allow.is_empty() {
        return Err(Problem::not_found("unknown_route", format!("{path} is no admin route")));
    }
    allow.sort_unstable();
    Err(Problem::method_not_allowed(allow.join(", ")))
}

const fn route(
    id: Id,
    method: Method,
    path: &'static str,
    role: Role,
    about: &'static str,
    query: &'static [(&'static str, &'static str)],
) -> Route {
    Route { id, method, path, role, about, query }
}

/// What stands where the template has braces; `None` when the path is of another route.
fn parts<'a>(template: &str, path: &'a str) -> Option<[&'a str; PARTS_MAX]> {
    let mut parts = [""; PARTS_MAX];
    let mut found = parts.iter_mut();
    let mut given = path.split('/');
    for wanted in template.split('/') {
        let segment = given.next()?;
        if wanted.starts_with('{') {
            *found.next()? = segment;
        } else if wanted != segment {
            return None;
        }
    }
    given.next().is_none().then_some(parts)
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;

//! Every route of the admin API, one row each: what finds it, what it takes, and which role it asks for. The dispatch,
//! the API's own OpenAPI document and the tests of access read this table, so none of them can miss a route.

mod table;

use std::borrow::Cow;

use http::Method;

use crate::access::{Role, Scope};
use crate::edge::{Problem, path};
use crate::ids::BadId;

pub(super) use table::ROUTES;

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
    EntityTypes,
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

/// Whom a route is for, beside its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody: it says nothing of what the host holds.
    Open,
    /// Who has a token, whatever its roles.
    Token,
    /// Who may touch the app in its path.
    App,
    /// Each token: what it shows or changes is looked up first, and is of the caller's apps only.
    Shown,
    /// Who may touch all apps.
    Host,
}

impl Route {
    /// Whom it is for. A new route without an app in its path is for tokens of all apps, until somebody sees to it
    /// that it shows each caller its own apps only and says so here.
    pub(super) fn reach(&self) -> Reach {
        match self.id {
            Id::Health => Reach::Open,
            Id::OpenApi | Id::Me => Reach::Token,
            Id::Apps | Id::TryApps => Reach::Shown,
            Id::DeadLetters | Id::DeadLetter | Id::DeadEdit | Id::DeadDrop | Id::DeadRetry => {
                Reach::Shown
            }
            _ if self.braced().any(|part| part == "app") => Reach::App,
            _ => Reach::Host,
        }
    }

    /// The roles that open it: any of these.
    pub(super) fn roles(&self) -> &[Role] {
        match self.reach() {
            Reach::Token => &Role::ALL,
            _ => std::slice::from_ref(&self.role),
        }
    }

    /// What stands in braces in its path.
    pub(super) fn braced(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.path.split('/');
        parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
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

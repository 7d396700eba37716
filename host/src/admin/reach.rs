//! Whom a route of the admin API is for, and whether the audit log hears of it. Decided by the route alone, whoever asks.
//! Invariant: a route that nobody thought about is for tokens of all apps.

use http::Method;

use super::routes::{Id, Route};
use crate::access::Role;

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

    /// Whether the audit log is told of it: it changes something, or hands out all that there is.
    pub(super) fn is_audited(&self) -> bool {
        self.method != Method::GET || self.id == Id::SnapshotGet
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

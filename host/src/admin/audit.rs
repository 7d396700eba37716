//! The audit log around every change: announced before it is made, told before it is answered. Invariant: no change is
//! made whose announcement is not on stable storage; what a request brings beside names is not written.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;

use super::Admin;
use super::routes::Found;
use crate::access::Caller;
use crate::access::audit::{Audit, Change, End, Facts, Who};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply};
use crate::storage::StorageError;

impl Admin {
    /// `GET /admin/v1/audit?after&limit`.
    pub(super) async fn audit_log(&self, parts: &Parts) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let after = params.parsed("after", "a line's number")?.unwrap_or(0);
        let limit = params.limit()?;
        params.finish("the audit log takes after and limit")?;
        let page = blocking(&self.audit, move |audit| audit.page(after, limit)).await?;
        edge::json(StatusCode::OK, &page.map_err(|error| unavailable(&error, ""))?)
    }

    /// Answers a request that changes something.
    pub(super) async fn change(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        found: &Found<'_>,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let change = Change {
            who: Who::from(caller),
            what: format!("{:?}", found.route.id),
            target: format!("{} {}", parts.method, parts.uri.path()),
            parameters: Params::names(parts.uri.query()),
        };
        let announced = change.clone();
        let begun = blocking(&self.audit, move |audit| audit.begin(&announced)).await?;
        let refused = |error| unavailable(&error, "; nothing was changed");
        let mut open =
            Open { audit: Arc::clone(&self.audit), begun: Some((begun.map_err(refused)?, change)) };
        let mut facts = Facts::default();
        let answer = self.answer(parts, body, found, caller, &mut facts).await;
        open.end(&answer, facts).await?;
        answer
    }
}

/// A change that has begun. When nobody waits for its end any more, that is what the log tells of it.
struct Open {
    audit: Arc<Audit>,
    begun: Option<(u64, Change)>,
}

impl Open {
    async fn end(&mut self, answer: &Result<Reply, Problem>, facts: Facts) -> Result<(), Problem> {
        let status = match answer {
            Ok(reply) => reply.status(),
            Err(problem) => problem.status(),
        };
        let end = match () {
            () if status.is_server_error() => End::Failed,
            () if status.is_client_error() => End::Refused,
            () => End::Done,
        };
        let Some((begun, change)) = self.begun.take() else { return Ok(()) };
        let told = blocking(&self.audit, move |audit| {
            audit.end(begun, &change, end, Some(status.as_u16()), facts)
        });
        let unknown = |error| unavailable(&error, "; the change may have been made");
        told.await?.map(drop).map_err(unknown)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some((begun, change)) = self.begun.take() else { return };
        let audit = Arc::clone(&self.audit);
        tokio::task::spawn_blocking(move || {
            let told = audit.end(begun, &change, End::Abandoned, None, Facts::default());
            if let Err(error) = told {
                tracing::error!(%error, begun, "the end of a change is not in the audit log");
            }
        });
    }
}

async fn blocking<T: Send + 'static>(
    audit: &Arc<Audit>,
    work: impl FnOnce(&Audit) -> T + Send + 'static,
) -> Result<T, Problem> {
    let audit = Arc::clone(audit);
    let done = tokio::task::spawn_blocking(move || work(&audit)).await;
    done.map_err(|error| Problem::internal(format!("the audit log failed: {error}")))
}

fn unavailable(error: &StorageError, so: &str) -> Problem {
    tracing::error!(%error, "the audit log cannot be used");
    let detail = format!("the audit log cannot be used: {error}{so}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable", detail).retryable()
}

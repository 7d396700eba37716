//! An app's versions over HTTP: listing them, making one live, going back, ramping. Changes run on blocking threads
//! and do not wait for a deploy that compiles.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Admin;
use super::apps::{live, unknown_app, unprepared};
use super::routes::{Found, Id};
use crate::access::audit::Facts;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::registry::{Activated, ChangeError, Registry, Version, Versions};

impl Admin {
    /// `GET /admin/v1/apps/{app}/versions`.
    pub(super) async fn versions(&self, app: &str) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?.into_owned();
        let name = app.clone();
        let versions = self.blocking(move |registry| registry.versions(&name)).await?;
        edge::json(StatusCode::OK, &shown(&app, &versions))
    }

    /// A change of an app that is deployed. The audit log is told what it was before and is after.
    pub(super) async fn change_app(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        found: &Found<'_>,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let [app, part, ..] = found.parts;
        facts.before = self.told(app);
        let reply = match found.route.id {
            Id::Activate => self.activate(parts, app, part).await,
            Id::RollBack => self.roll_back(parts, app).await,
            Id::Ramp => self.ramp(parts, app, part).await,
            Id::Configure => self.configure(body, app).await,
            Id::SetSecret => self.set_secret(body, app, part).await,
            _ => self.unset_secret(app, part).await,
        };
        facts.after = self.told(app);
        reply
    }

    /// What the audit log says of an app: of its secrets only the names.
    fn told(&self, app: &str) -> Value {
        let Ok(app) = self.named(app) else { return Value::Null };
        let mut told = live(&app);
        told["secrets"] = json!(app.secrets.names().collect::<Vec<_>>());
        if let Some((version, percent)) = self.registry.ramped(&app.name) {
            told["ramp"] = json!({"version": version.to_string(), "percent": percent});
        }
        told
    }

    /// `POST /admin/v1/apps/{app}/versions/{version}/activate?breaking=true`.
    async fn activate(&self, parts: &Parts, app: &str, version: &str) -> Result<Reply, Problem> {
        let (app, version) = names(app, version)?;
        let mut params = Params::new(parts.uri.query())?;
        let breaking = params.parsed("breaking", "true or false")?.unwrap_or(false);
        params.finish("activate takes breaking")?;
        let name = app.clone();
        let activating = move |registry: &Registry| registry.activate(&name, &version, breaking);
        edge::json(StatusCode::OK, &done(&app, &self.blocking(activating).await?))
    }

    /// `POST /admin/v1/apps/{app}/rollback?breaking=true`.
    async fn roll_back(&self, parts: &Parts, app: &str) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?.into_owned();
        let mut params = Params::new(parts.uri.query())?;
        let breaking = params.parsed("breaking", "true or false")?.unwrap_or(false);
        params.finish("rollback takes breaking")?;
        let name = app.clone();
        let going = move |registry: &Registry| registry.roll_back(&name, breaking);
        edge::json(StatusCode::OK, &done(&app, &self.blocking(going).await?))
    }

    /// `POST /admin/v1/apps/{app}/versions/{version}/ramp?percent=10&breaking=true`.
    async fn ramp(&self, parts: &Parts, app: &str, version: &str) -> Result<Reply, Problem> {
        let (app, version) = names(app, version)?;
        let mut params = Params::new(parts.uri.query())?;
        let breaking = params.parsed("breaking", "true or false")?.unwrap_or(false);
        let percent = params.parsed("percent", "a number from 0 to 100")?;
        params.finish("ramp takes percent and breaking")?;
        let Some(percent) = percent else {
            return Err(Problem::malformed("percent is missing; it is a number from 0 to 100"));
        };
        let name = app.clone();
        let ramping = move |registry: &Registry| registry.ramp(&name, &version, percent, breaking);
        let ramped = self.blocking(ramping).await?;
        let shown = json!({"app": app, "version": ramped.version.to_string(), "percent": percent,
                           "live": ramped.replaced.to_string(), "changed": ramped.changed,
                           "diff": ramped.diff});
        edge::json(StatusCode::OK, &shown)
    }

    /// Asks the registry where blocking is allowed.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Registry) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Problem> {
        let registry = Arc::clone(&self.registry);
        let asking = tokio::task::spawn_blocking(move || ask(&registry));
        let asked = asking.await.map_err(|error| {
            tracing::error!(%error, "a change of an app panicked");
            Problem::internal("the change failed within the host")
        })?;
        asked.map_err(refused)
    }
}

fn names(app: &str, version: &str) -> Result<(String, String), Problem> {
    let app = path::segment("app", app)?.into_owned();
    Ok((app, path::segment("version", version)?.into_owned()))
}

fn shown(app: &str, versions: &Versions) -> Value {
    let version = |of: &Version| {
        json!({"version": of.version.to_string(), "hash": of.version.hex(),
               "deployed_at_ms": of.deployed_at_ms, "live": of.live, "previous": of.previous,
               "percent": of.percent, "types": of.types})
    };
    let all: Vec<_> = versions.versions.iter().map(version).collect();
    let halted = versions.halted.as_ref().map(|halted| {
        json!({"version": halted.version.to_string(), "percent": halted.percent,
               "at_ms": halted.at_ms, "reason": halted.reason})
    });
    let trial = versions.trial.map(|[old, new]| {
        let side = |(ended, failed)| json!({"ended": ended, "failed": failed});
        json!({"live": side(old), "new": side(new)})
    });
    json!({"app": app, "versions": all, "halted": halted, "trial": trial})
}

fn done(app: &str, activated: &Activated) -> Value {
    json!({"app": app, "version": activated.version.to_string(), "hash": activated.version.hex(),
           "replaced": activated.replaced.to_string(), "changed": activated.changed,
           "diff": activated.diff})
}

/// The status of each reason to refuse a change.
fn refused(error: ChangeError) -> Problem {
    let detail = error.to_string();
    let conflict = |code| Problem::new(StatusCode::CONFLICT, code, detail.clone());
    let unprocessable = |code| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
    match error {
        ChangeError::UnknownApp(app) => unknown_app(&app),
        ChangeError::UnknownVersion { .. } => Problem::not_found("unknown_version", detail),
        ChangeError::Ambiguous { .. } => conflict("ambiguous_version"),
        ChangeError::NoPrevious(_) => conflict("no_previous_version"),
        ChangeError::Moved(_) => conflict("conflict").retryable(),
        ChangeError::IsLive(_) => conflict("already_live"),
        ChangeError::Breaking(breaks) => {
            unprocessable("breaking_change").details(Some(json!({ "breaking": breaks })))
        }
        ChangeError::NotBeside(why) => {
            unprocessable("versions_differ").details(Some(json!({ "breaking": why })))
        }
        ChangeError::Percent(_)
        | ChangeError::Config(_)
        | ChangeError::BadSetting(_)
        | ChangeError::BadSecret(_) => Problem::malformed(detail),
        ChangeError::Component(error) => unprepared(error),
        ChangeError::Contract(_) => unprocessable("bad_component"),
        ChangeError::Storage(_) => Problem::internal(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VersionId;

    #[test]
    fn refused_changes_have_their_status_and_code() {
        let version = VersionId::of(b"x");
        let some = || vec!["- x".to_owned()];
        let unknown = ChangeError::UnknownVersion { app: "x".into(), version: "x".into() };
        let ambiguous = ChangeError::Ambiguous { version: "x".into(), of: some() };
        for (error, status, code) in [
            (ChangeError::UnknownApp("x".into()), 404, "unknown_app"),
            (unknown, 404, "unknown_version"),
            (ambiguous, 409, "ambiguous_version"),
            (ChangeError::NoPrevious("x".into()), 409, "no_previous_version"),
            (ChangeError::Moved("x".into()), 409, "conflict"),
            (ChangeError::IsLive(version), 409, "already_live"),
            (ChangeError::Breaking(some()), 422, "breaking_change"),
            (ChangeError::NotBeside(some()), 422, "versions_differ"),
            (ChangeError::Percent(101), 400, "malformed"),
            (ChangeError::BadSetting("x".into()), 400, "malformed"),
            (ChangeError::BadSecret("x".into()), 400, "malformed"),
            (ChangeError::Storage("x".into()), 500, "internal"),
        ] {
            let problem = refused(error);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code));
        }
    }
}

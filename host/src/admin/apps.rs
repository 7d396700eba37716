//! Apps: listing, showing, deploying, following logs. A deploy holds one component in memory and
//! compiles on a blocking thread; the next one waits for it, before its body is read.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Admin;
use crate::access::Caller;
use crate::access::audit::Facts;
use crate::config::AppConfig;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, body, path, time};
use crate::engine::PrepareError;
use crate::limits;
use crate::metrics;
use crate::registry::{App, Deploy, DeployError, Deployed, LogBook, LogLine};

impl Admin {
    /// `GET /admin/v1/apps`.
    pub(super) fn apps(&self, caller: &Caller) -> Result<Reply, Problem> {
        let shown = |app: &Arc<App>| {
            let mut shown = summary(app);
            if let Some((version, percent)) = self.registry.ramped(&app.name) {
                shown["ramp"] = json!({"version": version.to_string(), "percent": percent});
            }
            shown
        };
        let apps = self.registry.apps();
        let apps: Vec<_> = apps.iter().filter(|app| caller.sees(&app.name)).map(shown).collect();
        edge::json(StatusCode::OK, &json!({"apps": apps}))
    }

    /// `GET /admin/v1/apps/{app}`.
    pub(super) fn app(&self, app: &str) -> Result<Reply, Problem> {
        let name = path::segment("app", app)?;
        let sides = self.registry.sides(&name);
        let (app, _) = sides.first().ok_or_else(|| unknown_app(&name))?;
        let mut shown = summary(app);
        if let Some((ramped, percent)) = sides.get(1) {
            let (version, contract) = (ramped.version.to_string(), &ramped.contract.document);
            shown["ramp"] = json!({"version": version, "percent": percent, "contract": contract});
        }
        shown["contract"] = app.contract.document.clone();
        shown["config"] = json!(app.config);
        shown["secrets"] = json!(app.secrets.names().collect::<Vec<_>>());
        edge::json(StatusCode::OK, &shown)
    }

    /// `PUT /admin/v1/apps/{app}?breaking=true&config=JSON&activate=false&dry_run=true`.
    pub(super) async fn deploy(
        &self,
        parts: &Parts,
        body: &mut Incoming,
        app: &str,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?.into_owned();
        let how = deploy_query(parts.uri.query())?;
        facts.before = self.registry.app(&app).map_or(Value::Null, |app| live(&app));
        // An error would mean that the semaphore was closed, and nothing closes it.
        let turn = Arc::clone(&self.deploys).acquire_owned().await;
        let turn = turn.map_err(|error| Problem::internal(error.to_string()))?;
        let component = body::read(body, body::Bounds::COMPONENT).await?;
        if component.is_empty() {
            return Err(Problem::malformed("the body is empty; it must be a component's bytes"));
        }
        let registry = Arc::clone(&self.registry);
        let (name, began) = (app.clone(), self.clock.monotonic());
        let deploying = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, not with the client's patience.
            let _turn = turn;
            registry.deploy(&name, &component, &how)
        });
        let deployed = deploying.await.map_err(|error| {
            tracing::error!(%error, app, "a deploy panicked");
            Problem::internal("the deploy failed within the host; nothing has changed")
        })?;
        let took = self.clock.monotonic().saturating_sub(began);
        metrics::deployed(deployed.as_ref().ok().map(|deployed| deployed.changed), took);
        let mut shown = deployed_shown(&deployed.map_err(refused)?);
        facts.after = self.registry.app(&app).map_or(Value::Null, |app| live(&app));
        shown["app"] = json!(app);
        edge::json(StatusCode::OK, &shown)
    }

    /// `GET /admin/v1/apps/{app}/logs?after=0&limit=100&wait=30s`.
    pub(super) async fn logs(&self, parts: &Parts, app: &str) -> Result<Reply, Problem> {
        let app = self.named(app)?;
        let LogsQuery { after, limit, wait } = LogsQuery::read(parts.uri.query())?;
        let lines = self.log_lines(&app.logs, after, limit, wait).await;
        let next = lines.last().map_or(after, |line| line.seq);
        edge::json(StatusCode::OK, &json!({"lines": lines, "next": next}))
    }

    async fn log_lines(
        &self,
        logs: &LogBook,
        after: u64,
        limit: usize,
        wait: Duration,
    ) -> Vec<LogLine> {
        let lines = logs.after(after, limit);
        if !lines.is_empty() || wait.is_zero() {
            return lines;
        }
        let mut closing = self.closing.clone();
        tokio::select! {
            () = logs.changed(after) => {}
            () = tokio::time::sleep(wait) => {}
            () = closing.begun() => {}
        }
        logs.after(after, limit)
    }

    pub(super) fn named(&self, raw: &str) -> Result<Arc<App>, Problem> {
        let name = path::segment("app", raw)?;
        self.registry.app(&name).ok_or_else(|| unknown_app(&name))
    }
}

pub(super) fn unknown_app(name: &str) -> Problem {
    Problem::not_found("unknown_app", format!("there is no app {name:?}"))
}

fn summary(app: &App) -> Value {
    json!({
        "app": app.name,
        "version": app.version.to_string(),
        "deployed_at_ms": app.deployed_at_ms,
        "types": app.contract.entities.keys().collect::<Vec<_>>(),
    })
}

/// What the audit log says of an app: of its configuration no value, only what tells one from another.
pub(super) fn live(app: &App) -> Value {
    let config = serde_json::to_vec(&app.config).unwrap_or_default();
    let names: Vec<_> = app.config.values.keys().collect();
    json!({
        "version": app.version.to_string(),
        "config": {"hash": &blake3::hash(&config).to_hex()[..CONFIG_DIGITS], "values": names},
    })
}

const CONFIG_DIGITS: usize = 16;

fn deployed_shown(deployed: &Deployed) -> Value {
    let Deployed { version, changed, diff, breaking } = deployed;
    json!({"version": version.to_string(), "hash": version.hex(), "changed": changed,
           "diff": diff, "breaking": breaking})
}

fn deploy_query(query: Option<&str>) -> Result<Deploy, Problem> {
    let mut params = Params::new(query)?;
    let mut flag = |name| params.parsed(name, "true or false");
    let breaking = flag("breaking")?.unwrap_or(false);
    let inactive = !flag("activate")?.unwrap_or(true);
    let dry_run = flag("dry_run")?.unwrap_or(false);
    let config = params.text("config")?;
    params.finish("a deploy takes breaking, config, activate and dry_run")?;
    let malformed = |why: String| Problem::malformed(format!("config: {why}"));
    let config = config.map(|text| serde_json::from_str::<AppConfig>(&text)).transpose();
    let config = config.map_err(|error| malformed(error.to_string()))?;
    if let Some(config) = &config {
        config.validate().map_err(|bad| malformed(bad.to_string()))?;
    }
    Ok(Deploy { config, breaking, inactive, dry_run })
}

/// The status of each reason to refuse a deploy.
fn refused(error: DeployError) -> Problem {
    let detail = error.to_string();
    let unprocessable = |code| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
    match error {
        DeployError::Name(bad) => bad.into(),
        DeployError::Config(bad) => Problem::malformed(format!("config: {bad}")),
        DeployError::Component(error) => unprepared(error),
        DeployError::Storage(_) => Problem::internal(detail),
        DeployError::Contract(_) => unprocessable("bad_component"),
        DeployError::Clash(_) => Problem::malformed(format!("config: {detail}")),
        DeployError::NothingLive(_) => Problem::new(StatusCode::CONFLICT, "nothing_live", detail),
        DeployError::Breaking(deployed) => {
            unprocessable("breaking_change").details(Some(deployed_shown(&deployed)))
        }
    }
}

/// The status of each reason why a component does not run.
pub(super) fn unprepared(error: PrepareError) -> Problem {
    let detail = error.to_string();
    let unprocessable = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_component", &*detail);
    match error {
        PrepareError::TooLarge(_) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        }
        PrepareError::Host(_) => Problem::internal(detail),
        PrepareError::WrongWorld(problems) => unprocessable.details(Some(json!(problems))),
        PrepareError::NotAComponent(_) | PrepareError::Compile(_) | PrepareError::Describe(_) => {
            unprocessable
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct LogsQuery {
    after: u64,
    limit: usize,
    wait: Duration,
}

impl LogsQuery {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::new(query)?;
        let after = params.parsed("after", "a line's number")?.unwrap_or(0);
        let limit = params.limit()?;
        let wait = params.text("wait")?;
        params.finish("logs take after, limit and wait")?;
        let wait = wait.map(|wait| time::duration("wait", &wait, limits::STATUS_WAIT_MAX));
        Ok(Self { after, limit, wait: wait.transpose()?.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BadId, VersionId};
    use crate::registry::ContractError;

    #[test]
    fn deploys_take_a_checked_configuration() {
        let how = deploy_query(None).expect("defaults");
        assert_eq!(
            (how.config, how.breaking, how.inactive, how.dry_run),
            (None, false, false, false)
        );
        let query = "breaking=true&config=%7B%22deadline_ms%22:250%7D&activate=false&dry_run=true";
        let how = deploy_query(Some(query)).expect("valid");
        assert_eq!(how.config.map(|config| config.deadline_ms), Some(250));
        assert!(how.breaking && how.inactive && how.dry_run);
        for (query, says) in [
            ("config=banana", "config: expected value"),
            ("config=%7B%22deadline%22:250%7D", "unknown field `deadline`"),
            ("config=%7B%22deadline_ms%22:0%7D", "deadline_ms is 0"),
            ("breaking=yes", "true or false"),
            ("braking=true", "\"braking\""),
        ] {
            let problem = deploy_query(Some(query)).expect_err(query);
            assert_eq!(problem.code(), "malformed");
            assert!(problem.detail().contains(says), "{query}: {}", problem.detail());
        }
    }

    #[test]
    fn refused_deploys_have_their_status_and_code() {
        let component = |error| DeployError::Component(error);
        let (version, breaking) = (VersionId::of(b"x"), vec!["x".into()]);
        let broken = Deployed { version, changed: true, diff: vec![], breaking };
        for (error, status, code) in [
            (DeployError::Name(BadId { field: "app", problem: "x".into() }), 400, "malformed"),
            (component(PrepareError::NotAComponent("x".into())), 422, "bad_component"),
            (component(PrepareError::TooLarge("x".into())), 413, "too_large"),
            (component(PrepareError::WrongWorld(vec!["x".into()])), 422, "bad_component"),
            (component(PrepareError::Compile("x".into())), 422, "bad_component"),
            (component(PrepareError::Describe("x".into())), 422, "bad_component"),
            (component(PrepareError::Host("x".into())), 500, "internal"),
            (DeployError::Contract(ContractError("x".into())), 422, "bad_component"),
            (DeployError::Breaking(Box::new(broken)), 422, "breaking_change"),
            (DeployError::Clash("x".into()), 400, "malformed"),
            (DeployError::NothingLive("x".into()), 409, "nothing_live"),
            (DeployError::Storage("x".into()), 500, "internal"),
        ] {
            let detail = error.to_string();
            let problem = refused(error);
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code), "{detail}");
            assert!(problem.detail().contains('x'));
        }
    }

    #[test]
    fn logs_are_asked_for_within_bounds() {
        let read = |query| LogsQuery::read(Some(query));
        let asked = LogsQuery { after: 7, limit: 5, wait: Duration::from_secs(30) };
        assert_eq!(read("after=7&limit=5&wait=30s").expect("valid"), asked);
        let defaults = LogsQuery { after: 0, limit: limits::PAGE_ROWS, wait: Duration::ZERO };
        assert_eq!(read("").expect("valid"), defaults);
        for query in ["after=-1", "limit=0", "wait=1h", "follow=true"] {
            assert_eq!(read(query).expect_err(query).code(), "malformed");
        }
    }
}

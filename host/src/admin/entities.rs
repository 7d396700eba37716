//! Entities as operators see and change them: pages of keys, one with its state, whole ones for an export; writing,
//! removing, pausing. What is written has the bounds that a handler's transaction has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, apps, next};
use crate::access::audit::Facts;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, body, path};
use crate::ids::{self, EntityRef};
use crate::limits;
use crate::partition::request::{
    Change, EntityInfo, Expect, Put, PutDone, PutTimer, Scope, StateEntry, TimerEntry,
};

impl Admin {
    /// `GET /admin/v1/entities/{app}/{type}?prefix&after&limit`.
    pub(super) async fn entities(
        &self,
        parts: &Parts,
        app: &str,
        kind: &str,
    ) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?;
        let kind = path::segment("type", kind)?;
        ids::check_name("app", &app)?;
        ids::check_name("type", &kind)?;
        let mut params = Params::new(parts.uri.query())?;
        let prefix = params.text("prefix")?.unwrap_or_default();
        let after = params.text("after")?;
        let limit = params.limit()?;
        params.finish("a listing takes prefix, after and limit")?;
        let rows = self.router.entities(&app, &kind, &prefix, after.as_deref(), limit).await?;
        let rows = rows.into_inner();
        // What an app left behind is listed even when the app is gone.
        if rows.is_empty() && prefix.is_empty() && after.is_none() {
            self.known(&app, Some(&kind)).await?;
        }
        let next = next(&rows, limit, key);
        edge::json(StatusCode::OK, &json!({"entities": rows, "next": next}))
    }

    /// `GET /admin/v1/entities/{app}`.
    pub(super) async fn entity_types(&self, app: &str) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?;
        ids::check_name("app", &app)?;
        let kinds = self.router.kinds(&app).await?.into_inner();
        if kinds.is_empty() && self.registry.app(&app).is_none() {
            return Err(apps::unknown_app(&app));
        }
        edge::json(StatusCode::OK, &json!({ "types": kinds }))
    }

    /// `GET /admin/v1/entities/{app}/{type}/{key}?after=STATE_KEY`.
    pub(super) async fn entity(&self, parts: &Parts, entity: EntityRef) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let after = params.text("after")?.unwrap_or_default();
        params.finish("an entity takes after, a key of its state")?;
        let malformed = |what: String| Problem::malformed(format!("after: {what}"));
        let after = StateEntry::key_of(&after).map_err(malformed)?;
        match self.router.entity(entity.clone(), after).await?.into_inner() {
            Some(info) => edge::json(StatusCode::OK, &info),
            None => Err(unknown(&entity)),
        }
    }

    /// `GET /admin/v1/export/{app}/{type}?prefix&after&limit`: whole entities, as many as fit a page.
    pub(super) async fn export(
        &self,
        parts: &Parts,
        app: &str,
        kind: &str,
    ) -> Result<Reply, Problem> {
        let (app, kind) = (path::segment("app", app)?, path::segment("type", kind)?);
        ids::check_name("app", &app)?;
        ids::check_name("type", &kind)?;
        let mut params = Params::new(parts.uri.query())?;
        let prefix = params.text("prefix")?.unwrap_or_default();
        let after = params.text("after")?;
        let limit = params.limit()?;
        params.finish("an export takes prefix, after and limit")?;
        let rows = self.router.entities(&app, &kind, &prefix, after.as_deref(), limit).await?;
        let rows = rows.into_inner();
        let mut next = next(&rows, limit, key);
        let (mut whole, mut bytes) = (Vec::new(), 0);
        for row in &rows {
            let entity = EntityRef::new(&app, &kind, &key(row))?;
            // It may have been removed since it was listed.
            let info = self.router.entity(entity, Bytes::new()).await?.into_inner();
            if let Some(info) = info.filter(|info| !info.removed) {
                bytes += serde_json::to_vec(&info).map_or(0, |written| written.len());
                whole.push(info);
            }
            if bytes > limits::EXPORT_PAGE_BYTES {
                next = Some(key(row));
                break;
            }
        }
        edge::json(StatusCode::OK, &json!({"entities": whole, "next": next}))
    }

    /// `PUT /admin/v1/entities/{app}/{type}/{key}?if_version=N&mode=replace`.
    pub(super) async fn entity_put(
        &self,
        parts: &Parts,
        incoming: &mut Incoming,
        entity: EntityRef,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let expect = params.text("if_version")?;
        let expect = expect.ok_or_else(|| {
            Problem::malformed("if_version: is missing; it is a version, `absent` or `any`")
        })?;
        let expect = expected(&expect)?;
        let mode = params.text("mode")?.unwrap_or("replace".into());
        let mode = Mode::read(&mode)?;
        params.finish("a put takes if_version and mode")?;
        // An error would mean that the semaphore was closed, and nothing closes it.
        let turn = self.puts.acquire().await;
        let _turn = turn.map_err(|error| Problem::internal(error.to_string()))?;
        let bounds = body::Bounds {
            bytes_max: limits::ENTITY_BODY_BYTES_MAX,
            time_max: limits::BODY_TIME_MAX,
        };
        let written = body::read(incoming, bounds).await?;
        let put = put_of(entity.clone(), &written, mode, expect)?;
        match self.router.of_entity(&entity).put(put).await?.into_inner() {
            PutDone::Yes { version } => {
                facts.after = json!({ "version": version });
                let shown = json!({"entity": entity.to_string(), "version": version});
                edge::json(StatusCode::OK, &shown)
            }
            PutDone::TooLarge { bytes, max } => {
                let detail = format!(
                    "{entity} would have {bytes} bytes of state; quotas.state_bytes_max of its app is {max}"
                );
                let too_large = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail);
                let details =
                    json!({"field": "quotas.state_bytes_max", "bytes": bytes, "max": max});
                Err(too_large.details(Some(details)))
            }
            PutDone::Otherwise { version } => {
                let detail = match expect {
                    Expect::Absent => format!("{entity} is there, at version {version}"),
                    _ => format!("{entity} is at version {version}; look at it again"),
                };
                let problem = Problem::new(StatusCode::CONFLICT, "version_mismatch", detail);
                Err(problem.details(Some(json!({ "version": version }))))
            }
        }
    }

    /// `DELETE /admin/v1/entities/{app}/{type}/{key}`: all of it.
    pub(super) async fn entity_remove(
        &self,
        entity: EntityRef,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        match self.router.of_entity(&entity).remove(entity.clone()).await?.into_inner() {
            Some(removed) => {
                facts.after = json!({ "removed": removed });
                let shown = json!({"entity": entity.to_string(), "removed": removed});
                edge::json(StatusCode::OK, &shown)
            }
            None => Err(unknown(&entity)),
        }
    }

    /// `GET /admin/v1/pauses`.
    pub(super) async fn pauses(&self) -> Result<Reply, Problem> {
        let mut all: Vec<String> = Vec::new();
        for partition in self.router.partitions() {
            let scopes = partition.paused().await?.into_inner();
            all.extend(scopes.iter().map(ToString::to_string));
        }
        all.sort();
        all.dedup();
        edge::json(StatusCode::OK, &json!({ "paused": all }))
    }

    /// `PUT` and `DELETE /admin/v1/pauses?app&type&key`, or `?all=true`.
    pub(super) async fn pause(
        &self,
        parts: &Parts,
        paused: bool,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let scope = scope(parts.uri.query())?;
        if paused {
            // A pause of what there is not is a slip of the pen, and would pass for a pause of what was meant.
            match &scope {
                Scope::All => {}
                Scope::App(app) => self.known(app, None).await?,
                Scope::Kind { app, kind } => self.known(app, Some(kind)).await?,
                Scope::Entity(entity) => self.known(entity.app(), Some(entity.kind())).await?,
            }
        }
        let mut changed = false;
        match &scope {
            Scope::Entity(entity) => {
                let pausing = self.router.of_entity(entity).pause(scope.clone(), paused);
                changed |= pausing.await?.into_inner();
            }
            Scope::All | Scope::App(_) | Scope::Kind { .. } => {
                for partition in self.router.partitions() {
                    changed |= partition.pause(scope.clone(), paused).await?.into_inner();
                }
            }
        }
        let shown = json!({"scope": scope.to_string(), "paused": paused, "changed": changed});
        facts.after = shown.clone();
        edge::json(StatusCode::OK, &shown)
    }
}

impl Admin {
    /// Says so when no app has this name, or neither a version that is served nor what it holds has this type.
    async fn known(&self, app: &str, kind: Option<&str>) -> Result<(), Problem> {
        let sides = self.registry.sides(app);
        if sides.is_empty() {
            return Err(apps::unknown_app(app));
        }
        let Some(kind) = kind else { return Ok(()) };
        let mut kinds = self.router.kinds(app).await?.into_inner();
        kinds.extend(sides.iter().flat_map(|(side, _)| side.contract.entities.keys().cloned()));
        if kinds.contains(kind) {
            return Ok(());
        }
        let known = Vec::from_iter(kinds).join(", ");
        let detail = format!("app {app:?} has no entity type {kind:?}; it has: {known}");
        Err(Problem::not_found("unknown_type", detail))
    }
}

/// What a put does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The rows are all that there is afterwards.
    Replace,
    /// Other rows stay.
    Merge,
    /// Like replace, with timers, and the version goes on from the one that was exported.
    Import,
}

impl Mode {
    fn read(text: &str) -> Result<Self, Problem> {
        match text {
            "replace" => Ok(Self::Replace),
            "merge" => Ok(Self::Merge),
            "import" => Ok(Self::Import),
            _ => Err(Problem::malformed(format!("mode: {text:?} is not replace, merge or import"))),
        }
    }
}

/// An entity as `get` and an export show it, edited or not; members that only show something are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Written {
    version: u64,
    state: Vec<StateEntry>,
    more_state: bool,
    /// Keys to remove, in a merge.
    remove: Vec<String>,
    timers: Vec<TimerEntry>,
}

fn expected(text: &str) -> Result<Expect, Problem> {
    match text {
        "any" => Ok(Expect::Anything),
        "absent" => Ok(Expect::Absent),
        version => version.parse().map(Expect::Version).map_err(|_| {
            Problem::malformed(format!("if_version: {text:?} is not a version, `absent` or `any`"))
        }),
    }
}

fn put_of(entity: EntityRef, body: &[u8], mode: Mode, expect: Expect) -> Result<Put, Problem> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::malformed("the body is no entity: it is no JSON object"));
    }
    let malformed =
        |what: &dyn std::fmt::Display| Problem::malformed(format!("the body is no entity: {what}"));
    let mut json = serde_json::Deserializer::from_slice(body);
    let written: Written =
        serde_path_to_error::deserialize(&mut json).map_err(|error| malformed(&error))?;
    json.end().map_err(|error| malformed(&error))?;
    if written.more_state && mode != Mode::Merge {
        let detail = "the body holds a part of the state, so it cannot replace it; say mode=merge";
        return Err(Problem::malformed(detail));
    }
    if mode != Mode::Merge && !written.remove.is_empty() {
        return Err(Problem::malformed("remove: is for mode=merge; what is not said is removed"));
    }
    let malformed = |what: String| Problem::malformed(format!("state: {what}"));
    let mut rows = BTreeMap::new();
    for entry in &written.state {
        let (key, value) = entry.row().map_err(malformed)?;
        if rows.insert(key, Some(value)).is_some() {
            return Err(malformed(format!("{} is there twice", entry.key)));
        }
    }
    for shown in &written.remove {
        let key = StateEntry::key_of(shown).map_err(malformed)?;
        if rows.insert(key, None).is_some() {
            return Err(malformed(format!("{shown} is there twice")));
        }
    }
    check_sizes(&rows)?;
    let change = if mode == Mode::Merge {
        Change::Some(rows.into_iter().collect())
    } else {
        let whole = rows.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Change::Whole(whole.collect())
    };
    let importing = mode == Mode::Import;
    let timers = importing.then(|| timers_of(&written.timers)).transpose()?;
    let version_min = if importing { written.version } else { 0 };
    Ok(Put { entity, change, timers, expect, version_min })
}

/// The bounds that a handler's transaction has.
fn check_sizes(rows: &BTreeMap<Bytes, Option<Bytes>>) -> Result<(), Problem> {
    let large = |what: &str, max: usize| {
        let detail = format!("state: {what} has more than {max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let mut bytes = 0;
    for (key, value) in rows {
        let value_bytes = value.as_ref().map_or(0, Bytes::len);
        if key.is_empty() {
            return Err(Problem::malformed("state: a key has at least 1 byte"));
        }
        if key.len() > limits::STATE_KEY_BYTES_MAX {
            return Err(large("a key", limits::STATE_KEY_BYTES_MAX));
        }
        if value_bytes > limits::STATE_VALUE_BYTES_MAX {
            return Err(large("a value", limits::STATE_VALUE_BYTES_MAX));
        }
        bytes += key.len() + value_bytes;
    }
    if bytes > limits::TRANSACTION_BYTES_MAX {
        return Err(large("all of it", limits::TRANSACTION_BYTES_MAX));
    }
    Ok(())
}

fn timers_of(timers: &[TimerEntry]) -> Result<Vec<PutTimer>, Problem> {
    if timers.len() > limits::TIMERS_PER_ENTITY_MAX {
        let max = limits::TIMERS_PER_ENTITY_MAX;
        return Err(Problem::malformed(format!("timers: there are more than {max}")));
    }
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(timers.len());
    for timer in timers {
        ids::check_name("timer", &timer.name)?;
        ids::check_name("handler", &timer.handler)?;
        if !names.insert(&timer.name) {
            return Err(Problem::malformed(format!("timers: {} is there twice", timer.name)));
        }
        let input = match &timer.input {
            Value::Null => Bytes::new(),
            input => input.to_string().into(),
        };
        if input.len() > limits::BODY_BYTES_MAX {
            return Err(Problem::malformed(format!("timers: {}: its input is large", timer.name)));
        }
        let (name, handler) = (timer.name.clone(), timer.handler.clone());
        all.push(PutTimer { name, handler, input, due_ms: timer.due_ms });
    }
    Ok(all)
}

fn scope(query: Option<&str>) -> Result<Scope, Problem> {
    let mut params = Params::new(query)?;
    let all = params.parsed("all", "true or false")?.unwrap_or(false);
    let (app, kind, key) = (params.text("app")?, params.text("type")?, params.text("key")?);
    params.finish("a pause takes app, type and key, or all")?;
    match (all, app, kind, key) {
        (true, None, None, None) => Ok(Scope::All),
        (false, Some(app), kind, None) => {
            ids::check_name("app", &app)?;
            let Some(kind) = kind else { return Ok(Scope::App(app.into_owned())) };
            ids::check_name("type", &kind)?;
            Ok(Scope::Kind { app: app.into_owned(), kind: kind.into_owned() })
        }
        (false, Some(app), Some(kind), Some(key)) => {
            Ok(Scope::Entity(EntityRef::new(&app, &kind, &key)?))
        }
        _ => Err(Problem::malformed(
            "say all=true for everything, or an app, or an app and a type, or those and a key",
        )),
    }
}

fn unknown(entity: &EntityRef) -> Problem {
    let detail = format!("there is no entity {entity}: no command on it has committed");
    Problem::not_found("unknown_entity", detail)
}

/// The key within a row's `app/type/key`.
fn key(row: &EntityInfo) -> String {
    row.entity.splitn(3, '/').nth(2).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_begins_after_the_key_alone() {
        let row = EntityInfo { entity: "bank/account/a/b".into(), ..EntityInfo::default() };
        assert_eq!(key(&row), "a/b");
    }

    #[test]
    fn a_put_is_checked_whole() {
        let entity = EntityRef::new("a", "t", "k").expect("valid");
        let put = |body: &Value, mode| {
            put_of(entity.clone(), body.to_string().as_bytes(), mode, Expect::Anything)
        };
        let shown = json!({"entity": "a/t/k", "version": 7, "mailbox": 0, "paused": true,
            "state": [{"key": "n", "value": 1}],
            "timers": [{"name": "t", "handler": "h", "due_ms": 5, "input": {"a": 1}}]});
        let replaced = put(&shown, Mode::Replace).expect("valid");
        assert!(replaced.timers.is_none() && replaced.version_min == 0);
        assert!(matches!(&replaced.change, Change::Whole(rows) if rows[0].1 == "1"));
        let imported = put(&shown, Mode::Import).expect("valid");
        assert_eq!(imported.version_min, 7);
        assert_eq!(imported.timers.expect("some")[0].input, r#"{"a":1}"#);
        let merged = json!({"state": [{"key": "n", "value": 1}], "remove": ["hex:00"]});
        let merged = put(&merged, Mode::Merge).expect("valid");
        assert!(matches!(&merged.change, Change::Some(rows) if rows[0].1.is_none()));
        let long = "k".repeat(limits::STATE_KEY_BYTES_MAX + 1);
        for (bad, mode, says) in [
            (json!([]), Mode::Replace, "no entity"),
            (json!({"state": [], "more_state": true}), Mode::Replace, "a part of the state"),
            (json!({"remove": ["a"]}), Mode::Replace, "mode=merge"),
            (json!({"state": [{"key": "a"}, {"key": "a"}]}), Mode::Replace, "twice"),
            (json!({"state": [{"key": "a"}], "remove": ["a"]}), Mode::Merge, "twice"),
            (json!({"state": [{"key": ""}]}), Mode::Replace, "at least 1 byte"),
            (json!({"state": [{"key": long}]}), Mode::Replace, "a key has more than"),
            (json!({"state": [{"key": "a", "hex": "0"}]}), Mode::Replace, "hex digits"),
            (json!({"state": [{"key": "a", "vlaue": 0}]}), Mode::Replace, "vlaue"),
            (json!({"timers": [{"name": "", "handler": "h", "due_ms": 1}]}), Mode::Import, "timer"),
        ] {
            let problem = put(&bad, mode).expect_err(says);
            assert!(problem.detail().contains(says), "{says}: {}", problem.detail());
        }
    }

    #[test]
    fn a_pause_says_of_what() {
        let read = |query| scope(Some(query));
        assert_eq!(read("all=true").expect("valid"), Scope::All);
        assert_eq!(read("app=a").expect("valid").to_string(), "a");
        assert_eq!(read("app=a&type=t").expect("valid").to_string(), "a/t");
        assert_eq!(read("app=a&type=t&key=k%2Fk").expect("valid").to_string(), "a/t/k/k");
        for query in ["", "all=false", "all=true&app=a", "type=t", "app=a&key=k", "app=1"] {
            assert_eq!(read(query).expect_err(query).code(), "malformed");
        }
        assert_eq!(expected("7").expect("valid"), Expect::Version(7));
        assert_eq!(expected("absent").expect("valid"), Expect::Absent);
        assert_eq!(expected("-1").expect_err("a version").code(), "malformed");
    }
}

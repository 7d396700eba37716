//! Entities as operators see them: pages of keys, and one with its state.

use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::{Admin, apps, next};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::ids::{self, EntityRef};
use crate::partition::request::EntityInfo;

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
        if rows.is_empty() && self.registry.app(&app).is_none() {
            return Err(apps::unknown_app(&app));
        }
        let next = next(&rows, limit, key);
        edge::json(StatusCode::OK, &json!({"entities": rows, "next": next}))
    }

    /// `GET /admin/v1/entities/{app}/{type}/{key}`.
    pub(super) async fn entity(&self, app: &str, kind: &str, key: &str) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?;
        let kind = path::segment("type", kind)?;
        let key = path::segment("key", key)?;
        let entity = EntityRef::new(&app, &kind, &key)?;
        match self.router.entity(entity.clone()).await?.into_inner() {
            Some(info) => edge::json(StatusCode::OK, &info),
            None => {
                let detail = format!("there is no entity {entity}: no command on it has committed");
                Err(Problem::not_found("unknown_entity", detail))
            }
        }
    }
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
        let row = EntityInfo {
            entity: "bank/account/a/b".into(),
            version: 1,
            state: Vec::new(),
            timers: Vec::new(),
            mailbox: 0,
        };
        assert_eq!(key(&row), "a/b");
    }
}

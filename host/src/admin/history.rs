//! What happened lately, as operators see it: turns of an entity, of an app or of all, and a message's journey. It shows
//! what partitions remember, and says since when they do.

use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::{Admin, next};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::ids::{self, EntityRef, MessageId};
use crate::router::TurnsOf;

impl Admin {
    /// `GET /admin/v1/turns?app&after&limit`.
    pub(super) async fn turns(&self, parts: &Parts) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let app = params.text("app")?;
        let of = match app {
            None => TurnsOf::All,
            Some(app) => {
                ids::check_name("app", &app)?;
                TurnsOf::App(app.into_owned())
            }
        };
        self.page_of_turns(params, of).await
    }

    /// `GET /admin/v1/entities/{app}/{type}/{key}/history?after&limit`.
    pub(super) async fn history(
        &self,
        parts: &Parts,
        app: &str,
        kind: &str,
        key: &str,
    ) -> Result<Reply, Problem> {
        let app = path::segment("app", app)?;
        let kind = path::segment("type", kind)?;
        let key = path::segment("key", key)?;
        let entity = EntityRef::new(&app, &kind, &key)?;
        self.page_of_turns(Params::new(parts.uri.query())?, TurnsOf::Entity(entity)).await
    }

    async fn page_of_turns(&self, mut params: Params<'_>, of: TurnsOf) -> Result<Reply, Problem> {
        let after = params.parsed("after", "a turn's number")?;
        let limit = params.limit()?;
        params.finish("a listing of turns takes after and limit, and app where it is for all")?;
        let page = self.router.turns(of, after, limit).await?;
        let next = next(&page.turns, limit, |turn| turn.number);
        let shown = json!({"turns": page.turns, "next": next, "since_ms": page.since_ms});
        edge::json(StatusCode::OK, &shown)
    }

    /// `GET /admin/v1/messages/{id}/journey`.
    pub(super) async fn journey(&self, id: &str) -> Result<Reply, Problem> {
        let id: MessageId = path::segment("message id", id)?.parse()?;
        match self.router.journey(id).await? {
            Some(journey) => edge::json(StatusCode::OK, &journey),
            None => {
                let detail = format!(
                    "nothing is remembered of {id}: the last turns are, in memory, and messages \
                     that have not ended"
                );
                Err(Problem::not_found("unknown_message", detail))
            }
        }
    }
}

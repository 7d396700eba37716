//! Dead letters: listing, showing, sending again, dropping.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{Admin, next};
use crate::access::audit::Facts;
use crate::access::{Apps, Caller, Denied};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::ids::{self, MessageId};
use crate::partition::request::{DeadLetterInfo, DeadSettled};

impl Admin {
    /// `GET /admin/v1/dead?app&after&limit`.
    pub(super) async fn dead_letters(
        &self,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let app = params.text("app")?;
        let after = params.text("after")?.map(|id| id.parse::<MessageId>()).transpose()?;
        let limit = params.limit()?;
        params.finish("a listing takes app, after and limit")?;
        app.as_deref().map_or(Ok(()), |app| ids::check_name("app", app))?;
        let rows = match (app.as_deref(), caller) {
            (Some(app), caller) if !caller.sees(app) => {
                return Err(Denied::App(app.to_owned()).into());
            }
            (None, Caller::Token(token)) if !caller.sees_all() => {
                self.dead_letters_of(&token.apps, after, limit).await?
            }
            (app, _) => self.router.dead_letters(app, after, limit).await?.into_inner(),
        };
        let next = next(&rows, limit, |row| row.id.clone());
        edge::json(StatusCode::OK, &json!({"dead_letters": rows, "next": next}))
    }

    /// A page of the dead letters of some apps, in order of their ids.
    async fn dead_letters_of(
        &self,
        apps: &Apps,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<DeadLetterInfo>, Problem> {
        let Apps::These(apps) = apps else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for app in apps {
            rows.extend(self.router.dead_letters(Some(app), after, limit).await?.into_inner());
        }
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.truncate(limit);
        Ok(rows)
    }

    /// `GET /admin/v1/dead/{id}`.
    pub(super) async fn dead_letter(&self, id: &str, caller: &Caller) -> Result<Reply, Problem> {
        let dead = self.seen(message_id(id)?, caller).await?;
        edge::json(StatusCode::OK, &dead)
    }

    /// `POST /admin/v1/dead/{id}/retry`.
    pub(super) async fn dead_retry(
        &self,
        id: &str,
        caller: &Caller,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        facts.before = named(&self.seen(id, caller).await?);
        done(id, self.router.dead_retry(id).await?.into_inner(), "retried")
    }

    /// `DELETE /admin/v1/dead/{id}`.
    pub(super) async fn dead_drop(
        &self,
        id: &str,
        caller: &Caller,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        facts.before = named(&self.seen(id, caller).await?);
        done(id, self.router.dead_drop(id).await?.into_inner(), "dropped")
    }

    /// A dead letter, when it is of an app that the caller sees; else there is none.
    async fn seen(&self, id: MessageId, caller: &Caller) -> Result<DeadLetterInfo, Problem> {
        let dead = self.router.dead_letter(id).await?.into_inner();
        let app = |dead: &DeadLetterInfo| dead.entity.split('/').next().map(str::to_owned);
        let seen = dead.filter(|dead| app(dead).is_some_and(|app| caller.sees(&app)));
        seen.ok_or_else(|| unknown(id))
    }
}

/// What the audit log says of a dead letter: not its input, and not its reason, which may quote it.
fn named(dead: &DeadLetterInfo) -> Value {
    json!({"entity": dead.entity, "handler": dead.handler, "attempts": dead.attempts})
}

fn message_id(raw: &str) -> Result<MessageId, Problem> {
    Ok(path::segment("message id", raw)?.parse()?)
}

fn done(id: MessageId, settled: DeadSettled, status: &str) -> Result<Reply, Problem> {
    match settled {
        DeadSettled::Yes => {
            edge::json(StatusCode::OK, &json!({"id": id.to_string(), "status": status}))
        }
        DeadSettled::Answered => {
            let detail = format!(
                "{id} is final: the entity that sent it was told that it failed, and may have acted on that. Look \
                 at it and drop it; calls that are to wait for a retry are sent as patient ones"
            );
            Err(Problem::new(StatusCode::CONFLICT, "already_answered", detail).id(id))
        }
        DeadSettled::Unknown => Err(unknown(id)),
    }
}

fn unknown(id: MessageId) -> Problem {
    Problem::not_found("unknown_dead_letter", format!("there is no dead letter {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_neither_retried_nor_dropped() {
        let id = MessageId(42);
        let yes = done(id, DeadSettled::Yes, "dropped").expect("done");
        assert_eq!(yes.status(), StatusCode::OK);
        let problem = done(id, DeadSettled::Unknown, "dropped").expect_err("unknown");
        assert_eq!(problem.code(), "unknown_dead_letter");
        let problem = done(id, DeadSettled::Answered, "retried").expect_err("final");
        assert_eq!((problem.status(), problem.code()), (StatusCode::CONFLICT, "already_answered"));
        assert!(problem.detail().contains("was told"), "{}", problem.detail());
        assert_eq!(message_id("banana").expect_err("bad").code(), "malformed");
    }
}

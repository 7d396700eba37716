//! Dead letters: listing, showing, editing, sending again, dropping; one at a time, or many by a filter.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Admin;
use crate::access::audit::Facts;
use crate::access::{Apps, Caller, Denied};
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, body, path, time};
use crate::ids::{self, MessageId};
use crate::partition::request::{DeadFilter, DeadLetterInfo, DeadMark, DeadSettled, Settle};
use crate::registry::Body;

impl Admin {
    /// `GET /admin/v1/dead?app&type&handler&reason&parked_from&parked_until&after&limit`.
    pub(super) async fn dead_letters(
        &self,
        parts: &Parts,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let filter = filter(&mut params)?;
        let after = params.text("after")?.map(|id| id.parse::<MessageId>()).transpose()?;
        let limit = params.limit()?;
        params.finish("a listing takes app, type, handler, reason, parked_from, parked_until, after and limit")?;
        let filter = match (filter.app.as_deref(), caller) {
            (Some(app), caller) if !caller.sees(app) => {
                return Err(Denied::App(app.to_owned()).into());
            }
            (None, Caller::Token(token)) if !caller.sees_all() => {
                let Apps::These(apps) = &token.apps else { unreachable!("it sees not all apps") };
                DeadFilter { apps: Some(apps.iter().cloned().collect()), ..filter }
            }
            (_, _) => filter,
        };
        let page = self.router.listed().dead_letters(filter, after, limit).await?.into_inner();
        let next = page.next.map(|id| id.to_string());
        edge::json(StatusCode::OK, &json!({"dead_letters": page.letters, "next": next}))
    }

    /// `GET /admin/v1/dead/{id}`.
    pub(super) async fn dead_letter(&self, id: &str, caller: &Caller) -> Result<Reply, Problem> {
        let dead = self.seen(message_id(id)?, caller).await?;
        edge::json(StatusCode::OK, &dead)
    }

    /// `PUT /admin/v1/dead/{id}?retry=true`, the new input as the body.
    pub(super) async fn dead_edit(
        &self,
        parts: &Parts,
        incoming: &mut Incoming,
        id: &str,
        caller: &Caller,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        let mut params = Params::new(parts.uri.query())?;
        let again = params.parsed("retry", "true or false")?.unwrap_or(false);
        params.finish("an edit takes retry")?;
        let letter = self.seen(id, caller).await?;
        facts.before = named(&letter);
        let partition = self.router.of_message(id);
        let input = body::read(incoming, body::Bounds::MESSAGE).await?;
        let content_type = self.fits(parts, &letter.entity, &letter.handler, &input)?;
        let settled = partition.edit_dead(id, (input, content_type), again).await?.into_inner();
        done(id, settled, if again { "retried" } else { "edited" })
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
        let settled = self.router.of_message(id).settle_dead(id, Settle::Retry).await?;
        done(id, settled.into_inner(), "retried")
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
        let settled = self.router.of_message(id).settle_dead(id, Settle::Drop).await?;
        done(id, settled.into_inner(), "dropped")
    }

    /// `POST /admin/v1/dead/retry` and `/drop`, with a filter: one step, at most `limit` of them.
    pub(super) async fn dead_many(
        &self,
        parts: &Parts,
        settle: Settle,
        facts: &mut Facts,
    ) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let filter = filter(&mut params)?;
        let after = params.text("after")?.map(|mark| mark_of(&mark)).transpose()?;
        let through = params.parsed("through", "the number that the step before gave")?;
        let limit = params.limit()?;
        params.finish(
            "a step takes app, type, handler, reason, parked_from, parked_until, after, through and limit",
        )?;
        let partition = self.router.listed();
        let step = partition.settle_many(settle, filter, after, through, limit).await?.into_inner();
        let next = step.next.map(|DeadMark(seq, id)| format!("{seq}.{id}"));
        let shown = json!({
            "done": step.done, "final": step.answered, "next": next, "through": step.through,
        });
        facts.after = json!({"done": step.done, "final": step.answered});
        edge::json(StatusCode::OK, &shown)
    }

    /// Checks an input against its handler as the app is now; gives the content type of bytes.
    fn fits(
        &self,
        parts: &Parts,
        entity: &str,
        handler: &str,
        input: &Bytes,
    ) -> Result<Option<String>, Problem> {
        let mut names = entity.splitn(3, '/');
        let (app, kind) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let gone = || {
            let detail = format!("{app}/{kind} has no handler {handler:?} now; deploy one first");
            Problem::new(StatusCode::CONFLICT, "no_handler", detail)
        };
        let app = self.registry.app(app).ok_or_else(gone)?;
        let handler = app.contract.entities.get(kind).and_then(|kind| kind.handlers.get(handler));
        let handler = handler.ok_or_else(gone)?;
        handler
            .check_input(input)
            .map_err(|detail| Problem::new(StatusCode::BAD_REQUEST, "invalid_input", detail))?;
        if matches!(handler.input, Body::Json(_)) {
            return Ok(None);
        }
        let given = parts.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        Ok(Some(given.unwrap_or("application/octet-stream").to_owned()))
    }

    /// A dead letter, when it is of an app that the caller sees; else there is none.
    async fn seen(&self, id: MessageId, caller: &Caller) -> Result<DeadLetterInfo, Problem> {
        let dead = self.router.of_message(id).dead_letter(id).await?.into_inner();
        let app = |dead: &DeadLetterInfo| dead.entity.split('/').next().map(str::to_owned);
        let seen = dead.filter(|dead| app(dead).is_some_and(|app| caller.sees(&app)));
        seen.ok_or_else(|| unknown(id))
    }
}

/// What the audit log says of a dead letter: not its input, and not its reason, which may quote it.
fn named(dead: &DeadLetterInfo) -> Value {
    json!({"entity": dead.entity, "handler": dead.handler, "attempts": dead.attempts})
}

fn filter(params: &mut Params<'_>) -> Result<DeadFilter, Problem> {
    let mut name = |field: &'static str| -> Result<Option<String>, Problem> {
        let Some(name) = params.text(field)? else { return Ok(None) };
        ids::check_name(field, &name)?;
        Ok(Some(name.into_owned()))
    };
    let (app, kind, handler) = (name("app")?, name("type")?, name("handler")?);
    let reason = params.text("reason")?.map(std::borrow::Cow::into_owned);
    let mut moment = |field: &'static str| -> Result<Option<u64>, Problem> {
        params.literal(field)?.map(|text| time::moment_ms(field, &text)).transpose()
    };
    let (parked_from_ms, parked_until_ms) = (moment("parked_from")?, moment("parked_until")?);
    Ok(DeadFilter { app, apps: None, kind, handler, reason, parked_from_ms, parked_until_ms })
}

fn mark_of(text: &str) -> Result<DeadMark, Problem> {
    let parts = text.split_once('.').and_then(|(seq, id)| {
        let id: MessageId = id.parse().ok()?;
        Some(DeadMark(seq.parse().ok()?, id))
    });
    parts.ok_or_else(|| Problem::malformed(format!("after: {text:?} is no `next` of a step")))
}

pub(super) fn message_id(raw: &str) -> Result<MessageId, Problem> {
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

    #[test]
    fn filters_and_marks_are_checked() {
        let read = |query| filter(&mut Params::new(Some(query)).expect("splits"));
        let asked = read("app=a&type=t&handler=h&reason=no+way&parked_from=1970-01-01T00:00:01Z");
        let asked = asked.expect("valid");
        assert_eq!((asked.app.as_deref(), asked.kind.as_deref()), (Some("a"), Some("t")));
        assert_eq!((asked.reason.as_deref(), asked.parked_from_ms), (Some("no way"), Some(1_000)));
        for query in ["app=1", "type=%20", "handler=", "parked_until=yesterday"] {
            assert_eq!(read(query).expect_err(query).code(), "malformed");
        }
        let id = MessageId(42);
        assert_eq!(mark_of(&format!("7.{id}")).expect("valid"), DeadMark(7, id));
        for bad in ["", "7", "7.x", "x.7", &id.to_string()] {
            assert_eq!(mark_of(bad).expect_err(bad).code(), "malformed");
        }
    }
}

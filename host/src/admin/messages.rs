//! Messages that wait, and timers: listing, showing, cancelling. What has ended is ingress's to tell.

use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::Admin;
use super::dead::message_id;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path};
use crate::ids::{self, EntityRef, MessageId};
use crate::partition::request::{Cancelled, MessageFilter, MessageMark, Stage};

impl Admin {
    /// `GET /admin/v1/messages?app&type&key&sender&stage&after&limit`, and `/timers` without sender and stage.
    pub(super) async fn messages(&self, parts: &Parts, timers: bool) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let filter = filter(&mut params, timers)?;
        let after = params.text("after")?.map(|mark| mark_of(&mark)).transpose()?;
        let limit = params.limit()?;
        params.finish(match timers {
            true => "a listing takes app, type, key, after and limit",
            false => "a listing takes app, type, key, sender, stage, after and limit",
        })?;
        let page = self.router.listed().messages(filter, after, limit).await?.into_inner();
        let next = page.next.map(|mark| match mark {
            MessageMark::Queued(seq) => format!("q.{seq}"),
            MessageMark::Scheduled(due_ms, seq) => format!("s.{due_ms}.{seq}"),
        });
        let name = if timers { "timers" } else { "messages" };
        edge::json(StatusCode::OK, &json!({name: page.messages, "next": next}))
    }

    /// `GET /admin/v1/messages/{id}`.
    pub(super) async fn message(&self, id: &str) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        match self.router.of_message(id).message_info(id).await?.into_inner() {
            Some(message) => edge::json(StatusCode::OK, &message),
            None => Err(unknown(id)),
        }
    }

    /// `DELETE /admin/v1/messages/{id}`.
    pub(super) async fn message_cancel(&self, id: &str) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        match self.router.of_message(id).take_away(id).await?.into_inner() {
            Cancelled::Yes => cancelled(&json!({"id": id.to_string()})),
            Cancelled::TooLate => Err(too_late(&id.to_string())),
            Cancelled::Unknown => Err(unknown(id)),
        }
    }

    /// `DELETE /admin/v1/timers/{app}/{type}/{key}?name=NAME`.
    pub(super) async fn timer_cancel(
        &self,
        parts: &Parts,
        entity: EntityRef,
    ) -> Result<Reply, Problem> {
        let mut params = Params::new(parts.uri.query())?;
        let name = params.text("name")?.ok_or_else(|| Problem::malformed("name: is missing"))?;
        ids::check_name("timer", &name)?;
        params.finish("a cancel takes name")?;
        let partition = self.router.of_entity(&entity);
        let name = name.into_owned();
        match partition.cancel_timer(entity.clone(), name.clone()).await?.into_inner() {
            Cancelled::Yes => cancelled(&json!({"entity": entity.to_string(), "timer": name})),
            Cancelled::TooLate => Err(too_late(&name)),
            Cancelled::Unknown => {
                let detail = format!("{entity} has no timer {name:?}");
                Err(Problem::not_found("unknown_timer", detail))
            }
        }
    }
}

/// The entity that three segments of a path name.
pub(super) fn entity_of([app, kind, key]: [&str; 3]) -> Result<EntityRef, Problem> {
    let (app, kind) = (path::segment("app", app)?, path::segment("type", kind)?);
    Ok(EntityRef::new(&app, &kind, &path::segment("key", key)?)?)
}

fn filter(params: &mut Params<'_>, timers: bool) -> Result<MessageFilter, Problem> {
    let text = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
    let app = text(params.text("app")?);
    let kind = text(params.text("type")?);
    let key = text(params.text("key")?);
    app.as_deref().map_or(Ok(()), |app| ids::check_name("app", app))?;
    kind.as_deref().map_or(Ok(()), |kind| ids::check_name("type", kind))?;
    let sender = if timers { None } else { params.text("sender")? };
    let sender = sender.map(|sender| entity_named(&sender)).transpose()?;
    let stage = if timers { None } else { params.text("stage")? };
    let stage = stage.map(|stage| match &*stage {
        "queued" => Ok(Stage::Queued),
        "running" => Ok(Stage::Running),
        "backing_off" => Ok(Stage::BackingOff),
        "scheduled" => Ok(Stage::Scheduled),
        _ => Err(Problem::malformed(format!(
            "stage: {stage:?} is not queued, running, backing_off or scheduled"
        ))),
    });
    Ok(MessageFilter { app, kind, key, sender, stage: stage.transpose()?, timers })
}

/// An entity as answers write it.
fn entity_named(text: &str) -> Result<EntityRef, Problem> {
    let mut parts = text.splitn(3, '/');
    let (app, kind, key) = (parts.next(), parts.next(), parts.next());
    let named = app.zip(kind).zip(key);
    let ((app, kind), key) =
        named.ok_or_else(|| Problem::malformed(format!("sender: {text:?} is not app/type/key")))?;
    Ok(EntityRef::new(app, kind, key)?)
}

fn mark_of(text: &str) -> Result<MessageMark, Problem> {
    let parts: Vec<&str> = text.split('.').collect();
    let mark = match parts.as_slice() {
        ["q", seq] => seq.parse().ok().map(MessageMark::Queued),
        ["s", due_ms, seq] => {
            let place = due_ms.parse().ok().zip(seq.parse().ok());
            place.map(|(due_ms, seq)| MessageMark::Scheduled(due_ms, seq))
        }
        _ => None,
    };
    mark.ok_or_else(|| Problem::malformed(format!("after: {text:?} is no `next` of a page")))
}

fn cancelled(what: &serde_json::Value) -> Result<Reply, Problem> {
    let mut shown = what.clone();
    shown["status"] = json!("cancelled");
    edge::json(StatusCode::OK, &shown)
}

fn too_late(what: &str) -> Problem {
    let detail = format!("{what} runs or has run; it can no longer be cancelled");
    Problem::new(StatusCode::CONFLICT, "too_late", detail)
}

fn unknown(id: MessageId) -> Problem {
    let detail = format!("{id} does not wait here; ingress knows what came of it, if anybody does");
    Problem::not_found("unknown_message", detail).id(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_marks_are_checked() {
        let read = |query, timers| filter(&mut Params::new(Some(query)).expect("splits"), timers);
        let asked = read("app=a&key=k%2Fk&stage=backing_off", false).expect("valid");
        assert_eq!((asked.stage, asked.key.as_deref()), (Some(Stage::BackingOff), Some("k/k")));
        let asked = read("sender=a/t/k%2Fk", false).expect("valid");
        assert_eq!(asked.sender, EntityRef::new("a", "t", "k/k").ok());
        for query in ["app=1", "type=%20", "stage=done", "sender=a/t", "sender=1/t/k"] {
            assert_eq!(read(query, false).expect_err(query).code(), "malformed");
        }
        assert!(read("stage=queued", true).expect("left to finish").stage.is_none());
        assert_eq!(mark_of("q.7").expect("valid"), MessageMark::Queued(7));
        assert_eq!(mark_of("s.1.2").expect("valid"), MessageMark::Scheduled(1, 2));
        for bad in ["", "7", "q.", "q.1.2", "s.1", "s.x.2"] {
            assert_eq!(mark_of(bad).expect_err(bad).code(), "malformed");
        }
    }

    #[test]
    fn entities_are_three_segments() {
        let entity = entity_of(["a", "t", "k%2Fk"]).expect("valid");
        assert_eq!(entity.key(), "k/k");
        assert_eq!(entity_of(["a", "1", "k"]).expect_err("a type").code(), "malformed");
    }
}

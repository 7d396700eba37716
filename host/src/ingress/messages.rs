//! Where a message is, and cancelling it. A finished one answers as its call would have; a parked
//! one is a problem with the dead letter in it.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::{Ingress, answer};
use crate::access::Caller;
use crate::edge::query::Params;
use crate::edge::{self, Problem, Reply, path, time};
use crate::ids::MessageId;
use crate::limits;
use crate::partition::request::{Cancelled, MessageStatus, Sees};

impl Ingress {
    /// `GET /v1/messages/{id}?wait=30s`.
    pub(super) async fn message(
        &self,
        parts: &Parts,
        id: &str,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        let wait = wait(parts.uri.query())?;
        let sees = sees(caller);
        let mut closing = self.closing.clone();
        let status = tokio::select! {
            biased;
            status = self.router.message(id, wait, &sees) => status,
            // A long wait would only hold the shutdown up: say how it stands.
            () = closing.begun(), if !wait.is_zero() => {
                self.router.message(id, Duration::ZERO, &sees).await
            }
        };
        status_reply(id, status?.into_inner())
    }

    /// `DELETE /v1/messages/{id}`.
    pub(super) async fn cancel(
        &self,
        parts: &Parts,
        id: &str,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let id = message_id(id)?;
        Params::new(parts.uri.query())?.finish("cancelling takes none")?;
        cancelled_reply(id, self.router.cancel(id, sees(caller)).await?.into_inner())
    }
}

/// Whose messages a caller may know of: to others there is no difference between one that is not theirs and one that
/// never was.
fn sees(caller: &Caller) -> Sees {
    match caller.apps() {
        None => Sees::All,
        Some(apps) => Sees::Apps(apps.clone()),
    }
}

fn message_id(raw: &str) -> Result<MessageId, Problem> {
    Ok(path::segment("message id", raw)?.parse()?)
}

fn wait(query: Option<&str>) -> Result<Duration, Problem> {
    let mut params = Params::new(query)?;
    let wait = params.text("wait")?;
    params.finish("a status takes wait")?;
    wait.map_or(Ok(Duration::ZERO), |wait| time::duration("wait", &wait, limits::STATUS_WAIT_MAX))
}

fn status_reply(id: MessageId, status: MessageStatus) -> Result<Reply, Problem> {
    match status {
        MessageStatus::Done(done) => Ok(answer::reply(done, None)),
        MessageStatus::Pending(stage) => {
            let body = json!({"id": id.to_string(), "status": "pending", "stage": stage});
            let mut reply = edge::json(StatusCode::ACCEPTED, &body)?;
            answer::mark(&mut reply, id, None);
            Ok(reply)
        }
        MessageStatus::Dead(dead) => {
            let detail = format!(
                "the message is parked as a dead letter after {} attempts: {}",
                dead.attempts, dead.reason
            );
            let parked = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "parked", detail);
            Err(parked.source(edge::Source::Handler).id(id).dead_letter(dead))
        }
        MessageStatus::Unknown => Err(unknown(id)),
    }
}

fn cancelled_reply(id: MessageId, cancelled: Cancelled) -> Result<Reply, Problem> {
    match cancelled {
        Cancelled::Yes => {
            let body = json!({"id": id.to_string(), "status": "cancelled"});
            let mut reply = edge::json(StatusCode::OK, &body)?;
            answer::mark(&mut reply, id, None);
            Ok(reply)
        }
        Cancelled::TooLate => {
            let detail = "the message runs or has run; it can no longer be cancelled";
            Err(Problem::new(StatusCode::CONFLICT, "too_late", detail).id(id))
        }
        Cancelled::Unknown => Err(unknown(id)),
    }
}

fn unknown(id: MessageId) -> Problem {
    let detail = format!("nothing is known of {id}; outcomes are kept for a limited time");
    Problem::not_found("unknown_message", detail).id(id)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;
    use crate::partition::request::{Answer, CallResult, DeadLetterInfo, Stage};

    const ID: MessageId = MessageId(42);

    async fn shown(reply: Result<Reply, Problem>) -> (u16, Value) {
        let reply = reply.unwrap_or_else(Problem::into_reply);
        assert_eq!(reply.headers()["keystead-id"], ID.to_string());
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.expect("full").to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn every_status_has_its_answer() {
        let id = ID.to_string();
        let result = CallResult::Reply(Bytes::from_static(b"37"));
        let done = Answer { id: ID, result, version: 1, replayed: false, expires_ms: None };
        let done = shown(status_reply(ID, MessageStatus::Done(done))).await;
        assert_eq!(done, (200, json!(37)));
        let pending = shown(status_reply(ID, MessageStatus::Pending(Stage::BackingOff))).await;
        let expected = json!({"id": id, "status": "pending", "stage": "backing_off"});
        assert_eq!(pending, (202, expected));
        let (status, document) = shown(status_reply(ID, MessageStatus::Unknown)).await;
        assert_eq!((status, &document["code"]), (404, &json!("unknown_message")));
    }

    #[tokio::test]
    async fn a_parked_message_shows_its_dead_letter_whole() {
        let dead = DeadLetterInfo {
            id: ID.to_string(),
            entity: "bank/account/bob".into(),
            handler: "deposit".into(),
            sender: None,
            input: json!({"amount": 5}),
            reason: "panicked: oops".into(),
            attempts: 10,
            parked_at_ms: 1,
            answered: false,
        };
        let (status, document) = shown(status_reply(ID, MessageStatus::Dead(dead))).await;
        assert_eq!((status, &document["code"]), (500, &json!("parked")));
        assert_eq!(document["dead_letter"]["input"], json!({"amount": 5}));
        assert_eq!(document["dead_letter"]["attempts"], 10);
    }

    #[tokio::test]
    async fn cancelling_says_whether_it_was_in_time() {
        let (status, document) = shown(cancelled_reply(ID, Cancelled::Yes)).await;
        assert_eq!((status, &document["status"]), (200, &json!("cancelled")));
        let (status, document) = shown(cancelled_reply(ID, Cancelled::TooLate)).await;
        assert_eq!((status, &document["code"]), (409, &json!("too_late")));
        let (status, _) = shown(cancelled_reply(ID, Cancelled::Unknown)).await;
        assert_eq!(status, 404);
    }

    #[test]
    fn ids_and_waits_are_checked() {
        assert_eq!(message_id(&ID.to_string()).expect("valid"), ID);
        for raw in ["", "msg_1", "a/b", "%ff"] {
            assert_eq!(message_id(raw).expect_err(raw).code(), "malformed");
        }
        assert_eq!(wait(Some("wait=30s")).expect("valid"), Duration::from_secs(30));
        assert_eq!(wait(None).expect("valid"), Duration::ZERO);
        for query in ["wait=61s", "wait=-1s", "wait=soon", "weight=1s"] {
            assert_eq!(wait(Some(query)).expect_err(query).code(), "malformed");
        }
    }
}

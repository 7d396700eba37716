//! Which errors each route answers with: their statuses, stable codes and what helps, as responses that all
//! operations of a route share. What a handler says itself is open text and is shown as such.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Route;
use super::Route::{Call, Callback, Cancel, Message, ReadGet, ReadPost, Send};

/// An error that a route may answer with.
pub(super) struct Row {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) on: &'static [Route],
    pub(super) said: Said,
    pub(super) detail: &'static str,
}

/// Who says it, and whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) source: &'static str,
    pub(super) retryable: bool,
}

const HOST: Said = Said { source: "ingress", retryable: false };
const HOST_BUSY: Said = Said { source: "ingress", retryable: true };
const GUEST: Said = Said { source: "handler", retryable: false };
const GUEST_FAILED: Said = Said { source: "handler", retryable: true };

const ALL: &[Route] = &[Call, Send, ReadGet, ReadPost, Message, Cancel, Callback];
/// Routes that ask for a token, on a host that has one.
const GUARDED: &[Route] = &[Call, Send, ReadGet, ReadPost, Message, Cancel];
/// Routes that name a handler.
const HANDLER: &[Route] = &[Call, Send, ReadGet, ReadPost];
/// Routes with an input, and the one that tells what became of it.
const INPUT: &[Route] = &[Call, Send, ReadGet, ReadPost, Message, Callback];
/// Routes that name a handler now or have done.
const ANSWERED: &[Route] = &[Call, Send, ReadGet, ReadPost, Message];
/// Routes with a body.
const BODY: &[Route] = &[Call, Send, ReadPost, Callback];
/// Routes that answer as the handler ended.
const OUTCOME: &[Route] = &[Call, ReadGet, ReadPost, Message];
/// Routes that put a message into a mailbox.
const MAILBOX: &[Route] = &[Call, Send];
/// Routes that a pause refuses: calls, and queries that would migrate.
const PAUSED: &[Route] = &[Call, ReadGet, ReadPost];
/// Routes that are about a message.
const MESSAGE: &[Route] = &[Message, Cancel];

/// All of them, by status; the last column is what such an error says, for example.
#[rustfmt::skip]
pub(super) const ROWS: [Row; 35] = [
    row(400, "malformed", ALL, HOST, "delay and at exclude each other; give one of them"),
    row(400, "invalid_input", INPUT, HOST, "amount: is missing"),
    row(400, "wrong_kind", HANDLER, HOST, "balance is a query; GET or POST /v1/read/bank/account/{key}/balance"),
    row(401, "unauthenticated", GUARDED, HOST, "this host asks for a token: Authorization: Bearer ks_…"),
    row(403, "forbidden", GUARDED, HOST, "this needs the role invoke; the token has read"),
    row(403, "cross_origin", ALL, HOST, "this host answers no request that a web page of another origin sends"),
    row(404, "unknown_app", HANDLER, HOST, "there is no app \"bnak\"; deployed: bank"),
    row(404, "unknown_type", HANDLER, HOST, "app \"bank\" has no entity type \"acount\"; it has: account"),
    row(404, "unknown_handler", ANSWERED, HOST, "bank/account has no handler \"depsoit\"; it has: balance, deposit"),
    row(404, "unknown_message", MESSAGE, HOST, "nothing is known of it; outcomes are kept for a limited time"),
    row(404, "unknown_callback", &[Callback], HOST, "no callback waits for this token: it expired or never was"),
    row(408, "body_timeout", BODY, HOST_BUSY, "the body did not arrive within 30000 ms"),
    row(409, "too_late", &[Cancel], HOST, "the message runs or has run; it can no longer be cancelled"),
    row(409, "callback_settled", &[Callback], HOST, "this callback was settled before, with another verdict or body"),
    row(409, "entity_removed", &[Call], HOST, "this entity is being removed; nothing of this command happened"),
    row(413, "too_large", BODY, HOST, "the body is larger than 1048576 bytes, the most this route takes"),
    row(415, "unsupported_media_type", BODY, HOST, "the content encoding \"gzip\" is not taken; send it plain"),
    row(422, "idempotency_mismatch", MAILBOX, HOST, "this Idempotency-Key was used before with another handler or body"),
    row(422, "rejected", OUTCOME, GUEST, "only 4 left"),
    row(429, "mailbox_full", MAILBOX, HOST_BUSY, "9 commands wait at this entity, the most it may have; try again later"),
    row(429, "over_quota", HANDLER, HOST_BUSY, "the app is over its quota of 100 requests a second; try again later"),
    row(431, "too_many_headers", ALL, HOST, "the request has more than 64 header lines"),
    row(500, "error", OUTCOME, GUEST_FAILED, "invalid digit found in string"),
    row(500, "handler_panicked", OUTCOME, GUEST_FAILED, "panicked: attempt to divide by zero"),
    row(500, "handler_trapped", OUTCOME, GUEST_FAILED, "needs more memory than its limit of 67108864 bytes"),
    row(500, "parked", &[Call, Message], GUEST, "the message is parked as a dead letter after 10 attempts"),
    row(500, "cancelled", &[Call], GUEST, "it was cancelled; use another Idempotency-Key"),
    row(500, "removed", &[Call], GUEST, "the entity was removed; use another Idempotency-Key"),
    row(500, "internal", ALL, HOST_BUSY, "the host failed at this request"),
    row(503, "paused", PAUSED, HOST_BUSY, "this entity is paused; its commands wait until somebody resumes it"),
    row(503, "overloaded", ALL, HOST_BUSY, "the host is over its limit of waiting requests; try again later"),
    row(503, "unavailable", ALL, HOST_BUSY, "this entity's partition is not available: the host is shutting down"),
    row(503, "too_many_connections", ALL, HOST_BUSY, "the host has as many open connections as it may; try again later"),
    row(504, "deadline_exceeded", OUTCOME, GUEST_FAILED, "ran longer than its deadline of 5000 ms"),
    row(504, "result_timeout", &[Call], HOST_BUSY, "no result within 30000 ms; it may still take effect: ask for msg_…"),
];

/// References to a route's errors, by status.
pub(super) fn responses(route: Route) -> Map<String, Value> {
    let reference = |status: u16| {
        let place = format!("#/components/responses/{}", component(route, status));
        (status.to_string(), json!({"$ref": place}))
    };
    statuses(route).into_iter().map(reference).collect()
}

/// The responses that [`responses`] refers to.
pub(super) fn components() -> Map<String, Value> {
    let mut all = Map::new();
    for &route in ALL {
        for status in statuses(route) {
            all.insert(component(route, status), response(route, status));
        }
    }
    all
}

/// RFC 9457's document with the members that are ours.
pub(super) fn schema() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "source", "retryable"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": text("The code in words."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text("What is wrong, for people."),
            "code": text("What is wrong, for programs; stable. Handlers may use codes of their own."),
            "source": {"type": "string", "enum": ["ingress", "handler"],
                "description": "Who says no: the host, or the handler."},
            "retryable": {"type": "boolean",
                "description": "Whether the same request may succeed later."},
            "id": text("The message's id."),
            "details": {"description": "What the handler adds for programs."},
            "dead_letter": {"type": "object", "description": "The parked message."},
        },
    })
}

fn statuses(route: Route) -> BTreeSet<u16> {
    ROWS.iter().filter(|row| row.on.contains(&route)).map(|row| row.status).collect()
}

fn component(route: Route, status: u16) -> String {
    format!("{}.{status}", route.name())
}

fn response(route: Route, status: u16) -> Value {
    let rows: Vec<_> =
        ROWS.iter().filter(|row| row.status == status && row.on.contains(&route)).collect();
    let codes: Vec<_> = rows.iter().map(|row| row.code).collect();
    let is_open = rows.iter().any(|row| OPEN.contains(&row.code));
    let code = if is_open {
        json!({"type": "string", "examples": codes})
    } else {
        json!({"type": "string", "enum": codes})
    };
    let examples: Map<String, Value> =
        rows.iter().map(|row| (row.code.to_owned(), json!({"value": instance(row)}))).collect();
    let mut headers = json!({"Keystead-Id": {"$ref": "#/components/headers/Keystead-Id"}});
    if matches!(status, 429 | 503) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    let own = if is_open { ", or the handler's own code" } else { "" };
    json!({
        "description": format!("{}{own}", codes.join(", ")),
        "headers": headers,
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"status": {"const": status}, "code": code},
            },
            "examples": examples,
        }},
    })
}

/// Codes in whose place a handler may put one of its own.
const OPEN: [&str; 2] = ["rejected", "error"];

fn instance(row: &Row) -> Value {
    let Row { status, code, said, detail, .. } = row;
    let mut title = code.replace('_', " ");
    title[..1].make_ascii_uppercase();
    json!({
        "type": format!("urn:keystead:error:{code}"), "title": title, "status": status,
        "detail": detail, "code": code, "source": said.source, "retryable": said.retryable,
    })
}

const fn row(
    status: u16,
    code: &'static str,
    on: &'static [Route],
    said: Said,
    detail: &'static str,
) -> Row {
    Row { status, code, on, said, detail }
}

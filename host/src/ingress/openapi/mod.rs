//! `GET /v1/openapi/{app}`: what the live version of an app offers, as OpenAPI 3.1, made from its describe
//! document. It describes ingress alone and asks no entity. Invariant: the same version gives the same bytes,
//! so its `ETag` names them.

mod example;
mod operations;
mod problems;
mod schema;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Ingress;
use super::answer::has_version;
use crate::access::Caller;
use crate::edge::query::Params;
use crate::edge::{self, JSON, Problem, Reply, path};
use crate::limits;
use crate::registry::Contract;

impl Ingress {
    /// `GET /v1/openapi/{app}`.
    pub(super) fn openapi(
        &self,
        parts: &Parts,
        app: &str,
        caller: &Caller,
    ) -> Result<Reply, Problem> {
        let name = path::segment("app", app)?;
        Params::new(parts.uri.query())?.finish("it takes none")?;
        let app = self.app(&name, caller)?;
        let document = document(&name, &app.version.to_string(), &app.contract);
        let body = serde_json::to_vec(&document)
            .map_err(|error| Problem::internal(format!("the document is not JSON: {error}")))?;
        let etag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..ETAG_DIGITS]);
        let mut reply = if has_version(&parts.headers, &etag) {
            let mut unchanged = Response::default();
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            edge::reply(StatusCode::OK, JSON, Bytes::from(body))
        };
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(etag) = HeaderValue::try_from(etag) {
            headers.insert(ETAG, etag);
        }
        Ok(reply)
    }
}

/// The OpenAPI document of `app`, whose live version `version` has this contract.
pub(super) fn document(app: &str, version: &str, contract: &Contract) -> Value {
    let mut schemas = own_schemas();
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for (kind, entity) in &contract.entities {
        let told = described(contract, kind);
        let mut tag = json!({"name": kind});
        if let Some(about) = about(told) {
            tag["description"] = about.into();
        }
        tags.push(tag);
        for (name, handler) in &entity.handlers {
            let handlers = told["handlers"].as_array().into_iter().flatten();
            let about = handlers.into_iter().find(|one| one["name"] == **name).and_then(about);
            let items = operations::paths(app, kind, handler, Told { about });
            if !items.is_empty() {
                schemas.extend(operations::schemas(app, kind, handler));
                paths.extend(items);
            }
        }
    }
    tags.push(json!({"name": MESSAGES, "description": "What became of calls and sends."}));
    tags.push(
        json!({"name": CALLBACKS, "description": "What entities wait to hear from outside."}),
    );
    paths.insert("/v1/messages/{id}".into(), messages());
    for (verb, body) in [("resolve", resolution()), ("reject", rejection())] {
        paths.insert(format!("/v1/callbacks/{{token}}/{verb}"), callback(verb, &body));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": app, "version": version, "description": ABOUT},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        // A host without tokens asks for none.
        "security": [{}, {"token": []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters(),
            "headers": all_headers(),
            "responses": responses(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer",
                "description": "One that the host made: `keystead token create`."}},
        },
    })
}

/// What an author says about a handler.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    about: Option<&'a str>,
}

/// The routes that differ in their parameters and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Call,
    Send,
    ReadGet,
    ReadPost,
    Message,
    Cancel,
    Callback,
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Send => "send",
            Self::ReadGet => "read",
            Self::ReadPost => "read-post",
            Self::Message => "message",
            Self::Cancel => "cancel",
            Self::Callback => "callback",
        }
    }
}

const ETAG_DIGITS: usize = 32;
/// No entity type is called so, nor as the next: a name has no space.
const MESSAGES: &str = "sent messages";
const CALLBACKS: &str = "handed out callbacks";
const ABOUT: &str = "Commands change one entity in one durable transaction: `call` waits for the result, \
    `send` queues. Queries `read` it. An entity is its type and a key.";

/// The type's part of the describe document.
fn described<'a>(contract: &'a Contract, kind: &str) -> &'a Value {
    let types = contract.document["entities"].as_array();
    types.and_then(|types| types.iter().find(|one| one["type"] == *kind)).unwrap_or(&Value::Null)
}

fn about(told: &Value) -> Option<&str> {
    told.get("about").and_then(Value::as_str).map(str::trim).filter(|about| !about.is_empty())
}

fn messages() -> Value {
    let status = |word: &str| json!({"type": "string", "const": word});
    let mut outcome = problems::responses(Route::Message);
    outcome.insert(
        "200".into(),
        json!({
            "description": "It is done: what its handler returned.",
            "headers": headers(&["Keystead-Id", "Idempotency-Expires"]),
            "content": {"application/json": {}, "application/octet-stream": {}},
        }),
    );
    outcome.insert(
        "202".into(),
        json!({
            "description": "It is not done.",
            "headers": headers(&["Keystead-Id"]),
            "content": {"application/json": {"schema": {
                "type": "object", "required": ["id", "status", "stage"],
                "properties": {"id": {"$ref": MESSAGE_ID}, "status": status("pending"),
                    "stage": {"type": "string"}},
            }}},
        }),
    );
    let mut cancelled = problems::responses(Route::Cancel);
    cancelled.insert(
        "200".into(),
        json!({
            "description": "It will not run.",
            "headers": headers(&["Keystead-Id"]),
            "content": {"application/json": {"schema": {
                "type": "object", "required": ["id", "status"],
                "properties": {"id": {"$ref": MESSAGE_ID}, "status": status("cancelled")},
            }}},
        }),
    );
    json!({
        "parameters": [{"name": "id", "in": "path", "required": true,
            "description": "The message's id, from the header `Keystead-Id`.",
            "schema": {"$ref": MESSAGE_ID}}],
        "get": {
            "operationId": "messages.get", "tags": [MESSAGES], "summary": "What became of a message",
            "description": "Answers as its call would have, or how far it is.",
            "parameters": [{"$ref": "#/components/parameters/wait"}], "responses": outcome,
        },
        "delete": {
            "operationId": "messages.cancel", "tags": [MESSAGES],
            "summary": "Cancel a message that has not started", "responses": cancelled,
        },
    })
}

/// What a callback is resolved with.
fn resolution() -> Value {
    json!({"required": false, "description": "The value; nothing stands for null.",
        "content": {"application/json": {"schema": {}, "example": {"approved": true}}}})
}

/// Why it is rejected.
fn rejection() -> Value {
    let schema = json!({
        "type": "object", "required": ["message"], "additionalProperties": false,
        "properties": {
            "code": {"type": "string", "pattern": "^[a-z0-9_]{1,64}$", "default": "rejected"},
            "message": {"type": "string", "maxLength": limits::REPLY_MESSAGE_BYTES_MAX},
            "details": {},
        },
    });
    let example = json!({"code": "declined", "message": "not this month"});
    json!({"required": true, "content": {"application/json": {"schema": schema, "example": example}}})
}

fn callback(verb: &str, body: &Value) -> Value {
    let mut responses = problems::responses(Route::Callback);
    responses.insert("202".into(), json!({"$ref": "#/components/responses/settled"}));
    json!({
        "parameters": [{"name": "token", "in": "path", "required": true,
            "description": "What the entity's handler handed out.", "schema": {"type": "string"}}],
        "post": {
            "operationId": format!("callbacks.{verb}"), "tags": [CALLBACKS],
            "summary": format!("{} a callback", if verb == "resolve" { "Resolve" } else { "Reject" }),
            "description": "Once: the same verdict and body again are known, others are refused.",
            "security": [{}], "requestBody": body, "responses": responses,
        },
    })
}

const MESSAGE_ID: &str = "#/components/schemas/MessageId";

fn own_schemas() -> Map<String, Value> {
    let id = json!({"type": "string", "pattern": "^msg_[0-9a-f]{32}$",
        "examples": ["msg_0000000000000000000000000000002a"]});
    let accepted = json!({
        "type": "object", "required": ["id", "status"],
        "properties": {"id": {"$ref": MESSAGE_ID},
            "status": {"type": "string", "enum": ["accepted", "previously_accepted"]}},
    });
    let all = [("MessageId", id), ("Accepted", accepted), ("Problem", problems::schema())];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn parameters() -> Value {
    let parameter = |name: &str, place: &str, about: &str, schema: Value| {
        json!({"name": name, "in": place, "required": place == "path", "description": about,
            "schema": schema})
    };
    let text = |example: &str| json!({"type": "string", "examples": [example]});
    let key = json!({"type": "string", "minLength": 1, "maxLength": limits::KEY_BYTES_MAX,
        "examples": ["alice"]});
    let idempotency = json!({"type": "string", "minLength": 1,
        "maxLength": limits::IDEMPOTENCY_KEY_BYTES_MAX, "pattern": "^[ -~]+$"});
    json!({
        "key": parameter("key", "path", "The entity's key: any UTF-8 text of at most 512 bytes, \
            a `/` in it written `%2F`.", key),
        "delay": parameter("delay", "query", "Deliver it this much later: `10s`, `1h 30m`, `PT10S`. \
            Not together with `at`.", text("10s")),
        "at": parameter("at", "query", "Deliver it then (RFC 3339); a time in the past is now.",
            json!({"type": "string", "format": "date-time"})),
        "wait": parameter("wait", "query", "Wait this long for it to end, at most 60 s.", text("30s")),
        "idempotency-key": parameter("Idempotency-Key", "header", "The same key and the same request \
            give the first answer again; another request with it is refused.", idempotency),
        "if-none-match": parameter("If-None-Match", "header", "An `ETag` from before: 304 when the \
            entity has not changed since.", text("\"7\"")),
        "traceparent": parameter("traceparent", "header", "W3C trace context; carried through every \
            message that follows.", text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
    })
}

/// References to headers of answers.
fn headers(names: &[&str]) -> Value {
    let reference = |name: &&str| {
        let place = format!("#/components/headers/{name}");
        ((*name).to_owned(), json!({"$ref": place}))
    };
    Value::Object(names.iter().map(reference).collect())
}

fn all_headers() -> Value {
    let header = |about: &str, schema: Value| json!({"description": about, "schema": schema});
    let text = || json!({"type": "string"});
    json!({
        "Keystead-Id": header("The message's id.", json!({"$ref": MESSAGE_ID})),
        "Idempotency-Replayed": header("`true` when this is the first answer again.",
            json!({"type": "string", "const": "true"})),
        "Idempotency-Expires": header("Until when the key and the outcome are remembered.",
            json!({"type": "string", "format": "date-time"})),
        "ETag": header("The entity's version.", text()),
        "Location": header("Where to ask what became of it.", text()),
        "Retry-After": header("When to try again, in seconds.",
            json!({"type": "integer", "minimum": 0})),
    })
}

fn responses() -> Map<String, Value> {
    let mut all = problems::components();
    let accepted = json!({
        "description": "It is queued durably.",
        "headers": headers(&["Keystead-Id", "Location", "Idempotency-Replayed", "Idempotency-Expires"]),
        "content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Accepted"},
            "example": {"id": "msg_0000000000000000000000000000002a", "status": "accepted"},
        }},
        "links": {
            "outcome": {"operationId": "messages.get", "parameters": {"id": "$response.body#/id"}},
            "cancel": {"operationId": "messages.cancel", "parameters": {"id": "$response.body#/id"}},
        },
    });
    all.insert("accepted".into(), accepted);
    let settled = json!({
        "description": "The entity will hear it.",
        "headers": headers(&["Keystead-Id", "Idempotency-Replayed"]),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}},
    });
    all.insert("settled".into(), settled);
    let unchanged = json!({
        "description": "The entity has not changed since that `ETag`.",
        "headers": headers(&["Keystead-Id", "ETag"]),
    });
    all.insert("unchanged".into(), unchanged);
    all
}

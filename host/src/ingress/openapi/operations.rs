//! The operations of one handler: `call` and `send` of a command, `read` of a query, each with its
//! parameters, body and answers. Invariant: what is said here of a route is what `ingress` does.

use serde_json::{Value, json};

use super::Route::{self, Call, ReadGet, ReadPost, Send};
use super::{Told, example, problems, schema};
use crate::ingress::arguments::{Shape, follow};
use crate::registry::{Body, Handler, HandlerKind};

/// The paths of a handler with their items; none for one that nobody outside may call.
pub(super) fn paths(
    app: &str,
    kind: &str,
    handler: &Handler,
    told: Told<'_>,
) -> Vec<(String, Value)> {
    let it = Operations { app, kind, handler, told };
    let key = json!([{"$ref": "#/components/parameters/key"}]);
    let path = |verb: &str| format!("/v1/{verb}/{app}/{kind}/{{key}}/{}", handler.name);
    if handler.kind == HandlerKind::Command {
        let (call, send) = (it.operation(Call), it.operation(Send));
        return vec![
            (path("call"), json!({"parameters": key, "post": call})),
            (path("send"), json!({"parameters": key, "post": send})),
        ];
    }
    if handler.kind == HandlerKind::Query {
        let (get, post) = (it.operation(ReadGet), it.operation(ReadPost));
        return vec![(path("read"), json!({"parameters": key, "get": get, "post": post}))];
    }
    Vec::new()
}

/// The schemas of a handler's input and output, with the names of their components.
pub(super) fn schemas(app: &str, kind: &str, handler: &Handler) -> Vec<(String, Value)> {
    let both = [("input", &handler.input), ("output", &handler.output)];
    let embedded = both.into_iter().filter_map(|(which, body)| match body {
        Body::Json(schema) => {
            let name = component(kind, handler, which);
            Some((name.clone(), schema::embed(schema, app, &name)))
        }
        Body::Bytes(_) => None,
    });
    embedded.collect()
}

fn component(kind: &str, handler: &Handler, which: &str) -> String {
    // Names hold no dot, so no two handlers meet, and none meets a component of our own.
    format!("{kind}.{}.{which}", handler.name)
}

struct Operations<'a> {
    app: &'a str,
    kind: &'a str,
    handler: &'a Handler,
    told: Told<'a>,
}

impl Operations<'_> {
    fn operation(&self, route: Route) -> Value {
        let name = &self.handler.name;
        let (verb, text, how) = match route {
            Call => ("call", format!("Call {name}"), CALL),
            Send => ("send", format!("Send {name}"), SEND),
            _ => ("read", format!("Read {name}"), READ),
        };
        let post = if route == ReadPost { ".post" } else { "" };
        let mut operation = json!({
            "operationId": format!("{verb}.{}.{name}{post}", self.kind),
            "tags": [self.kind],
            "summary": self.told.about.map_or(text, first_sentence),
            "description": self.told.about.map_or(how.to_owned(), |about| format!("{about}\n\n{how}")),
            "parameters": self.parameters(route),
            "responses": self.responses(route),
        });
        if route != ReadGet {
            operation["requestBody"] = self.body();
        }
        operation
    }

    fn parameters(&self, route: Route) -> Vec<Value> {
        let shared: &[&str] = match route {
            Call => &["idempotency-key", "traceparent"],
            Send => &["delay", "at", "idempotency-key", "traceparent"],
            _ => &["if-none-match", "traceparent"],
        };
        let shared = shared.iter().map(|name| {
            let place = format!("#/components/parameters/{name}");
            json!({"$ref": place})
        });
        let own = if route == ReadGet { self.arguments() } else { Vec::new() };
        own.into_iter().chain(shared).collect()
    }

    /// The handler's arguments as query parameters.
    fn arguments(&self) -> Vec<Value> {
        let Body::Json(schema) = &self.handler.input else { return Vec::new() };
        let component = component(self.kind, self.handler, "input");
        let object = follow(schema, schema);
        let required = object.get("required").and_then(Value::as_array);
        let required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        let properties = object.get("properties").and_then(Value::as_object);
        let home = schema::Home::of(schema, self.app, &component);
        let parameter = |(name, property): (&String, &Value)| {
            let shown = home.property(name, property);
            parameter(name, schema, property, shown, required(name))
        };
        properties.into_iter().flatten().map(parameter).collect()
    }

    fn body(&self) -> Value {
        let (content, required) = match &self.handler.input {
            Body::Json(schema) => {
                let example = example::of(schema).filter(|example| self.fits(example));
                // No body at all stands for no arguments.
                (self.json_content("input", example), !self.fits(&json!({})))
            }
            Body::Bytes(content_type) => (bytes_content(content_type), false),
        };
        json!({"required": required, "content": content})
    }

    fn fits(&self, input: &Value) -> bool {
        self.handler.check_input(input.to_string().as_bytes()).is_ok()
    }

    fn json_content(&self, which: &str, example: Option<Value>) -> Value {
        let place = schema::pointer(&component(self.kind, self.handler, which));
        let mut media = json!({"schema": {"$ref": place}});
        if let Some(example) = example {
            media["example"] = example;
        }
        json!({"application/json": media})
    }

    fn responses(&self, route: Route) -> Value {
        let mut responses = problems::responses(route);
        if route == Send {
            responses.insert("202".into(), json!({"$ref": "#/components/responses/accepted"}));
            return Value::Object(responses);
        }
        let content = match &self.handler.output {
            Body::Json(schema) => self.json_content("output", example::of(schema)),
            Body::Bytes(content_type) => bytes_content(content_type),
        };
        let headers: &[&str] = match route {
            Call => &["Keystead-Id", "Idempotency-Replayed", "Idempotency-Expires"],
            _ => &["Keystead-Id", "ETag"],
        };
        let answer = json!({
            "description": "What the handler returned.",
            "headers": super::headers(headers),
            "content": content,
        });
        responses.insert("200".into(), answer);
        if route != Call {
            responses.insert("304".into(), json!({"$ref": "#/components/responses/unchanged"}));
        }
        Value::Object(responses)
    }
}

const CALL: &str = "Runs the command and answers when its result is durable. It runs once: with an \
    `Idempotency-Key` it is safe to call again.";
const SEND: &str = "Queues the command durably and answers at once. The host tries it until it takes effect \
    or is parked as a dead letter; `GET /v1/messages/{id}` tells.";
const READ: &str = "Runs the query beside whatever else runs. It changes nothing.";

/// The first sentence of a text, on one line.
fn first_sentence(about: &str) -> String {
    let paragraph = about.trim().split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

/// Bytes of this type, or of any when that is no type.
fn bytes_content(content_type: &str) -> Value {
    let token = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b);
        !part.is_empty() && part.bytes().all(plain)
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_type = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    let is_text = content_type.bytes().all(|b| (b' '..=b'~').contains(&b));
    let key = if is_type && is_text { content_type } else { "*/*" };
    json!({key: {}})
}

/// One argument: as text where its text is its value, as JSON where it is not.
fn parameter(name: &str, root: &Value, property: &Value, shown: Value, required: bool) -> Value {
    let mut parameter = json!({"name": name, "in": "query", "required": required});
    if let Some(about) = property.get("description").and_then(Value::as_str) {
        parameter["description"] = about.into();
    }
    if is_plain(root, property) {
        parameter["schema"] = shown;
        if let Some(example) = example::of(property).filter(|example| !example.is_null()) {
            parameter["example"] = example;
        }
    } else {
        parameter["content"] = json!({"application/json": {"schema": shown}});
    }
    parameter
}

/// True when a value's text, or each item's, needs no JSON around it.
fn is_plain(root: &Value, property: &Value) -> bool {
    let is_list = |schema: &Value| {
        let is_array = schema.get("type").is_some_and(|kind| kind == "array");
        is_array && schema.get("items").is_some_and(|items| all_scalar(root, items, &|_| false, 0))
    };
    Shape::of(root, property).text || all_scalar(root, property, &is_list, 0)
}

/// True when a schema, whichever branch of it, accepts scalars only, or what `also` says is right.
fn all_scalar(root: &Value, schema: &Value, also: &dyn Fn(&Value) -> bool, depth: usize) -> bool {
    const DEPTH_MAX: usize = 8;
    const SCALARS: [&str; 5] = ["string", "integer", "number", "boolean", "null"];
    let schema = follow(root, schema);
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    let branches = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    if let Some(branches) = branches {
        let deeper = depth + 1;
        return depth < DEPTH_MAX
            && branches.iter().all(|branch| all_scalar(root, branch, also, deeper));
    }
    match (schema.get("type"), schema.get("enum"), schema.get("const")) {
        (Some(Value::String(kind)), ..) => SCALARS.contains(&kind.as_str()) || also(schema),
        (Some(Value::Array(kinds)), ..) => {
            kinds.iter().all(|kind| kind.as_str().is_some_and(|kind| SCALARS.contains(&kind)))
        }
        (None, Some(Value::Array(all)), _) => all.iter().all(is_scalar),
        (None, None, Some(value)) => is_scalar(value),
        _ => false,
    }
}

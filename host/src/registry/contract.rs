//! What a component says it offers, read from its `describe` document: entity types, handlers, schemas.
//! Invariant: a [`Contract`] has valid names, no duplicates and schemas that compile.

use std::collections::BTreeMap;

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weight::Weight;
use super::{Pace, State, breaks};
use crate::ids::check_name;
use crate::limits;

/// Whether a handler may write, and who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlerKind {
    /// Exclusive; may write and send.
    Command,
    /// Read-only; runs beside others.
    Query,
    /// A command that entities of the app, timers, continuations and the host call, and nobody outside.
    Internal,
}

impl HandlerKind {
    /// True when messages may call it: one transaction, exclusive, may write and send.
    #[must_use]
    pub fn takes_messages(self) -> bool {
        matches!(self, Self::Command | Self::Internal)
    }
}

/// What a handler takes or gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// JSON that fits this schema; inputs are objects whose members are the arguments by name.
    Json(Value),
    /// Bytes of any content type; the text is the content type that replies carry.
    Bytes(String),
}

/// One handler.
pub struct Handler {
    /// Its name.
    pub name: String,
    /// Command, query or internal.
    pub kind: HandlerKind,
    /// What it takes.
    pub input: Body,
    /// What it gives.
    pub output: Body,
    /// How long its calls take.
    pub pace: Pace,
    /// The input's schema, compiled; none for bytes.
    validator: Option<Validator>,
    weight: Weight,
}

impl Handler {
    /// Checks an input from outside or from another entity against the schema. An empty input stands
    /// for `{}`.
    ///
    /// # Errors
    /// One sentence that names the member and what would be right.
    pub fn check_input(&self, input: &[u8]) -> Result<(), String> {
        let Some(validator) = &self.validator else { return Ok(()) };
        let input = if input.is_empty() { b"{}" } else { input };
        let value =
            serde_json::from_slice(input).map_err(|e| format!("the input is not JSON: {e}"))?;
        if !self.weight.is_bearable_for(&value, input) {
            return Err(format!(
                "the input has more values than the schema of {} is for",
                self.name
            ));
        }
        // This remembers what it tried; finding the reason does not.
        if validator.is_valid(&value) {
            return Ok(());
        }
        if !self.weight.is_light_for(&value) {
            return Err(format!("the input does not fit the schema of {}", self.name));
        }
        match validator.validate(&value) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn explain(&self, error: &ValidationError<'_>) -> String {
        let path = member(error.instance_path().as_str());
        let at = |name: &str| if path.is_empty() { name.into() } else { format!("{path}.{name}") };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                format!("{}: is missing", at(property.as_str().unwrap_or_default()))
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let name = at(unexpected.first().map_or("", String::as_str));
                match (path.is_empty(), self.arguments()) {
                    (true, names) if names.is_empty() => {
                        format!("{}: is not an argument; {} takes none", cut(&name), self.name)
                    }
                    (true, names) => {
                        let names = names.join(", ");
                        format!("{}: is not an argument; {} takes {names}", cut(&name), self.name)
                    }
                    (false, _) => format!("{}: is not a member", cut(&name)),
                }
            }
            _ if path.is_empty() => format!("the input: {}", cut(&error.to_string())),
            _ => format!("{}: {}", cut(&path), cut(&error.to_string())),
        }
    }

    fn arguments(&self) -> Vec<&str> {
        let Body::Json(schema) = &self.input else { return Vec::new() };
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

/// One entity type and its handlers by name.
pub struct Entity {
    /// Its name.
    pub kind: String,
    /// Its handlers.
    pub handlers: BTreeMap<String, Handler>,
    /// The internal handler that brings an entity's state to this component's version.
    pub migrate: Option<String>,
    /// Its state.
    pub state: State,
}

/// All that a component offers.
pub struct Contract {
    /// Entity types by name.
    pub entities: BTreeMap<String, Entity>,
    /// The document as it came.
    pub document: Value,
}

/// What is wrong with a `describe` document.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the component's describe document is not right: {0}")]
pub struct ContractError(pub String);

impl Contract {
    /// Reads a `describe` document. Members it does not know are left to newer hosts.
    ///
    /// # Errors
    /// [`ContractError`] that names the entity, handler and member.
    pub fn parse(document: &[u8]) -> Result<Self, ContractError> {
        let wrong = |error: serde_json::Error| ContractError(error.to_string());
        let document: Value = serde_json::from_slice(document).map_err(wrong)?;
        let (count, max) = (patterns(&document), limits::PATTERNS_MAX);
        if count > max {
            let text = format!("its schemas have {count} patterns; at most {max} are accepted");
            return Err(ContractError(text));
        }
        let listed = RawDocument::deserialize(&document).map_err(wrong)?;
        if listed.entities.is_empty() {
            let text = "it lists no entity types; is there an #[entity] with #[handlers]?";
            return Err(ContractError(text.into()));
        }
        let count = listed.entities.iter().map(|entity| entity.handlers.len()).sum::<usize>();
        if count > limits::HANDLERS_MAX {
            let max = limits::HANDLERS_MAX;
            return Err(ContractError(format!(
                "it lists {count} handlers; at most {max} are accepted"
            )));
        }
        let mut entities = BTreeMap::new();
        for raw in listed.entities {
            let entity = entity(raw)?;
            let kind = entity.kind.clone();
            if entities.insert(kind.clone(), entity).is_some() {
                return Err(ContractError(format!("there are two entity types {kind:?}")));
            }
        }
        Ok(Self { entities, document })
    }

    /// The handler `handler` of type `kind`.
    #[must_use]
    pub fn handler(&self, kind: &str, handler: &str) -> Option<&Handler> {
        self.entities.get(kind)?.handlers.get(handler)
    }

    /// What callers of `old` could no longer do with this one: removed types and handlers, changed kinds,
    /// inputs and outputs. Empty when nothing.
    #[must_use]
    pub fn breaks(&self, old: &Contract) -> Vec<String> {
        breaks::between(old, self)
    }
}

#[derive(Deserialize)]
struct RawDocument {
    entities: Vec<RawEntity>,
}

#[derive(Deserialize)]
struct RawEntity {
    #[serde(rename = "type")]
    kind: String,
    handlers: Vec<Value>,
    migrate: Option<String>,
    #[serde(default)]
    state: State,
}

#[derive(Deserialize)]
struct RawHandler {
    name: String,
    kind: HandlerKind,
    input: Body,
    output: Body,
}

fn entity(mut raw: RawEntity) -> Result<Entity, ContractError> {
    check_name("type", &raw.kind).map_err(|error| ContractError(error.to_string()))?;
    let mut handlers = BTreeMap::new();
    for value in std::mem::take(&mut raw.handlers) {
        let called = value.get("name").and_then(Value::as_str).unwrap_or("without a name");
        let place = format!("entity type {}, handler {called}", raw.kind);
        let handler = handler(value).map_err(|text| ContractError(format!("{place}: {text}")))?;
        let name = handler.name.clone();
        if handlers.insert(name, handler).is_some() {
            return Err(ContractError(format!("{place}: there are two of them")));
        }
    }
    if let Some(name) = &raw.migrate
        && handlers.get(name).is_none_or(|handler| handler.kind != HandlerKind::Internal)
    {
        let text = format!("entity type {}: migrate: {name:?} is no internal handler", raw.kind);
        return Err(ContractError(text));
    }
    if let Some(problem) = raw.state.problem() {
        return Err(ContractError(format!("entity type {}: state: {problem}", raw.kind)));
    }
    let RawEntity { kind, migrate, state, .. } = raw;
    Ok(Entity { kind, handlers, migrate, state })
}

fn handler(value: Value) -> Result<Handler, String> {
    let raw: RawHandler = serde_json::from_value(value).map_err(|error| error.to_string())?;
    check_name("handler", &raw.name).map_err(|error| error.to_string())?;
    let (validator, weight) = compile(&raw.input).map_err(|text| format!("input: {text}"))?;
    compile(&raw.output).map_err(|text| format!("output: {text}"))?;
    let RawHandler { name, kind, input, output } = raw;
    Ok(Handler { name, kind, input, output, pace: Pace::default(), validator, weight })
}

/// References may point into the schema itself only, and patterns match in linear time: schemas come from
/// guests, inputs from anybody.
fn compile(body: &Body) -> Result<(Option<Validator>, Weight), String> {
    let Body::Json(schema) = body else { return Ok((None, Weight::default())) };
    let validator = jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(limits::PATTERN_BYTES_MAX))
        .build(schema)
        .map_err(|error| format!("the schema is not one: {}", cut(&error.to_string())))?;
    Ok((Some(validator), Weight::of(schema)?))
}

/// Patterns anywhere in a document: each one, compiled, takes up to a thousand times its text.
fn patterns(document: &Value) -> usize {
    match document {
        Value::Array(items) => items.iter().map(patterns).sum(),
        Value::Object(members) => {
            let of = |(name, member): (&String, &Value)| match (name.as_str(), member) {
                ("pattern", Value::String(_)) => 1,
                ("patternProperties", Value::Object(all)) => all.len() + patterns(member),
                _ => patterns(member),
            };
            members.iter().map(of).sum()
        }
        _ => 0,
    }
}

/// `/lines/0/amount` as people write it: `lines.0.amount`.
fn member(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~"));
    parts.collect::<Vec<_>>().join(".")
}

/// Messages quote the input, which may be large.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bank() -> Contract {
        let document = json!({"sdk": {"name": "keystead-sdk"}, "entities": [{"type": "account", "handlers": [
            {"name": "deposit", "kind": "command",
             "input": {"json": {"type": "object", "additionalProperties": false, "required": ["amount"],
                "properties": {"amount": {"type": "integer", "minimum": 0}, "note": {"type": "string"},
                    "by": {"type": "object", "required": ["name"], "additionalProperties": false,
                           "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}}}}},
             "output": {"json": {"type": "integer"}}},
            {"name": "close", "kind": "command", "output": {"json": {"type": "null"}},
             "input": {"json": {"type": "object", "additionalProperties": false, "properties": {}}}},
            {"name": "upload", "kind": "command", "input": {"bytes": "image/png"},
             "output": {"bytes": "image/png"}}]}]});
        Contract::parse(document.to_string().as_bytes()).expect("right")
    }

    fn refusal(handler: &str, input: &str) -> String {
        let contract = bank();
        let handler = contract.handler("account", handler).expect("there");
        handler.check_input(input.as_bytes()).expect_err("refused")
    }

    #[test]
    fn right_inputs_pass() {
        let contract = bank();
        let passes = |handler: &str, input: &[u8]| {
            contract
                .handler("account", handler)
                .expect("there")
                .check_input(input)
                .expect("passes");
        };
        passes("deposit", br#"{"amount": 5, "by": {"name": "eve"}}"#);
        passes("close", b"");
        passes("close", b"{}");
        passes("upload", b"\xff\x00 anything");
        assert!(contract.handler("account", "withdraw").is_none());
    }

    #[test]
    fn wrong_inputs_name_the_member() {
        assert_eq!(
            refusal("deposit", r#"{"amount": -1}"#),
            "amount: -1 is less than the minimum of 0"
        );
        assert_eq!(refusal("deposit", "{}"), "amount: is missing");
        assert_eq!(refusal("deposit", ""), "amount: is missing");
        assert_eq!(
            refusal("deposit", r#"{"amount": "5"}"#),
            r#"amount: "5" is not of type "integer""#
        );
        assert_eq!(
            refusal("deposit", r#"{"amount": 1, "amuont": 2}"#),
            "amuont: is not an argument; deposit takes amount, by, note"
        );
        assert_eq!(refusal("close", r#"{"x": 2}"#), "x: is not an argument; close takes none");
        assert_eq!(refusal("deposit", r#"{"amount": 1, "by": {}}"#), "by.name: is missing");
        assert_eq!(
            refusal("deposit", r#"{"amount": 1, "by": {"name": "eve", "age": 3}}"#),
            "by.age: is not a member"
        );
        assert_eq!(
            refusal("deposit", r#"{"amount": 1, "by": {"name": "EVE"}}"#),
            r#"by.name: "EVE" does not match "^[a-z]+$""#
        );
        assert_eq!(refusal("deposit", "5"), r#"the input: 5 is not of type "object""#);
        assert!(refusal("deposit", "{").starts_with("the input is not JSON: EOF"));
        let long = format!(r#"{{"amount": "{}"}}"#, "x".repeat(100_000));
        assert!(refusal("deposit", &long).len() < 1_000);
    }

    #[test]
    fn wrong_documents_name_the_place() {
        let refusal = |document: Value| {
            let document = document.to_string();
            Contract::parse(document.as_bytes()).err().expect("refused").0
        };
        let with = |handlers: Value| json!({"entities": [{"type": "a", "handlers": handlers}]});
        let handler = |name: &str, kind: &str, input: Value| {
            let output = json!({"json": true});
            json!({"name": name, "kind": kind, "input": input, "output": output})
        };
        let any = json!({"json": {}});
        assert!(refusal(json!({})).contains("entities"));
        assert!(refusal(json!({"entities": []})).contains("no entity types"));
        assert!(
            refusal(json!({"entities": [{"type": "1", "handlers": []}]})).contains("type: \"1\"")
        );
        let twice = json!({"type": "a", "handlers": []});
        assert!(refusal(json!({"entities": [twice, twice]})).contains("two entity types \"a\""));
        let one = handler("x", "command", any.clone());
        assert!(
            refusal(with(json!([one, one]))).contains("entity type a, handler x: there are two")
        );
        let text = refusal(with(json!([handler("x", "commando", any.clone())])));
        assert!(text.contains("handler x") && text.contains("commando"), "{text}");
        let text = refusal(with(json!([handler("x y", "query", any)])));
        assert!(text.contains("handler: \"x y\" is not a name"), "{text}");
        let text = refusal(with(json!([handler("x", "query", json!({"json": {"type": "int"}}))])));
        assert!(text.contains("handler x: input: the schema is not one"), "{text}");
        let migrates = |name: &str| {
            let handlers = json!([handler("x", "command", json!({"json": {}}))]);
            json!({"entities": [{"type": "a", "migrate": name, "handlers": handlers}]})
        };
        for name in ["x", "y"] {
            let text = refusal(migrates(name));
            assert!(text.contains(&format!("a: migrate: {name:?} is no internal")), "{text}");
        }
        let remote = json!({"json": {"$ref": "http://127.0.0.1:9/schema.json"}});
        assert!(refusal(with(json!([handler("x", "query", remote)]))).contains("is not one"));
        assert!(Contract::parse(b"\xff").is_err());
    }
}

//! What a new contract takes away from callers of the old one. Inputs may only widen, results may only gain
//! members; anything that cannot be shown to be so counts as a break, for a caller would find out first.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::contract::{Body, Contract, Handler, HandlerKind};
use super::fits::fits;

/// Members of a schema that say nothing about what fits it.
const ANNOTATIONS: [&str; 7] =
    ["$schema", "$comment", "title", "description", "default", "examples", "deprecated"];

/// One sentence for each thing that callers of `old` could no longer do.
pub(super) fn between(old: &Contract, new: &Contract) -> Vec<String> {
    let mut breaks = Vec::new();
    for (kind, old_entity) in &old.entities {
        let Some(new_entity) = new.entities.get(kind) else {
            breaks.push(format!("- {kind}: the entity type is gone"));
            continue;
        };
        for (name, old_handler) in &old_entity.handlers {
            match new_entity.handlers.get(name) {
                // What migrates state comes and goes with the versions that it reads.
                None if old_entity.migrate.as_ref() == Some(name) => {}
                None if old_handler.kind == HandlerKind::Internal => breaks.push(format!(
                    "- {kind}.{name}: the internal handler is gone; messages, timers and replies that wait for \
                     it would become dead letters"
                )),
                None => breaks.push(format!("- {kind}.{name}: the handler is gone")),
                Some(new_handler) => {
                    let found = of_handler(old_handler, new_handler);
                    breaks.extend(found.into_iter().map(|text| format!("- {kind}.{name}: {text}")));
                }
            }
        }
    }
    breaks
}

fn of_handler(old: &Handler, new: &Handler) -> Vec<String> {
    let mut breaks = Vec::new();
    let opened = old.kind == HandlerKind::Internal && new.kind == HandlerKind::Command;
    if old.kind != new.kind && !opened {
        breaks.push(format!("it was {} and is {}", named(old.kind), named(new.kind)));
    }
    match (&old.input, &new.input) {
        (Body::Json(old), Body::Json(new)) => breaks.extend(of_input(old, new)),
        (Body::Bytes(_), Body::Bytes(_)) => {}
        _ => breaks.push("its input was JSON and is bytes, or the other way round".into()),
    }
    if old.kind == HandlerKind::Internal {
        // Its results go to continuations of the same component, which change with it.
        return breaks;
    }
    match (&old.output, &new.output) {
        (Body::Json(old), Body::Json(new)) => breaks.extend(of_output(old, new)),
        (Body::Bytes(old), Body::Bytes(new)) if old == new => {}
        (Body::Bytes(old), Body::Bytes(new)) => {
            breaks.push(format!("its result was {old} and is {new}"));
        }
        _ => breaks.push("its result was JSON and is bytes, or the other way round".into()),
    }
    breaks
}

fn named(kind: HandlerKind) -> &'static str {
    match kind {
        HandlerKind::Command => "a command",
        HandlerKind::Query => "a query",
        HandlerKind::Internal => "internal",
    }
}

/// Every old input must still fit, but for members that nothing was said about: one of them may be an argument now.
fn of_input(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (Shape::of(old), Shape::of(new));
    if old == new {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (old.object(), new.object()) else {
        return vec!["its input has another shape".into()];
    };
    let mut breaks = Vec::new();
    for (name, schema) in &old.properties {
        match new.properties.get(name) {
            None => breaks.push(format!("the argument {name} is gone")),
            Some(other) if !fits(schema, other) => {
                breaks.push(format!("the argument {name} has another type"));
            }
            Some(_) => {}
        }
    }
    for name in new.required.iter().filter(|name| old.required.binary_search(name).is_err()) {
        breaks.push(format!("the argument {name} is now required"));
    }
    if !old.rest_agrees(new) {
        breaks.push("its input has other rules".into());
    }
    breaks
}

/// Everything that a caller read from an old result must still be in a new one.
fn of_output(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (Shape::of(old), Shape::of(new));
    if old == new {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (old.object(), new.object()) else {
        return vec!["its result has another type".into()];
    };
    let mut breaks = Vec::new();
    for (name, schema) in &old.properties {
        match new.properties.get(name) {
            None => breaks.push(format!("the member {name} of its result is gone")),
            Some(other) if !fits(other, schema) => {
                breaks.push(format!("the member {name} of its result has another type"));
            }
            Some(_) => {}
        }
    }
    for name in old.required.iter().filter(|name| new.required.binary_search(name).is_err()) {
        breaks.push(format!("the member {name} of its result is no longer always there"));
    }
    if !old.rest_agrees(new) {
        breaks.push("its result has other rules".into());
    }
    breaks
}

/// A schema without annotations; objects taken apart.
#[derive(PartialEq)]
enum Shape {
    Object(ObjectShape),
    Other(Value),
}

#[derive(PartialEq)]
struct ObjectShape {
    properties: BTreeMap<String, Value>,
    required: Vec<String>,
    definitions: BTreeMap<String, Value>,
    rest: Map<String, Value>,
}

impl Shape {
    fn of(schema: &Value) -> Self {
        let bare = without_annotations(schema);
        match bare {
            Value::Object(members) if members.get("type") == Some(&Value::from("object")) => {
                Self::Object(ObjectShape::of(members))
            }
            other => Self::Other(other),
        }
    }

    fn object(&self) -> Option<&ObjectShape> {
        match self {
            Self::Object(object) => Some(object),
            Self::Other(_) => None,
        }
    }
}

impl ObjectShape {
    fn of(mut members: Map<String, Value>) -> Self {
        let mut named = |key: &str| match members.remove(key) {
            Some(Value::Object(all)) => all.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        let properties = named("properties");
        let mut definitions: BTreeMap<_, _> = named("$defs");
        definitions.append(&mut named("definitions"));
        let required = members.remove("required");
        let mut required: Vec<String> = required
            .iter()
            .flat_map(|all| all.as_array().into_iter().flatten())
            .filter_map(|name| name.as_str().map(Into::into))
            .collect();
        required.sort();
        Self { properties, required, definitions, rest: members }
    }

    /// What is said beside members: the same, but for definitions that are new.
    fn rest_agrees(&self, new: &Self) -> bool {
        let kept = |(name, schema)| new.definitions.get(name) == Some(schema);
        self.rest == new.rest && self.definitions.iter().all(kept)
    }
}

fn without_annotations(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !ANNOTATIONS.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), member_without_annotations(name, value)))
                .collect()
        }
        Value::Array(all) => all.iter().map(without_annotations).collect(),
        other => other.clone(),
    }
}

/// Below these the names are the author's, not the schema's: a property may be called `title`.
fn member_without_annotations(name: &str, value: &Value) -> Value {
    match (name, value) {
        ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(named)) => {
            named.iter().map(|(name, schema)| (name.clone(), without_annotations(schema))).collect()
        }
        ("const" | "enum", value) => value.clone(),
        (_, value) => without_annotations(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contract(kind: &str, input: &Value, output: &Value) -> Contract {
        let document = json!({"entities": [{"type": "a", "handlers": [
            {"name": "h", "kind": kind, "input": input, "output": output}]}]});
        Contract::parse(document.to_string().as_bytes()).expect("right")
    }

    fn arguments(properties: &Value, required: &Value) -> Value {
        json!({"json": {"type": "object", "properties": properties, "required": required}})
    }

    fn breaks_input(old: &(Value, Value), new: &(Value, Value)) -> Vec<String> {
        let out = json!({"json": {"type": "null"}});
        let old = contract("command", &arguments(&old.0, &old.1), &out);
        contract("command", &arguments(&new.0, &new.1), &out).breaks(&old)
    }

    #[test]
    fn widening_an_input_breaks_nothing() {
        let int = json!({"type": "integer"});
        let old = || (json!({"x": int}), json!(["x"]));
        assert!(breaks_input(&old(), &old()).is_empty());
        assert!(breaks_input(&old(), &(json!({"x": int, "y": int}), json!(["x"]))).is_empty());
        assert!(breaks_input(&old(), &(json!({"x": int}), json!([]))).is_empty());
        let described = json!({"type": "integer", "description": "how many"});
        assert!(breaks_input(&old(), &(json!({"x": described}), json!(["x"]))).is_empty());
        let wider = json!({"anyOf": [{"type": "number"}, {"type": "null"}]});
        assert!(breaks_input(&old(), &(json!({"x": wider}), json!(["x"]))).is_empty());
        let back = breaks_input(&(json!({"x": wider}), json!([])), &(json!({"x": int}), json!([])));
        assert_eq!(back, ["- a.h: the argument x has another type"]);
    }

    #[test]
    fn narrowing_an_input_is_named() {
        let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
        let old = || (json!({"x": int, "title": int}), json!(["x"]));
        let new = (json!({"x": text, "y": int}), json!(["x", "y"]));
        let expected = [
            "- a.h: the argument title is gone",
            "- a.h: the argument x has another type",
            "- a.h: the argument y is now required",
        ];
        assert_eq!(breaks_input(&old(), &new), expected);
    }

    #[test]
    fn a_definition_that_changes_behind_a_reference_is_seen() {
        let with = |definition: Value| {
            let input = json!({"json": {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}},
                "$defs": {"X": definition}}});
            contract("command", &input, &json!({"json": true}))
        };
        let (old, new) = (with(json!({"type": "integer"})), with(json!({"type": "string"})));
        assert_eq!(new.breaks(&old), ["- a.h: its input has other rules"]);
        assert!(old.breaks(&old).is_empty());
    }

    #[test]
    fn results_may_gain_members_only() {
        let none = json!({"json": {"type": "object"}});
        let with = |output: Value| contract("query", &none, &json!({"json": output}));
        let int = json!({"type": "integer"});
        let old = with(json!({"type": "object", "properties": {"x": int}, "required": ["x"]}));
        let more =
            with(json!({"type": "object", "properties": {"x": int, "y": int}, "required": ["x"]}));
        assert!(more.breaks(&old).is_empty());
        assert_eq!(old.breaks(&more), ["- a.h: the member y of its result is gone"]);
        let of = |x: Value| with(json!({"type": "object", "properties": {"x": x}}));
        let (small, int) = (json!({"type": "integer", "maximum": 9}), json!({"type": "integer"}));
        assert!(of(small.clone()).breaks(&of(int.clone())).is_empty(), "still what they expect");
        assert_eq!(of(int.clone()).breaks(&of(small)).len(), 1);
        let maybe = with(json!({"type": "object", "properties": {"x": int}}));
        assert_eq!(
            maybe.breaks(&old),
            ["- a.h: the member x of its result is no longer always there"]
        );
        assert_eq!(with(int.clone()).breaks(&old), ["- a.h: its result has another type"]);
    }

    #[test]
    fn internal_handlers_break_only_what_waits_for_them() {
        let (any, int) = (json!({"json": true}), json!({"json": {"type": "integer"}}));
        let old = contract("internal", &any, &any);
        assert!(
            contract("internal", &any, &int).breaks(&old).is_empty(),
            "nobody reads its result"
        );
        assert!(contract("command", &any, &any).breaks(&old).is_empty(), "it may be opened");
        let opened = contract("command", &any, &any);
        assert_eq!(old.breaks(&opened), ["- a.h: it was a command and is internal"]);
        assert_eq!(contract("internal", &int, &any).breaks(&old).len(), 1);
        let parse = |entity: Value| {
            let document = json!({ "entities": [entity] }).to_string();
            Contract::parse(document.as_bytes()).expect("right")
        };
        let empty = parse(json!({"type": "a", "handlers": []}));
        let [gone] = &empty.breaks(&old)[..] else { panic!("one break") };
        assert!(gone.starts_with("- a.h: the internal handler is gone"), "{gone}");
        let migrates = parse(json!({"type": "a", "migrate": "h", "handlers": [
            {"name": "h", "kind": "internal", "input": any, "output": any}]}));
        assert!(empty.breaks(&migrates).is_empty(), "migrations come and go");
    }

    #[test]
    fn removals_and_kinds_are_named() {
        let any = json!({"json": true});
        let old = contract("command", &any, &any);
        assert_eq!(
            contract("query", &any, &any).breaks(&old),
            ["- a.h: it was a command and is a query"]
        );
        let bytes = json!({"bytes": "image/png"});
        assert_eq!(contract("command", &bytes, &bytes).breaks(&old).len(), 2);
        let parse = |entities: Value| {
            let document = json!({ "entities": entities }).to_string();
            Contract::parse(document.as_bytes()).expect("right")
        };
        let empty = parse(json!([{"type": "a", "handlers": []}]));
        assert_eq!(empty.breaks(&old), ["- a.h: the handler is gone"]);
        let other = parse(json!([{"type": "b", "handlers": []}]));
        assert_eq!(other.breaks(&old), ["- a: the entity type is gone"]);
        assert!(old.breaks(&empty).is_empty(), "adding a handler breaks nothing");
    }
}

//! Everything that a new contract changes beside the old one, for people who are about to deploy it: types, handlers
//! and state, added, removed or changed. Whether stored state can be read is `lineage`'s to say. Decides nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::breaks;
use super::contract::{Body, Contract, Entity, Handler, HandlerKind};
use super::lineage::State;

/// What happened to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// What it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Item {
    /// An entity type.
    Type,
    /// A handler.
    Handler,
    /// A type's state, or a field of it.
    State,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub change: How,
    /// To what.
    pub item: Item,
    /// Its name: `TYPE`, `TYPE.HANDLER` or `TYPE.FIELD`.
    pub name: String,
    /// More of it, in words.
    pub detail: String,
    /// Whether callers of the old one could no longer do what they do.
    pub breaking: bool,
}

/// What is different in `new`, in order of types; first the type, then its handlers, then its state.
pub(super) fn between(old: &Contract, new: &Contract) -> Vec<Change> {
    let mut changes = Vec::new();
    for (kind, was, is) in pairs(&old.entities, &new.entities) {
        let mut add = |change, detail: &str, breaking| {
            let (name, detail) = (kind.clone(), detail.to_owned());
            changes.push(Change { change, item: Item::Type, name, detail, breaking });
        };
        match (was, is) {
            (None, Some(is)) => {
                add(How::Added, &format!("a new type with {} handlers", is.handlers.len()), false);
            }
            (Some(_), None) => add(How::Removed, "the entity type is gone", true),
            (Some(was), Some(is)) => {
                changes.extend(of_handlers(kind, was, is));
                changes.extend(of_state(kind, &was.state, &is.state));
            }
            (None, None) => {}
        }
    }
    changes
}

fn of_handlers(kind: &str, old: &Entity, new: &Entity) -> Vec<Change> {
    let mut changes = Vec::new();
    for (handler, was, is) in pairs(&old.handlers, &new.handlers) {
        let name = format!("{kind}.{handler}");
        let mut add = |change, detail, breaking| {
            let name = name.clone();
            changes.push(Change { change, item: Item::Handler, name, detail, breaking });
        };
        match (was, is) {
            (None, Some(is)) => add(How::Added, format!("a new {}", word(is.kind)), false),
            // What migrates state comes and goes with the versions that it reads.
            (Some(was), None) => {
                let breaking = old.migrate.as_deref() != Some(handler);
                add(How::Removed, format!("the {} is gone", word(was.kind)), breaking);
            }
            (Some(was), Some(is)) => {
                let breaks = breaks::of_handler(was, is);
                let compatible = of_handler(was, is);
                if !breaks.is_empty() {
                    add(How::Changed, breaks.join("; "), true);
                } else if !compatible.is_empty() {
                    add(How::Changed, compatible.join("; "), false);
                }
            }
            (None, None) => {}
        }
    }
    changes
}

/// What is different in a handler that breaks nobody.
fn of_handler(old: &Handler, new: &Handler) -> Vec<String> {
    let mut said = Vec::new();
    if old.kind != new.kind {
        said.push(format!("it was {} and is {}", word(old.kind), word(new.kind)));
    }
    said.extend(of_body("takes", "argument", &old.input, &new.input));
    said.extend(of_body("gives", "member", &old.output, &new.output));
    said
}

fn of_body(does: &str, what: &str, old: &Body, new: &Body) -> Option<String> {
    if old == new {
        return None;
    }
    let (Body::Json(old), Body::Json(new)) = (old, new) else {
        return Some(format!("what it {does} is of another content type"));
    };
    let named = |schema: &serde_json::Value| {
        let properties = schema.get("properties").and_then(serde_json::Value::as_object);
        properties.map(|all| all.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    let known = named(old);
    let further: Vec<_> = named(new).into_iter().filter(|name| !known.contains(name)).collect();
    match further.is_empty() {
        true => Some(format!("what it {does} is described otherwise")),
        false => Some(format!("it {does} the further {what} {}", further.join(", "))),
    }
}

fn of_state(kind: &str, old: &State, new: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |change, name: String, detail: String| {
        changes.push(Change { change, item: Item::State, name, detail, breaking: false });
    };
    if old.version != new.version {
        let detail = format!("its state was of version {} and is of {}", old.version, new.version);
        add(How::Changed, kind.to_owned(), detail);
    } else if old.oldest() != new.oldest() {
        let detail = format!("it reads state from version {} on", new.oldest());
        add(How::Changed, kind.to_owned(), detail);
    }
    for (field, was, is) in pairs(&old.fields, &new.fields) {
        let name = format!("{kind}.{field}");
        match (was, is) {
            (None, Some(is)) => add(How::Added, name, format!("a new {} field", is.kind)),
            (Some(was), None) => add(How::Removed, name, format!("the {} field is gone", was.kind)),
            (Some(was), Some(is)) if was.kind != is.kind => {
                add(
                    How::Changed,
                    name,
                    format!("it was a {} field and is a {} field", was.kind, is.kind),
                );
            }
            (Some(was), Some(is)) if was != is => {
                add(How::Changed, name, "what is stored in it is described otherwise".into());
            }
            _ => {}
        }
    }
    changes
}

fn word(kind: HandlerKind) -> &'static str {
    match kind {
        HandlerKind::Command => "command",
        HandlerKind::Query => "query",
        HandlerKind::Internal => "internal handler",
    }
}

/// Every name of the two, in order, with what it stands for in each.
fn pairs<'m, V>(
    old: &'m BTreeMap<String, V>,
    new: &'m BTreeMap<String, V>,
) -> Vec<(&'m String, Option<&'m V>, Option<&'m V>)> {
    let mut pairs: BTreeMap<&String, (Option<&V>, Option<&V>)> = BTreeMap::new();
    pairs.extend(old.iter().map(|(name, value)| (name, (Some(value), None))));
    for (name, value) in new {
        pairs.entry(name).or_default().1 = Some(value);
    }
    pairs.into_iter().map(|(name, (old, new))| (name, old, new)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn contract(entities: &Value) -> Contract {
        let document = json!({ "entities": entities }).to_string();
        Contract::parse(document.as_bytes()).expect("right")
    }

    fn handler(name: &str, kind: &str, properties: &Value) -> Value {
        json!({"name": name, "kind": kind, "output": {"json": true},
               "input": {"json": {"type": "object", "properties": properties}}})
    }

    /// As people read it: `+ name: detail`, with `!` before what breaks.
    fn lines(old: &Value, new: &Value) -> Vec<String> {
        let line = |change: Change| {
            let mark = match change.change {
                How::Added => '+',
                How::Removed => '-',
                How::Changed => '~',
            };
            let breaking = if change.breaking { "!" } else { "" };
            format!("{breaking}{mark} {}: {}", change.name, change.detail)
        };
        between(&contract(old), &contract(new)).into_iter().map(line).collect()
    }

    #[test]
    fn the_same_contract_has_no_difference() {
        let all = json!([{"type": "a", "handlers": [handler("h", "command", &json!({}))]}]);
        assert!(lines(&all, &all).is_empty());
    }

    #[test]
    fn additions_removals_and_changes_are_named_with_what_breaks() {
        let int = json!({"type": "integer"});
        let old = json!([
            {"type": "a", "handlers": [
                handler("gone", "command", &json!({})),
                handler("wider", "command", &json!({"x": int})),
                handler("other", "query", &json!({"x": int})),
            ], "state": {"fields": {"n": {"kind": "plain", "schema": int}, "m": {"kind": "map"},
                                    "o": {"kind": "list"}}}},
            {"type": "b", "handlers": []},
        ]);
        let new = json!([
            {"type": "a", "handlers": [
                handler("fresh", "query", &json!({})),
                handler("wider", "command", &json!({"x": int, "y": int})),
                handler("other", "query", &json!({"x": {"type": "string"}})),
            ], "state": {"version": 2, "migrates_from": 1, "fields": {
                "n": {"kind": "plain", "schema": {"type": "number"}}, "m": {"kind": "list"},
                "p": {"kind": "value"}}}},
            {"type": "c", "handlers": []},
        ]);
        let expected = [
            "+ a.fresh: a new query",
            "!- a.gone: the command is gone",
            "!~ a.other: the argument x has another type",
            "~ a.wider: it takes the further argument y",
            "~ a: its state was of version 1 and is of 2",
            "~ a.m: it was a map field and is a list field",
            "~ a.n: what is stored in it is described otherwise",
            "- a.o: the list field is gone",
            "+ a.p: a new value field",
            "!- b: the entity type is gone",
            "+ c: a new type with 0 handlers",
        ];
        assert_eq!(lines(&old, &new), expected);
    }

    #[test]
    fn what_migrates_comes_and_goes() {
        let with = |handlers: Value, migrate: Value| json!([{"type": "a", "handlers": handlers, "migrate": migrate}]);
        let migrates = with(json!([handler("m", "internal", &json!({}))]), json!("m"));
        let without = with(json!([]), json!(null));
        assert_eq!(lines(&migrates, &without), ["- a.m: the internal handler is gone"]);
    }
}

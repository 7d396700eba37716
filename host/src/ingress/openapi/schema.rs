//! A guest's JSON Schema as part of the OpenAPI document. A reference in it points from the schema's own
//! root, which is somewhere else now: each one is rewritten to where the schema stands, or the schema keeps
//! its root by an `$id`. Invariant: what a schema accepts is the same before and after.

use serde_json::{Map, Value, json};

/// Where a component of this name stands.
pub(super) fn pointer(component: &str) -> String {
    format!("#/components/schemas/{component}")
}

/// `schema` as the component `name` of the document of `app`.
pub(super) fn embed(schema: &Value, app: &str, name: &str) -> Value {
    let mut embedded = schema.clone();
    match (id(schema, app, name), embedded.as_object_mut()) {
        // A name is looked up within the resource that it stands in, so the schema stays one.
        (Some(id), Some(root)) => drop(root.insert("$id".to_owned(), id.into())),
        _ => relocate(&mut embedded, &pointer(name)),
    }
    embedded
}

/// Where the component `name` of the document of `app` stands, for parts of it that stand somewhere else. Found once:
/// a schema may have very many properties.
pub(super) struct Home<'a> {
    schema: &'a Value,
    id: Option<String>,
    pointer: String,
}

impl<'a> Home<'a> {
    /// The home of `schema`.
    pub(super) fn of(schema: &'a Value, app: &str, name: &str) -> Self {
        Self { schema, id: id(schema, app, name), pointer: pointer(name) }
    }

    /// `property`, called `member`: to stand somewhere else.
    pub(super) fn property(&self, member: &str, property: &Value) -> Value {
        let Some(id) = &self.id else {
            let mut property = property.clone();
            relocate(&mut property, &self.pointer);
            return property;
        };
        if self.schema.get("properties").is_none() {
            return json!({}); // It is behind a reference; the body of a POST has all of it.
        }
        let member = member.replace('~', "~0").replace('/', "~1");
        let id = id.trim_end_matches('#');
        json!({"$ref": format!("{id}#/properties/{}", fragment(&member))})
    }
}

/// The id by which an embedded schema stays a resource of its own; `None` when it need not be one.
fn id(schema: &Value, app: &str, name: &str) -> Option<String> {
    let mut named = false;
    walk(&mut schema.clone(), &mut |object| {
        named |= NAMES.iter().any(|keyword| object.contains_key(*keyword));
    });
    let own = || schema.get("$id").and_then(Value::as_str).map(str::to_owned);
    named.then(|| own().unwrap_or_else(|| format!("urn:keystead:{app}:{name}")))
}

/// Percent-encodes what may not stand in a URI's fragment.
fn fragment(text: &str) -> percent_encoding::PercentEncode<'_> {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEPT)
}

/// Keywords that give a schema or a place in it a name.
const NAMES: [&str; 4] = ["$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor"];

fn relocate(schema: &mut Value, root: &str) {
    walk(schema, &mut |object| {
        for keyword in ["$ref", "$dynamicRef"] {
            let Some(Value::String(target)) = object.get_mut(keyword) else { continue };
            if target == "#" || target.starts_with("#/") {
                *target = format!("{root}{}", &target[1..]);
            }
        }
    });
}

/// Visits every schema object within a schema. What only looks like one (a property of that name, a
/// constant, an example) is left alone.
fn walk(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(object) = schema else { return };
    visit(object);
    for (keyword, value) in object {
        match (keyword.as_str(), value) {
            (
                "$defs" | "definitions" | "properties" | "patternProperties" | "dependentSchemas"
                | "dependencies",
                Value::Object(schemas),
            ) => schemas.values_mut().for_each(|schema| walk(schema, visit)),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|schema| walk(schema, visit));
            }
            (
                "additionalItems"
                | "additionalProperties"
                | "contains"
                | "contentSchema"
                | "else"
                | "if"
                | "items"
                | "not"
                | "propertyNames"
                | "then"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                schema,
            ) => walk(schema, visit),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_follow_their_schema_and_data_stays() {
        let schema = json!({
            "properties": {
                "all": {"$ref": "#"}, "one": {"items": {"$ref": "#/$defs/One"}},
                "$ref": {"const": {"$ref": "#/data"}}, "enum": {"$ref": "#/$defs/One"},
            },
            "anyOf": [true, {"not": {"$ref": "#/$defs/One"}}],
            "default": {"$ref": "#/data"},
            "$defs": {"One": {"type": "integer"}},
        });
        let expected = json!({
            "properties": {
                "all": {"$ref": "#/components/schemas/a.b"},
                "one": {"items": {"$ref": "#/components/schemas/a.b/$defs/One"}},
                "$ref": {"const": {"$ref": "#/data"}},
                "enum": {"$ref": "#/components/schemas/a.b/$defs/One"},
            },
            "anyOf": [true, {"not": {"$ref": "#/components/schemas/a.b/$defs/One"}}],
            "default": {"$ref": "#/data"},
            "$defs": {"One": {"type": "integer"}},
        });
        assert_eq!(embed(&schema, "app", "a.b"), expected);
        assert_eq!(embed(&json!(true), "app", "a.b"), json!(true));
    }

    #[test]
    fn a_schema_with_names_of_its_own_stays_a_resource() {
        let schema = json!({"properties": {"a/b": {"$ref": "#here"}, "c": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"$anchor": "here"}}});
        let embedded = embed(&schema, "app", "a.b");
        assert_eq!(embedded["$id"], "urn:keystead:app:a.b");
        assert_eq!(embedded["properties"], schema["properties"]);
        let home = Home::of(&schema, "app", "a.b");
        let alone = home.property("a/b", &schema["properties"]["a/b"]);
        assert_eq!(alone, json!({"$ref": "urn:keystead:app:a.b#/properties/a~1b"}));
        let own = json!({"$id": "https://example.com/schema#", "$ref": "#/$defs/x"});
        assert_eq!(embed(&own, "app", "a.b"), own);
    }
}

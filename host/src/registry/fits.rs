//! Whether everything that one JSON Schema lets through can be read under another: what was stored, or what callers
//! send. Knows the vocabulary that SDKs emit; of anything else only that equals are equal, so a
//! doubt counts as no.

use std::cell::Cell;
use std::cmp::Ordering;

use serde_json::Value;

use crate::limits;

/// How deep it looks into schemas that refer to themselves.
const DEPTH_MAX: usize = 64;
/// Members that say nothing about what fits.
const ANNOTATIONS: [&str; 9] = [
    "$schema",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
];
/// The schemas of anything and of nothing.
const ANY: &Value = &Value::Bool(true);
const NONE: &Value = &Value::Bool(false);

/// Whether every value that fits `old` fits `new`.
pub(super) fn fits(old: &Value, new: &Value) -> bool {
    let steps = Cell::new(limits::FITS_STEPS_MAX);
    old == new || Roots { old, new, steps }.fits(old, new, 0)
}

/// What references in the two schemas point into.
struct Roots<'s> {
    old: &'s Value,
    new: &'s Value,
    /// What is left: choices within choices that refer to themselves multiply.
    steps: Cell<u64>,
}

impl<'s> Roots<'s> {
    fn fits(&self, old: &'s Value, new: &'s Value, depth: usize) -> bool {
        let (Some(old), Some(new)) = (resolve(old, self.old), resolve(new, self.new)) else {
            return false;
        };
        let depth = depth + 1;
        // What stands beside a reference counts, too; and a list in a schema's place is of an older draft.
        let is_schema = new.is_boolean() || (new.is_object() && new.get("$ref").is_none());
        if depth > DEPTH_MAX || !is_schema || !self.affords(1) {
            return false;
        }
        if old == NONE || new == NONE {
            return old == NONE;
        }
        if let Some(choices) = old.get("anyOf").or_else(|| old.get("oneOf")) {
            let choices = choices.as_array();
            return choices.is_some_and(|all| all.iter().all(|old| self.fits(old, new, depth)));
        }
        let rules = new.as_object().into_iter().flatten();
        let mut rules = rules.filter(|(name, _)| !ANNOTATIONS.contains(&name.as_str()));
        rules.all(|(name, rule)| self.keeps(name, rule, (old, new), depth))
    }

    /// Whether every value that fits `old` keeps one rule of `new`.
    fn keeps(
        &self,
        name: &str,
        rule: &'s Value,
        (old, new): (&'s Value, &'s Value),
        depth: usize,
    ) -> bool {
        let types = texts(old.get("type"));
        let about = kinds(name);
        if !about.is_empty() && !types.is_empty() && !types.iter().any(|t| about.contains(t)) {
            return true;
        }
        let bounds = old.get(name).and_then(|old| compare(old, rule));
        match name {
            "type" => {
                let wanted = texts(Some(rule));
                let taken = |t: &&str| {
                    wanted.contains(t) || (*t == "integer" && wanted.contains(&"number"))
                };
                !types.is_empty() && types.iter().all(taken)
            }
            "minimum" | "minLength" | "minItems" | "minProperties" => {
                bounds.is_some_and(Ordering::is_ge)
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
                bounds.is_some_and(Ordering::is_le)
            }
            "const" | "enum" => {
                let had = values(old);
                let taken = if name == "const" { std::slice::from_ref(rule) } else { list(rule) };
                let mut each = had.iter();
                !had.is_empty()
                    && self.affords(had.len() * taken.len())
                    && each.all(|value| taken.contains(value))
            }
            "items" | "prefixItems" => self.items_fit(old, new, depth),
            "properties" | "additionalProperties" => self.members_fit(old, new, depth),
            "required" => {
                let (had, wanted) = (texts(old.get("required")), texts(Some(rule)));
                self.affords(had.len() * wanted.len())
                    && wanted.iter().all(|name| had.contains(name))
            }
            // A value that two alternatives of `oneOf` would read is read all the same.
            "anyOf" | "oneOf" => {
                let choices = rule.as_array();
                choices.is_some_and(|all| all.iter().any(|new| self.fits(old, new, depth)))
            }
            "allOf" => {
                let parts = rule.as_array();
                parts.is_some_and(|all| all.iter().all(|new| self.fits(old, new, depth)))
            }
            // The same reference may lead somewhere else.
            _ => old.get(name) == Some(rule) && !refers(rule),
        }
    }

    /// Takes so many steps, if there are as many left.
    fn affords(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps as u64);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    fn items_fit(&self, old: &'s Value, new: &'s Value, depth: usize) -> bool {
        let first = |schema: &'s Value| schema.get("prefixItems").and_then(Value::as_array);
        let item = |schema: &'s Value, at: usize| {
            let first = first(schema).and_then(|first| first.get(at));
            first.or_else(|| schema.get("items")).unwrap_or(ANY)
        };
        let named = |schema| first(schema).map_or(0, Vec::len);
        let named = named(old).max(named(new));
        let most = old.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        // One more than those with a schema of their own stands for all further ones.
        let mut places = (0..=named).filter(|at| (*at as u64) < most);
        places.all(|at| self.fits(item(old, at), item(new, at), depth))
    }

    fn members_fit(&self, old: &'s Value, new: &'s Value, depth: usize) -> bool {
        // Whatever a pattern lets through may have any of the names.
        if old.get("patternProperties").is_some() {
            return false;
        }
        let named = |schema: &'s Value| schema.get("properties").and_then(Value::as_object);
        let others = |schema: &'s Value| schema.get("additionalProperties").unwrap_or(ANY);
        let member = |schema: &'s Value, name: &str| {
            named(schema).and_then(|named| named.get(name)).unwrap_or_else(|| others(schema))
        };
        let names = |schema| named(schema).into_iter().flatten().map(|(name, _)| name);
        let mut all = names(old).chain(names(new));
        all.all(|name| self.fits(member(old, name), member(new, name), depth))
            && self.fits(others(old), others(new), depth)
    }
}

/// The types of values that a rule is about; none when it is about all.
fn kinds(rule: &str) -> &'static [&'static str] {
    match rule {
        "minimum" | "maximum" => &["integer", "number"],
        "minLength" | "maxLength" | "pattern" | "contentEncoding" => &["string"],
        "minItems" | "maxItems" | "items" | "prefixItems" => &["array"],
        "minProperties" | "maxProperties" | "properties" | "additionalProperties" | "required" => {
            &["object"]
        }
        _ => &[],
    }
}

/// What a schema stands for that is a reference and nothing else; or a list of one that all must fit.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> Option<&'s Value> {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        let rules = schema.as_object().into_iter().flatten();
        let mut rules = rules.filter(|(name, _)| !ANNOTATIONS.contains(&name.as_str()));
        schema = match (rules.next(), rules.next()) {
            (Some((name, Value::String(pointer))), None) if name == "$ref" => {
                root.pointer(pointer.strip_prefix('#')?)?
            }
            (Some((name, Value::Array(parts))), None) if name == "allOf" && parts.len() == 1 => {
                &parts[0]
            }
            _ => return Some(schema),
        };
    }
    None
}

/// Whether there is a reference anywhere in it.
fn refers(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(refers),
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name.ends_with("Ref") || name == "$ref" || refers(member)),
        _ => false,
    }
}

/// Compares two numbers, whole ones exactly.
fn compare(old: &Value, new: &Value) -> Option<Ordering> {
    let whole =
        |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(old), whole(new)) {
        (Some(old), Some(new)) => Some(old.cmp(&new)),
        _ => old.as_f64()?.partial_cmp(&new.as_f64()?),
    }
}

/// A text, or a list of texts.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

/// The values that `const` and `enum` name.
fn values(schema: &Value) -> Vec<&Value> {
    schema.get("const").into_iter().chain(schema.get("enum").map_or(&[][..], list)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(old: &Value, new: &Value, expected: bool) {
        assert_eq!(fits(old, new), expected, "{old} into {new}");
    }

    /// Found by fuzzing: each of these was said to fit, or took for ever.
    #[test]
    fn what_is_not_known_to_fit_does_not() {
        let x = |x: Value, rest: Value| {
            let mut schema = json!({"$defs": {"x": x}});
            schema.as_object_mut().expect("one").extend(rest.as_object().expect("one").clone());
            schema
        };
        let (any, text, int) = (json!({}), json!({"type": "string"}), json!({"type": "integer"}));
        let beside = json!({"$ref": "#/$defs/x", "type": "string"});
        check(&json!(true), &x(any.clone(), beside), false);
        for rule in ["not", "allOf", "contains"] {
            let list = rule == "allOf";
            let to = json!({"$ref": "#/$defs/x"});
            let rule = json!({rule: if list { json!([to, to]) } else { to }});
            check(&x(text.clone(), rule.clone()), &x(int.clone(), rule), false);
        }
        let pattern = json!({"patternProperties": {"^b": text}, "additionalProperties": false});
        let mut named = pattern.clone();
        named["properties"] = json!({"b": int});
        check(&pattern, &named, false);
        check(&json!({"const": 1}), &json!({"const": 2, "enum": [1, 2]}), false);
        let tuple = |of: &Value| json!({"type": "array", "items": [of]});
        check(&tuple(&int), &tuple(&text), false);
        let least = |min: u64| json!({"type": "integer", "minimum": min});
        check(&least(1 << 53), &least((1 << 53) + 1), false);
        check(&least((1 << 53) + 1), &least(1 << 53), true);
        // One of a list is the thing itself, as some write a reference with a description.
        let one = json!({"allOf": [{"$ref": "#/$defs/x"}], "description": "x"});
        check(&x(least(5), one.clone()), &x(least(4), one), true);
    }

    #[test]
    fn choices_that_lead_to_themselves_end() {
        let choices = |kind: &str| {
            let down = json!({"type": "array", "items": {"$ref": "#/$defs/d"}});
            json!({"$ref": "#/$defs/d", "$defs": {"d": {"anyOf": [down, down, {"type": kind}]}}})
        };
        check(&choices("string"), &choices("number"), false);
        let values = |from: u64| json!({"enum": (from..from + 50_000).collect::<Vec<_>>()});
        check(&values(0), &values(1), false);
    }

    #[test]
    fn numbers_and_texts() {
        let range = |min: i64, max: i64| json!({"type": "integer", "minimum": min, "maximum": max});
        let (number, text) = (json!({"type": "number"}), json!({"type": "string"}));
        for (old, new, expected) in [
            (range(0, 255), range(0, 65_535), true),
            (range(0, 65_535), range(0, 255), false),
            (range(-128, 127), range(0, 255), false),
            (json!({"type": "integer"}), range(0, 255), false),
            (range(0, 255), number.clone(), true),
            (number.clone(), range(0, 255), false),
            (text.clone(), number.clone(), false),
            (text.clone(), json!({}), true),
            (text.clone(), ANY.clone(), true),
            (json!({}), text.clone(), false),
            (ANY.clone(), text.clone(), false),
            (text.clone(), NONE.clone(), false),
            (NONE.clone(), text.clone(), true),
            (
                json!({"type": "string", "title": "a"}),
                json!({"type": "string", "title": "b"}),
                true,
            ),
            (text.clone(), json!({"type": "string", "contentEncoding": "base64"}), false),
            (json!({"enum": ["a"]}), json!({"enum": ["a", "b"]}), true),
            (json!({"enum": ["a", "b"]}), json!({"const": "a"}), false),
            (json!({"const": "a"}), json!({"enum": ["a", "b"]}), true),
            (text.clone(), json!({"type": "string", "enum": ["a"]}), false),
        ] {
            check(&old, &new, expected);
        }
    }

    #[test]
    fn options_and_choices() {
        let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
        let option = |of: &Value| json!({"anyOf": [of, {"type": "null"}]});
        check(&int, &option(&int), true);
        check(&option(&int), &int, false);
        check(&option(&int), &option(&json!({"type": "number"})), true);
        check(&option(&int), &option(&text), false);
        check(&option(&int), &json!({"type": ["integer", "null"], "minimum": 0}), false);
        check(&json!({"type": "null"}), &json!({"type": ["integer", "null"], "minimum": 0}), true);
        let tagged = |names: &[&str]| {
            let variant = |name: &&str| {
                let properties = json!({"kind": {"const": name}});
                json!({"type": "object", "properties": properties, "required": ["kind"]})
            };
            json!({"oneOf": names.iter().map(variant).collect::<Vec<_>>()})
        };
        check(&tagged(&["a", "b"]), &tagged(&["b", "c", "a"]), true);
        check(&tagged(&["a", "b"]), &tagged(&["a"]), false);
    }

    #[test]
    fn lists_and_tuples() {
        let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
        let list = |of: &Value| json!({"type": "array", "items": of});
        let pair = |a: &Value, b: &Value| json!({"type": "array", "prefixItems": [a, b], "minItems": 2, "maxItems": 2});
        check(&list(&int), &list(&json!({"type": "number"})), true);
        check(&list(&int), &list(&text), false);
        check(&pair(&int, &int), &list(&int), true);
        check(&pair(&int, &text), &list(&int), false);
        check(&list(&int), &pair(&int, &int), false);
        check(&pair(&int, &text), &pair(&json!({}), &text), true);
        check(&json!({"type": "array"}), &list(&int), false);
    }

    #[test]
    fn objects() {
        let (int, text) = (json!({"type": "integer"}), json!({"type": "string"}));
        let object = |properties: Value, required: Value, others: Value| {
            json!({"type": "object", "properties": properties, "required": required,
                   "additionalProperties": others})
        };
        let old = object(json!({"a": int, "b": text}), json!(["a"]), json!(false));
        check(&old, &object(json!({"a": int, "b": text, "c": int}), json!([]), json!(false)), true);
        check(&old, &object(json!({"a": int}), json!(["a"]), json!(true)), true);
        check(&old, &object(json!({"a": int}), json!(["a"]), json!(false)), false);
        check(&old, &object(json!({"a": text}), json!([]), json!(true)), false);
        check(&old, &object(json!({"a": int}), json!(["b"]), json!(true)), false);
        let map = |of: &Value| json!({"type": "object", "additionalProperties": of});
        check(&map(&int), &map(&int), true);
        check(&map(&int), &map(&text), false);
        check(&old, &map(&int), false);
        check(&map(&int), &old, false);
    }

    #[test]
    fn references_are_followed() {
        let with = |definition: Value| json!({"$ref": "#/$defs/X", "$defs": {"X": definition}});
        let int = json!({"type": "integer"});
        check(&with(int.clone()), &with(json!({"type": "number"})), true);
        check(&with(int.clone()), &with(json!({"type": "string"})), false);
        check(&with(int.clone()), &int, true);
        let tree = |of: &str| json!({"type": "object", "properties": {"of": {"type": of}, "next": {"$ref": "#"}}});
        check(&tree("integer"), &tree("integer"), true);
        check(&tree("integer"), &tree("string"), false);
        check(&json!({"$ref": "#"}), &int, false);
        check(&json!({"$ref": "elsewhere"}), &int, false);
    }
}

//! Whether everything that one JSON Schema lets through can be read under another: what was stored, or what callers
//! send. Knows the vocabulary that SDKs emit; of anything else only that equals are equal, so a
//! doubt counts as no.

use serde_json::Value;

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
    old == new || Roots { old, new }.fits(old, new, 0)
}

/// What references in the two schemas point into.
struct Roots<'s> {
    old: &'s Value,
    new: &'s Value,
}

impl<'s> Roots<'s> {
    fn fits(&self, old: &'s Value, new: &'s Value, depth: usize) -> bool {
        let (Some(old), Some(new)) = (resolve(old, self.old), resolve(new, self.new)) else {
            return false;
        };
        let depth = depth + 1;
        if depth > DEPTH_MAX {
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
        let bounds = old.get(name).and_then(Value::as_f64).zip(rule.as_f64());
        match name {
            "type" => {
                let wanted = texts(Some(rule));
                let taken = |t: &&str| {
                    wanted.contains(t) || (*t == "integer" && wanted.contains(&"number"))
                };
                !types.is_empty() && types.iter().all(taken)
            }
            "minimum" | "minLength" | "minItems" | "minProperties" => {
                bounds.is_some_and(|(old, new)| old >= new)
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
                bounds.is_some_and(|(old, new)| old <= new)
            }
            "const" | "enum" => {
                let (had, taken) = (values(old), values(new));
                !had.is_empty() && had.iter().all(|value| taken.contains(value))
            }
            "items" | "prefixItems" => self.items_fit(old, new, depth),
            "properties" | "additionalProperties" => self.members_fit(old, new, depth),
            "required" => {
                let had = texts(old.get("required"));
                texts(Some(rule)).iter().all(|name| had.contains(name))
            }
            // A value that two alternatives of `oneOf` would read is read all the same.
            "anyOf" | "oneOf" => {
                let choices = rule.as_array();
                choices.is_some_and(|all| all.iter().any(|new| self.fits(old, new, depth)))
            }
            _ => old.get(name) == Some(rule),
        }
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

/// What a reference points to.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> Option<&'s Value> {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(pointer) => schema = root.pointer(pointer.strip_prefix('#')?)?,
            None => return Some(schema),
        }
    }
    None
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
    let several = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    schema.get("const").into_iter().chain(several).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(old: &Value, new: &Value, expected: bool) {
        assert_eq!(fits(old, new), expected, "{old} into {new}");
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
            let variant = |name: &&str| json!({"type": "object", "properties": {"kind": {"const": name}}, "required": ["kind"]});
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

//! Rust types from JSON Schemas: exact where a type of Rust says the same, `serde_json::Value` where the schema
//! says anything or more than types can. Invariant: what the type writes, the schema's types accept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::names::{pascal, snake, unique};

/// What stands for anything.
pub(super) const ANY: &str = "serde_json::Value";

/// The structs and enums that schemas need, by name, and the names that they may not have.
#[derive(Default)]
pub(super) struct Types {
    taken: BTreeSet<String>,
    made: BTreeMap<String, String>,
}

impl Types {
    /// None of these names may be a type's.
    pub(super) fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: taken.into_iter().collect(), made: BTreeMap::new() }
    }

    /// The Rust type of what `schema` accepts; `wanted` names a struct that has no name of its own.
    pub(super) fn of(&mut self, root: &Value, schema: &Value, wanted: &str) -> String {
        Reader { types: self, root, open: Vec::new(), known: BTreeMap::new() }.of(schema, wanted, 0)
    }

    /// The definitions of all types that were made, in order of their names.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &str> {
        self.made.values().map(String::as_str)
    }
}

/// How deep schemas are read.
const DEPTH_MAX: usize = 24;

struct Reader<'a> {
    types: &'a mut Types,
    root: &'a Value,
    /// The references that are being followed.
    open: Vec<Open<'a>>,
    /// Those that have been.
    known: BTreeMap<String, String>,
}

/// A reference, what it points at, and the name of that type once there is one.
struct Open<'a> {
    target: String,
    schema: &'a Value,
    name: Option<String>,
}

impl Reader<'_> {
    fn of(&mut self, schema: &Value, wanted: &str, depth: usize) -> String {
        let Value::Object(object) = schema else { return ANY.to_owned() };
        if depth > DEPTH_MAX {
            return ANY.to_owned();
        }
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            return self.reference(target, depth);
        }
        if let Some(values) = object.get("enum").and_then(Value::as_array) {
            return self.choice(object, values, wanted);
        }
        if let Some(branches) = object.get("anyOf").or_else(|| object.get("oneOf")) {
            return self.branches(branches, wanted, depth);
        }
        match object.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) => return self.of(one, wanted, depth + 1),
            Some(_) => return ANY.to_owned(),
            None => {}
        }
        match object.get("type") {
            Some(Value::String(kind)) => self.kind(object, kind, wanted, depth),
            Some(Value::Array(kinds)) => {
                let told: Vec<_> =
                    kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
                match told.as_slice() {
                    [kind] if kinds.len() == 1 => self.kind(object, kind, wanted, depth),
                    [kind] => option(&self.kind(object, kind, wanted, depth)),
                    _ => ANY.to_owned(),
                }
            }
            _ => ANY.to_owned(),
        }
    }

    fn reference(&mut self, target: &str, depth: usize) -> String {
        if let Some(open) = self.open.iter().find(|open| open.target == target) {
            // A type within itself needs a place of its own.
            return open.name.as_ref().map_or(ANY.to_owned(), |name| format!("Box<{name}>"));
        }
        if let Some(known) = self.known.get(target) {
            return known.clone();
        }
        let pointer = target.strip_prefix('#');
        let Some(schema) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
            return ANY.to_owned();
        };
        let wanted = pascal(target.rsplit('/').next().unwrap_or_default());
        self.open.push(Open { target: target.to_owned(), schema, name: None });
        let made = self.of(schema, &wanted, depth + 1);
        self.open.pop();
        self.known.insert(target.to_owned(), made.clone());
        made
    }

    fn branches(&mut self, branches: &Value, wanted: &str, depth: usize) -> String {
        let all = branches.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_null = |branch: &&Value| branch.get("type").is_some_and(|kind| kind == "null");
        let told: Vec<_> = all.iter().filter(|branch| !is_null(branch)).collect();
        match told.as_slice() {
            [one] if all.len() == 1 => self.of(one, wanted, depth + 1),
            [one] => option(&self.of(one, wanted, depth + 1)),
            _ => ANY.to_owned(),
        }
    }

    fn kind(
        &mut self,
        object: &Map<String, Value>,
        kind: &str,
        wanted: &str,
        depth: usize,
    ) -> String {
        match kind {
            "null" => "()".to_owned(),
            "boolean" => "bool".to_owned(),
            "number" => "f64".to_owned(),
            "integer" => integer(object).to_owned(),
            "string" => "String".to_owned(),
            "array" => self.array(object, wanted, depth),
            "object" => self.object(object, wanted, depth),
            _ => ANY.to_owned(),
        }
    }

    fn array(&mut self, object: &Map<String, Value>, wanted: &str, depth: usize) -> String {
        /// The longest that serde reads and writes.
        const TUPLE_MAX: usize = 16;
        const ARRAY_MAX: usize = 32;
        let count = |name: &str| object.get(name).and_then(Value::as_u64).map(|n| n as usize);
        let exact = count("minItems").filter(|count_min| count("maxItems") == Some(*count_min));
        if let Some(Value::Array(prefix)) = object.get("prefixItems") {
            if exact != Some(prefix.len()) || !(1..=TUPLE_MAX).contains(&prefix.len()) {
                return format!("Vec<{ANY}>");
            }
            let items = prefix.iter().enumerate();
            let items: Vec<_> = items
                .map(|(at, item)| self.of(item, &format!("{wanted}Item{}", at + 1), depth + 1))
                .collect();
            let comma = if items.len() == 1 { "," } else { "" };
            return format!("({}{comma})", items.join(", "));
        }
        let item = match object.get("items") {
            Some(items) => self.of(items, &format!("{wanted}Item"), depth + 1),
            None => ANY.to_owned(),
        };
        match exact {
            Some(count) if (1..=ARRAY_MAX).contains(&count) => format!("[{item}; {count}]"),
            _ => format!("Vec<{item}>"),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, wanted: &str, depth: usize) -> String {
        let Some(properties) = object.get("properties").and_then(Value::as_object) else {
            let value = match object.get("additionalProperties") {
                Some(values) => self.of(values, &format!("{wanted}Value"), depth + 1),
                None => ANY.to_owned(),
            };
            return format!("BTreeMap<String, {value}>");
        };
        let title = object.get("title").and_then(Value::as_str).map(pascal);
        let wanted = title.unwrap_or_else(|| wanted.to_owned());
        let body = |reader: &mut Self, name: &str| {
            let mut fields = BTreeSet::new();
            let mut text = format!("pub struct {name} {{\n");
            for (member, property) in properties {
                let inner = format!("{name}{}", pascal(member));
                let (field, ty) =
                    (unique(&snake(member), &mut fields), reader.of(property, &inner, depth + 1));
                text.push_str(&about(property.get("description"), "    "));
                let is_needed = requires(object, member);
                let rename = (field.trim_start_matches("r#") != member)
                    .then(|| format!("rename = {member:?}"));
                let absent = (!is_needed)
                    .then(|| "default, skip_serializing_if = \"Option::is_none\"".to_owned());
                let attributes: Vec<_> = rename.into_iter().chain(absent).collect();
                if !attributes.is_empty() {
                    let _ = writeln!(text, "    #[serde({})]", attributes.join(", "));
                }
                let ty = if is_needed { ty } else { optional(&ty) };
                let _ = writeln!(text, "    pub {field}: {ty},");
            }
            text + "}\n"
        };
        self.define(&wanted, object, &body)
    }

    /// An enum when all values are texts.
    fn choice(&mut self, object: &Map<String, Value>, values: &[Value], wanted: &str) -> String {
        let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        if texts.len() != values.len() || texts.is_empty() {
            return ANY.to_owned();
        }
        let title = object.get("title").and_then(Value::as_str).map(pascal);
        let wanted = title.unwrap_or_else(|| wanted.to_owned());
        let body = |_: &mut Self, name: &str| {
            let mut variants = BTreeSet::new();
            let mut text = format!("pub enum {name} {{\n");
            for value in &texts {
                let variant = unique(&pascal(value), &mut variants);
                if variant != *value {
                    let _ = writeln!(text, "    #[serde(rename = {value:?})]");
                }
                let _ = writeln!(text, "    {variant},");
            }
            text + "}\n"
        };
        self.define(&wanted, object, &body)
    }

    /// A type of this name, or of this name with a number when another has it.
    fn define(
        &mut self,
        wanted: &str,
        object: &Map<String, Value>,
        body: &dyn Fn(&mut Self, &str) -> String,
    ) -> String {
        for count in 1.. {
            let name = if count == 1 { wanted.to_owned() } else { format!("{wanted}{count}") };
            let is_open = self.open.iter().any(|open| open.name.as_ref() == Some(&name));
            if is_open || self.types.taken.contains(&name) {
                continue;
            }
            let is_this = |open: &&mut Open<'_>| {
                open.schema.as_object().is_some_and(|schema| std::ptr::eq(schema, object))
            };
            if let Some(open) = self.open.last_mut().filter(is_this) {
                open.name = Some(name.clone());
            }
            let text = format!(
                "{}#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]\n\
                 #[serde(crate = \"keystead_sdk::__private::serde\")]\n{}",
                about(object.get("description"), ""),
                body(self, &name),
            );
            let there = self.types.made.entry(name.clone()).or_insert_with(|| text.clone());
            if *there == text {
                return name;
            }
        }
        ANY.to_owned()
    }
}

/// Whether an object that fits must have this member.
pub(super) fn requires(object: &Map<String, Value>, member: &str) -> bool {
    let required = object.get("required").and_then(Value::as_array);
    required.is_some_and(|all| all.iter().any(|one| one == member))
}

/// An author's text as a doc comment.
pub(super) fn about(text: Option<&Value>, indent: &str) -> String {
    let text = text.and_then(Value::as_str).unwrap_or_default().trim();
    let mut made = String::new();
    for line in text.lines() {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(made, "{indent}{}", format!("/// {}", line.trim()).trim_end());
    }
    made
}

/// The type of what may be left out.
pub(super) fn optional(ty: &str) -> String {
    if ty == ANY { format!("Option<{ANY}>") } else { option(ty) }
}

/// The type of what may be null.
fn option(ty: &str) -> String {
    // `Value` has a null, and `null` for an outer option would be read as the inner's.
    if ty == ANY || ty.starts_with("Option<") { ty.to_owned() } else { format!("Option<{ty}>") }
}

/// The narrowest type whose bounds are these; otherwise the widest with this sign.
fn integer(object: &Map<String, Value>) -> &'static str {
    let bound = |name: &str| object.get(name).and_then(Value::as_i64);
    match (bound("minimum"), bound("maximum")) {
        (Some(0), Some(255)) => "u8",
        (Some(0), Some(65_535)) => "u16",
        (Some(0), Some(4_294_967_295)) => "u32",
        (Some(-128), Some(127)) => "i8",
        (Some(-32_768), Some(32_767)) => "i16",
        (Some(-2_147_483_648), Some(2_147_483_647)) => "i32",
        (Some(min), _) if min >= 0 => "u64",
        _ if bound("exclusiveMinimum").is_some_and(|min| min >= -1) => "u64",
        _ => "i64",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value) -> String {
        Types::default().of(schema, schema, "Made")
    }

    #[test]
    fn schemas_of_the_sdk_become_the_types_they_were_made_from() {
        for (schema, ty) in [
            (json!({"type": "integer", "minimum": 0}), "u64"),
            (json!({"type": "integer", "minimum": 0, "maximum": 255}), "u8"),
            (
                json!({"type": "integer", "minimum": -2_147_483_648_i64, "maximum": 2_147_483_647}),
                "i32",
            ),
            (json!({"type": "integer"}), "i64"),
            (json!({"type": "integer", "minimum": 3, "maximum": 255}), "u64"),
            (json!({"type": "null"}), "()"),
            (json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), "Option<bool>"),
            (json!({"type": ["string", "null"]}), "Option<String>"),
            (json!({"type": "array", "items": {"type": "number"}}), "Vec<f64>"),
            (json!({"type": "array"}), "Vec<serde_json::Value>"),
            (
                json!({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
                "[String; 2]",
            ),
            (
                json!({"type": "array", "prefixItems": [{"type": "string"}], "minItems": 1, "maxItems": 1}),
                "(String,)",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "boolean"}}),
                "BTreeMap<String, bool>",
            ),
            (json!({"type": "object"}), "BTreeMap<String, serde_json::Value>"),
            (json!({"enum": ["a", "b"]}), "Made"),
            (json!({"enum": ["a", 1]}), ANY),
            (json!({"type": "object", "properties": {}}), "Made"),
            (json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}), ANY),
            (json!({"anyOf": [{}, {"type": "null"}]}), ANY),
            (json!({}), ANY),
            (json!(false), ANY),
            (json!({"$ref": "#/nowhere"}), ANY),
        ] {
            assert_eq!(of(&schema), ty, "{schema}");
        }
    }

    #[test]
    fn schemas_that_never_end_do() {
        let itself = json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}});
        assert_eq!(of(&itself), ANY);
        let lists = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}});
        assert_eq!(of(&lists), format!("Vec<{ANY}>"));
        let mut deep = json!({"type": "boolean"});
        for _ in 0..100 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(of(&deep).contains(ANY));
    }

    #[test]
    fn types_of_one_name_are_shared_only_when_they_are_the_same() {
        let point = |kind: &str| json!({"title": "Point", "type": "object", "properties": {"x": {"type": kind}}});
        let mut types = Types::new(["Line".to_owned()]);
        let made: Vec<_> = ["number", "integer", "number"]
            .iter()
            .map(|kind| types.of(&point(kind), &point(kind), "Made"))
            .collect();
        assert_eq!(made, ["Point", "Point2", "Point"]);
        let line = json!({"title": "line", "type": "object", "properties": {}});
        assert_eq!(types.of(&line, &line, "Made"), "Line2");
        assert_eq!(types.definitions().count(), 3);
    }
}

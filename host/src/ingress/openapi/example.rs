//! A value that a schema accepts, for people to begin with. It understands what schemas of arguments are
//! made of and gives up on the rest. Invariant: a value that is made here fits its schema; what an author
//! gave as an example is taken as it is.

use serde_json::{Map, Number, Value, json};

use crate::ingress::arguments::follow;
use crate::limits;

/// An example of what `schema` accepts; `None` when this does not know one.
pub(super) fn of(schema: &Value) -> Option<Value> {
    if is_anything(schema) {
        return None;
    }
    Maker { root: schema, schemas: 0, bytes: 0 }.value(schema, 0)
}

/// Most schemas to look at for one example: a small schema can refer to itself in many places.
const SCHEMAS_MAX: usize = 500;
/// How deep optional parts go.
const OPTIONAL_DEPTH_MAX: usize = 4;
/// How deep required ones do.
const DEPTH_MAX: usize = 16;
/// Most items and characters that an example is filled up to.
const LENGTH_MAX: u64 = 64;

struct Maker<'a> {
    root: &'a Value,
    schemas: usize,
    /// Taken from authors' values so far: one may be referred to from many places.
    bytes: usize,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        self.schemas += 1;
        if self.schemas > SCHEMAS_MAX || depth > DEPTH_MAX {
            return None;
        }
        let schema = follow(self.root, schema);
        let Value::Object(object) = schema else {
            return (*schema == Value::Bool(true)).then(|| json!({}));
        };
        let given = object.get("examples").and_then(|all| all.get(0));
        let given = given.or_else(|| object.get("example")).or_else(|| object.get("default"));
        if let Some(given) = given.or_else(|| object.get("const")) {
            return self.taken(given);
        }
        if let Some(all) = object.get("enum") {
            return self.taken(all.get(0)?);
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(Value::Array(branches)) = object.get(keyword) {
                return self.branch(object, keyword, branches, depth);
            }
        }
        match kind(object) {
            None => only(object, &[]).then(|| json!({})),
            Some("null") => only(object, &[]).then_some(Value::Null),
            Some("boolean") => only(object, &[]).then_some(Value::Bool(true)),
            Some("integer" | "number") => number(object),
            Some("string") => string(object),
            Some("array") => self.array(object, depth),
            Some("object") => self.object(object, depth),
            Some(_) => None,
        }
    }

    /// An author's value, while there are not too many.
    fn taken(&mut self, given: &Value) -> Option<Value> {
        self.bytes += size(given);
        (self.bytes <= limits::EXAMPLE_BYTES_MAX).then(|| given.clone())
    }

    /// The first branch that says something, when the value fits the others or not as it must.
    fn branch(
        &mut self,
        object: &Map<String, Value>,
        keyword: &str,
        branches: &[Value],
        depth: usize,
    ) -> Option<Value> {
        if !only(object, &[keyword]) || (keyword == "allOf" && branches.len() != 1) {
            return None;
        }
        let is_null = |branch: &&Value| branch.get("type").is_some_and(|kind| kind == "null");
        if depth > OPTIONAL_DEPTH_MAX && branches.iter().any(|branch| is_null(&branch)) {
            return Some(Value::Null);
        }
        let told = branches.iter().enumerate().filter(|(_, branch)| !is_null(branch));
        for (at, branch) in told {
            let Some(value) = self.value(branch, depth + 1) else { continue };
            let mut others = branches.iter().enumerate().filter(|(other, _)| *other != at);
            let alone = |other| excludes(follow(self.root, other), &value);
            if keyword != "oneOf" || others.all(|(_, other)| alone(other)) {
                return Some(value);
            }
        }
        None
    }

    fn array(&mut self, object: &Map<String, Value>, depth: usize) -> Option<Value> {
        const KNOWN: [&str; 5] = ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"];
        let count = |name: &str| object.get(name).map(|count| count.as_u64());
        let min = count("minItems").unwrap_or(Some(0))?;
        let max = count("maxItems").unwrap_or(Some(LENGTH_MAX))?;
        let prefix = object.get("prefixItems").and_then(Value::as_array);
        let prefix = prefix.map_or(&[][..], Vec::as_slice);
        let wanted = if depth > OPTIONAL_DEPTH_MAX { 0 } else { prefix.len().max(1) as u64 };
        let count = wanted.clamp(min, max.max(min));
        let unique = object.get("uniqueItems") == Some(&Value::Bool(true));
        let rest = object.get("items").unwrap_or(&Value::Bool(true));
        if !only(object, &KNOWN) || rest.is_array() || count > LENGTH_MAX || (unique && count > 1) {
            return None;
        }
        let mut items = Vec::new();
        for at in 0..count as usize {
            match self.value(prefix.get(at).unwrap_or(rest), depth + 1) {
                Some(item) => items.push(item),
                None if at as u64 >= min => break,
                None => return None,
            }
        }
        Some(Value::Array(items))
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Option<Value> {
        const KNOWN: [&str; 3] = ["properties", "required", "additionalProperties"];
        if !only(object, &KNOWN) {
            return None;
        }
        let empty = Map::new();
        let properties = object.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let more = object.get("additionalProperties").unwrap_or(&Value::Bool(true));
        let required = object.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        let mut example = Map::new();
        for name in required.clone() {
            let schema = properties.get(name).unwrap_or(more);
            example.insert(name.to_owned(), self.value(schema, depth + 1)?);
        }
        if depth <= OPTIONAL_DEPTH_MAX {
            for (name, schema) in properties {
                if !example.contains_key(name)
                    && let Some(value) = self.value(schema, depth + 1)
                {
                    example.insert(name.clone(), value);
                }
            }
            // A map from anything: show that it is one.
            if properties.is_empty()
                && more.is_object()
                && let Some(value) = self.value(more, depth + 1)
            {
                example.insert("key".to_owned(), value);
            }
        }
        Some(Value::Object(example))
    }
}

/// About what a value takes as text.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 2 + items.iter().map(|item| 1 + size(item)).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, member)| 4 + name.len() + size(member)).sum::<usize>()
        }
        Value::String(text) => 2 + text.len(),
        _ => 8,
    }
}

/// Keywords that change nothing about what is accepted.
const ANNOTATIONS: [&str; 16] = [
    "$comment",
    "$defs",
    "$id",
    "$anchor",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "definitions",
    "deprecated",
    "description",
    "format",
    "nullable",
    "readOnly",
    "title",
    "type",
    "writeOnly",
];

/// True when the schema has no keyword but these and annotations.
fn only(object: &Map<String, Value>, known: &[&str]) -> bool {
    object
        .keys()
        .all(|keyword| known.contains(&keyword.as_str()) || ANNOTATIONS.contains(&keyword.as_str()))
}

fn is_anything(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => !object.contains_key("type") && only(object, &[]),
        _ => true,
    }
}

/// The type it has, the first that is not null when there are several.
fn kind(object: &Map<String, Value>) -> Option<&str> {
    match object.get("type")? {
        Value::Array(kinds) => {
            let mut names = kinds.iter().filter_map(Value::as_str);
            names.clone().find(|name| *name != "null").or_else(|| names.next())
        }
        name => name.as_str(),
    }
}

fn number(object: &Map<String, Value>) -> Option<Value> {
    const KNOWN: [&str; 5] =
        ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
    let read = |name: &str| object.get(name).is_none_or(Value::is_number);
    if !only(object, &KNOWN) || !KNOWN.into_iter().all(read) {
        return None;
    }
    let bound = |name: &str| {
        let bound = object.get(name).and_then(Value::as_f64);
        bound.map(|bound| bound.clamp(-EXACT_MAX, EXACT_MAX))
    };
    let step = bound("multipleOf").unwrap_or(1.0);
    // A step away from a bound that is itself left out.
    let least = [bound("minimum"), bound("exclusiveMinimum").map(|bound| bound + step)];
    let least = least.into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
    let most = [bound("maximum"), bound("exclusiveMaximum").map(|bound| bound - step)];
    let most = most.into_iter().flatten().fold(f64::INFINITY, f64::min);
    let near = 1.0_f64.max(least).min(most) / step;
    let value = [near.ceil() * step, near.floor() * step];
    let value = value.into_iter().find(|value| (least..=most).contains(value))?;
    let is_whole = value.fract() == 0.0;
    match kind(object) {
        _ if value.abs() > EXACT_MAX => None,
        _ if is_whole => Some(Value::from(value as i64)),
        Some("number") => Number::from_f64(value).map(Value::Number),
        _ => None,
    }
}

/// Up to here every whole number is one of floating point, too.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn string(object: &Map<String, Value>) -> Option<Value> {
    if !only(object, &["minLength", "maxLength"]) {
        return None;
    }
    let length = |name: &str| object.get(name).map(|length| length.as_f64().map(|n| n as u64));
    let min = length("minLength").unwrap_or(Some(0))?;
    let max = length("maxLength").unwrap_or(Some(u64::MAX))?;
    let text = match object.get("format").and_then(Value::as_str) {
        Some("date-time") => "2030-01-31T08:00:00Z",
        Some("date") => "2030-01-31",
        Some("time") => "08:00:00Z",
        Some("duration") => "PT10S",
        Some("email") => "alice@example.com",
        Some("hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uri") => "https://example.com/",
        Some("uuid") => "5f0c1d1e-7a3b-4c52-9d2e-0a6b8f4c2d10",
        _ => return plain(min, max),
    };
    (min..=max).contains(&(text.len() as u64)).then(|| text.into())
}

fn plain(min: u64, max: u64) -> Option<Value> {
    if min > LENGTH_MAX || min > max {
        return None;
    }
    let length = 4.clamp(min, max) as usize;
    Some("text".chars().cycle().take(length).collect::<String>().into())
}

/// True when `schema` surely does not accept `value`.
fn excludes(schema: &Value, value: &Value) -> bool {
    let Value::Object(object) = schema else { return *schema == Value::Bool(false) };
    let is = |name: &str| match (name, value) {
        ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
        ("number", Value::Number(_))
        | ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        _ => false,
    };
    let mistyped = match object.get("type") {
        Some(Value::String(name)) => !is(name),
        Some(Value::Array(names)) => !names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    };
    let other = object.get("const").is_some_and(|only| only != value)
        || object.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value));
    let lacks = |name: &Value| {
        name.as_str().is_some_and(|name| value.is_object() && value.get(name).is_none())
    };
    let required = object.get("required").and_then(Value::as_array);
    let lacking = required.is_some_and(|names| names.iter().any(lacks));
    let differs = |(name, schema): (&String, &Value)| {
        value.get(name).is_some_and(|member| excludes(schema, member))
    };
    let properties = object.get("properties").and_then(Value::as_object);
    let differing = properties.is_some_and(|properties| properties.iter().any(differs));
    mistyped || other || lacking || differing
}

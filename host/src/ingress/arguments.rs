//! Query parameters as a handler's arguments: `?limit=5&name=5` becomes `{"limit":5,"name":"5"}`
//! when the schema says that `limit` is an integer and `name` a string. What does not read as its
//! type stays text, so that the schema's own check names it.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::edge::Problem;
use crate::edge::query::Params;
use crate::limits;
use crate::registry::Body;

/// The input that a query stands for; empty when there is none.
pub(super) fn from_query(query: Option<&str>, input: &Body) -> Result<Bytes, Problem> {
    let params = Params::new(query)?;
    let schema = match input {
        Body::Json(schema) => schema,
        Body::Bytes(_) => {
            params.finish("this handler takes bytes; POST them")?;
            return Ok(Bytes::new());
        }
    };
    let mut given: Vec<(Cow<'_, str>, Vec<Cow<'_, str>>)> = Vec::new();
    for (name, value) in params.rest()? {
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => given.push((name, vec![value])),
        }
    }
    if given.is_empty() {
        return Ok(Bytes::new());
    }
    let properties = follow(schema, schema).get("properties");
    let mut arguments = Map::new();
    for (name, values) in given {
        let property = properties.and_then(|properties| properties.get(&*name));
        let value = argument(schema, property, &values).ok_or_else(|| {
            Problem::malformed(format!("{name}: is given more than once and is not an array"))
        })?;
        arguments.insert(name.into_owned(), value);
    }
    let written = serde_json::to_vec(&arguments);
    written.map(Bytes::from).map_err(|error| Problem::internal(error.to_string()))
}

/// One argument from the values it was given; `None` when it may have one only.
fn argument(root: &Value, property: Option<&Value>, values: &[Cow<'_, str>]) -> Option<Value> {
    let text = |value: &str| Value::String(value.to_owned());
    let Some(shape) = property.map(|property| Shape::of(root, property)) else {
        let [value] = values else { return None };
        return Some(text(value)); // the schema's check says whether it may be there at all
    };
    let items = |values: &[Cow<'_, str>]| {
        let shape = shape.items.map_or(Shape::ANY, |items| Shape::of(root, items));
        Value::Array(values.iter().map(|value| shape.read(value)).collect())
    };
    match values {
        [value] if shape.array && !shape.text => Some(match shape.read(value) {
            // `?tags=red` is an array of one.
            read if read.is_array() || (shape.json && !read.is_string()) => read,
            _ => items(values),
        }),
        [value] => Some(shape.read(value)),
        _ => shape.array.then(|| items(values)),
    }
}

/// What a schema lets a value be, as far as reading it from text needs to know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape<'a> {
    /// A string.
    pub(super) text: bool,
    /// A number, a boolean, null or an object.
    json: bool,
    /// An array.
    array: bool,
    /// What its items are.
    items: Option<&'a Value>,
}

impl<'a> Shape<'a> {
    /// Anything: JSON when it reads as JSON.
    const ANY: Self = Self { text: false, json: true, array: false, items: None };

    pub(super) fn of(root: &'a Value, schema: &'a Value) -> Self {
        let mut shape = Self::default();
        let mut left = limits::SHAPE_STEPS_MAX;
        shape.add(root, schema, DEPTH_MAX, &mut left);
        if shape.text || shape.json || shape.array { shape } else { Self::ANY }
    }

    /// `left` counts down: choices within choices that refer to themselves multiply.
    fn add(&mut self, root: &'a Value, schema: &'a Value, depth: usize, left: &mut usize) {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let schema = follow(root, schema);
        let listed = |name: &str| schema.get(name).and_then(Value::as_array).into_iter().flatten();
        let types = schema.get("type").into_iter().filter_map(Value::as_str);
        for name in types.chain(listed("type").filter_map(Value::as_str)) {
            match name {
                "string" => self.text = true,
                "array" => self.array = true,
                _ => self.json = true,
            }
        }
        for value in schema.get("const").into_iter().chain(listed("enum")) {
            match value {
                Value::String(_) => self.text = true,
                Value::Array(_) => self.array = true,
                _ => self.json = true,
            }
        }
        self.items = self.items.or(schema.get("items"));
        if depth > 0 {
            for name in ["anyOf", "oneOf", "allOf"] {
                for branch in listed(name).take(*left) {
                    self.add(root, branch, depth - 1, left);
                }
            }
        }
    }

    /// Reads a value; a string stays what it is, even `5` and `true`.
    fn read(self, text: &str) -> Value {
        let parsed = if self.text { None } else { serde_json::from_str(text).ok() };
        parsed.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

/// How deep references and choices of a schema are followed.
const DEPTH_MAX: usize = 8;

/// Follows `$ref`s within the document.
pub(super) fn follow<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Body {
        Body::Json(json!({
            "type": "object",
            "properties": {
                "limit": {"type": "integer"}, "name": {"type": "string"},
                "all": {"type": "boolean"},
                "ratio": {"type": "number"}, "maybe": {"type": ["integer", "null"]},
                "nick": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "ids": {"anyOf": [{"$ref": "#/$defs/Ids"}, {"type": "null"}]},
                "range": {"$ref": "#/$defs/Range"}, "color": {"enum": ["1", "2"]},
                "any": {}, "loop": {"$ref": "#/$defs/Loop"},
            },
            "$defs": {
                "Ids": {"type": "array", "items": {"type": "integer"}},
                "Range": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"},
            },
        }))
    }

    fn read(query: &str) -> Value {
        let bytes = from_query(Some(query), &schema()).expect(query);
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn values_take_the_type_that_the_schema_says() {
        assert_eq!(read("limit=5&name=5&all=true"), json!({"limit": 5, "name": "5", "all": true}));
        assert_eq!(read("ratio=1.5&maybe=null"), json!({"ratio": 1.5, "maybe": null}));
        assert_eq!(read("nick=null&color=1"), json!({"nick": "null", "color": "1"}));
        assert_eq!(read("range=%7B%22a%22:1%7D"), json!({"range": {"a": 1}}));
        assert_eq!(read("any=5"), json!({"any": 5}));
        assert_eq!(read("any=five&loop=x"), json!({"any": "five", "loop": "x"}));
        assert_eq!(read("name=a+b%26c&name2="), json!({"name": "a b&c", "name2": ""}));
    }

    /// Found by fuzzing: the shape of this was looked for in 90 to the power of 8 places.
    #[test]
    fn choices_that_lead_to_themselves_end() {
        let here = vec![json!({"$ref": "#/$defs/x"}); 30];
        let x = json!({"anyOf": here, "oneOf": here, "allOf": here, "type": "string"});
        let schema = json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": x}});
        let input = from_query(Some("a=5"), &Body::Json(schema)).expect("ends");
        assert_eq!(input, r#"{"a":"5"}"#);
    }

    #[test]
    fn arrays_come_repeated_alone_or_as_json() {
        assert_eq!(read("tags=red&tags=5"), json!({"tags": ["red", "5"]}));
        assert_eq!(read("tags=red"), json!({"tags": ["red"]}));
        assert_eq!(read("tags=5"), json!({"tags": ["5"]}));
        assert_eq!(read("tags=%5B%22a%22,%22b%22%5D"), json!({"tags": ["a", "b"]}));
        assert_eq!(read("ids=1&ids=2"), json!({"ids": [1, 2]}));
        assert_eq!(read("ids=null"), json!({"ids": null}));
    }

    #[test]
    fn what_does_not_read_stays_for_the_schema_to_refuse() {
        assert_eq!(read("limit=banana&all=yes"), json!({"limit": "banana", "all": "yes"}));
        assert_eq!(read("unknown=5"), json!({"unknown": "5"}));
        for query in ["limit=1&limit=2", "name=a&name=b", "unknown=1&unknown=2", "name=%ff"] {
            assert_eq!(from_query(Some(query), &schema()).expect_err(query).code(), "malformed");
        }
    }

    #[test]
    fn no_query_is_no_input_and_bytes_take_none() {
        assert_eq!(from_query(None, &schema()).expect("empty"), "");
        assert_eq!(from_query(Some(""), &schema()).expect("empty"), "");
        let bytes = Body::Bytes("image/png".to_owned());
        assert_eq!(from_query(None, &bytes).expect("empty"), "");
        assert!(from_query(Some("a=1"), &bytes).is_err());
    }
}

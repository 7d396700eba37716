//! Ready-to-paste curl lines for what an app offers, made from its contract document. The arguments are made
//! up: the smallest values that fit the schemas. Invariant: a line passes the host's input check.

use serde_json::{Map, Value, json};

use super::client::Path;
use super::output::{items, plain, shell, text};

/// How deep a sample goes into a schema that refers to itself.
const DEPTH_MAX: usize = 8;

/// One line per handler that anybody may call, in the contract's order.
pub(super) fn curl_lines(ingress: &str, app: &str, contract: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for entity in items(&contract["entities"]) {
        for handler in items(&entity["handlers"]).iter().filter(|h| h["kind"] != "internal") {
            lines.push(curl_line(ingress, app, &text(&entity["type"]), handler));
        }
    }
    lines
}

fn curl_line(ingress: &str, app: &str, kind: &str, handler: &Value) -> String {
    let verb = if handler["kind"] == "query" { "/v1/read" } else { "/v1/call" };
    let path = Path::new(verb).part(app).part(kind).part("demo").part(&text(&handler["name"]));
    let url = shell(&format!("{ingress}{}", path.as_str()));
    let input = &handler["input"];
    let post = |kind: &str, data: &str| {
        plain(&format!("curl -H {} {data} {url}", shell(&format!("content-type: {kind}"))))
    };
    if let Some(kind) = input["bytes"].as_str() {
        return post(kind, "--data-binary @FILE");
    }
    let schema = &input["json"];
    let sample = sample(schema, schema, 0);
    if sample == json!({}) {
        let method = if verb == "/v1/call" { "-X POST " } else { "" };
        return plain(&format!("curl {method}{url}"));
    }
    post("application/json", &format!("-d {}", shell(&sample.to_string())))
}

/// A small value that fits `schema`; `root` resolves its references.
fn sample(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    for fixed in ["const", "default"] {
        if let Some(value) = schema.get(fixed) {
            return value.clone();
        }
    }
    if let Some(first) = items(&schema["enum"]).first().or(items(&schema["examples"]).first()) {
        return first.clone();
    }
    if let Some(pointer) = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
        return root.pointer(pointer).map_or(Value::Null, |to| sample(to, root, depth + 1));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = items(&schema[choice]).first() {
            return sample(first, root, depth + 1);
        }
    }
    // `"type": ["integer", "null"]` names several; the first is as good as any.
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("integer") => integer(schema),
        Some("number") => schema.get("minimum").cloned().unwrap_or(json!(1.5)),
        Some("string") => json!("text"),
        Some("boolean") => json!(true),
        Some("array") => array(schema, root, depth),
        Some("object") => object(schema, root, depth),
        _ => Value::Null,
    }
}

fn integer(schema: &Value) -> Value {
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(minimum), _) if minimum > 1 => json!(minimum),
        (_, Some(maximum)) if maximum < 1 => json!(maximum),
        _ => json!(1),
    }
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let one = |item: &Value| sample(item, root, depth + 1);
    if let Some(tuple) = schema["prefixItems"].as_array() {
        return tuple.iter().map(one).collect();
    }
    let count = schema["minItems"].as_u64().unwrap_or(0).min(4);
    (0..count).map(|_| one(&schema["items"])).collect()
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let mut object = Map::new();
    for name in items(&schema["required"]).iter().filter_map(Value::as_str) {
        object.insert(name.into(), sample(&schema["properties"][name], root, depth + 1));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Value {
        let amount = json!({"type": "integer", "minimum": 0});
        let input = |properties: Value| {
            let required: Vec<_> = properties.as_object().expect("object").keys().collect();
            json!({"json": {"type": "object", "properties": properties, "required": required,
                            "additionalProperties": false}})
        };
        let bytes = json!({"bytes": "application/octet-stream"});
        json!({"entities": [{"type": "account", "handlers": [
            {"name": "transfer", "kind": "command",
             "input": input(json!({"amount": amount, "to": {"type": "string"}}))},
            {"name": "close", "kind": "command", "input": input(json!({}))},
            {"name": "heard", "kind": "internal", "input": input(json!({}))},
            {"name": "balance", "kind": "query", "input": input(json!({}))},
            {"name": "page", "kind": "query", "input": input(json!({"n": amount}))},
            {"name": "upload", "kind": "command", "input": bytes}]}]})
    }

    #[test]
    fn every_handler_has_a_line() {
        let lines = curl_lines("http://h:1", "bank", &contract());
        let json = "curl -H 'content-type: application/json' -d";
        let expected = [
            format!(
                r#"{json} '{{"amount":1,"to":"text"}}' http://h:1/v1/call/bank/account/demo/transfer"#
            ),
            "curl -X POST http://h:1/v1/call/bank/account/demo/close".into(),
            "curl http://h:1/v1/read/bank/account/demo/balance".into(),
            format!(r#"{json} '{{"n":1}}' http://h:1/v1/read/bank/account/demo/page"#),
            "curl -H 'content-type: application/octet-stream' --data-binary @FILE \
             http://h:1/v1/call/bank/account/demo/upload"
                .into(),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn samples_fit_their_schemas() {
        let point = json!({"type": "object", "properties": {"x": {"type": "number"}, "y": {}},
                           "required": ["x"]});
        let cases = [
            (json!({"type": "integer", "minimum": 7}), json!(7)),
            (json!({"type": "integer", "minimum": 0}), json!(1)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": ["string", "null"]}), json!("text")),
            (json!({"enum": ["red", "blue"]}), json!("red")),
            (json!({"oneOf": [{"const": "a"}, {"type": "object"}]}), json!("a")),
            (json!({"type": "array", "items": {"type": "boolean"}}), json!([])),
            (
                json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}),
                json!([true, true]),
            ),
            (
                json!({"type": "array", "prefixItems": [{"type": "string"}, {}]}),
                json!(["text", null]),
            ),
            (json!({"$ref": "#/$defs/point", "$defs": {"point": point}}), json!({"x": 1.5})),
        ];
        for (schema, expected) in cases {
            assert_eq!(sample(&schema, &schema, 0), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}},
                            "required": ["next"]});
        assert!(sample(&schema, &schema, 0).is_object());
    }
}

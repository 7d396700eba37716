//! The documents of odd contracts against the official schema of OpenAPI 3.1, and what they say of errors
//! and inputs against what ingress does. The examples' own documents are checked in `tests/examples.rs`.

use std::collections::BTreeSet;

use http_body_util::BodyExt;
use jsonschema::Validator;

use super::*;
use crate::edge::Source;
use crate::engine::Trap;
use crate::ids::MessageId;
use crate::partition::request::{CallFailure, Refusal};

const OFFICIAL: &str = include_str!("../../../../tests/openapi/schema-3.1.json");

fn contract(document: &Value) -> Contract {
    Contract::parse(document.to_string().as_bytes()).expect("a contract")
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json! at the call")]
fn one(handlers: Value) -> Value {
    json!({"entities": [{"type": "thing", "handlers": handlers}]})
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with json! at the call")]
fn handler(name: &str, kind: &str, input: Value, output: Value) -> Value {
    json!({"name": name, "kind": kind, "input": input, "output": output})
}

fn tree() -> Value {
    json!({"$ref": "#/$defs/Tree", "$defs": {"Tree": {"type": "object", "required": ["leaf"],
        "additionalProperties": false, "properties": {"leaf": {"type": "integer"},
            "left": {"$ref": "#/$defs/Tree"}, "all": {"type": "array", "items": {"$ref": "#"}}}}}})
}

fn named() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {
        "a/b": {"$ref": "#point"}, "c": {"$ref": "#/$defs/Point"}},
        "$defs": {"Point": {"$anchor": "point", "type": "integer"}}})
}

fn old() -> Value {
    json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "properties": {"pair": {"type": "array", "items": [{"type": "string"}, {"$ref": "#/definitions/n"}]}},
        "definitions": {"n": {"type": "integer"}}})
}

/// Contracts as other languages' SDKs and careless hands write them.
fn odd() -> Vec<Value> {
    let none = json!({"json": {"type": "object", "properties": {}, "additionalProperties": false}});
    let any = json!({"json": true});
    let bytes = |kind: &str| json!({"bytes": kind});
    let longest = "n".repeat(limits::NAME_BYTES_MAX);
    vec![
        json!({"entities": [{"type": "empty", "handlers": []}]}),
        one(json!([handler("x", "command", none.clone(), json!({"json": {"type": "null"}}))])),
        one(json!([
            handler("get", "query", bytes("image/png"), bytes("image/png; q=\"é\n\"")),
            handler("put", "command", bytes(""), bytes("text/plain; charset=utf-8")),
            handler("odd", "command", bytes("no type"), any.clone()),
        ])),
        json!({"entities": [
            {"type": "Problem", "handlers": [handler("input", "command", any.clone(), any.clone())]},
            {"type": "messages", "about": "Not ours.", "handlers": [handler("get", "query", none.clone(), any)]},
            {"type": "a-b_c", "handlers": [handler(&longest, "query", json!({"json": {}}), none.clone())]},
            {"type": "key", "handlers": [handler("id", "query", none.clone(), none)]},
        ]}),
        one(json!([
            handler("tree", "command", json!({"json": tree()}), json!({"json": tree()})),
            handler("find", "query", json!({"json": tree()}), json!({"json": tree()})),
            handler("named", "query", json!({"json": named()}), json!({"json": named()})),
            handler("old", "query", json!({"json": old()}), json!({"json": old()})),
        ])),
    ]
}

#[test]
fn documents_are_openapi() {
    for document in odd() {
        let made = super::document("odd-app", "0f", &contract(&document));
        check_openapi(&made);
    }
}

/// Valid as a whole, each schema valid, each reference right, no operation twice, every example fitting.
fn check_openapi(document: &Value) {
    let official: Value = serde_json::from_str(OFFICIAL).expect("JSON");
    let official = jsonschema::validator_for(&official).expect("a schema");
    let errors: Vec<_> = official
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{document:#}");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        assert!(jsonschema::meta::is_valid(schema), "{name} is no schema: {schema}");
    }
    let ids: Vec<_> =
        operations(document).map(|(_, operation)| operation["operationId"].clone()).collect();
    let unique: BTreeSet<_> = ids.iter().map(Value::to_string).collect();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
    visit(document, &mut |object| {
        let target = object.get("$ref").and_then(Value::as_str);
        if let Some(pointer) = target.and_then(|target| target.strip_prefix("#/components")) {
            let found = document["components"].pointer(pointer);
            assert!(found.is_some(), "{target:?} points nowhere");
        }
        if let (Some(example), Some(schema)) = (object.get("example"), object.get("schema")) {
            let fits = within(document, schema).is_valid(example);
            assert!(fits, "{example} does not fit {schema}");
        }
        let instances = object.get("examples").and_then(Value::as_object).into_iter().flatten();
        for (name, instance) in instances {
            let fits = within(document, &object["schema"]).is_valid(&instance["value"]);
            assert!(fits, "{name} does not fit: {instance}");
        }
    });
}

/// A validator of `schema`, which stands somewhere in `document`.
fn within(document: &Value, schema: &Value) -> Validator {
    // Not every validator finds a resource below a keyword that it does not know, as `components` is.
    let target = schema["$ref"].as_str().and_then(|place| document.pointer(&place[1..]));
    if let Some(resource) = target.filter(|target| target.get("$id").is_some()) {
        return jsonschema::validator_for(resource).expect("a schema");
    }
    let mut alone = schema.clone();
    alone["components"] = document["components"].clone();
    jsonschema::validator_for(&alone).expect("a schema")
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        let verbs = ["get", "post", "delete"].into_iter().filter_map(|verb| item.get(verb));
        verbs.map(|operation| (path.as_str(), operation))
    })
}

fn visit(value: &Value, look: &mut dyn FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| visit(value, look));
        }
        Value::Array(items) => items.iter().for_each(|value| visit(value, look)),
        _ => {}
    }
}

#[test]
fn an_embedded_schema_accepts_what_it_did() {
    let handlers = json!([
        handler("tree", "command", json!({"json": tree()}), json!({"json": tree()})),
        handler("named", "query", json!({"json": named()}), json!({"json": named()})),
        handler("old", "query", json!({"json": old()}), json!({"json": old()})),
    ]);
    let contract = contract(&one(handlers));
    let made = super::document("app", "0f", &contract);
    let inputs = [
        json!({}),
        json!({"leaf": 1}),
        json!({"leaf": "1"}),
        json!({"leaf": 1, "left": {"leaf": 2, "all": [{"leaf": 3}]}}),
        json!({"leaf": 1, "left": {"leaf": 2, "all": [{"leaf": "3"}]}}),
        json!({"a/b": 1, "c": 2}),
        json!({"a/b": "1"}),
        json!({"pair": ["a", 1]}),
        json!({"pair": ["a", "b"]}),
    ];
    for (name, handler) in &contract.entities["thing"].handlers {
        let place = format!("#/components/schemas/thing.{name}.input");
        let embedded = match name.as_str() {
            // References find it by its id, whatever is around it.
            "named" => {
                jsonschema::validator_for(&made["components"]["schemas"]["thing.named.input"])
            }
            _ => Ok(within(&made, &json!({"$ref": place}))),
        };
        let embedded = embedded.expect("a schema");
        let mut accepted = 0;
        for input in &inputs {
            let fits = handler.check_input(input.to_string().as_bytes()).is_ok();
            assert_eq!(embedded.is_valid(input), fits, "{name}: {input}");
            accepted += usize::from(fits);
        }
        assert!(accepted > 0 && accepted < inputs.len(), "{name}: {accepted}");
    }
}

fn bank() -> Value {
    let integer = json!({"type": "integer", "minimum": 0});
    let deposit = json!({"type": "object", "additionalProperties": false, "required": ["amount"],
        "properties": {"amount": integer, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}}});
    let history = json!({"type": "object", "additionalProperties": false, "properties": {
        "limit": integer, "kinds": {"type": "array", "items": {"type": "string"}},
        "filter": {"type": "object", "description": "What to show."}, "any": {},
        "text": {"type": ["string", "object"]}}});
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let about = "Adds money. Then answers\nwith the balance.\n\nAnd more.";
    let mut deposit =
        handler("deposit", "command", json!({"json": deposit}), json!({"json": integer}));
    deposit["about"] = about.into();
    one(json!([
        deposit,
        handler("close", "command", json!({"json": none}), json!({"json": {"type": "null"}})),
        handler("heard", "internal", json!({"json": true}), json!({"json": true})),
        handler("picture", "query", json!({"json": none}), json!({"bytes": "image/png"})),
        handler("history", "query", json!({"json": history}), json!({"json": {"type": "array"}})),
    ]))
}

#[test]
fn handlers_become_paths_with_all_that_they_take_and_give() {
    let made = super::document("bank", "0f", &contract(&bank()));
    check_openapi(&made);
    assert_eq!(made["info"]["title"], "bank");
    let paths: Vec<_> =
        made["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let expected = [
        "/v1/call/bank/thing/{key}/close",
        "/v1/call/bank/thing/{key}/deposit",
        "/v1/callbacks/{token}/reject",
        "/v1/callbacks/{token}/resolve",
        "/v1/messages/{id}",
        "/v1/read/bank/thing/{key}/history",
        "/v1/read/bank/thing/{key}/picture",
        "/v1/send/bank/thing/{key}/close",
        "/v1/send/bank/thing/{key}/deposit",
    ];
    assert_eq!(paths, expected);
    let call = &made["paths"]["/v1/call/bank/thing/{key}/deposit"]["post"];
    assert_eq!(call["summary"], "Adds money");
    assert!(
        call["description"].as_str().expect("text").starts_with("Adds money. Then answers\nwith")
    );
    assert_eq!(call["requestBody"]["required"], true);
    let json = &call["requestBody"]["content"]["application/json"];
    assert_eq!(json["example"], json!({"amount": 1, "note": "text"}));
    assert_eq!(call["responses"]["200"]["content"]["application/json"]["example"], 1);
    let close = &made["paths"]["/v1/call/bank/thing/{key}/close"]["post"];
    assert_eq!(close["requestBody"]["required"], false);
    let picture = &made["paths"]["/v1/read/bank/thing/{key}/picture"]["get"];
    assert_eq!(picture["responses"]["200"]["content"], json!({"image/png": {}}));
    assert!(picture["responses"]["304"].is_object());
}

#[test]
fn arguments_of_a_read_are_parameters_as_the_ingress_takes_them() {
    let made = super::document("bank", "0f", &contract(&bank()));
    let history = &made["paths"]["/v1/read/bank/thing/{key}/history"]["get"];
    let parameters = history["parameters"].as_array().expect("parameters");
    let parameter = |name: &str| parameters.iter().find(|one| one["name"] == name).expect("there");
    let plain = ["limit", "kinds", "text"];
    assert!(plain.iter().all(|name| parameter(name)["schema"].is_object()));
    let json = ["filter", "any"];
    assert!(json.iter().all(|name| parameter(name)["content"]["application/json"].is_object()));
    assert_eq!(parameter("filter")["description"], "What to show.");
    assert_eq!(parameter("limit")["required"], false);
}

/// What ingress can answer with, as it answers.
fn answers() -> Vec<(Route, Problem)> {
    use Route::{Call, Message, ReadGet, Send};
    let refusals = [
        Refusal::MailboxFull { waiting: 1 },
        Refusal::OverQuota { what: "messages", max: 1 },
        Refusal::Overloaded { what: "messages" },
        Refusal::Unavailable("closing".into()),
        Refusal::IdempotencyMismatch,
    ];
    let mut all: Vec<(Route, Problem)> = Vec::new();
    for refusal in refusals {
        all.push((Call, refusal.clone().into()));
        all.push((Send, refusal.into()));
    }
    all.push((Call, Refusal::TimedOut { ms: 1, id: MessageId(1) }.into()));
    let traps = [Trap::Deadline(5), Trap::Panic("oops".into()), Trap::Stack, Trap::Memory(1)];
    for route in [Call, ReadGet, Message] {
        all.push((route, super::super::answer::failed(CallFailure::NoHandler("gone".into()))));
        for trap in &traps {
            all.push((route, super::super::answer::failed(CallFailure::Trap(trap.clone()))));
        }
    }
    all.push((Send, Problem::malformed("no")));
    all.push((Message, Problem::internal("no")));
    all
}

#[tokio::test]
async fn errors_are_listed_as_they_are_answered() {
    for (route, problem) in answers() {
        let (status, code) = (problem.status().as_u16(), problem.code().to_owned());
        let found = problems::ROWS
            .iter()
            .find(|row| row.status == status && row.code == code && row.on.contains(&route));
        let row = found.unwrap_or_else(|| panic!("{route:?} does not list {status} {code}"));
        let reply = problem.into_reply();
        let body = reply.into_body().collect().await.expect("whole").to_bytes();
        let answered: Value = serde_json::from_slice(&body).expect("JSON");
        if code != "unknown_handler" {
            assert_eq!(answered["source"], row.said.source, "{code}");
            assert_eq!(answered["retryable"], row.said.retryable, "{code}");
        }
    }
}

#[tokio::test]
async fn examples_of_errors_look_like_errors() {
    let made = super::document("bank", "0f", &contract(&bank()));
    for row in &problems::ROWS {
        let status = StatusCode::from_u16(row.status).expect("a status");
        let source = if row.said.source == "handler" { Source::Handler } else { Source::Ingress };
        let problem = Problem::new(status, row.code, row.detail).source(source);
        let problem = if row.said.retryable { problem.retryable() } else { problem };
        let body = problem.into_reply().into_body().collect().await.expect("whole").to_bytes();
        let expected: Value = serde_json::from_slice(&body).expect("JSON");
        for route in row.on {
            let response =
                &made["components"]["responses"][format!("{}.{}", route.name(), row.status)];
            let shown =
                &response["content"]["application/problem+json"]["examples"][row.code]["value"];
            assert_eq!(*shown, expected, "{route:?}");
        }
    }
}

#[test]
fn examples_fit_or_are_left_out() {
    let cases = [
        (json!({"type": "integer", "minimum": 5}), Some(json!(5))),
        (json!({"type": "integer", "maximum": -3}), Some(json!(-3))),
        (json!({"type": "integer", "exclusiveMinimum": 1, "multipleOf": 5}), Some(json!(10))),
        (json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}), Some(json!(1))),
        (json!({"type": "number", "maximum": 0.5, "minimum": 0}), Some(json!(0))),
        (json!({"type": "integer", "minimum": 3, "maximum": 2}), None),
        (json!({"type": "string", "minLength": 6}), Some(json!("textte"))),
        (json!({"type": "string", "maxLength": 1}), Some(json!("t"))),
        (
            json!({"type": "string", "format": "uuid"}),
            Some(json!("5f0c1d1e-7a3b-4c52-9d2e-0a6b8f4c2d10")),
        ),
        (json!({"type": "string", "pattern": "^[a-z]+$"}), None),
        (json!({"type": "string", "pattern": "^[a-z]+$", "examples": ["abc"]}), Some(json!("abc"))),
        (json!({"enum": ["red", "green"]}), Some(json!("red"))),
        (json!({"const": {"a": 1}}), Some(json!({"a": 1}))),
        (json!({"anyOf": [{"type": "null"}, {"type": "boolean"}]}), Some(json!(true))),
        (json!({"type": ["null", "boolean"]}), Some(json!(true))),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), None),
        (
            json!({"oneOf": [{"const": "a"}, {"type": "object", "required": ["b"]}]}),
            Some(json!("a")),
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}),
            Some(json!([1, 1])),
        ),
        (json!({"type": "array", "uniqueItems": true, "minItems": 2}), None),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}),
            Some(json!(["text", 1])),
        ),
        (json!({"type": "array", "minItems": 1_000_000}), None),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            Some(json!({"key": 1})),
        ),
        (json!({"type": "object", "required": ["a"], "properties": {"a": {"not": {}}}}), None),
        (
            json!({"type": "object", "required": ["a", "b"], "properties": {"a": {}}}),
            Some(json!({"a": {}, "b": {}})),
        ),
        (json!({"type": "object", "minProperties": 3}), None),
        (
            json!({"$ref": "#/$defs/L", "$defs": {"L": {"type": "object", "required": ["l"],
            "properties": {"l": {"$ref": "#/$defs/L"}}}}}),
            None,
        ),
        (json!({}), None),
        (json!(true), None),
        (json!(false), None),
    ];
    for (schema, expected) in cases {
        let made = example::of(&schema);
        assert_eq!(made, expected, "{schema}");
        if let Some(made) = made {
            assert!(
                jsonschema::validator_for(&schema).expect("a schema").is_valid(&made),
                "{schema}"
            );
        }
    }
    let made = example::of(&tree()).expect("a tree");
    assert!(jsonschema::validator_for(&tree()).expect("a schema").is_valid(&made), "{made}");
}

#[test]
fn a_schema_that_refers_to_itself_everywhere_costs_little() {
    let wide: Map<String, Value> =
        (0..200).map(|at| (format!("p{at}"), json!({"$ref": "#"}))).collect();
    let schema = json!({"type": "object", "properties": wide});
    let made = example::of(&schema).expect("some of it");
    assert!(made.to_string().len() < 100_000);
}

/// Found by fuzzing: one value of an author's, referred to from many places, came out as often.
#[test]
fn an_authors_value_is_not_multiplied() {
    let refers = |n: usize| (format!("p{n}"), json!({"$ref": "#/$defs/large"}));
    let properties: Map<_, _> = (0..400).map(refers).collect();
    let large = json!({"type": "string", "default": "x".repeat(20_000)});
    let schema = json!({"type": "object", "properties": properties, "$defs": {"large": large}});
    let made = example::of(&schema).expect("some of it").to_string();
    assert!((20_000..100_000).contains(&made.len()), "{} bytes", made.len());
}

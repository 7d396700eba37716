//! A running app against its own OpenAPI document: the document is valid by the official schema, and every
//! operation in it, asked as its own examples ask, answers as it says. It changes the app's entities.

use http::Method;
use serde_json::Value;

use crate::harness::{Answer, Client, Host};

const OFFICIAL: &str = include_str!("schema-3.1.json");
/// Apps have handlers that may be asked; this many operations are the least that were.
const ASKED_MIN: usize = 4;

/// Checks the document of `app`, which is deployed.
pub(crate) async fn check(host: &Host, app: &str) {
    let client = host.client();
    let path = format!("/v1/openapi/{app}");
    let answer = client.ingress(Method::GET, &path).answer().await.expect_status(200);
    let etag = answer.header("etag").expect("an ETag").to_owned();
    let again = client.ingress(Method::GET, &path).header("If-None-Match", &etag).answer().await;
    assert!(again.expect_status(304).body.is_empty());
    client.ingress(Method::POST, &path).answer().await.expect_problem(405, "method_not_allowed");
    let unknown = client.ingress(Method::GET, "/v1/openapi/nobody").answer().await;
    unknown.expect_problem(404, "unknown_app");

    let document = answer.json();
    let official: Value = serde_json::from_str(OFFICIAL).expect("JSON");
    let official = jsonschema::validator_for(&official).expect("a schema");
    let errors: Vec<_> = official.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{app}: {errors:#?}");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (verb, operation) in item.as_object().expect("an item") {
            let Ok(method) = verb.to_uppercase().parse::<Method>() else { continue };
            if ["get", "post", "delete"].contains(&verb.as_str()) {
                ask(&client, &document, method, path, operation).await;
                asked += 1;
            }
        }
    }
    assert!(asked >= ASKED_MIN, "{app}: {asked} operations");
}

/// Asks as the document shows, and looks for the answer in it.
async fn ask(client: &Client, document: &Value, method: Method, path: &str, operation: &Value) {
    let id = "msg_0000000000000000000000000000002a";
    let mut path =
        path.replace("{key}", "openapi%20%2F%20é").replace("{id}", id).replace("{token}", id);
    path = path.replace('é', "%C3%A9");
    let mut mark = '?';
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" && parameter["required"] == true {
            let value = &parameter["example"];
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let name = parameter["name"].as_str().expect("a name");
            path = format!("{path}{mark}{name}={value}");
            mark = '&';
        }
    }
    let mut request = client.ingress(method, path);
    let content = operation["requestBody"]["content"].as_object();
    if let Some((kind, media)) = content.and_then(|content| content.iter().next()) {
        let body =
            if media["example"].is_null() { String::new() } else { media["example"].to_string() };
        request = request.header("Content-Type", kind).body(body);
    }
    listed(document, operation, &request.answer().await);
}

fn listed(document: &Value, operation: &Value, answer: &Answer) {
    let told = &operation["responses"][answer.status.to_string()];
    let told = match told["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).expect("a component"),
        None => told,
    };
    assert!(told.is_object(), "{} does not tell of {answer:?}", operation["operationId"]);
    let content = told["content"].as_object().expect("content");
    let kind = answer.header("content-type").expect("a content type");
    let media = content.get(kind).unwrap_or_else(|| panic!("{kind} is not in {told}"));
    let schema = &media["schema"];
    if kind.contains("json") && schema.is_object() {
        let mut alone = schema.clone();
        alone["components"] = document["components"].clone();
        let schema = jsonschema::validator_for(&alone).expect("a schema");
        let errors: Vec<_> =
            schema.iter_errors(&answer.json()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {answer:?}");
    }
    let name = told["headers"].as_object().expect("headers");
    assert!(name.contains_key("Keystead-Id"), "{told}");
}

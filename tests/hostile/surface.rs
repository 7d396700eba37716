//! The HTTP surface from its own OpenAPI document: requests that fit it, nearly fit it, and do not, drawn from a seed.
//! Whatever comes is answered as the document says: no status that it does not list, no broken connection, no panic.
//! `KEYSTEAD_HOSTILE_SEED` and `KEYSTEAD_HOSTILE_REQUESTS` choose others and more.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::harness::{Answer, Guest, Host, PATIENCE, Request};
use crate::watch::{Process, assert_no_panic, closes_down_to, settles_below};

const REQUESTS: u64 = 4_000;
const REST_MIB_MAX: u64 = 200;
/// How deep made values go.
const DEPTH_MAX: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_lists() {
    let host = Host::start().await;
    host.deploy_with(Guest::Hostile, "app", json!({"deadline_ms": 100})).await;
    let process = Process::of(&host);
    let client = host.client();
    let document = client.ingress(Method::GET, "/v1/openapi/app").ok().await;
    let operations = operations(&document);
    assert!(operations.len() > 20, "{} operations", operations.len());
    let (base_mib, base_files) = (process.memory_mib(), process.open_files());
    let chosen = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = chosen("KEYSTEAD_HOSTILE_SEED", 7);
    let mut dice = Dice(seed);
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..chosen("KEYSTEAD_HOSTILE_REQUESTS", REQUESTS) {
        let operation = &operations[dice.below(operations.len())];
        let (shown, request) = operation.request(&document, &mut dice, &host);
        let answer = tokio::time::timeout(PATIENCE, request.try_answer()).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(broken)) => panic!("seed {seed}, request {number}, {shown}: {broken:?}"),
            Err(_) => panic!("seed {seed}, request {number}, {shown}: no answer"),
        };
        *seen.entry(answer.status).or_insert(0_u64) += 1;
        if let Err(why) = operation.allows(&document, &answer) {
            panic!("seed {seed}, request {number}, {shown}: {why}: {answer:?}");
        }
    }
    println!("seed {seed}, {} operations: {seen:?}", operations.len());
    assert!(seen.contains_key(&200) && seen.contains_key(&400), "one-sided: {seen:?}");
    closes_down_to(process, base_files + 70).await;
    settles_below(process, base_mib + REST_MIB_MAX).await;
    assert_no_panic(&host);
}

/// A method of a path.
struct Operation {
    method: Method,
    path: String,
    parameters: Vec<Value>,
    spec: Value,
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let shared = item["parameters"].as_array().cloned().unwrap_or_default();
        for (name, spec) in item.as_object().expect("an item") {
            let Ok(method) = name.to_uppercase().parse::<Method>() else { continue };
            if !["get", "post", "delete", "put"].contains(&name.as_str()) {
                continue;
            }
            let own = spec["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = shared.iter().chain(&own).map(|one| resolved(document, one).clone());
            let (path, spec) = (path.clone(), spec.clone());
            found.push(Operation { method, path, parameters: parameters.collect(), spec });
        }
    }
    found
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target =
        value["$ref"].as_str().and_then(|target| document.pointer(target.strip_prefix('#')?));
    target.unwrap_or(value)
}

impl Operation {
    /// A request, and how to show it.
    fn request(&self, document: &Value, dice: &mut Dice, host: &Host) -> (String, Request) {
        let mut path = self.path.clone();
        let mut query = Vec::new();
        let mut headers = Vec::new();
        for parameter in &self.parameters {
            let name = parameter["name"].as_str().expect("a name");
            let mut text = text_of(&dice.value(document, &parameter["schema"], 0));
            if name == "key" && dice.chance(90) {
                text = format!("k{}", dice.below(20));
            }
            if name == "wait" {
                text = ["0s", "1ms", "-1s", "soon", ""][dice.below(5)].into();
            }
            let escaped = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
            let wanted = parameter["required"] == true || dice.chance(30);
            match parameter["in"].as_str() {
                Some("path") => path = path.replace(&format!("{{{name}}}"), &escaped),
                Some("query") if wanted => query.push(format!("{name}={escaped}")),
                Some("header") if wanted => headers.push((name.to_owned(), text)),
                _ => {}
            }
        }
        if dice.chance(3) {
            query.push("unknown=1".into());
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let mut request = host.client().ingress(self.method.clone(), path.clone());
        for (name, value) in headers {
            if http::HeaderValue::from_str(&value).is_ok() {
                request = request.header(&name, &value);
            }
        }
        let content = resolved(document, &self.spec["requestBody"])["content"].as_object().cloned();
        let Some((kind, media)) = content.and_then(|content| content.into_iter().next()) else {
            return (format!("{} {path}", self.method), request);
        };
        let body = dice.body(document, &media["schema"]);
        let kind = if dice.chance(95) { kind } else { "text/plain".into() };
        let shown: String = String::from_utf8_lossy(&body).chars().take(300).collect();
        let shown = format!("{} {path} {shown}", self.method);
        (shown, request.header("Content-Type", &kind).body(body))
    }

    /// Checks an answer against what is listed for it.
    fn allows(&self, document: &Value, answer: &Answer) -> Result<(), String> {
        let responses = self.spec["responses"].as_object().expect("responses");
        let status = answer.status.to_string();
        let Some(listed) = responses.get(&status) else {
            return Err(format!("the document does not list {status}"));
        };
        // A head over its bytes is refused by the HTTP library, before there is a request to answer.
        if answer.status == 431 && answer.body.is_empty() {
            return Ok(());
        }
        if answer.status >= 400 {
            let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let whole = ["type", "title", "status", "detail", "code", "source", "retryable"]
                .iter()
                .all(|member| !problem[member].is_null());
            return if whole { Ok(()) } else { Err("it is no whole problem document".into()) };
        }
        let kind = answer.header("content-type").unwrap_or_default().split(';').next();
        let content = resolved(document, listed)["content"].as_object();
        let known = content.is_none_or(|content| content.contains_key(kind.unwrap_or_default()));
        if known || answer.body.is_empty() { Ok(()) } else { Err(format!("its type is {kind:?}")) }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Chance from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.roll() % count as u64) as usize
    }

    /// True in so many of a hundred cases.
    fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    /// A body: what fits, mostly; cut short, followed by more, or noise.
    fn body(&mut self, document: &Value, schema: &Value) -> Vec<u8> {
        let mut body = self.value(document, schema, 0).to_string().into_bytes();
        match self.below(40) {
            0 => body.truncate(self.below(body.len() + 1)),
            1 => body.extend(b"{}"),
            2 => body = (0..self.below(2_000)).map(|_| self.roll() as u8).collect(),
            3 => body = [b"[".repeat(self.below(50_000)), body].concat(),
            4 => body.clear(),
            5 => body = format!("{{\"a\":{}}}", "9".repeat(self.below(10_000) + 1)).into(),
            _ => {}
        }
        body
    }

    /// A value that fits the schema, or in one case of twelve one that was made without looking.
    fn value(&mut self, document: &Value, schema: &Value, depth: usize) -> Value {
        let schema = resolved(document, schema);
        if self.chance(8) || depth > DEPTH_MAX {
            return self.anything();
        }
        if let Some(all) = schema["enum"].as_array() {
            return all[self.below(all.len())].clone();
        }
        if !schema["const"].is_null() {
            return schema["const"].clone();
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(all) = schema[keyword].as_array() {
                let one = &all[self.below(all.len())];
                return self.value(document, one, depth + 1);
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[self.below(kinds.len())].as_str().unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind {
            "null" => Value::Null,
            "boolean" => self.chance(50).into(),
            "integer" | "number" => self.number(schema),
            "string" => self.text().into(),
            "array" => {
                let count = self.below(4);
                (0..count).map(|_| self.value(document, &schema["items"], depth + 1)).collect()
            }
            "object" => {
                let mut object = Map::new();
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                    if required.iter().any(|one| one == name) || self.chance(50) {
                        object.insert(name.clone(), self.value(document, member, depth + 1));
                    }
                }
                object.into()
            }
            _ => self.anything(),
        }
    }

    fn number(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_i64().unwrap_or(-5);
        match self.below(8) {
            0 => schema["minimum"].clone(),
            1 => schema["maximum"].clone(),
            2 => json!(u64::MAX),
            3 => json!(i64::MIN),
            _ => json!(least + self.below(50) as i64),
        }
    }

    fn text(&mut self) -> String {
        match self.below(9) {
            0 => String::new(),
            1 => "\0".into(),
            2 => "\u{1F600}\u{e9}\u{202e}".into(),
            3 => "x".repeat(self.below(20_000)),
            4 => "../%2e%2e/%00".into(),
            5 => "{\"$ref\":\"#\"}".into(),
            6 => "msg_0000000000000000000000000000002a".into(),
            _ => format!("word{}", self.below(50)),
        }
    }

    fn anything(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => true.into(),
            2 => json!(-1),
            3 => json!(1e308),
            4 => json!(u64::MAX),
            5 => json!([]),
            6 => json!({}),
            7 => (0..self.below(100)).fold(json!(1), |inner, _| json!([inner])),
            8 => (0..self.below(100)).fold(json!(1), |inner, _| json!({"a": inner})),
            9 => json!(0.1),
            _ => self.text().into(),
        }
    }
}

//! What `describe` says of authors' own types: exact schemas that accept what serde writes and refuse the rest.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use std::collections::BTreeMap;

use keystead_sdk::prelude::*;
use keystead_sdk::testing::json;
use keystead_sdk::{EntityType, describe};
use serde::{Deserialize, Serialize};

/// One line of an order.
#[derive(Debug, Default, Clone, Serialize, Deserialize, Schema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// What it is "called".
    item_name: String,
    #[serde(rename = "n")]
    count: Cents,
    note: Option<String>,
    #[serde(default)]
    gift: bool,
    #[serde(skip)]
    cache: u8,
    #[serde(alias = "old_tags", default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

/// An alias is seen through.
type Cents = u16;

#[derive(Debug, Clone, Copy, Serialize, Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    InStock,
    #[serde(rename = "gone", alias = "away")]
    SoldOut,
    #[serde(skip)]
    Internal,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub enum External {
    Unit,
    New(u8),
    Pair(u8, String),
    #[serde(rename_all = "UPPERCASE")]
    Fields {
        some_name: bool,
    },
}

#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "PascalCase")]
pub enum Internal {
    JustUnit,
    New(Line),
    Fields { some_name: bool },
}

#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(tag = "t", content = "c")]
pub enum Adjacent {
    Unit,
    New(u8),
    Maybe(Option<u8>),
    Pair(u8, u8),
}

#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(untagged)]
pub enum Untagged {
    Number(u8),
    Text(String),
    Unit,
}

#[derive(Debug, Default, Serialize, Deserialize, Schema)]
pub struct Tree {
    name: String,
    children: Vec<Tree>,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Page<T> {
    items: Vec<T>,
    next: Option<Box<Page<T>>>,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Wrapped(Line);

#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(transparent)]
pub struct Clear {
    inner: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Loose {
    known: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
    #[serde(with = "as_text")]
    odd: u64,
    foreign: Foreign,
    when: Timestamp,
    from: EntityRef,
    wait: Duration,
}

/// Without a schema.
#[derive(Debug, Serialize, Deserialize)]
pub struct Foreign(u8);

#[derive(Debug, Serialize, Deserialize, Schema)]
#[serde(from = "u8", into = "u8")]
pub struct Opaque {
    number: u8,
}

impl From<u8> for Opaque {
    fn from(number: u8) -> Self {
        Self { number }
    }
}

impl From<Opaque> for u8 {
    fn from(opaque: Opaque) -> Self {
        opaque.number
    }
}

impl Clone for Opaque {
    fn clone(&self) -> Self {
        Self { number: self.number }
    }
}

mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
    pub(crate) fn serialize<S: Serializer>(value: &u64, json: S) -> Result<S::Ok, S::Error> {
        json.serialize_str(&value.to_string())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<u64, D::Error> {
        String::deserialize(json)?.parse().map_err(D::Error::custom)
    }
}

#[entity]
pub struct Shop {
    lines: Map<String, Line>,
    best: Option<Line>,
    orders: List<Status>,
    tree: Tree,
}

#[handlers]
impl Shop {
    pub fn line(&mut self, value: Line, more: Vec<Line>) -> Line {
        self.lines.insert(value.item_name.clone(), value.clone());
        more.into_iter().next().unwrap_or(Line { cache: value.cache, ..value })
    }

    pub fn status(&self, value: Status) -> Status {
        self.orders.get(0).unwrap_or(value)
    }

    pub fn external(&self, value: External) -> External {
        value
    }

    pub fn internal(&self, value: Internal) -> Internal {
        value
    }

    pub fn adjacent(&self, value: Adjacent) -> Adjacent {
        value
    }

    pub fn untagged(&self, value: Untagged) -> Untagged {
        value
    }

    pub fn tree(&self, value: Tree) -> Result<Tree> {
        Ok(value)
    }

    pub fn page(&self, value: Page<Line>) -> Page<Foreign> {
        Page { items: vec![Foreign(value.items.len() as u8)], next: None }
    }

    pub fn wrapped(&self, value: Wrapped) -> Wrapped {
        value
    }

    pub fn clear(&self, value: Clear) -> Clear {
        value
    }

    pub fn loose(&self, value: Loose) -> Loose {
        value
    }

    pub fn opaque(&self, value: Opaque) -> (Opaque, Foreign, Option<Foreign>) {
        (value, Foreign(1), None)
    }
}

fn document() -> serde_json::Value {
    let text = describe(&[EntityType::of::<Shop>()]);
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["entities"][0].clone()
}

/// The schema of a handler's argument `value`, and that of its result.
fn schemas(handler: &str) -> [serde_json::Value; 2] {
    let document = document();
    let mut all = document["handlers"].as_array().expect("a list").iter();
    let found = all.find(|one| one["name"] == handler).expect(handler);
    let input = &found["input"]["json"]["properties"]["value"];
    [input.clone(), found["output"]["json"].clone()]
}

/// What the schema takes, and what it does not; serde agrees on both.
#[track_caller]
fn check<T: Serialize + for<'de> Deserialize<'de>>(
    handler: &str,
    right: &[serde_json::Value],
    wrong: &[serde_json::Value],
) {
    for schema in schemas(handler) {
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        for json in right {
            assert!(schema.is_valid(json), "{handler} should take {json}");
            let value: T = serde_json::from_value(json.clone()).expect("serde takes it");
            let written = serde_json::to_value(&value).expect("has a JSON form");
            assert!(schema.is_valid(&written), "{handler} should give {written}");
        }
        for json in wrong {
            assert!(!schema.is_valid(json), "{handler} should not take {json}");
            assert!(serde_json::from_value::<T>(json.clone()).is_err(), "serde takes {json}");
        }
    }
}

#[test]
fn structs_are_objects_of_their_fields() {
    let [input, output] = schemas("line");
    assert_eq!(input, output);
    let text = json!({"type": "string"});
    assert_eq!(
        input,
        json!({"title": "Line", "description": "One line of an order.", "type": "object",
            "properties": {
                "itemName": {"description": "What it is \"called\".", "type": "string"},
                "n": {"type": "integer", "minimum": 0, "maximum": 65535},
                "note": {"anyOf": [text, {"type": "null"}]},
                "gift": {"type": "boolean"},
                "old_tags": {"type": "array", "items": text},
                "tags": {"type": "array", "items": text},
            },
            "required": ["itemName", "n"], "additionalProperties": false})
    );
    check::<Line>(
        "line",
        &[
            json!({"itemName": "lamp", "n": 3}),
            json!({"itemName": "lamp", "n": 3, "note": null, "old_tags": ["a"], "gift": true}),
        ],
        &[
            json!({"itemName": "lamp"}),
            json!({"itemName": "lamp", "n": 70_000}),
            json!({"itemName": "lamp", "n": 3, "cache": 1}),
            json!(["lamp"]),
        ],
    );
}

#[test]
fn enums_are_tagged_as_serde_tags_them() {
    check::<Status>(
        "status",
        &[json!("in_stock"), json!("gone"), json!("away")],
        &[json!("InStock"), json!("internal"), json!(1)],
    );
    check::<External>(
        "external",
        &[
            json!("Unit"),
            json!({"New": 3}),
            json!({"Pair": [1, "a"]}),
            json!({"Fields": {"SOME_NAME": true}}),
        ],
        &[
            json!("New"),
            json!({"New": "a"}),
            json!({"Pair": [1]}),
            json!({"New": 1, "Pair": [1, "a"]}),
        ],
    );
    check::<Internal>(
        "internal",
        &[
            json!({"kind": "just-unit"}),
            json!({"kind": "new", "itemName": "lamp", "n": 3}),
            json!({"kind": "fields", "SomeName": true}),
        ],
        &[
            json!({"kind": "Fields"}),
            json!({"kind": "fields"}),
            json!({"SomeName": true}),
            json!("new"),
        ],
    );
    check::<Adjacent>(
        "adjacent",
        &[
            json!({"t": "Unit"}),
            json!({"t": "New", "c": 3}),
            json!({"t": "Maybe", "c": null}),
            json!({"t": "Pair", "c": [1, 2]}),
        ],
        &[
            json!({"t": "New"}),
            json!({"t": "New", "c": "a"}),
            json!({"c": 3}),
            json!({"t": "Pair", "c": [1]}),
        ],
    );
    check::<Untagged>(
        "untagged",
        &[json!(3), json!("a"), json!(null)],
        &[json!(300), json!([]), json!({})],
    );
}

#[test]
fn wrappers_are_what_they_wrap() {
    let line = json!({"itemName": "lamp", "n": 3});
    check::<Wrapped>("wrapped", &[line], &[json!([]), json!({})]);
    check::<Clear>("clear", &[json!([1, 2])], &[json!([300]), json!({"inner": []})]);
}

#[test]
fn a_type_within_itself_is_described_once() {
    let leaf = json!({"name": "leaf", "children": []});
    let tree = json!({"name": "root", "children": [leaf, {"name": "n", "children": [leaf]}]});
    check::<Tree>("tree", &[leaf, tree], &[json!({"name": "root"}), json!({"children": []})]);
    assert_eq!(schemas("tree")[0]["properties"]["children"]["items"], json!({}));
}

#[test]
fn generic_types_are_described_with_their_arguments() {
    let [lines, foreign] = schemas("page");
    assert_eq!(lines["properties"]["items"]["items"]["title"], "Line");
    // `Page<Foreign>` has no schema, because `Foreign` has none.
    assert_eq!(foreign, json!({}));
}

#[test]
fn what_is_not_known_is_anything() {
    let [loose, _] = schemas("loose");
    assert_eq!(loose["properties"]["odd"], json!({}));
    assert_eq!(loose["properties"]["foreign"], json!({}));
    assert_eq!(loose["required"], json!(["known", "odd", "foreign", "when", "from", "wait"]));
    let right = json!({"known": 1, "more": 2, "odd": "7", "foreign": 1, "when": 5,
        "from": {"kind": "a", "key": "b"}, "wait": {"secs": 1, "nanos": 0}});
    check::<Loose>("loose", &[right], &[json!({"known": 1})]);
    let [opaque, results] = schemas("opaque");
    assert_eq!(opaque, json!({}));
    assert_eq!(results["prefixItems"][1], json!({}));
}

#[test]
fn fields_are_described_as_handlers_are() {
    let fields = &document()["state"]["fields"];
    assert_eq!(fields["lines"]["schema"], schemas("line")[0]);
    assert_eq!(fields["best"]["schema"]["anyOf"][0], schemas("line")[0]);
    assert_eq!(fields["orders"]["schema"]["enum"], json!(["in_stock", "gone", "away"]));
    assert_eq!(fields["tree"]["schema"]["title"], "Tree");
}

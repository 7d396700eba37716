//! Typed clients of the entities of `odd`, made by `keystead client`: make it again rather than change it.
//! A message goes to an entity of the app that sends it, so that app has these types, too.

#![allow(clippy::all, clippy::pedantic, dead_code, missing_docs, unreachable_pub, unused_imports)]

use std::collections::BTreeMap;

use keystead_sdk::__private::serde::{Deserialize, Serialize};
use keystead_sdk::__private::serde_json;
use keystead_sdk::input::{self, Json};
use keystead_sdk::{AtKey, Bytes, Message, Target};

/// Where things stand.
/// And lie.
#[derive(Debug, Clone, Copy)]
pub struct Shelf;

impl Shelf {
    /// Messages to the entity with this key: `.command(arguments).send(ctx)`.
    pub fn at(key: impl Into<String>) -> ShelfAt {
        ShelfAt(AtKey::new(key))
    }
}

/// Messages to the commands of [`Shelf`].
#[derive(Debug, Clone)]
#[must_use = "name the command: .command(arguments).send(ctx)"]
pub struct ShelfAt(AtKey);

impl ShelfAt {
    /// Puts a box on the shelf: `unsafe { */ }` "as it is".
    pub fn store(
        &self,
        to: impl Into<String>,
        r#box: Box3,
        given2: [u8; 4],
        flags: BTreeMap<String, bool>,
        pair: (String, f64),
        colour: Colour,
        a_note: Option<String>,
        value2: Option<i64>,
    ) -> Message<Stored> {
        let to: String = to.into();
        let mut given: Vec<(&str, &dyn Json)> = vec![
            ("to", &to),
            ("box", &r#box),
            ("given", &given2),
            ("flags", &flags),
            ("pair", &pair),
            ("colour", &colour),
        ];
        if let Some(value) = &a_note {
            given.push(("a note", value));
        }
        if let Some(value) = &value2 {
            given.push(("value", value));
        }
        self.0.call("shelf", "store", input::object(&given))
    }

    /// Calls `take-Back`.
    pub fn take_back(&self) -> Message<serde_json::Value> {
        self.0.call("shelf", "take-Back", input::object(&[]))
    }

    /// Calls `type`.
    pub fn r#type(&self, arguments: serde_json::Map<String, serde_json::Value>) -> Message<()> {
        self.0.call("shelf", "type", serde_json::Value::from(arguments).to_string().into_bytes())
    }

    /// Calls `picture`.
    pub fn picture(&self, body: impl Into<Bytes>) -> Message<Bytes> {
        self.0.call("shelf", "picture", input::bytes(body))
    }
}

/// Entities of the type `Message`.
#[derive(Debug, Clone, Copy)]
pub struct Message2;

impl Message2 {
    /// Messages to the entity with this key: `.command(arguments).send(ctx)`.
    pub fn at(key: impl Into<String>) -> Message2At {
        Message2At(AtKey::new(key))
    }
}

/// Messages to the commands of [`Message2`].
#[derive(Debug, Clone)]
#[must_use = "name the command: .command(arguments).send(ctx)"]
pub struct Message2At(AtKey);

impl Message2At {
    /// Calls `clone`.
    pub fn clone(
        &self,
        arguments: serde_json::Map<String, serde_json::Value>,
    ) -> Message<serde_json::Value> {
        self.0.call("Message", "clone", serde_json::Value::from(arguments).to_string().into_bytes())
    }
}

/// Entities of the type `box`.
#[derive(Debug, Clone, Copy)]
pub struct Box2;

impl Box2 {
    /// Messages to the entity with this key: `.command(arguments).send(ctx)`.
    pub fn at(key: impl Into<String>) -> Box2At {
        Box2At(AtKey::new(key))
    }
}

/// Messages to the commands of [`Box2`].
#[derive(Debug, Clone)]
#[must_use = "name the command: .command(arguments).send(ctx)"]
pub struct Box2At(AtKey);

impl Box2At {}

/// A box in which there may be boxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "keystead_sdk::__private::serde")]
pub struct Box3 {
    pub inner: Vec<Box<Box3>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lid: Option<Box<Box3>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<serde_json::Value>,
    pub r#type: String,
    /// What it weighs.
    #[serde(rename = "weight-kg", default, skip_serializing_if = "Option::is_none")]
    pub weight_kg: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "keystead_sdk::__private::serde")]
pub enum Colour {
    #[serde(rename = "dark-red")]
    DarkRed,
    #[serde(rename = "green")]
    Green,
    #[serde(rename = "self")]
    Self_,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "keystead_sdk::__private::serde")]
pub struct Stored {
    pub at: StoredAt,
    pub left: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(crate = "keystead_sdk::__private::serde")]
pub struct StoredAt {
    pub row: u64,
}

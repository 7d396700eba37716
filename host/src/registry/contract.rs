//! What a component says it offers, read from its `describe` document: entity types, handlers, schemas.
//! Invariant: a [`Contract`] has valid names, no duplicates and schemas that compile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether a handler may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlerKind {
    /// Exclusive; may write and send.
    Command,
    /// Read-only; runs beside others.
    Query,
}

/// What a handler takes or gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// JSON that fits this schema; inputs are objects whose members are the arguments by name.
    Json(serde_json::Value),
    /// Bytes of any content type; the text is the content type that replies carry.
    Bytes(String),
}

/// One handler.
pub struct Handler {
    /// Its name.
    pub name: String,
    /// Command or query.
    pub kind: HandlerKind,
    /// What it takes.
    pub input: Body,
    /// What it gives.
    pub output: Body,
}

impl Handler {
    /// Checks an input from outside or from another entity against the schema. An empty input stands
    /// for `{}`.
    ///
    /// # Errors
    /// One sentence that names the member and what would be right.
    pub fn check_input(&self, _input: &[u8]) -> Result<(), String> {
        todo!("registry")
    }
}

/// One entity type and its handlers by name.
pub struct Entity {
    /// Its name.
    pub kind: String,
    /// Its handlers.
    pub handlers: BTreeMap<String, Handler>,
}

/// All that a component offers.
pub struct Contract {
    /// Entity types by name.
    pub entities: BTreeMap<String, Entity>,
    /// The document as it came.
    pub document: serde_json::Value,
}

/// What is wrong with a `describe` document.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the component's describe document is not right: {0}")]
pub struct ContractError(pub String);

impl Contract {
    /// Reads a `describe` document.
    ///
    /// # Errors
    /// [`ContractError`] that names the entity, handler and member.
    pub fn parse(_document: &[u8]) -> Result<Self, ContractError> {
        todo!("registry")
    }

    /// The handler `handler` of type `kind`.
    #[must_use]
    pub fn handler(&self, kind: &str, handler: &str) -> Option<&Handler> {
        self.entities.get(kind)?.handlers.get(handler)
    }

    /// What callers of `old` could no longer do with this one: removed types and handlers, changed kinds,
    /// inputs and outputs. Empty when nothing.
    #[must_use]
    pub fn breaks(&self, _old: &Contract) -> Vec<String> {
        todo!("registry")
    }
}

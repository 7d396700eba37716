//! Typed clients of the entities of `bank`, made by `keystead client`: make it again rather than change it.
//! A message goes to an entity of the app that sends it, so that app has these types, too.

#![allow(clippy::all, clippy::pedantic, dead_code, missing_docs, unreachable_pub, unused_imports)]

use std::collections::BTreeMap;

use keystead_sdk::__private::serde::{Deserialize, Serialize};
use keystead_sdk::__private::serde_json;
use keystead_sdk::input::{self, Json};
use keystead_sdk::{AtKey, Bytes, Message, Target};

/// Entities of the type `account`.
#[derive(Debug, Clone, Copy)]
pub struct Account;

impl Account {
    /// Messages to the entity with this key: `.command(arguments).send(ctx)`.
    pub fn at(key: impl Into<String>) -> AccountAt {
        AccountAt(AtKey::new(key))
    }
}

/// Messages to the commands of [`Account`].
#[derive(Debug, Clone)]
#[must_use = "name the command: .command(arguments).send(ctx)"]
pub struct AccountAt(AtKey);

impl AccountAt {
    /// Adds money and returns the new balance. What does not fit is not lost: as a message it is parked.
    pub fn deposit(&self, amount: u64) -> Message<u64> {
        self.0.call("account", "deposit", input::object(&[("amount", &amount)]))
    }

    /// Moves money to another account and returns what is left.
    pub fn transfer(&self, to: impl Into<String>, amount: u64) -> Message<u64> {
        let to: String = to.into();
        self.0.call("account", "transfer", input::object(&[("to", &to), ("amount", &amount)]))
    }
}

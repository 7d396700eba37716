//! What is not stored yet needs a value.

use keystead_sdk::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
pub enum Plan {
    Standard,
    Premium,
}

#[entity]
pub struct Account {
    plan: Plan,
}

fn main() {}

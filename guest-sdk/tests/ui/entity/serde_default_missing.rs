//! The function of `#[serde(default)]` does not exist.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    #[serde(default = "standard")]
    plan: String,
}

fn main() {}

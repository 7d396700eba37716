//! Two fields can't be stored under one name.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    #[serde(rename = "balance")]
    amount: u64,
    balance: u64,
}

fn main() {}

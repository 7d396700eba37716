//! Entries of a Map are stored one by one, not by serde.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    #[serde(rename = "reservations")]
    holds: Map<String, u64>,
}

fn main() {}

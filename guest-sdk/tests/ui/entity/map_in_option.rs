//! A Map is a field of its own: it is empty when it has no entries.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    holds: Option<Map<String, u64>>,
}

fn main() {}

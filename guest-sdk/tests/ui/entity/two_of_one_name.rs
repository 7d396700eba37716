//! Two entity types of one name in one module.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[entity]
pub struct Account {
    owner: String,
}

fn main() {}

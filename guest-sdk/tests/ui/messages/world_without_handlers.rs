//! A world takes types that have handlers.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

fn main() {
    let _ = keystead_sdk::testing::World::new().with::<Account>();
}

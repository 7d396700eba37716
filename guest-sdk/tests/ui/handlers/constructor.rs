//! Entities are never made: an entity that nobody called has its defaults.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn new(balance: u64) -> Self {
        Self { balance }
    }
}

fn main() {}

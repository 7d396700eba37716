//! `#[entity]` is missing on the struct.

use keystead_sdk::prelude::*;

pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}

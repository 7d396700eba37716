//! `#[internal]` belongs into a block with `#[handlers]`.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

impl Account {
    #[internal]
    pub fn refill(&mut self) {
        self.balance = 100;
    }
}

fn main() {}

//! A handler runs in one transaction and never waits.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub async fn deposit(&mut self, amount: u64) {
        self.balance += amount;
    }
}

fn main() {}

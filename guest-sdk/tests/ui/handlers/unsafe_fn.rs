//! The host calls handlers.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub unsafe fn deposit(&mut self, amount: u64) {
        self.balance += amount;
    }
}

fn main() {}

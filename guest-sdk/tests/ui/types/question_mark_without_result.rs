//! `?` in a handler that can't fail.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: String) -> u64 {
        self.balance += amount.parse::<u64>()?;
        self.balance
    }
}

fn main() {}

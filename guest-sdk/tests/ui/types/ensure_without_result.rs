//! `ensure!` in a handler that can't fail.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn withdraw(&mut self, amount: u64) -> u64 {
        ensure!(self.balance >= amount, "too much");
        self.balance -= amount;
        self.balance
    }
}

fn main() {}

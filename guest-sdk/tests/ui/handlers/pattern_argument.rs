//! Callers give arguments by their names.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, (whole, cents): (u64, u64)) {
        self.balance += whole * 100 + cents;
    }
}

fn main() {}

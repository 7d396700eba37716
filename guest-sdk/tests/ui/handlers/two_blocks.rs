//! An entity has one block of handlers.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: u64) {
        self.balance += amount;
    }
}

#[handlers]
impl Account {
    pub fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}

//! Callers name a handler, so its name is its own.

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

    pub fn deposit(&mut self, amount: u64, note: String) {
        self.balance += amount + note.len() as u64;
    }
}

fn main() {}

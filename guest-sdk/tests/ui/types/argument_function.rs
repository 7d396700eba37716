//! A function is no JSON.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn change(&mut self, how: fn(u64) -> u64) {
        self.balance = how(self.balance);
    }
}

fn main() {}

//! `timer` makes timers of the entity.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn timer(&mut self, amount: u64) {
        self.balance = amount;
    }
}

fn main() {}

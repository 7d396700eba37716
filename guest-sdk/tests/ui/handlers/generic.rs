//! Arguments come from outside, as JSON.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit<T: Into<u64>>(&mut self, amount: T) {
        self.balance += amount.into();
    }
}

fn main() {}

//! Arguments come from outside, as JSON.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit<const N: u64>(&mut self) {
        self.balance += N;
    }
}

fn main() {}

//! `reject!` in a handler that can't fail.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn withdraw(&mut self, amount: u64) {
        if amount > self.balance {
            reject!(code = "insufficient_funds", "only {} left", self.balance);
        }
    }
}

fn main() {}

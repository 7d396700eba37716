//! `impl Trait` is a generic in disguise.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: impl Into<u64>) {
        self.balance += amount.into();
    }
}

fn main() {}

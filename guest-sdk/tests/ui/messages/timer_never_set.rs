//! A timer that nobody sets never runs.
#![deny(unused_must_use)]

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }

    pub fn balance(&self) -> u64 {
        self.balance
    }

    pub fn remind(&mut self) {
        Account::timer("later").deposit(1).after(Duration::from_secs(1));
    }
}

fn main() {}

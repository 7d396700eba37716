//! A reply handler alone asks nobody.
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

    pub fn told(&mut self, reply: Reply<u64>, amount: u64) {
        self.balance += reply.ok().unwrap_or(amount);
    }

    pub fn ask(&mut self) {
        Account::reply().told(1);
    }
}

fn main() {}

//! A reply's value is read like an argument.

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

    pub fn heard(&mut self, reply: Reply<std::time::Instant>) -> bool {
        reply.is_ok()
    }
}

fn main() {}

//! A failure is no error of this entity: `?` needs a Result.

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

    pub fn heard(&mut self, reply: Reply<u64>) -> u64 {
        reply.result()?
    }
}

fn main() {}

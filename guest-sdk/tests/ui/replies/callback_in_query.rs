//! A query can't make a token.

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

    pub fn token(&self, ctx: &QueryCtx) -> CallbackToken {
        ctx.callback(Account::reply().told(1), Duration::from_secs(60))
    }
}

fn main() {}

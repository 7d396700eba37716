//! A token's answer is a reply.

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

    pub fn token(&mut self, ctx: &Ctx) -> CallbackToken {
        ctx.callback(Account::at("bob").deposit(1), Duration::from_secs(60))
    }
}

fn main() {}

//! What hears of a message is a reply handler, not a message.

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

    pub fn ask(&mut self, ctx: &Ctx) {
        Account::at("bob").deposit(1).call_then(ctx, Account::at("bob").deposit(1));
    }
}

fn main() {}

//! Nobody waits for a reply inside a transaction.

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

    pub fn ask(&mut self, ctx: &Ctx) -> u64 {
        let left: u64 = Account::at("bob").deposit(1).send(ctx);
        left
    }
}

fn main() {}

//! A key is text.

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

    pub fn pay(&mut self, ctx: &Ctx) {
        Account::at(7).deposit(1).send(ctx);
    }
}

fn main() {}

//! A mistake in one handler is the only one that is told.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: u64) {
        self.balance += amount;
    }

    pub async fn close(&mut self) {}
}

pub fn pay(ctx: &Ctx) -> MessageId {
    Account::at("bob").deposit(1).send(ctx)
}

fn main() {}

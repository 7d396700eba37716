//! The context comes right after self.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: u64, ctx: &Ctx) -> MessageId {
        self.balance += amount;
        ctx.message_id()
    }
}

fn main() {}

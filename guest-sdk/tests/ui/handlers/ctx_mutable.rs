//! The context is lent, and needs no `mut`.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, ctx: &mut Ctx, amount: u64) -> MessageId {
        self.balance += amount;
        ctx.message_id()
    }
}

fn main() {}

//! One context is enough.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, ctx: &Ctx, query: &QueryCtx) -> bool {
        ctx.message_id() == query.message_id()
    }
}

fn main() {}

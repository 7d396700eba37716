//! A query can't send, so it gets no Ctx.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn balance(&self, ctx: &Ctx) -> u64 {
        ctx.attempt().into()
    }
}

fn main() {}

//! Every mistake of a block is reported at once.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub async fn open(&mut self) {}

    pub fn new() -> Self {
        Self { balance: 0 }
    }

    pub fn rename(&mut self, owner: &str) -> usize {
        owner.len()
    }

    pub fn balance(&self, ctx: &Ctx) -> &u64 {
        &self.balance
    }
}

fn main() {}

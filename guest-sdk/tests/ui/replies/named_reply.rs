//! `reply` makes what hears of messages.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn reply(&mut self, reply: Reply<u64>) {
        self.balance = reply.ok().unwrap_or_default();
    }
}

fn main() {}

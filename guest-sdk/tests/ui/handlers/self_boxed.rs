//! The entity belongs to the host.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn close(self: Box<Self>) -> u64 {
        self.balance
    }
}

fn main() {}

//! A reply outlives the call.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn balance(&self) -> &u64 {
        &self.balance
    }
}

fn main() {}

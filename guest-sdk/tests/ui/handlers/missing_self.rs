//! A handler without `self` has no entity.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(amount: u64) -> u64 {
        amount
    }
}

fn main() {}

//! Arguments come from outside: nobody lends them.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn rename(&mut self, owner: &str) -> usize {
        owner.len()
    }
}

fn main() {}

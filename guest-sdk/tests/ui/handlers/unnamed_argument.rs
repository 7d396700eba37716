//! Callers give arguments by their names.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, _: u64) {}
}

fn main() {}

//! An argument of a type of the process.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

use std::time::Instant;

#[handlers]
impl Account {
    pub fn wait(&mut self, until: Instant) -> bool {
        until.elapsed().is_zero()
    }
}

fn main() {}

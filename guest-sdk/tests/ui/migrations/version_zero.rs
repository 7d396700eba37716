//! Versions count from 1.

use keystead_sdk::prelude::*;

#[entity(version = 0)]
pub struct Account {
    balance: u64,
}

fn main() {}

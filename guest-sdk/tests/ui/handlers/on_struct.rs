//! `#[handlers]` and `#[entity]` mixed up.

use keystead_sdk::prelude::*;

#[handlers]
pub struct Account {
    balance: u64,
}

fn main() {}

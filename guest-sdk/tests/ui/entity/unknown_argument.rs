//! `#[entity]` knows no such argument.

use keystead_sdk::prelude::*;

#[entity(name = "account")]
pub struct BankAccount {
    balance: u64,
}

fn main() {}

//! A version is a number.

use keystead_sdk::prelude::*;

#[entity(version = "2")]
pub struct Account {
    balance: u64,
}

fn main() {}

//! The host takes names of at most 64 bytes.

use keystead_sdk::prelude::*;

#[entity]
pub struct AccountOfACustomerWhoseNameIsLongerThanAnybodyWouldEverThinkToWrite {
    balance: u64,
}

fn main() {}

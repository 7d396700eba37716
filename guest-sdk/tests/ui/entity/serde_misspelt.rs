//! serde knows no attribute `renamed`.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    #[serde(renamed = "amount")]
    balance: u64,
}

fn main() {}

//! A reply outlives the call.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn owner(&self) -> Result<&str> {
        Ok("alice")
    }
}

fn main() {}

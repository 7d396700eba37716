//! A failure is an error, not a text.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn withdraw(&mut self, amount: u64) -> Result<u64, String> {
        self.balance.checked_sub(amount).ok_or("too much".to_owned())
    }
}

fn main() {}

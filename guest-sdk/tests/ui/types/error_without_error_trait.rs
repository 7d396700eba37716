//! A failure implements std::error::Error.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[derive(Debug)]
pub enum Refused {
    TooMuch,
}

#[handlers]
impl Account {
    pub fn withdraw(&mut self, amount: u64) -> Result<u64, Refused> {
        self.balance.checked_sub(amount).ok_or(Refused::TooMuch)
    }
}

fn main() {}

//! The value of a Result without Serialize.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

pub struct Receipt {
    left: u64,
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: u64) -> Result<Receipt> {
        self.balance += amount;
        Ok(Receipt { left: self.balance })
    }
}

fn main() {}

//! `?` on an error that is only a text.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

fn parse(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "no number".to_owned())
}

#[handlers]
impl Account {
    pub fn deposit(&mut self, amount: String) -> Result<u64> {
        self.balance += parse(&amount)?;
        Ok(self.balance)
    }
}

fn main() {}

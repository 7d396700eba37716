//! A query takes `&self`.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn touch(&self) -> u64 {
        self.balance += 1;
        self.balance
    }
}

fn main() {}

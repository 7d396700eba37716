//! A version is a number.

use keystead_sdk::prelude::*;

#[derive(serde::Deserialize)]
pub struct V1 {
    cents: u64,
}

#[entity(version = 2)]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn balance(&self) -> u64 {
        self.balance
    }

    #[migrate(from = "1")]
    fn whole(old: V1) -> Self {
        Self { balance: old.cents / 100 }
    }
}

fn main() {}

//! An argument without Serialize: no client can send it.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[derive(serde::Deserialize)]
pub struct Payment {
    amount: u64,
}

#[handlers]
impl Account {
    pub fn pay(&mut self, payment: Payment) {
        self.balance -= payment.amount;
    }
}

fn main() {}

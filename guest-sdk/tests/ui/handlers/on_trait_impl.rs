//! A trait's methods are no handlers.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Clone for Account {
    fn clone(&self) -> Self {
        Self { balance: self.balance }
    }
}

fn main() {}

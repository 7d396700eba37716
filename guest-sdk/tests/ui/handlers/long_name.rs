//! The host takes names of at most 64 bytes.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn deposit_an_amount_of_money_that_somebody_has_brought_to_the_counter_today(&mut self) {}
}

fn main() {}

//! The schema needs the type's name.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn history(&self) -> impl Iterator<Item = u64> {
        std::iter::empty()
    }
}

fn main() {}

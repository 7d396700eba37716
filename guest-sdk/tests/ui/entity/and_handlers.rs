//! A mistake in the struct is the only one that is told.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    owner: &'static str,
}

#[handlers]
impl Account {
    pub fn owner(&self) -> String {
        self.owner.to_owned()
    }
}

fn main() {}

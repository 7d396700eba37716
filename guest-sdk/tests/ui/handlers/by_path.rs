//! Handlers stand beside their entity.

use keystead_sdk::prelude::*;

mod bank {
    use keystead_sdk::prelude::*;

    #[entity]
    pub struct Account {
        pub balance: u64,
    }
}

#[handlers]
impl bank::Account {
    pub fn balance(&self) -> u64 {
        self.balance
    }
}

fn main() {}

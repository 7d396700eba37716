//! `#[entity]` and `#[handlers]` mixed up.

use keystead_sdk::prelude::*;

#[entity]
impl Account {
    pub fn balance(&self) -> u64 {
        0
    }
}

fn main() {}

//! A List is a field of its own.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    history: Vec<List<u64>>,
}

fn main() {}

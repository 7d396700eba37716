//! Bytes are the whole body, and no JSON.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn photos(&self) -> Vec<Bytes> {
        Vec::new()
    }
}

fn main() {}

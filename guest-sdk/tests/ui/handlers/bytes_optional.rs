//! Bytes are the body: an empty one is empty, not missing.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn upload(&mut self, photo: Option<Bytes>) -> bool {
        photo.is_some()
    }
}

fn main() {}

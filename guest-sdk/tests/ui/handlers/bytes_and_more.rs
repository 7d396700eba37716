//! Bytes are the whole body.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn upload(&mut self, photo: Bytes, title: String) -> usize {
        photo.len() + title.len()
    }
}

fn main() {}

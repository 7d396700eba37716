//! A List takes its own items.

use keystead_sdk::prelude::*;

#[entity]
pub struct Shelf {
    items: List<u64>,
}

#[handlers]
impl Shelf {
    pub fn put(&mut self, name: String) {
        self.items.push(&name);
    }
}

fn main() {}

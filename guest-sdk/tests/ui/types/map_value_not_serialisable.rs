//! A Map's values are JSON.

use keystead_sdk::prelude::*;

pub struct Item {
    count: u64,
}

#[entity]
pub struct Shelf {
    stock: Map<String, Item>,
}

#[handlers]
impl Shelf {
    pub fn put(&mut self, name: String) {
        self.stock.insert(name, Item { count: 1 });
    }
}

fn main() {}

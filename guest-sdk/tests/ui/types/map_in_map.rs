//! A Map is a field; its values are plain.

use keystead_sdk::prelude::*;

#[entity]
pub struct Shelf {
    stock: Map<String, Map<String, u64>>,
}

#[handlers]
impl Shelf {
    pub fn first(&self) -> bool {
        self.stock.first().is_some()
    }
}

fn main() {}

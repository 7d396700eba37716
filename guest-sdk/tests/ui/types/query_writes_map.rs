//! A query takes `&self`: a Map can't be changed through it.

use keystead_sdk::prelude::*;

#[entity]
pub struct Shelf {
    stock: Map<String, u64>,
}

#[handlers]
impl Shelf {
    pub fn count(&self, item: String) -> Option<u64> {
        self.stock.insert(item.clone(), 0);
        self.stock.get(&item)
    }
}

fn main() {}

//! A Map's keys have bytes that sort as they do.

use keystead_sdk::prelude::*;

#[entity]
pub struct Shelf {
    stock: Map<f64, u64>,
}

#[handlers]
impl Shelf {
    pub fn put(&mut self, size: f64) {
        self.stock.insert(size, 1);
    }
}

fn main() {}

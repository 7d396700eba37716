//! One name stands for one type.

use keystead_sdk::prelude::*;

#[handlers]
impl<T> Account<T> {
    pub fn balance(&self) -> u64 {
        0
    }
}

fn main() {}

//! One name stands for one type.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account<T> {
    balance: T,
}

fn main() {}

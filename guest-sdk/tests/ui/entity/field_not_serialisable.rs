//! A plain field of a type without serde.

use keystead_sdk::prelude::*;

#[derive(Default)]
pub struct Limits {
    daily: u64,
}

#[entity]
pub struct Account {
    limits: Limits,
}

fn main() {}

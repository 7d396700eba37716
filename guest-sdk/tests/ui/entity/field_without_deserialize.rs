//! A plain field that can be written and not read.

use keystead_sdk::prelude::*;

#[derive(Default, serde::Serialize)]
pub struct Limits {
    daily: u64,
}

#[entity]
pub struct Account {
    limits: Limits,
}

fn main() {}

//! State is read back from storage, so it owns what it holds.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    owner: &'static str,
}

fn main() {}

//! An entity's state has named fields, so it is no enum.

use keystead_sdk::prelude::*;

#[entity]
pub enum Account {
    Open,
    Closed,
}

fn main() {}

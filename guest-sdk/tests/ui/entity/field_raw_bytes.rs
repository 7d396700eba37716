//! Bytes are a body, not state.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    photo: Bytes,
}

fn main() {}

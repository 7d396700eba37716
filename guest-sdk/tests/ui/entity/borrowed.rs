//! State outlives every call.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account<'a> {
    owner: &'a str,
}

fn main() {}

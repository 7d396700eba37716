//! A handler is a method, not a function with `#[entity]`.

use keystead_sdk::prelude::*;

#[entity]
pub fn account() {}

fn main() {}

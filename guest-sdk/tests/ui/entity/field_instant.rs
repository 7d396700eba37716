//! A clock of the process is no state.

use keystead_sdk::prelude::*;

use std::time::Instant;

#[entity]
pub struct Account {
    opened: Option<Instant>,
}

fn main() {}

//! Fields are stored under their names.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account(u64);

fn main() {}

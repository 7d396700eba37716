//! A context belongs to its call.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    ctx: Option<Ctx>,
}

fn main() {}

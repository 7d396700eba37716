//! A purse that counts euros: the first version of what `purse2` goes on with.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use keystead_sdk::prelude::*;

/// Money.
#[entity]
pub struct Purse {
    euros: u64,
}

#[handlers]
impl Purse {
    /// Puts money in.
    pub fn put(&mut self, euros: u64) {
        self.euros += euros;
    }

    /// What is in it.
    pub fn worth(&self) -> u64 {
        self.euros
    }
}

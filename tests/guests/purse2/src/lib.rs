//! A purse that counts cents, and reads what `purse1` left.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use keystead_sdk::prelude::*;

/// The plain fields of version 1.
#[derive(serde::Deserialize)]
struct Euros {
    euros: u64,
}

/// Money.
#[entity(version = 2)]
pub struct Purse {
    cents: u64,
}

#[handlers]
impl Purse {
    /// Puts money in.
    pub fn put(&mut self, euros: u64) {
        self.cents += euros * 100;
    }

    /// What is in it.
    pub fn worth(&self) -> u64 {
        self.cents
    }

    #[migrate(from = 1)]
    fn in_cents(old: Euros) -> Self {
        Self { cents: old.euros * 100 }
    }
}

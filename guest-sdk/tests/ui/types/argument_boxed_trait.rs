//! A trait object is no JSON.

use keystead_sdk::prelude::*;

#[entity]
pub struct Account {
    balance: u64,
}

#[handlers]
impl Account {
    pub fn explain(&mut self, what: Box<dyn std::fmt::Display>) -> usize {
        what.to_string().len()
    }
}

fn main() {}

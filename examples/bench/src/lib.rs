//! What `keystead bench` drives: the least work that a handler of each kind can do.

use keystead_sdk::prelude::*;

/// A number; it may go below zero, so that transfers need no preparation.
#[entity]
pub struct Counter {
    count: i64,
}

#[handlers]
impl Counter {
    /// Adds a number and returns the new count.
    pub fn add(&mut self, by: i64) -> i64 {
        self.count = self.count.wrapping_add(by);
        self.count
    }

    /// Takes from this counter and adds to another one: two transactions, one message.
    pub fn transfer(&mut self, ctx: &Ctx, to: String, by: i64) -> i64 {
        self.count = self.count.wrapping_sub(by);
        Counter::at(to).add(by).send(ctx);
        self.count
    }

    /// Adds one to each of `messages` counters, named after this one.
    pub fn fan(&mut self, ctx: &Ctx, messages: u32) -> u32 {
        for n in 0..messages {
            Counter::at(format!("{}-{n}", ctx.key())).add(1).send(ctx);
        }
        messages
    }

    /// The count.
    pub fn get(&self) -> i64 {
        self.count
    }
}

/// A large value.
#[entity]
pub struct Page {
    text: Value<String>,
}

#[handlers]
impl Page {
    /// Nothing: what a call itself costs.
    pub fn nothing(&self) {}

    /// Replaces the text and returns its length.
    pub fn put(&mut self, text: Bytes) -> Result<u64> {
        let text = String::from_utf8(text.into()).map_err(|_| Error::retryable("not UTF-8"))?;
        self.text.set(&text);
        Ok(text.len() as u64)
    }
}

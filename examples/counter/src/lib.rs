//! The smallest app: one number per key.

use keystead_sdk::prelude::*;

/// A number; every key has its own, which starts at 0.
#[entity]
pub struct Counter {
    count: i64,
}

#[handlers]
impl Counter {
    /// Adds a number and returns the new count.
    pub fn add(&mut self, by: i64) -> Result<i64> {
        match self.count.checked_add(by) {
            Some(count) => self.count = count,
            None => reject!(code = "out_of_range", "{} + {by} is out of range", self.count),
        }
        Ok(self.count)
    }

    /// The count.
    pub fn get(&self) -> i64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use keystead_sdk::testing::{World, json};

    use super::*;

    #[test]
    fn counts_by_key() {
        let mut world = World::new().with::<Counter>();
        assert_eq!(world.call::<i64>("counter", "a", "add", json!({"by": 2})).unwrap(), 2);
        assert_eq!(world.call::<i64>("counter", "a", "add", json!({"by": -5})).unwrap(), -3);
        assert_eq!(world.read::<i64>("counter", "b", "get", json!({})).unwrap(), 0);
    }

    #[test]
    fn never_wraps_around() {
        let mut world = World::new().with::<Counter>();
        world.call_typed::<i64>(Counter::at("a").add(i64::MAX)).unwrap();
        let error = world.call_typed::<i64>(Counter::at("a").add(1)).unwrap_err();
        assert_eq!(error.code(), "out_of_range");
        assert_eq!(world.read::<i64>("counter", "a", "get", json!({})).unwrap(), i64::MAX);
    }
}

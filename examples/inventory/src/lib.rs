//! Orders reserve stock by message and are shipped by a carrier that is often down: what fails is tried
//! again, what never works is parked, and nothing is reserved or shipped twice.

use keystead_sdk::prelude::*;

/// An article in stock.
#[entity]
pub struct Item {
    free: u64,
    reserved: Map<String, u64>,
}

#[handlers]
impl Item {
    /// Adds stock and returns what is free.
    pub fn restock(&mut self, count: u64) -> u64 {
        self.free = self.free.saturating_add(count);
        self.free
    }

    /// Reserves stock for an order, if there is enough, and tells it.
    pub fn reserve(&mut self, ctx: &Ctx, order: String, count: u64) {
        let enough = count <= self.free;
        if enough {
            self.free -= count;
            self.reserved.insert(order.clone(), count);
        }
        Order::at(order).reserved(enough).send(ctx);
    }

    /// What is free.
    pub fn free(&self) -> u64 {
        self.free
    }
}

/// A customer's order.
#[entity]
pub struct Order {
    status: String,
    city: String,
}

#[handlers]
impl Order {
    /// Orders `count` of an item.
    pub fn place(&mut self, ctx: &Ctx, item: String, count: u64, city: String) -> Result<String> {
        ensure!(self.status.is_empty(), code = "placed_before", "this order is {}", self.status);
        (self.status, self.city) = ("placed".into(), city);
        Item::at(item).reserve(ctx.key(), count).send(ctx);
        Ok(self.status.clone())
    }

    /// The item's answer.
    pub fn reserved(&mut self, ctx: &Ctx, enough: bool) {
        self.status = if enough { "reserved" } else { "sold out" }.into();
        if enough {
            Order::at(ctx.key()).ship().send(ctx);
        }
    }

    /// Asks the carrier, which is up on every third attempt and never goes to Atlantis.
    pub fn ship(&mut self, ctx: &Ctx) -> Result<()> {
        if ctx.attempt() < 3 || self.city == "Atlantis" {
            return Err(Error::retryable("no truck today").with_code("carrier_down"));
        }
        self.status = format!("shipped to {} at attempt {}", self.city, ctx.attempt());
        Ok(())
    }

    /// How far it is.
    pub fn status(&self) -> String {
        self.status.clone()
    }
}

#[cfg(test)]
mod tests;

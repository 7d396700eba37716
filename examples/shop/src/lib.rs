//! Orders that reserve, charge and ship as one saga: all of it happens or none of it stays, whatever crashes.

use keystead_sdk::prelude::*;

/// How long stock waits for its order.
pub const HOLD: Duration = Duration::from_secs(60);

/// An article.
#[entity]
pub struct Stock {
    free: u64,
    sold: u64,
    held: Reservations<()>,
}

#[handlers]
impl Stock {
    /// Adds stock.
    pub fn restock(&mut self, count: u64) {
        self.free += count;
    }

    /// Holds one for an order, for a while.
    #[internal]
    pub fn reserve(&mut self, ctx: &Ctx, order: String) -> Result<()> {
        ensure!(self.free > 0, code = "sold_out", "nothing is left");
        self.free -= 1;
        self.held.tentative(ctx, &order, (), HOLD, Stock::at(ctx.key()).release(&*order))
    }

    /// Sends the one that an order holds, unless it took too long.
    #[internal]
    pub fn ship(&mut self, ctx: &Ctx, order: String) -> Result<()> {
        self.held.confirm(ctx, &order)?;
        self.sold += 1;
        Ok(())
    }

    /// Gives back the one that an order holds.
    #[internal]
    pub fn release(&mut self, ctx: &Ctx, order: String) {
        self.free += u64::from(self.held.cancel(ctx, &order).is_some());
    }

    /// What is free, held and sold.
    pub fn count(&self) -> (u64, u64, u64) {
        (self.free, self.held.iter().count() as u64, self.sold)
    }
}

/// A customer's money.
#[entity]
pub struct Wallet {
    balance: u64,
    paid: Map<String, u64>,
}

#[handlers]
impl Wallet {
    /// Adds money.
    pub fn top_up(&mut self, amount: u64) {
        self.balance += amount;
    }

    /// Pays for an order.
    #[internal]
    pub fn charge(&mut self, order: String, amount: u64) -> Result<()> {
        ensure!(amount <= self.balance, code = "no_money", "only {} there", self.balance);
        self.balance -= amount;
        self.paid.insert(order, amount);
        Ok(())
    }

    /// Gives back what an order cost.
    #[internal]
    pub fn refund(&mut self, order: String) {
        self.balance += self.paid.remove(&order).unwrap_or(0);
    }

    /// What is there, and what went into orders.
    pub fn balance(&self) -> (u64, u64) {
        (self.balance, self.paid.values().sum())
    }
}

/// An order; its key is its number.
#[entity]
pub struct Order {
    status: String,
    steps: Saga,
}

#[handlers]
impl Order {
    /// Orders one of an item for its price, out of a customer's wallet.
    pub fn place(&mut self, ctx: &Ctx, item: String, price: u64, wallet: String) -> Result<()> {
        ensure!(self.status.is_empty(), code = "placed_before", "this order is {}", self.status);
        self.status = "placed".into();
        let (stock, wallet, order) = (Stock::at(item), Wallet::at(wallet), ctx.key());
        self.steps
            .start(ctx)
            .step("reserve", stock.reserve(order))
            .undo(stock.release(order))
            .step("charge", wallet.charge(order, price))
            .undo(wallet.refund(order))
            .step("ship", stock.ship(order))
            .end(Order::reply().closed())
    }

    /// How the saga ended: shipped, or everything undone and why.
    pub fn closed(&mut self, reply: Reply<()>) {
        self.status = match reply {
            Reply::Ok(()) => "shipped".into(),
            Reply::Rejected(no) | Reply::Failed(no) => format!("called off: {}", no.message),
        };
    }

    /// How far it is.
    pub fn status(&self) -> String {
        self.status.clone()
    }
}

#[cfg(test)]
mod tests;

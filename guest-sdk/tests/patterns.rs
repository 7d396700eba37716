//! Sagas and reservations under the faults of many seeds: lost answers, restarts, failures, reordering across
//! pairs, late timers, and messages that are parked until an operator retries them.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::World;

#[entity]
pub struct Stock {
    free: i64,
    sold: i64,
    holds: Reservations<i64>,
}

#[handlers]
impl Stock {
    pub fn fill(&mut self, count: i64) {
        self.free += count;
    }

    pub fn reserve(&mut self, ctx: &Ctx, order: String) -> Result<()> {
        ensure!(self.free > 0, code = "sold_out", "none left");
        let expired = Stock::at(ctx.key()).release(&*order);
        self.holds.tentative(ctx, &order, 1, Duration::from_secs(3600), expired)?;
        self.free -= 1;
        Ok(())
    }

    pub fn release(&mut self, ctx: &Ctx, order: String) {
        self.free += self.holds.cancel(ctx, &order).unwrap_or_default();
    }

    pub fn sell(&mut self, ctx: &Ctx, order: String) -> Result<()> {
        self.sold += self.holds.confirm(ctx, &order)?;
        Ok(())
    }
}

#[entity]
pub struct Purse {
    balance: i64,
    moves: Vec<String>,
}

#[handlers]
impl Purse {
    pub fn fill(&mut self, amount: i64) {
        self.balance += amount;
    }

    pub fn pay(&mut self, order: String, amount: i64) -> Result<()> {
        ensure!(self.balance >= amount, code = "short", "only {}", self.balance);
        self.balance -= amount;
        self.moves.push(format!("paid {order}"));
        Ok(())
    }

    pub fn refund(&mut self, order: String, amount: i64) {
        self.balance += amount;
        self.moves.push(format!("refunded {order}"));
    }
}

#[entity]
pub struct Order {
    ends: Vec<bool>,
    work: Saga,
}

#[handlers]
impl Order {
    pub fn place(&mut self, ctx: &Ctx) -> Result<()> {
        let id = ctx.key();
        self.work
            .start(ctx)
            .step("stock", Stock::at("s").reserve(id))
            .undo(Stock::at("s").release(id))
            .step("purse", Purse::at("p").pay(id, 10))
            .undo(Purse::at("p").refund(id, 10))
            .step("sale", Stock::at("s").sell(id))
            .end(Order::reply().ended())
    }

    pub fn ended(&mut self, reply: Reply<()>) {
        self.ends.push(reply.is_ok());
    }
}

const ORDERS: i64 = 5;

/// Three in stock, money for four, five orders; an operator retries whatever is parked.
fn all_or_nothing(world: World) {
    let mut world = world.with::<Stock>().with::<Purse>().with::<Order>();
    world.keyed("s").call_typed(Stock::at("s").fill(3)).expect("fills");
    world.keyed("p").call_typed(Purse::at("p").fill(40)).expect("fills");
    for order in 0..ORDERS {
        let order = order.to_string();
        world.keyed(&order).call_typed(Order::at(&*order).place()).expect("places");
    }
    for _ in 0..20 {
        world.advance(Duration::from_secs(600));
        let parked = world.dead_letters().iter().map(|dead| dead.id.clone()).collect::<Vec<_>>();
        for id in parked {
            // One whose sender was told is final.
            let _ = world.retry_dead_letter(&id);
        }
    }
    let mut done = 0;
    for order in 0..ORDERS {
        let (ends, status) = world
            .inspect(&order.to_string(), |order: &Order| (order.ends.clone(), order.work.status()));
        match (ends.as_slice(), status) {
            ([true], SagaStatus::Done) => done += 1,
            ([false], SagaStatus::Undone { given_up, .. }) => assert!(given_up.is_empty()),
            other => panic!("order {order} did not end once: {other:?}"),
        }
    }
    let (free, sold, held) =
        world.inspect("s", |stock: &Stock| (stock.free, stock.sold, stock.holds.iter().count()));
    assert_eq!((free, sold, held), (3 - done, done, 0));
    let (balance, moves) = world.inspect("p", |purse: &Purse| (purse.balance, purse.moves.clone()));
    assert_eq!(balance, 40 - 10 * done, "{moves:?}");
}

#[test]
fn orders_are_whole_or_not_there_at_all() {
    all_or_nothing(World::new());
    World::explore(0..200, all_or_nothing);
}

#[test]
fn orders_are_whole_when_messages_are_parked_and_retried() {
    World::explore(0..200, |world| {
        all_or_nothing(world.attempts(3).faults(|faults| faults.parking(20)));
    });
}

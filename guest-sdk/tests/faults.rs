//! Three small apps with a bug each, of the kinds that pass every friendly test: a lost update, a double
//! effect, a saga that compensates nothing. For each the friendly test passes, the same test explored finds
//! the bug within a few seeds, and the corrected app survives them all.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::testing::World;

/// Within how many seeds each bug is found.
const SEEDS_TO_FIND: u64 = 50;
/// How many seeds a corrected app survives.
const SEEDS_TO_SURVIVE: u64 = 400;

/// The friendly test passes on both apps; explored, it fails on the wrong one only, and for this reason.
fn check(test: fn(World), wrong: fn(World) -> World, right: fn(World) -> World, reason: &str) {
    test(wrong(World::new()));
    test(right(World::new()));

    let explored = |world| test(wrong(world));
    let found = World::search(0..SEEDS_TO_FIND, explored).expect("the bug is found");
    assert!(found.reason.contains(reason), "{found}");
    let again = World::search([found.seed], explored).expect("the same seed finds it again");
    assert_eq!(again.trace, found.trace, "and does the same");

    World::explore(0..SEEDS_TO_SURVIVE, |world| test(right(world)));
}

/// Tills report what they took in to a total. The wrong one reads the total by message, and sends it back
/// changed: what another till reported in between is lost.
mod lost_update {
    use keystead_sdk::prelude::*;
    use keystead_sdk::testing::{World, json};

    #[entity]
    pub struct Total {
        sum: u64,
    }

    #[handlers]
    impl Total {
        pub fn ask(&mut self) -> u64 {
            self.sum
        }

        pub fn replace(&mut self, sum: u64) {
            self.sum = sum;
        }

        pub fn add(&mut self, amount: u64) {
            self.sum += amount;
        }

        pub fn sum(&self) -> u64 {
            self.sum
        }
    }

    pub mod wrong {
        use super::*;

        #[entity]
        pub struct Till {
            taken: u64,
        }

        #[handlers]
        impl Till {
            pub fn open(&mut self, ctx: &Ctx, taken: u64, hours: u64) {
                self.taken = taken;
                Till::timer("close").close().after(Duration::from_secs(hours * 3600)).set(ctx);
            }

            pub fn close(&mut self, ctx: &Ctx) {
                Total::at("shop").ask().call_then(ctx, Till::reply().told());
            }

            pub fn told(&mut self, ctx: &Ctx, reply: Reply<u64>) -> Result<()> {
                Total::at("shop").replace(reply.result()? + self.taken).send(ctx);
                Ok(())
            }
        }
    }

    pub mod right {
        use super::*;

        #[entity]
        pub struct Till {
            taken: u64,
        }

        #[handlers]
        impl Till {
            pub fn open(&mut self, ctx: &Ctx, taken: u64, hours: u64) {
                self.taken = taken;
                Till::timer("close").close().after(Duration::from_secs(hours * 3600)).set(ctx);
            }

            pub fn close(&mut self, ctx: &Ctx) {
                Total::at("shop").add(self.taken).send(ctx);
            }
        }
    }

    pub fn test(mut world: World) {
        for (till, taken) in [("a", 5), ("b", 7), ("c", 9)] {
            let open = json!({"taken": taken, "hours": 8});
            world.call::<()>("till", till, "open", open).expect("opens");
        }
        world.advance(Duration::from_secs(9 * 3600));
        assert_eq!(world.read::<u64>("total", "shop", "sum", json!({})).expect("reads"), 21);
    }
}

#[test]
fn a_lost_update_is_found() {
    let wrong =
        |world: World| world.with::<lost_update::Total>().with::<lost_update::wrong::Till>();
    let right =
        |world: World| world.with::<lost_update::Total>().with::<lost_update::right::Till>();
    check(lost_update::test, wrong, right, "right: 21");
}

/// An order charges a card and asks again when it has heard nothing for half a minute. The wrong card charges
/// for every time it is asked.
mod double_effect {
    use keystead_sdk::prelude::*;
    use keystead_sdk::testing::{World, json};

    pub mod wrong {
        use super::*;

        #[entity]
        pub struct Card {
            charged: u64,
        }

        #[handlers]
        impl Card {
            pub fn charge(&mut self, order: String, amount: u64) {
                info!("{order} charges {amount}");
                self.charged += amount;
            }

            pub fn charged(&self) -> u64 {
                self.charged
            }
        }
    }

    pub mod right {
        use super::*;

        #[entity]
        pub struct Card {
            charged: u64,
            orders: Map<String, u64>,
        }

        #[handlers]
        impl Card {
            pub fn charge(&mut self, order: String, amount: u64) {
                if !self.orders.contains_key(&order) {
                    self.orders.insert(order, amount);
                    self.charged += amount;
                }
            }

            pub fn charged(&self) -> u64 {
                self.charged
            }
        }
    }

    #[entity]
    pub struct Order {
        amount: u64,
        is_paid: bool,
    }

    #[handlers]
    impl Order {
        pub fn place(&mut self, ctx: &Ctx, amount: u64) {
            if self.amount == 0 {
                self.amount = amount;
                self.ask(ctx);
            }
        }

        pub fn ask(&mut self, ctx: &Ctx) {
            if !self.is_paid {
                // The right card has the same name and takes the same.
                let charge = wrong::Card::at("visa").charge(ctx.key(), self.amount);
                charge.call_then(ctx, Order::reply().charged());
                Order::timer("ask").ask().after(Duration::from_secs(30)).set(ctx);
            }
        }

        pub fn charged(&mut self, ctx: &Ctx, reply: Reply<()>) {
            if reply.is_ok() {
                self.is_paid = true;
                ctx.cancel_timer("ask");
            }
        }
    }

    pub fn test(mut world: World) {
        world.call::<()>("order", "o1", "place", json!({"amount": 10})).expect("places");
        world.settle();
        world.advance(Duration::from_secs(600));
        assert!(world.inspect("o1", |order: &Order| order.is_paid));
        assert_eq!(world.read::<u64>("card", "visa", "charged", json!({})).expect("reads"), 10);
    }
}

#[test]
fn a_double_effect_is_found() {
    use double_effect::{Order, right, test, wrong};
    let wrong = |world: World| world.with::<Order>().with::<wrong::Card>();
    let right = |world: World| world.with::<Order>().with::<right::Card>();
    check(test, wrong, right, "right: 10");
}

/// A trip is a room and a seat, or neither. The wrong one gives up when it gets no seat, and keeps the room.
mod no_compensation {
    use keystead_sdk::prelude::*;
    use keystead_sdk::testing::{World, json};

    /// A hotel or a flight.
    #[entity]
    pub struct House {
        guests: Map<String, bool>,
    }

    #[handlers]
    impl House {
        pub fn book(&mut self, trip: String) {
            self.guests.insert(trip, true);
        }

        pub fn cancel(&mut self, trip: String) {
            self.guests.remove(&trip);
        }

        pub fn has(&self, trip: String) -> bool {
            self.guests.contains_key(&trip)
        }
    }

    pub mod wrong {
        use super::*;

        #[entity]
        pub struct Trip {
            status: String,
        }

        #[handlers]
        impl Trip {
            pub fn start(&mut self, ctx: &Ctx) {
                if self.status.is_empty() {
                    self.status = "open".to_owned();
                    House::at("hotel").book(ctx.key()).call_then(ctx, Trip::reply().housed());
                }
            }

            pub fn housed(&mut self, ctx: &Ctx, reply: Reply<()>) {
                match reply {
                    Reply::Ok(()) => {
                        House::at("flight").book(ctx.key()).call_then(ctx, Trip::reply().seated());
                    }
                    _ => self.status = "failed".to_owned(),
                }
            }

            pub fn seated(&mut self, reply: Reply<()>) {
                self.status = if reply.is_ok() { "booked" } else { "failed" }.to_owned();
            }

            pub fn status(&self) -> String {
                self.status.clone()
            }
        }
    }

    pub mod right {
        use super::*;

        #[entity]
        pub struct Trip {
            status: String,
        }

        #[handlers]
        impl Trip {
            pub fn start(&mut self, ctx: &Ctx) {
                if self.status.is_empty() {
                    self.status = "open".to_owned();
                    House::at("hotel").book(ctx.key()).call_then(ctx, Trip::reply().housed());
                }
            }

            pub fn housed(&mut self, ctx: &Ctx, reply: Reply<()>) {
                match reply {
                    Reply::Ok(()) => {
                        House::at("flight").book(ctx.key()).call_then(ctx, Trip::reply().seated());
                    }
                    _ => self.status = "failed".to_owned(),
                }
            }

            pub fn seated(&mut self, ctx: &Ctx, reply: Reply<()>) {
                if reply.is_ok() {
                    self.status = "booked".to_owned();
                } else {
                    self.status = "failed".to_owned();
                    House::at("hotel").cancel(ctx.key()).send(ctx);
                }
            }

            pub fn status(&self) -> String {
                self.status.clone()
            }
        }
    }

    pub fn test(world: World) {
        // Houses never say no here: a trip fails when a booking can't be delivered, and it is told so.
        let mut world = world.faults(|faults| faults.parking(20));
        for trip in ["t1", "t2", "t3"] {
            world.call::<()>("trip", trip, "start", json!({})).expect("starts");
        }
        world.settle();
        // Dead letters that nobody was told of wait for people, who try them again in the end.
        world.retry_dead_letters();
        for trip in ["t1", "t2", "t3"] {
            let status: String = world.read("trip", trip, "status", json!({})).expect("reads");
            for house in ["hotel", "flight"] {
                let has = world.inspect(house, |house: &House| house.guests.contains_key(trip));
                assert_eq!(
                    has,
                    status == "booked",
                    "{trip} is {status}, and {house} has it: {has}"
                );
            }
        }
    }
}

#[test]
fn a_saga_without_compensation_is_found() {
    use no_compensation::{House, right, test, wrong};
    let wrong = |world: World| world.with::<House>().with::<wrong::Trip>();
    let right = |world: World| world.with::<House>().with::<right::Trip>();
    check(test, wrong, right, "is failed, and hotel has it: true");
}

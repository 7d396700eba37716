//! The ledger by itself, and over the state that its first version left.
#![allow(missing_docs, unreachable_pub, reason = "the first version is of this test")]

use keystead_sdk::testing::{World, json};

use super::*;

/// The ledger as it was.
mod first {
    use keystead_sdk::prelude::*;

    #[entity]
    pub struct Ledger {
        total: i64,
        booked: u64,
        entries: Map<(String, u64), (String, i64)>,
    }

    #[handlers]
    impl Ledger {
        pub fn book(&mut self, day: String, text: String, amount: i64) {
            (self.total, self.booked) = (self.total + amount, self.booked + 1);
            self.entries.insert((day, self.booked), (text, amount));
        }
    }
}

#[test]
fn entries_come_by_day_and_by_number() {
    let mut world = World::new().with::<Ledger>();
    for (day, text, cents) in [("2026-02-01", "rent", -900), ("2026-01-31", "pay", 2_000)] {
        world.call_typed(Ledger::at("ann").book(day, text, cents)).unwrap();
    }
    let days = json!({"from": "2026-01-01", "to": "2026-01-31"});
    let january: Vec<(Place, (String, i64))> = world.read("ledger", "ann", "days", days).unwrap();
    assert_eq!(january, [(("2026-01-31".into(), 2), ("pay".into(), 2_000))]);
    let latest: Vec<(Place, (String, i64))> =
        world.read("ledger", "ann", "latest", json!({"count": 1})).unwrap();
    assert_eq!(latest[0].1.0, "rent");
    assert_eq!(
        world.call_typed(Ledger::at("ann").book("today", "", 1)).unwrap_err().code(),
        "bad_day"
    );
}

#[test]
fn what_version_1_left_is_read_in_cents() {
    let mut world = World::new().with::<first::Ledger>();
    world.call_typed(first::Ledger::at("ann").book("2025-12-31", "pay", 20)).unwrap();
    world.deploy::<Ledger>();
    assert_eq!(world.read::<i64>("ledger", "ann", "balance", json!({})).unwrap(), 2_000);
    assert_eq!(world.call_typed(Ledger::at("ann").book("2026-01-01", "tea", -250)).unwrap(), 1_750);
    world.inspect::<Ledger, _>("ann", |ledger| {
        let cents: Vec<_> = ledger.entries.values().map(|(_, cents)| cents).collect();
        assert_eq!(cents, [2_000, -250]);
    });
}

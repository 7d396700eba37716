//! `Reservations` run by `testing::World`: confirmed, cancelled, expired, and what is left of each.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};

#[entity]
pub struct Hall {
    free: i64,
    holds: Reservations<(i64, Option<String>)>,
}

#[handlers]
impl Hall {
    pub fn hold(&mut self, ctx: &Ctx, id: String, seats: i64, secs: u64) -> Result<()> {
        let expired = Hall::at(ctx.key()).expired(&*id);
        let what = (seats, Some("stalls".to_owned()));
        self.holds.tentative(ctx, &id, what, Duration::from_secs(secs), expired)?;
        self.free -= seats;
        Ok(())
    }

    pub fn elsewhere(&mut self, ctx: &Ctx) -> Result<()> {
        let expired = Hall::at("other").expired("x");
        self.holds.tentative(ctx, "x", (1, None), Duration::from_secs(1), expired)
    }

    pub fn sell(&mut self, ctx: &Ctx, id: String) -> Result<i64> {
        Ok(self.holds.confirm(ctx, id)?.0)
    }

    pub fn cancel(&mut self, ctx: &Ctx, id: String) -> Option<i64> {
        let (seats, _) = self.holds.cancel(ctx, id)?;
        self.free += seats;
        Some(seats)
    }

    #[internal]
    pub fn expired(&mut self, ctx: &Ctx, id: String) -> Result<()> {
        if id == "stuck" && ctx.attempt() < 3 {
            return Err(Error::retryable("not now"));
        }
        let (seats, _) = self.holds.cancel(ctx, &id).unwrap_or_default();
        self.free += seats;
        Ok(())
    }

    pub fn state(&self) -> (i64, Vec<(String, i64)>) {
        (self.free, self.holds.iter().map(|(id, (seats, _))| (id, seats)).collect())
    }

    pub fn one(&self, id: String) -> (Option<i64>, Option<Timestamp>) {
        (self.holds.get(&id).map(|(seats, _)| seats), self.holds.expires(&id))
    }
}

fn hall() -> World {
    World::new().with::<Hall>()
}

fn hold(world: &mut World, id: &str, seats: i64, secs: u64) -> Result<()> {
    world.call_typed(Hall::at("h").hold(id, seats, secs))
}

fn state(world: &mut World) -> (i64, Vec<(String, i64)>) {
    world.read("hall", "h", "state", json!({})).expect("reads")
}

#[test]
fn a_reservation_ends_once_in_one_of_three_ways() {
    let mut world = hall();
    for (id, seats) in [("a", 1), ("b", 2), ("c", 4)] {
        hold(&mut world, id, seats, 60).expect("holds");
    }
    let held = [("a", 1), ("b", 2), ("c", 4)].map(|(id, seats)| (id.to_owned(), seats));
    assert_eq!(state(&mut world), (-7, held.to_vec()));
    assert_eq!(world.pending(), 3);
    let one: (Option<i64>, Option<Timestamp>) =
        world.read("hall", "h", "one", json!({"id": "b"})).expect("reads");
    assert_eq!(one, (Some(2), Some(world.now() + Duration::from_secs(60))));

    assert_eq!(world.call_typed(Hall::at("h").sell("a")).expect("sells"), 1);
    assert_eq!(world.call_typed(Hall::at("h").cancel("b")).expect("cancels"), Some(2));
    assert_eq!(world.pending(), 1, "what ended needs no message");
    for id in ["a", "b", "never"] {
        let error = world.call_typed(Hall::at("h").sell(id)).expect_err("gone");
        assert_eq!((error.code(), error.is_retryable()), ("reservation_gone", false), "{id}");
        assert_eq!(world.call_typed(Hall::at("h").cancel(id)).expect("nothing"), None);
    }
    world.advance(Duration::from_millis(59_999));
    assert_eq!(state(&mut world).1.len(), 1);
    world.advance(Duration::from_millis(1));
    assert_eq!(state(&mut world), (-1, vec![]));
    assert_eq!((world.pending(), world.state("hall", "h").len()), (0, 1));
}

#[test]
fn time_is_over_before_its_message_has_come_through() {
    let mut world = hall();
    hold(&mut world, "stuck", 5, 10).expect("holds");
    world.advance(Duration::from_secs(10));
    assert_eq!(state(&mut world), (-5, vec![]), "two more attempts to go");
    let one: (Option<i64>, Option<Timestamp>) =
        world.read("hall", "h", "one", json!({"id": "stuck"})).expect("reads");
    assert_eq!(one, (None, None));
    let error = world.call_typed(Hall::at("h").sell("stuck")).expect_err("over");
    assert_eq!(error.code(), "reservation_gone");
    let error = hold(&mut world, "stuck", 1, 10).expect_err("its seats are not back yet");
    assert_eq!(error.code(), "reservation_exists");
    world.settle();
    assert_eq!(state(&mut world), (0, vec![]));
    hold(&mut world, "stuck", 1, 10).expect("the id is free again");
}

#[test]
fn an_id_is_taken_once_and_free_again_afterwards() {
    let mut world = hall();
    hold(&mut world, "a", 1, 60).expect("holds");
    let error = hold(&mut world, "a", 2, 60).expect_err("taken");
    assert_eq!((error.code(), error.is_retryable()), ("reservation_exists", false));
    world.call_typed(Hall::at("h").cancel("a")).expect("cancels");
    hold(&mut world, "a", 2, 120).expect("holds");
    world.advance(Duration::from_secs(60));
    assert_eq!(
        state(&mut world),
        (-2, vec![("a".to_owned(), 2)]),
        "the first one's time is not its own"
    );
}

#[test]
fn a_call_that_fails_reserves_nothing() {
    let mut world = hall();
    let error = world.call_typed(Hall::at("h").elsewhere()).expect_err("panics");
    let text = "a reservation ends at the entity that made it: hall/h, not hall/other";
    assert_eq!((error.code(), error.message()), ("handler_panicked", text));
    assert_eq!((world.pending(), world.state("hall", "h").len()), (0, 0));
}

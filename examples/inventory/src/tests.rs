//! The way of an order through a world of two entity types.

use keystead_sdk::testing::{World, json};

use super::*;

fn world() -> World {
    let mut world = World::new().with::<Item>().with::<Order>().attempts(4);
    world.call_typed::<u64>(Item::at("lamp").restock(5)).unwrap();
    world
}

fn order(world: &mut World, key: &str, count: u64, city: &str) -> String {
    world.call_typed::<String>(Order::at(key).place("lamp", count, city)).unwrap();
    world.settle();
    world.read("order", key, "status", json!({})).unwrap()
}

fn free(world: &mut World) -> u64 {
    world.read("item", "lamp", "free", json!({})).unwrap()
}

#[test]
fn what_fails_is_tried_again_and_reserved_once() {
    let mut world = world();
    assert_eq!(order(&mut world, "o1", 2, "Oslo"), "shipped to Oslo at attempt 3");
    assert_eq!(free(&mut world), 3);
    let again = world.call_typed::<String>(Order::at("o1").place("lamp", 2, "Oslo")).unwrap_err();
    assert_eq!(again.code(), "placed_before");
}

#[test]
fn what_never_works_is_parked_with_its_reason() {
    let mut world = world();
    assert_eq!(order(&mut world, "o2", 1, "Atlantis"), "reserved");
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!((dead.handler.as_str(), dead.attempts), ("ship", 4));
    assert_eq!(dead.reason.code(), "carrier_down");
}

#[test]
fn nobody_gets_what_is_sold_out() {
    let mut world = world();
    assert_eq!(order(&mut world, "o3", 6, "Oslo"), "sold out");
    assert_eq!((free(&mut world), world.dead_letters().len()), (5, 0));
}

//! Orders when all goes well, and when everything goes wrong that can: nobody pays for nothing, nothing is sold
//! twice, and no stock stays held.

use keystead_sdk::testing::World;

use super::*;

fn shop(world: World) -> World {
    let mut world = world.with::<Order>().with::<Stock>().with::<Wallet>();
    world.keyed("lamps").call_typed(Stock::at("lamp").restock(3)).unwrap();
    world.keyed("money").call_typed(Wallet::at("ann").top_up(100)).unwrap();
    world
}

#[test]
fn an_order_is_shipped_or_leaves_no_trace() {
    let mut world = shop(World::new());
    for (order, item, price, status) in [
        ("o1", "lamp", 60, "shipped"),
        ("o2", "desk", 10, "called off: nothing is left"),
        ("o3", "lamp", 50, "called off: only 40 there"),
    ] {
        world.call_typed(Order::at(order).place(item, price, "ann")).unwrap();
        world.settle();
        assert_eq!(world.inspect::<Order, _>(order, Order::status), status);
    }
    assert_eq!(world.inspect::<Stock, _>("lamp", Stock::count), (2, 0, 1));
    assert_eq!(world.inspect::<Wallet, _>("ann", Wallet::balance), (40, 60));
}

#[test]
fn whatever_goes_wrong_the_books_are_right() {
    World::explore(0..300, |world| {
        let mut world = shop(world.faults(|faults| faults.parking(10)));
        let orders = ["o1", "o2", "o3", "o4"];
        for order in orders {
            let place = Order::at(order).place("lamp", 30, "ann");
            world.keyed(order).call_typed(place).unwrap();
        }
        world.settle();
        // An operator looks after what could not be undone; then every hold is over.
        while world.retry_dead_letters() > 0 {
            world.settle();
        }
        world.advance(HOLD * 3);
        world.settle();
        let mut shipped = 0;
        for order in orders {
            let status = world.inspect::<Order, _>(order, Order::status);
            assert!(status == "shipped" || status.starts_with("called off"), "{order}: {status}");
            shipped += u64::from(status == "shipped");
        }
        assert_eq!(world.inspect::<Stock, _>("lamp", Stock::count), (3 - shipped, 0, shipped));
        let paid = shipped * 30;
        assert_eq!(world.inspect::<Wallet, _>("ann", Wallet::balance), (100 - paid, paid));
    });
}

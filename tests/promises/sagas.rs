//! Sagas over stock, wallets and orders while the host is killed again and again: in the end each order is shipped
//! and paid for once, or left no trace, and no reservation outlives its time.
//!
//! `KEYSTEAD_SAGA_KILLS` says how often the host is killed (12), about twice in a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Client, Guest, Host, PATIENCE, eventually};

const CLIENTS: u64 = 16;
const ITEMS: u64 = 5;
const WALLETS: u64 = 8;
/// Of each item, and of money in each wallet; of the first so little that some orders are called off however slow the
/// machine is.
const STOCK: [u64; ITEMS as usize] = [20, 400, 400, 400, 400];
const MONEY: [u64; WALLETS as usize] =
    [500, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000, 10_000];
const LIFE_MS: std::ops::Range<u64> = 200..800;
/// Kills or not, a client pauses this long when its connection broke.
const PAUSE: Duration = Duration::from_millis(100);

/// One order as it was placed.
#[derive(Debug, Clone)]
struct Order {
    id: String,
    item: String,
    wallet: String,
    price: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_never_half_done() {
    let kills =
        std::env::var("KEYSTEAD_SAGA_KILLS").map_or(12, |text| text.parse().expect("kills"));
    let mut host = Host::with(Guest::Shop, "shop").await;
    let client = host.client();
    for (item, count) in STOCK.iter().enumerate() {
        client.call(&format!("shop/stock/i{item}"), "restock", json!({"count": count})).ok().await;
    }
    for (wallet, amount) in MONEY.iter().enumerate() {
        let money = json!({"amount": amount});
        client.call(&format!("shop/wallet/w{wallet}"), "top_up", money).ok().await;
    }

    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(place_until(done.clone(), client.clone(), number));
    }
    let mut chance = StdRng::seed_from_u64(1);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(chance.random_range(LIFE_MS))).await;
        host.crash().await;
    }
    done.store(true, Ordering::Relaxed);
    let orders: Vec<Order> = tasks.join_all().await.into_iter().flatten().collect();
    host.quiet().await;

    let (mut sold, mut paid) = (BTreeMap::new(), BTreeMap::new());
    let mut shipped = 0;
    for order in &orders {
        let status = ended(&client, order).await;
        if status == "shipped" {
            shipped += 1;
            *sold.entry(order.item.clone()).or_insert(0) += 1;
            *paid.entry(order.wallet.clone()).or_insert(0) += order.price;
        } else {
            assert!(status.starts_with("called off"), "{order:?}: {status}");
        }
    }
    println!("{} orders, {shipped} shipped, {kills} kills", orders.len());
    assert!(shipped > 0 && shipped < orders.len(), "{shipped} of {} shipped", orders.len());
    for (item, stock) in STOCK.iter().enumerate() {
        let item = format!("i{item}");
        let count = client.value(&format!("shop/stock/{item}"), "count").await;
        let sold = sold.get(&item).copied().unwrap_or(0);
        assert_eq!(count, json!([stock - sold, 0, sold]), "{item}: free, held, sold");
    }
    for (wallet, money) in MONEY.iter().enumerate() {
        let wallet = format!("w{wallet}");
        let balance = client.value(&format!("shop/wallet/{wallet}"), "balance").await;
        let paid = paid.get(&wallet).copied().unwrap_or(0);
        assert_eq!(balance, json!([money - paid, paid]), "{wallet}: left, paid");
    }
    assert_eq!(host.dead_letters().await, Vec::<Value>::new());
}

/// Places orders one after the other, each until it is answered.
async fn place_until(done: Arc<AtomicBool>, client: Client, number: u64) -> Vec<Order> {
    let mut chance = StdRng::seed_from_u64(number);
    let mut orders = vec![];
    while !done.load(Ordering::Relaxed) {
        let order = Order {
            id: format!("o{number}-{}", orders.len()),
            item: format!("i{}", chance.random_range(0..ITEMS)),
            wallet: format!("w{}", chance.random_range(0..WALLETS)),
            price: chance.random_range(10..90),
        };
        let input = json!({"item": order.item, "price": order.price, "wallet": order.wallet});
        loop {
            let place = client.call(&format!("shop/order/{}", order.id), "place", input.clone());
            match place.key(&order.id).try_answer().await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        orders.push(order);
    }
    orders
}

/// The order's status once its saga has ended.
async fn ended(client: &Client, order: &Order) -> String {
    let what = format!("{} has ended", order.id);
    eventually(&what, PATIENCE, || async {
        let status = client.value(&format!("shop/order/{}", order.id), "status").await;
        let status = status.as_str().expect("a text").to_owned();
        if status == "placed" { Err(status) } else { Ok(status) }
    })
    .await
}

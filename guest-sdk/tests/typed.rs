//! Clients that `keystead client` made, used as an author uses them. `typed/bank.rs` is what it makes of
//! `examples/bank`, `typed/odd.rs` of `typed/odd.json`; `tests/examples.rs` checks that it still does.

#![allow(missing_docs, unreachable_pub, reason = "a test's own entities")]
#![allow(clippy::too_many_arguments, reason = "the odd shelf has as many")]

#[path = "typed/bank.rs"]
mod bank;
#[path = "typed/odd.rs"]
mod odd;

use std::collections::BTreeMap;

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};

/// Pays into accounts whose source it does not have.
#[entity]
pub struct Payer {
    heard: Vec<String>,
}

#[handlers]
impl Payer {
    pub fn pay(&mut self, ctx: &Ctx, to: String, amount: u64) {
        bank::Account::at(&*to).deposit(amount).call_then(ctx, Payer::reply().paid(to));
    }

    pub fn move_on(&mut self, ctx: &Ctx, from: String, to: String) {
        let moving = bank::Account::at(&*from).transfer(to, 10);
        moving.after(Duration::from_secs(60)).call_then(ctx, Payer::reply().paid(from));
    }

    pub fn paid(&mut self, reply: Reply<u64>, to: String) {
        self.heard.push(match reply {
            Reply::Ok(balance) => format!("{to} has {balance}"),
            Reply::Rejected(no) | Reply::Failed(no) => format!("{to}: {}", no.code),
        });
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.clone()
    }
}

/// What the other crate has.
mod theirs {
    use super::*;

    #[entity]
    pub struct Account {
        balance: u64,
    }

    #[handlers]
    impl Account {
        pub fn deposit(&mut self, amount: u64) -> u64 {
            self.balance += amount;
            self.balance
        }

        pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<u64> {
            ensure!(self.balance >= amount, code = "insufficient_funds", "{} left", self.balance);
            self.balance -= amount;
            Account::at(to).deposit(amount).send(ctx);
            Ok(self.balance)
        }
    }

    #[entity]
    pub struct Shelf {
        stored: Vec<odd::Box3>,
    }

    #[handlers]
    impl Shelf {
        pub fn store(
            &mut self,
            to: String,
            r#box: odd::Box3,
            given: [u8; 4],
            flags: BTreeMap<String, bool>,
            pair: (String, f64),
            colour: odd::Colour,
            value: Option<i64>,
        ) -> Result<odd::Stored> {
            ensure!(to == "left" && given == [1, 2, 3, 4] && flags["new"], "not as it was");
            ensure!(pair == ("a".into(), 0.5) && colour == odd::Colour::DarkRed, "nor that");
            self.stored.push(r#box);
            let row = self.stored.len() as u64;
            Ok(odd::Stored { at: odd::StoredAt { row }, left: value })
        }

        pub fn first(&self) -> odd::Box3 {
            self.stored[0].clone()
        }
    }
}

#[test]
fn messages_reach_entities_of_another_crate_and_come_back_typed() {
    let mut world = World::new().with::<Payer>().with::<theirs::Account>();
    world.call_typed::<()>(Payer::at("p").pay("alice", 15)).unwrap();
    world.settle();
    world.call_typed::<()>(Payer::at("p").move_on("alice", "bob")).unwrap();
    world.call_typed::<()>(Payer::at("p").move_on("alice", "bob")).unwrap();
    world.settle();
    world.advance(Duration::from_secs(61));
    world.settle();
    let heard: Vec<String> = world.read("payer", "p", "heard", json!({})).unwrap();
    assert_eq!(heard, ["alice has 15", "alice has 5", "alice: insufficient_funds"]);
}

#[test]
fn structs_enums_and_what_is_left_out_are_written_as_the_schema_says() {
    let small = odd::Box3 {
        inner: Vec::new(),
        lid: None,
        more: Some(json!([1, "two"])),
        r#type: "small".into(),
        weight_kg: Some(0.25),
    };
    let large = odd::Box3 {
        inner: vec![Box::new(small.clone())],
        lid: Some(Box::new(small)),
        more: None,
        r#type: "large".into(),
        weight_kg: None,
    };
    let mut world = World::new().with::<theirs::Shelf>();
    let flags = BTreeMap::from([("new".to_owned(), true)]);
    let pair = ("a".to_owned(), 0.5);
    let message = odd::Shelf::at("s").store(
        "left",
        large.clone(),
        [1, 2, 3, 4],
        flags,
        pair,
        odd::Colour::DarkRed,
        None,
        Some(-3),
    );
    let stored = world.call_typed::<odd::Stored>(message).unwrap();
    assert_eq!(stored, odd::Stored { at: odd::StoredAt { row: 1 }, left: Some(-3) });
    assert_eq!(world.read::<odd::Box3>("shelf", "s", "first", json!({})).unwrap(), large);
    let first: keystead_sdk::__private::serde_json::Value =
        world.read("shelf", "s", "first", json!({})).unwrap();
    assert_eq!(first["inner"][0]["weight-kg"], 0.25);
    assert!(first.get("weight-kg").is_none());
}

//! State of an older version under newer code, run by `testing::World`: steps and chains of them, plain
//! fields, lazy ones and both, queries, and what can't be read.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::migration::{change, change_in_place, convert, replace};
use keystead_sdk::prelude::*;
use keystead_sdk::schema::{Piece, Shape};
use keystead_sdk::testing::{World, json};
use keystead_sdk::{Entity, EntityType, Handler, Handlers, Migration, describe};

/// Version 1: a balance in whole units, and the entries of a day in a list.
mod first {
    use super::*;

    #[entity]
    pub struct Ledger {
        balance: u64,
        owner: String,
        entries: List<(String, u64)>,
    }

    #[handlers]
    impl Ledger {
        pub fn add(&mut self, to: String, amount: u64) {
            self.balance += amount;
            self.entries.push(&(to, amount));
        }

        pub fn own(&mut self, owner: String) {
            self.owner = owner;
        }

        pub fn note(&mut self, to: String) {
            self.entries.push(&(to, 0));
        }

        pub fn nothing(&mut self) {}
    }
}

/// A handler without arguments, as `#[handlers]` writes one.
const ANY: Shape = &[Piece::Text(r#"{"json":{}}"#)];

const fn read<E>(run: fn(&E, &keystead_sdk::QueryCtx, &[u8]) -> Result<Vec<u8>>) -> Handler<E> {
    Handler::query("read", ANY, ANY, run)
}

fn reply(value: impl serde::Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&value)?)
}

/// Version 2: cents.
mod second {
    use super::*;

    #[derive(serde::Deserialize)]
    pub struct V1 {
        pub balance: u64,
        pub owner: String,
    }

    #[entity(version = 2)]
    pub struct Ledger {
        cents: u64,
        owner: String,
        entries: List<(String, u64)>,
    }

    impl Ledger {
        fn cents(old: V1) -> Result<Self> {
            ensure!(old.owner != "nobody", code = "no_owner", "nobody owns this");
            let cents = old.balance * 100;
            Ok(Self { cents, owner: old.owner, ..Self::load(b"{}")? })
        }
    }

    impl Handlers for Ledger {
        const HANDLERS: &'static [Handler<Self>] = &[
            read(|ledger, _, _| reply((ledger.cents, &ledger.owner, ledger.entries.len()))),
            Handler::command("spend", ANY, ANY, |ledger, _, input| {
                let cents: u64 = serde_json::from_slice(input)?;
                ensure!(cents <= ledger.cents, code = "short", "{} left", ledger.cents);
                ledger.cents -= cents;
                reply(ledger.cents)
            }),
            Handler::command("note", ANY, ANY, |ledger, _, _| {
                ledger.entries.push(&("noted".to_owned(), 0));
                reply(())
            }),
            Handler::command("nothing", ANY, ANY, |_, _, _| reply(())),
        ];
        const MIGRATIONS: &'static [Migration<Self>] =
            &[Migration::new(1, |old| replace(old, Self::cents))];
    }
}

/// Version 3: two accounts, and the entries in a map; it still reads versions 1 and 2.
mod third {
    use super::*;

    #[derive(serde::Deserialize, serde::Serialize)]
    pub struct V2 {
        pub cents: u64,
        pub owner: String,
    }

    #[entity(version = 3)]
    pub struct Ledger {
        accounts: Vec<(String, u64)>,
        #[state(rename = "entries")]
        old_entries: List<(String, u64)>,
        entries_of: Map<(String, u64), u64>,
    }

    impl Ledger {
        fn cents(old: second::V1) -> V2 {
            V2 { cents: old.balance * 100, owner: old.owner }
        }

        fn accounts(&mut self, old: V2) {
            assert!(self.accounts.is_empty(), "plain fields are at their defaults");
            self.accounts.push((old.owner, old.cents));
            for (number, (to, amount)) in (0..).zip(self.old_entries.iter()) {
                self.entries_of.insert((to, number), amount);
            }
            self.old_entries.clear();
        }
    }

    impl Handlers for Ledger {
        const HANDLERS: &'static [Handler<Self>] = &[read(|ledger, _, _| {
            reply((&ledger.accounts, ledger.entries_of.iter().collect::<Vec<_>>()))
        })];
        // In any order.
        const MIGRATIONS: &'static [Migration<Self>] = &[
            Migration::new(2, |old| {
                change(old, |ledger: &mut Self, old| {
                    ledger.accounts(old);
                    Ok(())
                })
            }),
            Migration::new(1, |old| convert(old, |old| Ok(Self::cents(old)))),
        ];
    }
}

/// Lazy fields only, before and after.
mod lazy {
    use super::*;

    pub mod first {
        use super::*;

        #[entity]
        pub struct Shelf {
            stock: Map<String, u64>,
        }

        #[handlers]
        impl Shelf {
            pub fn put(&mut self, item: String, count: u64) {
                self.stock.insert(item, count);
            }
        }
    }

    #[entity(version = 2)]
    pub struct Shelf {
        stock: Map<String, u64>,
        by_count: Map<(u64, String), ()>,
    }

    impl Handlers for Shelf {
        const HANDLERS: &'static [Handler<Self>] = &[
            read(|shelf, _, _| reply(shelf.by_count.keys().collect::<Vec<_>>())),
            Handler::command("nothing", ANY, ANY, |_, _, _| reply(())),
        ];
        const MIGRATIONS: &'static [Migration<Self>] = &[Migration::new(1, |old| {
            change_in_place(old, |shelf: &mut Self| {
                for (item, count) in &shelf.stock {
                    shelf.by_count.insert((count, item), ());
                }
                Ok(())
            })
        })];
    }
}

/// Plain fields only; then none at all, then plain ones again.
mod plain {
    use super::*;

    #[entity]
    pub struct Flag {
        pub on: bool,
    }

    #[handlers]
    impl Flag {
        pub fn set(&mut self) {
            self.on = true;
        }
    }

    pub mod second {
        use super::*;

        #[derive(serde::Deserialize)]
        pub struct V1 {
            on: bool,
        }

        #[entity(version = 2)]
        pub struct Flag {
            set: Value<bool>,
        }

        impl Handlers for Flag {
            const HANDLERS: &'static [Handler<Self>] =
                &[read(|flag, _, _| reply(flag.set.get().unwrap_or_default()))];
            const MIGRATIONS: &'static [Migration<Self>] = &[Migration::new(1, |old| {
                change(old, |flag: &mut Self, old: V1| {
                    flag.set.set(&old.on);
                    Ok(())
                })
            })];
        }
    }

    pub mod third {
        use super::*;

        #[derive(serde::Deserialize)]
        pub struct V2 {}

        #[entity(version = 3)]
        pub struct Flag {
            on: bool,
            set: Value<bool>,
        }

        impl Handlers for Flag {
            const HANDLERS: &'static [Handler<Self>] =
                &[read(|flag, _, _| reply((flag.on, flag.set.get())))];
            const MIGRATIONS: &'static [Migration<Self>] = &[Migration::new(2, |old| {
                change(old, |flag: &mut Self, V2 {}| {
                    flag.on = flag.set.take().unwrap_or_default();
                    Ok(())
                })
            })];
        }
    }
}

fn state(world: &World, kind: &str) -> Vec<String> {
    let line = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{} = {}", key.escape_ascii(), String::from_utf8_lossy(value))
    };
    world.state(kind, "k").iter().map(line).collect()
}

/// An entity of version 1 with two entries.
fn ledger() -> World {
    let mut world = World::new().with::<first::Ledger>();
    world.call_typed(first::Ledger::at("k").own("ann")).expect("owns");
    world.call_typed(first::Ledger::at("k").add("bob", 3)).expect("adds");
    world.call_typed(first::Ledger::at("k").add("ann", 4)).expect("adds");
    assert!(!world.state("ledger", "k").contains_key(b"version".as_slice()));
    world
}

#[test]
fn a_command_migrates_in_its_own_transaction() {
    let mut world = ledger();
    world.deploy::<second::Ledger>();
    let before = state(&world, "ledger");
    let error = world.call::<u64>("ledger", "k", "spend", json!(701)).expect_err("too much");
    assert_eq!((error.code(), error.message()), ("short", "700 left"));
    assert_eq!(state(&world, "ledger"), before, "a rejected call migrates nothing");

    let left: u64 = world.call("ledger", "k", "spend", json!(1)).expect("spends");
    assert_eq!(left, 699);
    let after = state(&world, "ledger");
    assert_eq!(after.len(), before.len() + 1);
    assert!(after.contains(&"version = 2".to_owned()), "{after:?}");
    assert!(after.contains(&r#"self =  {"cents":699,"owner":"ann"}"#.to_owned()), "{after:?}");
    let left: u64 = world.call("ledger", "k", "spend", json!(0)).expect("once only");
    assert_eq!((left, state(&world, "ledger")), (699, after));
}

#[test]
fn a_command_that_changes_nothing_migrates_all_the_same() {
    let mut world = ledger();
    world.deploy::<second::Ledger>();
    world.call::<()>("ledger", "k", "nothing", json!({})).expect("nothing");
    let after = state(&world, "ledger");
    assert!(after.contains(&"version = 2".to_owned()), "{after:?}");
    assert!(after.contains(&r#"self =  {"cents":700,"owner":"ann"}"#.to_owned()), "{after:?}");
}

#[test]
fn a_query_is_answered_after_a_migration_of_its_own() {
    let mut world = ledger();
    world.deploy::<second::Ledger>();
    let found: (u64, String, u64) = world.read("ledger", "k", "read", json!({})).expect("reads");
    assert_eq!(found, (700, "ann".to_owned(), 2));
    assert!(state(&world, "ledger").contains(&"version = 2".to_owned()));
}

#[test]
fn steps_chain_from_any_older_version() {
    type Read = (Vec<(String, u64)>, Vec<((String, u64), u64)>);
    for through_second in [false, true] {
        let mut world = ledger();
        if through_second {
            world.deploy::<second::Ledger>();
            world.call::<()>("ledger", "k", "nothing", json!({})).expect("nothing");
        }
        world.deploy::<third::Ledger>();
        let (accounts, entries): Read =
            world.read("ledger", "k", "read", json!({})).expect("reads");
        assert_eq!(accounts, [("ann".to_owned(), 700)]);
        assert_eq!(entries, [(("ann".to_owned(), 1), 4), (("bob".to_owned(), 0), 3)]);
        assert_eq!(
            state(&world, "ledger"),
            [
                r"m/entries_of/ann\x00\x00\x00\x00\x00\x00\x00\x00\x01 = 4",
                r"m/entries_of/bob\x00\x00\x00\x00\x00\x00\x00\x00\x00 = 3",
                r#"self =  {"accounts":[["ann",700]]}"#,
                "version = 3",
            ]
        );
    }
}

#[test]
fn lazy_fields_migrate_without_plain_ones() {
    let mut world = World::new().with::<lazy::first::Shelf>();
    for (item, count) in [("a", 2), ("b", 1)] {
        world.call_typed(lazy::first::Shelf::at("k").put(item, count)).expect("puts");
    }
    world.deploy::<lazy::Shelf>();
    let found: Vec<(u64, String)> = world.read("shelf", "k", "read", json!({})).expect("reads");
    assert_eq!(found, [(1, "b".to_owned()), (2, "a".to_owned())]);
    let after = state(&world, "shelf");
    assert_eq!((after.len(), after[4].as_str()), (5, "version = 2"));
}

#[test]
fn plain_fields_become_lazy_and_plain_again() {
    let mut world = World::new().with::<plain::Flag>();
    world.call_typed(plain::Flag::at("k").set()).expect("sets");
    world.deploy::<plain::second::Flag>();
    assert!(world.read::<bool>("flag", "k", "read", json!({})).expect("reads"));
    assert_eq!(state(&world, "flag"), ["v/set = true", "version = 2"]);
    world.deploy::<plain::third::Flag>();
    let found: (bool, Option<bool>) = world.read("flag", "k", "read", json!({})).expect("reads");
    assert_eq!(found, (true, None));
    assert_eq!(state(&world, "flag"), [r#"self =  {"on":true}"#, "version = 3"]);
}

#[test]
fn an_entity_that_never_stored_anything_does_not_migrate() {
    let mut world = World::new().with::<second::Ledger>();
    let found: (u64, String, u64) = world.read("ledger", "k", "read", json!({})).expect("reads");
    assert_eq!(found, (0, String::new(), 0));
    world.call::<()>("ledger", "k", "nothing", json!({})).expect("nothing");
    assert!(state(&world, "ledger").is_empty(), "nothing written, no version either");
    world.call::<()>("ledger", "k", "note", json!({})).expect("notes");
    let after = state(&world, "ledger");
    assert!(after.contains(&"version = 2".to_owned()) && after.len() == 3, "{after:?}");

    let mut world = World::new().with::<lazy::Shelf>();
    world.call::<()>("shelf", "k", "nothing", json!({})).expect("nothing");
    assert!(state(&world, "shelf").is_empty());
}

#[test]
fn state_without_plain_fields_is_of_version_1_when_it_has_no_version() {
    let mut world = World::new().with::<first::Ledger>();
    world.call_typed(first::Ledger::at("k").note("bob")).expect("notes");
    world.call_typed(first::Ledger::at("x").nothing()).expect("nothing");
    world.deploy::<second::Ledger>();
    let error = world.read::<()>("ledger", "k", "read", json!({})).expect_err("V1 has no defaults");
    assert_eq!((error.code(), error.is_retryable()), ("state_mismatch", true));
    let text = "ledger/k, its step from version 1: the plain fields do not fit what is stored: missing field \
                `balance` at line 1 column 2";
    assert_eq!(error.message(), text);
    world.read::<(u64, String, u64)>("ledger", "x", "read", json!({})).expect("x stored nothing");
}

#[test]
fn a_step_that_says_no_is_tried_again() {
    let mut world = World::new().with::<first::Ledger>();
    world.call_typed(first::Ledger::at("k").own("nobody")).expect("owns");
    world.deploy::<second::Ledger>();
    let error = world.call::<()>("ledger", "k", "nothing", json!({})).expect_err("no");
    assert_eq!((error.code(), error.is_retryable()), ("no_owner", true));
    assert_eq!(error.message(), "ledger/k, its step from version 1: nobody owns this");
}

#[test]
fn code_that_does_not_know_a_version_says_so() {
    let mut world = ledger();
    world.deploy::<third::Ledger>();
    world.read::<serde_json::Value>("ledger", "k", "read", json!({})).expect("migrates");
    world.deploy::<second::Ledger>();
    let error = world.call::<()>("ledger", "k", "nothing", json!({})).expect_err("newer");
    assert_eq!((error.code(), error.is_retryable()), ("state_mismatch", true));
    let text = "the state of ledger/k is of version 3, and this code knows 1 to 2";
    assert_eq!(error.message(), text);
    let error = world.read::<()>("ledger", "k", "read", json!({})).expect_err("newer");
    assert_eq!(error.message(), text);
    world.deploy::<first::Ledger>();
    let error = world.call_typed(first::Ledger::at("k").nothing()).expect_err("newer");
    let text = "the state of ledger/k is of version 3, and this code knows only 1";
    assert_eq!((error.code(), error.message()), ("state_mismatch", text));
}

#[test]
fn the_describe_document_says_what_can_be_read() {
    let types = [EntityType::of::<first::Ledger>(), EntityType::of::<third::Ledger>()];
    let document: serde_json::Value = serde_json::from_str(&describe(&types)).expect("JSON");
    let first = &document["entities"][0];
    assert_eq!(
        first["state"],
        json!({"version": 1, "fields": {
            "balance": {"kind": "plain", "schema": {"type": "integer", "minimum": 0}},
            "owner": {"kind": "plain", "schema": {"type": "string"}},
            "entries": {"kind": "list", "schema": {"type": "array", "minItems": 2, "maxItems": 2,
                "prefixItems": [{"type": "string"}, {"type": "integer", "minimum": 0}]}},
        }})
    );
    assert_eq!(first.get("migrate"), None);
    let third = &document["entities"][1];
    assert_eq!(
        (&third["state"]["version"], &third["state"]["migrates_from"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(third["migrate"], "keystead-migrate");
    let handlers = third["handlers"].as_array().expect("a list");
    let kinds: Vec<_> = handlers.iter().map(|one| (&one["name"], &one["kind"])).collect();
    assert_eq!(
        kinds,
        [(&json!("read"), &json!("query")), (&json!("keystead-migrate"), &json!("internal"))]
    );
}

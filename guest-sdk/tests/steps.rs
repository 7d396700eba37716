//! What `#[handlers]` makes of `#[migrate(from = N)]`, and of doc comments. How steps run is in `migrations`.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};
use keystead_sdk::{EntityType, describe};
use serde::{Deserialize, Serialize};

mod first {
    use super::*;

    #[entity]
    pub struct Account {
        euros: u64,
        notes: List<String>,
    }

    #[handlers]
    impl Account {
        pub fn deposit(&mut self, euros: u64, note: String) {
            self.euros += euros;
            self.notes.push(&note);
        }
    }
}

/// The plain fields of version 1.
#[derive(Deserialize)]
struct V1 {
    euros: u64,
}

/// The plain fields of versions 2 and 3.
#[derive(Serialize, Deserialize)]
struct V2 {
    cents: u64,
}

#[entity(version = 4)]
pub struct Account {
    cents: u64,
    currency: String,
    notes: List<String>,
}

#[handlers]
impl Account {
    // In any order, beside the handlers.
    #[migrate(from = 3)]
    fn with_currency(&mut self, old: V2) -> Result<()> {
        ensure!(old.cents < 100_000, code = "too_rich", "{} cents", old.cents);
        (self.cents, self.currency) = (old.cents, "EUR".to_owned());
        Ok(())
    }

    #[migrate(from = 1)]
    fn in_cents(old: V1) -> V2 {
        V2 { cents: old.euros * 100 }
    }

    #[migrate(from = 2)]
    pub(crate) fn the_same(old: V2) -> Result<V2> {
        Ok(old)
    }

    /// What is there.
    ///
    /// In "cents".
    pub fn read(&self) -> (u64, String, Vec<String>) {
        (self.cents, self.currency.clone(), self.notes.iter().collect())
    }
}

mod whole {
    use super::*;

    #[entity(version = 2)]
    pub struct Account {
        cents: u64,
    }

    #[handlers]
    impl Account {
        #[migrate(from = 1)]
        fn in_cents(old: V1) -> Self {
            Self { cents: old.euros * 100 }
        }

        pub fn cents(&self) -> u64 {
            self.cents
        }
    }
}

mod in_place {
    use super::*;

    #[entity(version = 2)]
    pub struct Account {
        euros: u64,
        notes: List<String>,
    }

    #[handlers]
    impl Account {
        #[migrate(from = 1)]
        fn forget_notes(&mut self) {
            self.notes.clear();
        }

        pub fn read(&self) -> (u64, u64) {
            (self.euros, self.notes.len())
        }
    }
}

fn first(euros: u64) -> World {
    let mut world = World::new().with::<first::Account>();
    world.call_typed(first::Account::at("k").deposit(euros, "hello")).expect("deposits");
    world
}

#[test]
fn steps_lead_from_one_version_to_the_next() {
    let mut world = first(7);
    world.deploy::<Account>();
    let found: (u64, String, Vec<String>) =
        world.read("account", "k", "read", json!({})).expect("reads");
    assert_eq!(found, (700, "EUR".to_owned(), vec!["hello".to_owned()]));
}

#[test]
fn a_step_that_fails_says_why() {
    let mut world = first(1000);
    world.deploy::<Account>();
    let error = world.read::<()>("account", "k", "read", json!({})).expect_err("too rich");
    assert_eq!((error.code(), error.is_retryable()), ("too_rich", true));
    assert!(error.message().ends_with("step from version 3: 100000 cents"), "{error:?}");
}

#[test]
fn a_step_may_return_the_entity() {
    let mut world = first(7);
    world.deploy::<whole::Account>();
    assert_eq!(world.read::<u64>("account", "k", "cents", json!({})).expect("reads"), 700);
}

#[test]
fn a_step_may_change_what_is_loaded_on_touch() {
    let mut world = first(7);
    world.deploy::<in_place::Account>();
    let found: (u64, u64) = world.read("account", "k", "read", json!({})).expect("reads");
    assert_eq!(found, (7, 0));
}

#[test]
fn steps_are_no_handlers_and_doc_comments_are_described() {
    let text = describe(&[EntityType::of::<Account>()]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let entity = &document["entities"][0];
    assert_eq!(
        (&entity["state"]["version"], &entity["state"]["migrates_from"]),
        (&json!(4), &json!(1))
    );
    let names = entity["handlers"].as_array().expect("a list").iter().map(|one| &one["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["read", "keystead-migrate"]);
    assert_eq!(entity["handlers"][0]["about"], "What is there.\n\nIn \"cents\".");
}

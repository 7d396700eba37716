//! What `#[handlers]` makes of `#[migrate(from = N)]`: steps that chain, fill and fail.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::{Entity, Handlers, migration};
use serde::{Deserialize, Serialize};

/// The state of version 1.
#[derive(Deserialize)]
pub struct V1 {
    euros: u64,
}

/// The state of version 2.
#[derive(Serialize, Deserialize)]
pub struct V2 {
    cents: u64,
}

#[derive(Debug, PartialEq)]
pub struct Account {
    cents: u64,
    currency: String,
}

impl Entity for Account {
    const TYPE: &'static str = "account";
    const PLAIN: bool = true;
    const VERSION: u32 = 3;

    fn load(plain: &[u8]) -> serde_json::Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(plain)?;
        let cents = value["cents"].as_u64().unwrap_or_default();
        Ok(Self { cents, currency: value["currency"].as_str().unwrap_or("NONE").to_owned() })
    }

    fn plain(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&serde_json::json!({"cents": self.cents, "currency": self.currency}))
    }
}

#[handlers]
impl Account {
    #[migrate(from = 2)]
    fn with_currency(old: V2) -> Self {
        Self { cents: old.cents, currency: "EUR".to_owned() }
    }

    #[migrate(from = 1)]
    fn in_cents(old: V1) -> Result<V2> {
        ensure!(old.euros < 1000, code = "too_rich", "{} euros", old.euros);
        Ok(V2 { cents: old.euros * 100 })
    }

    /// What is there.
    ///
    /// In "cents".
    pub fn cents(&self) -> u64 {
        self.cents
    }
}

#[entity]
pub struct Counter {
    count: u64,
}

mod filled {
    use super::*;

    pub struct Filled(pub Counter);

    impl Entity for Filled {
        const TYPE: &'static str = "filled";
        const PLAIN: bool = true;
        const VERSION: u32 = 2;

        fn load(plain: &[u8]) -> serde_json::Result<Self> {
            Counter::load(plain).map(Self)
        }

        fn plain(&self) -> serde_json::Result<Vec<u8>> {
            self.0.plain()
        }
    }

    #[handlers]
    impl Filled {
        #[migrate(from = 1)]
        fn fill(&mut self, old: V1) {
            self.0.count += old.euros;
        }
    }
}

#[test]
fn steps_lead_from_any_older_version_to_the_entity() {
    let account = |cents, currency: &str| Account { cents, currency: currency.to_owned() };
    let run = |from, plain: &str| migration::run::<Account>(from, plain.as_bytes());
    assert_eq!(run(1, r#"{"euros":7}"#).expect("migrates"), Some(account(700, "EUR")));
    assert_eq!(run(2, r#"{"cents":7}"#).expect("migrates"), Some(account(7, "EUR")));
    let now = r#"{"cents":7,"currency":"SEK"}"#;
    assert_eq!(run(3, now).expect("loads"), Some(account(7, "SEK")));
    assert_eq!(run(0, "{}").expect("knows no such version"), None);
    let froms: Vec<_> = Account::MIGRATIONS.iter().map(|step| step.from()).collect();
    assert_eq!(froms, [1, 2]);
}

#[test]
fn a_step_may_fill_an_entity_of_defaults() {
    let filled = migration::run::<filled::Filled>(1, br#"{"euros":7}"#).expect("migrates");
    assert_eq!(filled.expect("has a step").0.count, 7);
}

#[test]
fn a_step_that_fails_says_why() {
    let error = migration::run::<Account>(1, br#"{"euros":1000}"#).expect_err("fails");
    assert_eq!((error.code(), error.message()), ("too_rich", "1000 euros"));
    let error = migration::run::<Account>(1, br#"{"dollars":1}"#).expect_err("does not fit");
    assert_eq!((error.code(), error.is_retryable()), ("state_mismatch", true));
    assert!(error.message().contains("V1") && error.message().contains("euros"), "{error:?}");
}

#[test]
fn doc_comments_are_described() {
    let text = keystead_sdk::describe(&[keystead_sdk::EntityType::of::<Account>()]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let handlers = document["entities"][0]["handlers"].as_array().expect("a list");
    assert_eq!(handlers.len(), 1, "migrations are no handlers");
    assert_eq!(handlers[0]["about"], "What is there.\n\nIn \"cents\".");
}

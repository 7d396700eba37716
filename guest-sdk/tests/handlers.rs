//! What authors write, run by `testing::World`: the macros' output, the transaction, delivery and timers.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};

mod account {
    use super::*;

    #[derive(Debug)]
    #[entity]
    pub struct BankAccount {
        pub(crate) balance: u64,
        #[serde(default = "standard", rename = "plan")]
        kind: String,
        holds: Map<String, u64>,
        history: List<(String, i64)>,
        note: Value<String>,
    }

    fn standard() -> String {
        "standard".to_owned()
    }

    #[handlers]
    impl BankAccount {
        pub fn deposit(&mut self, amount: u64) -> u64 {
            self.balance += amount;
            self.history.push(&("in".to_owned(), amount as i64));
            self.balance
        }

        pub fn transfer(&mut self, ctx: &Ctx, to: String, amount: u64) -> Result<u64> {
            self.history.push(&("out".to_owned(), -(amount as i64)));
            BankAccount::at(&*to).deposit(amount).send(ctx);
            ensure!(self.balance >= amount, code = "insufficient_funds", "only {}", self.balance);
            self.balance -= amount;
            Ok(self.balance)
        }

        pub fn hold(&mut self, id: String, amount: u64) {
            self.holds.insert(id, amount);
        }

        pub fn set_note(&mut self, note: Option<String>) {
            match note {
                Some(note) => self.note.set(&note),
                None => drop(self.note.take()),
            }
        }

        pub fn touch(&mut self) {}

        pub fn parse(&mut self, text: String) -> Result<u64, std::num::ParseIntError> {
            self.balance = 99;
            text.parse()
        }

        pub fn explode(&mut self) -> u64 {
            self.balance = 99;
            panic!("boom at {}", self.kind)
        }

        pub fn summary(&self, ctx: &QueryCtx) -> (String, u64, Vec<(String, u64)>, Option<String>) {
            let key = format!("{}:{}", ctx.key(), self.kind);
            (key, self.balance, self.holds.iter().collect(), self.note.get())
        }

        pub fn history(&self) -> Vec<(String, i64)> {
            self.history.iter().collect()
        }
    }
}

use account::BankAccount;

type Summary = (String, u64, Vec<(String, u64)>, Option<String>);

fn bank() -> World {
    World::new().with::<BankAccount>()
}

fn summary(world: &mut World, key: &str) -> Summary {
    world.read("bank_account", key, "summary", json!({})).expect("a summary")
}

#[test]
fn state_is_kept_field_by_field() {
    let mut world = bank();
    assert_eq!(world.call_typed::<u64>(BankAccount::at("a").deposit(5)).expect("deposits"), 5);
    world.call_typed::<()>(BankAccount::at("a").hold("h1", 2)).expect("holds");
    world.call::<()>("bank_account", "a", "set_note", json!({"note": "vip"})).expect("sets");
    let holds = vec![("h1".to_owned(), 2)];
    assert_eq!(summary(&mut world, "a"), ("a:standard".into(), 5, holds, Some("vip".into())));
    world
        .call::<()>("bank_account", "a", "set_note", json!({}))
        .expect("an Option may be left out");
    assert_eq!(summary(&mut world, "a").3, None);
    let state = world.state("bank_account", "a");
    assert_eq!(state[b"self".as_slice()], br#"{"balance":5,"plan":"standard"}"#);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut world = bank();
    world.call_typed::<()>(BankAccount::at("a").touch()).expect("touches");
    assert!(world.state("bank_account", "a").is_empty());
}

#[test]
fn a_failed_call_leaves_nothing() {
    let mut world = bank();
    world.call_typed::<u64>(BankAccount::at("a").deposit(5)).expect("deposits");
    let before = world.state("bank_account", "a");
    for (handler, arguments, code, retryable) in [
        ("transfer", json!({"to": "b", "amount": 6}), "insufficient_funds", false),
        ("parse", json!({"text": "x"}), "error", true),
        ("explode", json!({}), "handler_panicked", true),
        ("deposit", json!({"amount": -1}), "invalid_input", false),
    ] {
        let error = world.call::<u64>("bank_account", "a", handler, arguments).expect_err(handler);
        assert_eq!((error.code(), error.is_retryable()), (code, retryable), "{handler}");
        assert_eq!(world.state("bank_account", "a"), before, "{handler}");
        assert_eq!(world.pending(), 0, "{handler}");
    }
}

#[test]
fn messages_arrive_after_their_sender() {
    let mut world = bank();
    world.call_typed::<u64>(BankAccount::at("a").deposit(5)).expect("deposits");
    let left = world.call_typed::<u64>(BankAccount::at("a").transfer("b", 3)).expect("transfers");
    assert_eq!((left, summary(&mut world, "b").1), (2, 0));
    world.settle();
    assert_eq!(summary(&mut world, "b").1, 3);
    let history: Vec<(String, i64)> =
        world.read("bank_account", "a", "history", json!({})).expect("reads");
    assert_eq!(history, [("in".to_owned(), 5), ("out".to_owned(), -3)]);
}

mod clock {
    use super::*;

    /// Tries, timers, bytes and all that a context knows.
    #[entity]
    pub struct Clock {
        fired: Vec<String>,
    }

    #[handlers]
    impl Clock {
        pub fn set(&mut self, ctx: &Ctx, name: String, in_ms: u64) {
            Self::timer(&*name).fire(name).after(Duration::from_millis(in_ms)).set(ctx);
        }

        pub fn cancel(&mut self, ctx: &Ctx, name: String) -> bool {
            ctx.cancel_timer(&name)
        }

        pub fn fire(&mut self, ctx: &Ctx, name: String) {
            info!("{name} fired at {}", ctx.now().as_ms());
            self.fired.push(name);
        }

        pub fn later(&mut self, ctx: &Ctx, name: String) -> MessageId {
            let when = ctx.now() + Duration::from_secs(60);
            Clock::at("other").fire(name).at(when).send(ctx)
        }

        pub fn undo(&mut self, ctx: &Ctx, id: MessageId) -> bool {
            ctx.cancel(&id)
        }

        /// Fails until its third attempt.
        pub fn flaky(&mut self, ctx: &Ctx, name: String) -> Result<()> {
            if ctx.attempt() < 3 && name != "firm" {
                let failed: Result<u8, _> = "not a number".parse::<u8>();
                failed?;
            }
            self.fired.push(format!("{name} from {}", ctx.sender().unwrap_or_default()));
            Ok(())
        }

        pub fn relay(&mut self, ctx: &Ctx, names: Vec<String>) {
            for name in names {
                Clock::at("other").flaky(name).send(ctx);
            }
        }

        pub fn never(&mut self) -> Result<()> {
            Err(Error::retryable("down").with_code("carrier_down"))
        }

        pub fn upload(&mut self, ctx: &Ctx, body: Bytes) -> Bytes {
            let text = String::from_utf8_lossy(&body).to_uppercase();
            format!("{}: {text}", ctx.content_type().unwrap_or_default()).into()
        }

        pub fn fired(&self) -> Vec<String> {
            self.fired.clone()
        }

        pub fn facts(&self, ctx: &QueryCtx) -> (String, Option<String>, bool, usize) {
            let numbers = (ctx.random_u64(), ctx.random_u64());
            (ctx.app(), ctx.config("greeting"), numbers.0 != numbers.1, ctx.timers().len())
        }
    }
}

use clock::Clock;

fn fired(world: &mut World, key: &str) -> Vec<String> {
    world.read("clock", key, "fired", json!({})).expect("reads")
}

#[test]
fn timers_fire_once_and_can_be_replaced_and_cancelled() {
    let mut world = World::new().with::<Clock>().config("greeting", "hi");
    for (name, in_ms) in [("b", 2_000), ("a", 1_000), ("c", 1_500), ("a", 3_000)] {
        world.call_typed::<()>(Clock::at("k").set(name, in_ms)).expect("sets");
    }
    let facts: (String, Option<String>, bool, usize) =
        world.read("clock", "k", "facts", json!({})).expect("reads");
    assert_eq!(facts, ("test".into(), Some("hi".into()), true, 3));
    assert!(world.call_typed::<bool>(Clock::at("k").cancel("c")).expect("cancels"));
    assert!(!world.call_typed::<bool>(Clock::at("k").cancel("c")).expect("is gone"));
    world.settle();
    world.advance(Duration::from_millis(1_999));
    assert!(fired(&mut world, "k").is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(fired(&mut world, "k"), ["b"]);
    world.advance(Duration::from_secs(60));
    assert_eq!(fired(&mut world, "k"), ["b", "a"]);
    assert!(world.timers("clock", "k").is_empty());
    assert_eq!(world.log().len(), 2);
}

#[test]
fn delayed_messages_wait_and_can_be_cancelled() {
    let mut world = World::new().with::<Clock>();
    let kept: MessageId = world.call_typed(Clock::at("k").later("kept")).expect("sends");
    let undone: MessageId = world.call_typed(Clock::at("k").later("undone")).expect("sends");
    assert!(!world.call_typed::<bool>(Clock::at("x").undo(undone.clone())).expect("not its own"));
    assert!(world.call_typed::<bool>(Clock::at("k").undo(undone)).expect("cancels"));
    world.settle();
    assert!(fired(&mut world, "other").is_empty());
    world.advance(Duration::from_secs(60));
    assert_eq!(fired(&mut world, "other"), ["kept"]);
    assert!(!world.call_typed::<bool>(Clock::at("k").undo(kept)).expect("too late"));
}

#[test]
fn a_failed_message_is_retried_and_holds_back_its_pair_only() {
    let mut world = World::new().with::<Clock>();
    world
        .call_typed::<()>(Clock::at("k").relay(vec!["one".into(), "firm".into()]))
        .expect("relays");
    world.call_typed::<()>(Clock::at("l").relay(vec!["firm".into()])).expect("relays");
    let start = world.now();
    world.settle();
    assert_eq!(
        fired(&mut world, "other"),
        ["firm from clock/l", "one from clock/k", "firm from clock/k"]
    );
    assert_eq!(world.now().since(start), Duration::from_millis(200 + 400));
}

#[test]
fn a_poison_message_is_parked_whole() {
    let mut world = World::new().with::<Clock>().attempts(4);
    let id = world.send("clock", "k", "never", json!({}));
    world.settle();
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!((&dead.id, dead.attempts, dead.reason.code()), (&id, 4, "carrier_down"));
    assert_eq!((dead.input.as_slice(), world.pending()), (b"{}".as_slice(), 0));
    world.send("clock", "k", "fire", json!({"name": 5}));
    world.settle();
    assert_eq!(
        world.rejections()[0].1.message(),
        "argument `name`: invalid type: integer `5`, expected a string"
    );
}

#[test]
fn bytes_come_as_they_are() {
    let mut world = World::new().with::<Clock>();
    let reply = world.call_bytes("clock", "k", "upload", b"abc", Some("text/plain"));
    assert_eq!(reply.expect("uploads"), b"text/plain: ABC");
}

#[test]
fn the_describe_document_lists_types_and_handlers() {
    use keystead_sdk::{EntityType, describe};

    let text = describe(&[EntityType::of::<BankAccount>(), EntityType::of::<Clock>()]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["sdk"]["name"], "keystead-sdk");
    assert_eq!(document["entities"][0]["type"], "bank_account");
    let handlers = &document["entities"][0]["handlers"];
    assert_eq!(
        handlers[0],
        json!({"name": "deposit", "kind": "command",
            "input": {"json": {"type": "object",
                "properties": {"amount": {"type": "integer", "minimum": 0}},
                "required": ["amount"], "additionalProperties": false}},
            "output": {"json": {"type": "integer", "minimum": 0}}})
    );
    assert_eq!((&handlers[7]["name"], &handlers[7]["kind"]), (&json!("summary"), &json!("query")));
    let upload = document["entities"][1]["handlers"].as_array().expect("a list").iter();
    let upload = upload.filter(|one| one["name"] == "upload").collect::<Vec<_>>();
    assert_eq!(upload[0]["input"], json!({"bytes": "application/octet-stream"}));
    assert_eq!(upload[0]["output"], upload[0]["input"]);
}

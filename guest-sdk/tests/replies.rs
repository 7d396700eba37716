//! Messages whose sender hears how they end, and commands that only entities call, run by `testing::World`.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::FailureKind;
use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};

#[entity]
pub struct Stock {
    free: u64,
    open: bool,
}

#[handlers]
impl Stock {
    pub fn fill(&mut self, count: u64) {
        self.free += count;
    }

    pub fn open(&mut self) {
        self.open = true;
    }

    pub fn reserve(&mut self, count: u64) -> Result<u64> {
        let left = self.free.checked_sub(count).ok_or_else(|| {
            Error::rejected(format!("only {} left", self.free))
                .with_code("sold_out")
                .with_details(&json!({"left": self.free}))
        })?;
        self.free = left;
        Ok(left)
    }

    /// Works once the stock is open.
    pub fn count(&mut self) -> Result<u64> {
        if !self.open {
            return Err(Error::retryable("still closed").with_code("closed"));
        }
        Ok(self.free)
    }

    pub fn label(&mut self) -> Bytes {
        Bytes(vec![0, 159])
    }

    /// Tells the asking order something before it answers.
    pub fn chatty(&mut self, ctx: &Ctx) -> String {
        let order = ctx.sender().unwrap_or_default().key;
        Order::at(order).note("before the reply").send(ctx);
        "the reply".to_owned()
    }

    #[internal]
    pub fn refill(&mut self, ctx: &Ctx) {
        self.free = 100;
        Stock::timer("again").refill().after(Duration::from_secs(3600)).set(ctx);
    }

    pub fn ask_refill(&mut self, ctx: &Ctx) {
        Stock::at("internal").refill().send(ctx);
    }

    pub fn free(&self) -> u64 {
        self.free
    }
}

#[entity]
pub struct Order {
    heard: Vec<String>,
}

#[handlers]
impl Order {
    pub fn reserve(&mut self, ctx: &Ctx, item: String, count: u64) {
        let then = Order::reply().reserved(&*item, count);
        Stock::at(item).reserve(count).call_then(ctx, then);
    }

    pub fn count(&mut self, ctx: &Ctx, patient: bool) -> MessageId {
        let message = Stock::at("lamp").count();
        let message = if patient { message.patient() } else { message };
        message.call_then(ctx, Order::reply().counted())
    }

    pub fn label(&mut self, ctx: &Ctx) {
        Stock::at("lamp").label().call_then(ctx, Order::reply().labelled());
    }

    pub fn talk(&mut self, ctx: &Ctx) {
        Stock::at("lamp").chatty().call_then(ctx, Order::reply().talked());
    }

    pub fn regret(&mut self, ctx: &Ctx) -> bool {
        let later = Stock::at("lamp").count().after(Duration::from_secs(9));
        let id = later.call_then(ctx, Order::reply().counted());
        ctx.cancel(&id)
    }

    pub fn mix_up(&mut self, ctx: &Ctx) {
        Stock::at("lamp").reserve(1).call_then(ctx, Shelf::reply().told());
    }

    pub fn note(&mut self, line: String) {
        self.heard.push(line);
    }

    pub fn reserved(&mut self, ctx: &Ctx, reply: Reply<u64>, item: String, count: u64) {
        let from = ctx.sender().unwrap_or_default();
        let line = match reply {
            Reply::Ok(left) => format!("{count} {item} of {from}, {left} left"),
            Reply::Rejected(no) => {
                assert_eq!(no.kind, FailureKind::Rejected);
                let left: serde_json::Value = no.details_as().unwrap_or_default();
                format!("{}: {} ({left})", no.code, no.message)
            }
            Reply::Failed(no) => format!("failed: {no}"),
        };
        self.heard.push(line);
    }

    pub fn counted(&mut self, reply: Reply<u64>) -> Result<()> {
        self.heard.push(match reply.result() {
            Ok(count) => format!("counted {count}"),
            Err(no) => format!("{:?} {no}", no.kind),
        });
        Ok(())
    }

    pub fn labelled(&mut self, reply: Reply<Bytes>) {
        self.heard.push(format!("{:?}", reply.ok().map(Vec::from)));
    }

    pub fn talked(&mut self, r: Reply<String>) {
        self.heard.push(r.ok().unwrap_or_default());
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.clone()
    }
}

#[entity]
pub struct Shelf {}

#[handlers]
impl Shelf {
    pub fn told(&mut self, _: Reply<u64>) {}

    /// An entity without reply handlers may have a handler of this name; see `Stock`.
    pub fn hello(&self) {}
}

fn world() -> World {
    let mut world = World::new().with::<Order>().with::<Stock>().with::<Shelf>().attempts(3);
    world.call_typed(Stock::at("lamp").fill(5)).expect("fills");
    world
}

fn heard(world: &mut World) -> Vec<String> {
    world.read("order", "o1", "heard", json!({})).expect("reads")
}

#[test]
fn a_value_and_a_rejection_come_back_with_the_context() {
    let mut world = world();
    world.call_typed(Order::at("o1").reserve("lamp", 3)).expect("asks");
    world.call_typed(Order::at("o1").reserve("lamp", 3)).expect("asks");
    assert!(heard(&mut world).is_empty());
    world.settle();
    assert_eq!(
        heard(&mut world),
        ["3 lamp of stock/lamp, 2 left", r#"sold_out: only 2 left ({"left":2})"#]
    );
    assert_eq!((world.pending(), world.rejections().len()), (0, 1));
}

#[test]
fn a_dead_letter_that_was_told_of_is_final() {
    let mut world = world();
    let id = world.call_typed(Order::at("o1").count(false)).expect("asks");
    world.settle();
    assert_eq!(heard(&mut world), ["Failed parked: still closed"]);
    world.call_typed(Stock::at("lamp").open()).expect("opens");
    let error = world.retry_dead_letter(&id).expect_err("is final");
    assert_eq!(error.code(), "already_answered");
    assert!(world.dead_letters()[0].is_answered);
    world.drop_dead_letter(&id).expect("drops");
    world.settle();
    assert_eq!((heard(&mut world).len(), world.dead_letters().len()), (1, 0));
    assert_eq!(world.drop_dead_letter(&id).expect_err("is gone").code(), "unknown_message");
}

#[test]
fn a_patient_dead_letter_replies_when_people_have_decided() {
    let mut world = world();
    let retried = world.call_typed(Order::at("o1").count(true)).expect("asks");
    world.settle();
    let dropped = world.call_typed(Order::at("o1").count(true)).expect("asks");
    world.settle();
    assert!(heard(&mut world).is_empty());
    assert!(world.dead_letters().iter().all(|dead| !dead.is_answered));
    world.drop_dead_letter(&dropped).expect("drops");
    world.settle();
    assert_eq!(heard(&mut world), ["Failed dropped: an operator dropped the message"]);
    world.retry_dead_letter(&retried).expect("is queued");
    world.settle();
    assert_eq!(world.dead_letters()[0].id, retried, "still closed");
    world.call_typed(Stock::at("lamp").open()).expect("opens");
    world.retry_dead_letter(&retried).expect("is queued");
    world.settle();
    assert_eq!(heard(&mut world)[1..], ["counted 5"]);
}

#[test]
fn cancelling_from_outside_is_told_and_from_inside_is_not() {
    let mut world = world();
    let id = world.call_typed(Order::at("o1").count(false)).expect("asks");
    world.cancel(&id).expect("cancels");
    world.settle();
    assert_eq!(heard(&mut world), ["Failed cancelled: an operator cancelled the message"]);
    assert_eq!(world.cancel(&id).expect_err("is gone").code(), "unknown_message");
    assert!(world.call_typed(Order::at("o1").regret()).expect("cancels"));
    world.advance(Duration::from_secs(10));
    assert_eq!(heard(&mut world).len(), 1);
}

#[test]
fn bytes_come_back_as_they_were() {
    let mut world = world();
    world.call_typed(Order::at("o1").label()).expect("asks");
    world.settle();
    assert_eq!(heard(&mut world), ["Some([0, 159])"]);
    assert_eq!(world.call_typed(Stock::at("lamp").label()).expect("bytes"), Bytes(vec![0, 159]));
}

#[test]
fn a_reply_keeps_the_order_of_its_pair() {
    let mut world = world();
    world.call_typed(Order::at("o1").talk()).expect("asks");
    world.settle();
    assert_eq!(heard(&mut world), ["before the reply", "the reply"]);
}

#[test]
fn internal_commands_are_for_entities_and_timers() {
    let mut world = world();
    world.call_typed(Stock::at("any").ask_refill()).expect("asks");
    world.settle();
    let free = |world: &mut World| world.read::<u64>("stock", "internal", "free", json!({}));
    assert_eq!(free(&mut world).expect("reads"), 100);
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.timers("stock", "internal")[0].handler, "refill");
}

#[test]
#[should_panic(expected = "refill of stock is internal")]
fn internal_commands_are_not_for_the_world_outside() {
    let _ = world().call_typed(Stock::at("lamp").refill());
}

#[test]
fn a_reply_can_only_go_to_the_entity_that_asks() {
    let error = world().call_typed(Order::at("o1").mix_up()).expect_err("panics");
    assert_eq!(error.code(), "handler_panicked");
    assert_eq!(error.message(), "a reply to order can't call told of shelf");
}

#[test]
fn the_describe_document_knows_internal_handlers() {
    use keystead_sdk::{EntityType, describe};

    let text = describe(&[EntityType::of::<Order>(), EntityType::of::<Stock>()]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let handler = |entity: usize, name: &str| {
        let all = document["entities"][entity]["handlers"].as_array().expect("a list");
        all.iter().find(|one| one["name"] == name).expect(name).clone()
    };
    assert_eq!(handler(1, "refill")["kind"], "internal");
    assert_eq!(handler(1, "reserve")["kind"], "command");
    let reserved = handler(0, "reserved");
    assert_eq!(reserved["kind"], "internal");
    let input = &reserved["input"]["json"];
    assert_eq!(input["required"], json!(["reply", "item", "count"]));
    assert_eq!(input["properties"]["reply"]["properties"]["ok"]["type"], "integer");
}

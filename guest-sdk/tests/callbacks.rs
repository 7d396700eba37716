//! Tokens that the world outside resolves or rejects, or that expire, run by `testing::World`.
#![allow(missing_docs, unreachable_pub, reason = "handlers are pub, and the entities are of tests")]

use keystead_sdk::prelude::*;
use keystead_sdk::testing::{World, json};
use keystead_sdk::{EntityType, Failure, describe};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub struct Decision {
    by: String,
    limit: u64,
}

#[entity]
pub struct Request {
    token: Option<CallbackToken>,
    heard: Vec<String>,
}

#[handlers]
impl Request {
    pub fn submit(&mut self, ctx: &Ctx, what: String) -> CallbackToken {
        let token = ctx.callback(Request::reply().decided(what), Duration::from_secs(60));
        self.token = Some(token.clone());
        token
    }

    pub fn withdraw(&mut self, ctx: &Ctx) -> bool {
        self.token.as_ref().is_some_and(|token| ctx.cancel_callback(token))
    }

    /// Makes and withdraws in one transaction.
    pub fn waver(&mut self, ctx: &Ctx) -> (bool, bool) {
        let token = ctx.callback(Request::reply().decided("nothing"), Duration::from_secs(60));
        (ctx.cancel_callback(&token), ctx.cancel_callback(&token))
    }

    pub fn decided(&mut self, ctx: &Ctx, reply: Reply<Decision>, what: String) {
        assert_eq!(ctx.sender(), None);
        self.heard.push(match reply {
            Reply::Ok(Decision { by, limit }) => format!("{what}: {by} up to {limit}"),
            Reply::Rejected(Failure { code, message, details, .. }) => {
                format!("{what}: {code}, {message}, {details:?}")
            }
            Reply::Failed(failure) => format!("{what}: {failure}"),
        });
    }

    pub fn forever(&mut self, ctx: &Ctx) {
        let _ = ctx.callback(Request::reply().decided("x"), Duration::from_secs(401 * 86_400));
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.clone()
    }
}

fn world() -> (World, CallbackToken) {
    let mut world = World::new().with::<Request>();
    let token = world.call_typed(Request::at("r1").submit("a chair")).expect("submits");
    (world, token)
}

fn heard(world: &mut World) -> Vec<String> {
    world.settle();
    world.read("request", "r1", "heard", json!({})).expect("reads")
}

#[test]
fn a_callback_is_resolved_once() {
    let (mut world, token) = world();
    assert_eq!(world.callbacks("request", "r1"), std::slice::from_ref(&token));
    world.resolve(&token, json!({"by": "ann", "limit": 9})).expect("resolves");
    world.resolve(&token, json!({"limit": 9, "by": "ann"})).expect("the same again is no harm");
    let other = world.resolve(&token, json!({"by": "bob", "limit": 9})).expect_err("settled");
    assert_eq!(other.code(), "callback_settled");
    let other = world.reject(&token, json!({"message": "no"})).expect_err("settled");
    assert_eq!(other.code(), "callback_settled");
    assert_eq!(heard(&mut world), ["a chair: ann up to 9"]);
    assert!(world.callbacks("request", "r1").is_empty());
    world.advance(Duration::from_secs(100));
    assert_eq!(heard(&mut world).len(), 1, "what was resolved does not expire");
}

#[test]
fn a_callback_is_rejected_with_a_reason() {
    let (mut world, token) = world();
    let error = world.reject(&token, json!({"code": "x"})).expect_err("no message");
    assert_eq!(error.code(), "invalid_input");
    let body = json!({"message": "too dear", "details": {"most": 5}});
    world.reject(token.as_str(), body).expect("rejects");
    assert_eq!(heard(&mut world), [r#"a chair: rejected, too dear, Some("{\"most\":5}")"#]);
}

#[test]
fn a_callback_expires_by_itself() {
    let (mut world, token) = world();
    world.advance(Duration::from_millis(59_999));
    assert!(heard(&mut world).is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(heard(&mut world), ["a chair: expired: nobody has answered in time"]);
    let error = world.resolve(&token, json!({"by": "ann", "limit": 9})).expect_err("too late");
    assert_eq!(error.code(), "unknown_callback");
}

#[test]
fn a_withdrawn_callback_is_unknown() {
    let (mut world, token) = world();
    assert!(!world.call_typed(Request::at("r2").withdraw()).expect("has none"));
    assert!(world.call_typed(Request::at("r1").withdraw()).expect("withdraws"));
    assert!(!world.call_typed(Request::at("r1").withdraw()).expect("is gone"));
    assert_eq!(world.call_typed(Request::at("r1").waver()).expect("both"), (true, false));
    let error = world.resolve(&token, json!(1)).expect_err("is gone");
    assert_eq!(error.code(), "unknown_callback");
    world.advance(Duration::from_secs(100));
    assert!(heard(&mut world).is_empty());
}

#[test]
fn a_value_of_another_type_becomes_a_dead_letter() {
    let (mut world, token) = world();
    world.resolve(&token, json!("yes")).expect("any JSON is taken");
    assert!(heard(&mut world).is_empty());
    let [dead] = world.dead_letters() else { panic!("{:?}", world.dead_letters()) };
    assert_eq!((dead.handler.as_str(), dead.reason.code()), ("decided", "invalid_input"));
    assert!(dead.reason.message().starts_with("argument `reply`: "), "{:?}", dead.reason);
}

#[test]
fn tokens_are_secrets_with_a_limit() {
    let (mut world, token) = world();
    let (id, secret) = token.as_str().rsplit_once('-').expect("an id and a secret");
    assert_eq!((secret.len(), token.as_str().len() <= 128), (32, true));
    assert!(format!("{token:?}").contains(id) && !format!("{token:?}").contains(secret));
    let error = world.call_typed(Request::at("r1").forever()).expect_err("too long");
    assert_eq!(error.message(), "a callback expires after at most 400 days");
    let text = describe(&[EntityType::of::<Request>()]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["entities"][0]["handlers"][3]["kind"], "internal");
}

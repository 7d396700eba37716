//! The host as `testing::World` plays it: one call at a time on this thread, its entity's state in memory.
//! Not a host: it keeps no order and delivers nothing; the world does. Invariant: outside of
//! [`run`] every function here panics, and what a call did is the world's to keep or to drop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Continuation, Due, Entry};
use crate::Timestamp;
use crate::context::{EntityRef, PendingTimer};
use crate::log::Level;

/// Longest context of a continuation, as the host has it.
const CONTEXT_BYTES_MAX: usize = 64 * 1024;

/// Longest life of a callback, as the host has it.
const CALLBACK_MS_MAX: u64 = 400 * 24 * 3600 * 1000;

/// One call: what the handler may see, and what it did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    pub(crate) entity: EntityRef,
    pub(crate) app: String,
    pub(crate) sender: Option<EntityRef>,
    pub(crate) message_id: String,
    pub(crate) attempt: u32,
    pub(crate) now_ms: u64,
    pub(crate) seed: u64,
    pub(crate) content_type: Option<String>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) read_only: bool,
    pub(crate) state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) timers: BTreeMap<String, TimerRow>,
    pub(crate) sent: Vec<Sent>,
    /// Messages sent and callbacks made, with those that the call took back: ids are not used twice.
    pub(crate) made: u64,
    pub(crate) cancellable: Vec<String>,
    pub(crate) cancelled: Vec<String>,
    /// Callbacks that the call made.
    pub(crate) callbacks: Vec<Callback>,
    /// Tokens of this entity that nobody has used.
    pub(crate) open_callbacks: Vec<String>,
    pub(crate) withdrawn: Vec<String>,
    pub(crate) log: Vec<(Level, String)>,
    /// What the call asked of the state, in order, for tests of what it touches.
    pub(crate) touched: Vec<(Touch, Vec<u8>)>,
}

/// A call of the state's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    Scan,
    Write,
}

/// A message that a call sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) target: EntityRef,
    pub(crate) handler: String,
    pub(crate) input: Vec<u8>,
    pub(crate) due_ms: u64,
    pub(crate) then: Option<Continuation>,
}

/// A token that waits for the world outside.
#[derive(Debug, Clone)]
pub(crate) struct Callback {
    pub(crate) token: String,
    pub(crate) then: Continuation,
    pub(crate) expires_ms: u64,
}

/// A pending timer of an entity.
#[derive(Debug, Clone)]
pub(crate) struct TimerRow {
    pub(crate) handler: String,
    pub(crate) input: Vec<u8>,
    pub(crate) due_ms: u64,
}

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Runs `body` as `call` and gives the call back with what was done.
pub(crate) fn run<R>(call: Call, body: impl FnOnce() -> R) -> (R, Call) {
    CALL.with(|slot| {
        let before = slot.replace(Some(call));
        assert!(before.is_none(), "a handler is running on this thread already");
    });
    let result = body();
    let call = CALL.with(RefCell::take).expect("the call is still there");
    (result, call)
}

pub(crate) fn self_ref() -> EntityRef {
    with(|call| call.entity.clone())
}

pub(crate) fn app() -> String {
    with(|call| call.app.clone())
}

pub(crate) fn sender() -> Option<EntityRef> {
    with(|call| call.sender.clone())
}

pub(crate) fn message_id() -> String {
    with(|call| call.message_id.clone())
}

pub(crate) fn attempt() -> u32 {
    with(|call| call.attempt)
}

pub(crate) fn now_ms() -> u64 {
    with(|call| call.now_ms)
}

pub(crate) fn random(len: u32) -> Vec<u8> {
    assert!(len <= 1024, "at most 1024 random bytes a call");
    with(|call| (0..len).map(|_| next_random(&mut call.seed)).collect())
}

pub(crate) fn content_type() -> Option<String> {
    with(|call| call.content_type.clone())
}

pub(crate) fn config(name: &str) -> Option<String> {
    with(|call| call.config.get(name).cloned())
}

pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
    with(|call| {
        call.touched.push((Touch::Read, key.to_vec()));
        call.state.get(key).cloned()
    })
}

pub(crate) fn set(key: &[u8], value: &[u8]) {
    assert!(!key.is_empty() && key.len() <= 1024, "a state key has 1 to 1024 bytes");
    assert!(value.len() <= 1024 * 1024, "a state value has at most 1 MiB");
    write("write state", |call| {
        call.touched.push((Touch::Write, key.to_vec()));
        call.state.insert(key.to_vec(), value.to_vec());
    });
}

pub(crate) fn delete(key: &[u8]) {
    write("delete state", |call| {
        call.touched.push((Touch::Write, key.to_vec()));
        call.state.remove(key);
    });
}

pub(crate) fn scan(start: &[u8], end: Option<&[u8]>, limit: u32, descending: bool) -> Vec<Entry> {
    if end.is_some_and(|end| end <= start) {
        return Vec::new();
    }
    with(|call| {
        call.touched.push((Touch::Scan, start.to_vec()));
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let rows = call.state.range::<[u8], _>(bounds);
        let row = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        let limit = limit.min(10_000) as usize;
        if descending {
            rows.rev().take(limit).map(row).collect()
        } else {
            rows.take(limit).map(row).collect()
        }
    })
}

pub(crate) fn send(kind: &str, key: &str, handler: &str, input: &[u8], due: Due) -> String {
    enqueue(kind, key, handler, input, due, None)
}

pub(crate) fn call_then(
    kind: &str,
    key: &str,
    handler: &str,
    input: &[u8],
    due: Due,
    then: &Continuation,
) -> String {
    assert!(then.context.len() <= CONTEXT_BYTES_MAX, "a reply's context has at most 64 KiB");
    enqueue(kind, key, handler, input, due, Some(then.clone()))
}

pub(crate) fn cancel(message_id: &str) -> bool {
    write("cancel a message", |call| {
        let now_ms = call.now_ms;
        let mine = call.sent.iter().position(|sent| sent.id == message_id && sent.due_ms > now_ms);
        if let Some(at) = mine {
            call.sent.remove(at);
            return true;
        }
        let Some(at) = call.cancellable.iter().position(|id| id == message_id) else {
            return false;
        };
        call.cancelled.push(call.cancellable.remove(at));
        true
    })
}

pub(crate) fn callback_create(then: &Continuation, expires: Due) -> String {
    assert!(then.context.len() <= CONTEXT_BYTES_MAX, "a reply's context has at most 64 KiB");
    write("make a callback", |call| {
        let expires_ms = due_ms(call, expires);
        assert!(
            expires_ms <= call.now_ms.saturating_add(CALLBACK_MS_MAX),
            "a callback expires after at most 400 days"
        );
        call.made += 1;
        let secret: String =
            (0..16).map(|_| format!("{:02x}", next_random(&mut call.seed))).collect();
        let token = format!("{}.{}-{secret}", call.message_id, call.made);
        call.callbacks.push(Callback { token: token.clone(), then: then.clone(), expires_ms });
        token
    })
}

pub(crate) fn callback_cancel(token: &str) -> bool {
    write("withdraw a callback", |call| {
        let own = call.callbacks.len();
        call.callbacks.retain(|callback| callback.token != token);
        if call.callbacks.len() < own {
            return true;
        }
        let Some(at) = call.open_callbacks.iter().position(|open| open == token) else {
            return false;
        };
        call.withdrawn.push(call.open_callbacks.remove(at));
        true
    })
}

pub(crate) fn timer_set(name: &str, handler: &str, input: &[u8], due: Due) {
    assert!(!name.is_empty() && name.len() <= 64, "a timer's name has 1 to 64 bytes");
    write("set a timer", |call| {
        let row = TimerRow {
            handler: handler.to_owned(),
            input: input.to_vec(),
            due_ms: due_ms(call, due),
        };
        call.timers.insert(name.to_owned(), row);
    });
}

pub(crate) fn timer_cancel(name: &str) -> bool {
    write("cancel a timer", |call| call.timers.remove(name).is_some())
}

pub(crate) fn timers() -> Vec<PendingTimer> {
    let row = |(name, row): (&String, &TimerRow)| PendingTimer {
        name: name.clone(),
        handler: row.handler.clone(),
        due: Timestamp::from_ms(row.due_ms),
    };
    with(|call| call.timers.iter().map(row).collect())
}

pub(crate) fn log(level: Level, line: &str) {
    with(|call| call.log.push((level, line.to_owned())));
}

fn enqueue(
    kind: &str,
    key: &str,
    handler: &str,
    input: &[u8],
    due: Due,
    then: Option<Continuation>,
) -> String {
    assert!(!key.is_empty() && key.len() <= 512, "an entity's key has 1 to 512 bytes");
    write("send", |call| {
        call.made += 1;
        let id = format!("{}.{}", call.message_id, call.made);
        call.sent.push(Sent {
            id: id.clone(),
            target: EntityRef { kind: kind.to_owned(), key: key.to_owned() },
            handler: handler.to_owned(),
            input: input.to_vec(),
            due_ms: due_ms(call, due),
            then,
        });
        id
    })
}

fn with<R>(body: impl FnOnce(&mut Call) -> R) -> R {
    CALL.with_borrow_mut(|slot| match slot {
        Some(call) => body(call),
        None => panic!("no handler is running: use keystead_sdk::testing::World in tests"),
    })
}

fn write<R>(what: &str, body: impl FnOnce(&mut Call) -> R) -> R {
    with(|call| {
        assert!(!call.read_only, "a query may not {what}");
        body(call)
    })
}

fn due_ms(call: &Call, due: Due) -> u64 {
    match due {
        Due::Now => call.now_ms,
        Due::InMs(ms) => call.now_ms.saturating_add(ms),
        Due::AtMs(ms) => ms.max(call.now_ms),
    }
}

/// One byte of a small generator: tests get the same run each time.
fn next_random(seed: &mut u64) -> u8 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 56) as u8
}

//! What the crash test deploys. Cells are registers whose every answer says which one was before it, so that a
//! history of calls shows whether there is one order of them. Nodes number what they send and compare what they
//! hear, and write down what should not have been. They never deduplicate; that is the host's part.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use std::collections::BTreeMap;

use keystead_sdk::prelude::*;

/// What a node remembers of wrongs at most.
const WRONGS_MAX: usize = 8;

/// A register.
#[entity]
pub struct Cell {
    value: u64,
    ballast: Value<String>,
}

#[handlers]
impl Cell {
    /// Puts another value there; gives the one before.
    pub fn put(&mut self, value: u64) -> u64 {
        std::mem::replace(&mut self.value, value)
    }

    /// Adds; gives the sum.
    pub fn add(&mut self, by: u64) -> u64 {
        self.value += by;
        self.value
    }

    /// Puts a value there if `expected` is there.
    pub fn swap_if(&mut self, expected: u64, value: u64) -> Result<u64> {
        ensure!(self.value == expected, code = "other_value", "it is {}", self.value);
        self.value = value;
        Ok(value)
    }

    /// What is there.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Makes the journal grow.
    pub fn load(&mut self, bytes: u64) {
        self.ballast.set(&"b".repeat(bytes as usize));
    }
}

/// What a node says of itself.
#[derive(serde::Serialize)]
pub struct Statement {
    balance: i64,
    /// How many gifts it sent to each partner.
    sent: BTreeMap<String, u64>,
    /// The number of the last gift from each partner.
    heard: BTreeMap<String, u64>,
    /// Delayed gifts: sent, heard, taken back.
    late: [u64; 3],
    /// Timers: set, rung, cancelled or replaced.
    timers: [u64; 3],
    /// Timers that wait.
    waiting: u64,
    wrongs: Vec<String>,
}

/// Gives to others, and has timers.
#[entity]
pub struct Node {
    balance: i64,
    sent: Map<String, u64>,
    heard: Map<String, u64>,
    /// The last delayed gift, until it is taken back.
    latest: Option<(MessageId, i64)>,
    late: [u64; 3],
    timers: [u64; 3],
    /// The last timer of each name.
    named: Map<String, u64>,
    /// Timers that wait, by number, and when they are due.
    waiting: Map<u64, u64>,
    wrongs: Vec<String>,
}

#[handlers]
impl Node {
    /// Gives it its first money.
    pub fn open(&mut self, amount: i64) {
        self.balance = amount;
    }

    /// Gives money to another; says which of its gifts to it this is.
    pub fn give(&mut self, ctx: &Ctx, to: String, amount: i64) -> u64 {
        self.balance -= amount;
        let number = self.sent.get(&to).unwrap_or_default() + 1;
        self.sent.insert(to.clone(), number);
        Node::at(to).take(number, amount).send(ctx);
        number
    }

    /// Takes it.
    #[internal]
    pub fn take(&mut self, ctx: &Ctx, number: u64, amount: i64) {
        self.balance += amount;
        let from = ctx.sender().map(|sender| sender.key).unwrap_or_default();
        let last = self.heard.get(&from).unwrap_or_default();
        if number != last + 1 {
            self.wrong(format!("gift {number} of {from} came after {last}"));
        }
        self.heard.insert(from, number);
    }

    /// Gives money to another, later.
    pub fn give_later(&mut self, ctx: &Ctx, to: String, amount: i64, delay_ms: u64) {
        self.balance -= amount;
        self.late[0] += 1;
        let due = ctx.now() + Duration::from_millis(delay_ms);
        let id = Node::at(to).take_late(amount, due.as_ms()).at(due).send(ctx);
        self.latest = Some((id, amount));
    }

    /// Takes it.
    #[internal]
    pub fn take_late(&mut self, ctx: &Ctx, amount: i64, due_ms: u64) {
        self.balance += amount;
        self.late[1] += 1;
        if ctx.now().as_ms() < due_ms {
            self.wrong(format!("a gift of {due_ms} came at {}", ctx.now().as_ms()));
        }
    }

    /// Takes the last delayed gift back, if it is not due.
    pub fn regret(&mut self, ctx: &Ctx) -> bool {
        let Some((id, amount)) = self.latest.take() else { return false };
        let cancelled = ctx.cancel(&id);
        if cancelled {
            self.balance += amount;
            self.late[2] += 1;
        }
        cancelled
    }

    /// Sets a timer, in place of one of that name.
    pub fn arm(&mut self, ctx: &Ctx, name: String, delay_ms: u64) {
        self.timers[0] += 1;
        self.forget(ctx, &name);
        let number = self.timers[0];
        let due = ctx.now() + Duration::from_millis(delay_ms);
        self.waiting.insert(number, due.as_ms());
        self.named.insert(name.clone(), number);
        Node::timer(&name).ring(number).at(due).set(ctx);
    }

    /// Cancels one.
    pub fn disarm(&mut self, ctx: &Ctx, name: String) -> bool {
        let forgot = self.forget(ctx, &name);
        let cancelled = ctx.cancel_timer(&name);
        if forgot != cancelled {
            self.wrong(format!("timer {name}: listed {forgot}, cancelled {cancelled}"));
        }
        cancelled
    }

    /// What timers call.
    #[internal]
    pub fn ring(&mut self, ctx: &Ctx, number: u64) {
        self.timers[1] += 1;
        let now_ms = ctx.now().as_ms();
        match self.waiting.remove(&number) {
            None => self.wrong(format!("timer {number} rang again, or after its end")),
            Some(due_ms) if now_ms < due_ms => {
                self.wrong(format!("timer {number} of {due_ms} rang at {now_ms}"));
            }
            Some(_) => {}
        }
    }

    /// All of it.
    pub fn statement(&self) -> Statement {
        Statement {
            balance: self.balance,
            sent: self.sent.iter().collect(),
            heard: self.heard.iter().collect(),
            late: self.late,
            timers: self.timers,
            waiting: self.waiting.iter().count() as u64,
            wrongs: self.wrongs.clone(),
        }
    }

    fn wrong(&mut self, what: String) {
        if self.wrongs.len() < WRONGS_MAX {
            self.wrongs.push(what);
        }
    }
}

impl Node {
    /// A timer of that name that still waits will not ring; one that is due already will.
    fn forget(&mut self, ctx: &Ctx, name: &str) -> bool {
        let waits = ctx.timers().iter().any(|timer| timer.name == name);
        if waits && let Some(number) = self.named.get(name) {
            self.waiting.remove(&number);
            self.timers[2] += 1;
        }
        waits
    }
}

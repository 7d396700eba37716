//! The guest that tests deploy: entity `probe` does what it is told, nice or not. It is not an example: most of
//! its handlers are wrong on purpose, each in one way.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

mod attack;

use std::hint::black_box;
use std::sync::Mutex;

use keystead_sdk::prelude::*;

/// Guest memory that no transaction holds; the host must not carry it to another app.
static MEMORY: Mutex<Option<String>> = Mutex::new(None);

/// Whom a handler was called as, and by whom.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Who {
    app: String,
    kind: String,
    key: String,
    sender: Option<String>,
    attempt: u32,
}

/// One of each kind of state.
#[entity]
pub struct Probe {
    count: u64,
    broken: bool,
    armed_ms: u64,
    clock: u64,
    last_whoami: Who,
    list: List<u64>,
    pair: Map<String, u64>,
    note: Value<String>,
}

#[handlers]
impl Probe {
    /// Counts.
    pub fn bump(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Counts, and is long enough at it to be interrupted.
    pub fn bump_slowly(&mut self, rounds: u64) -> u64 {
        let before = self.count;
        burn(rounds);
        self.count = before + 1;
        self.count
    }

    /// Counts slowly, with a line before and one after.
    pub fn bump_noisily(&mut self, rounds: u64) -> u64 {
        info!("before");
        let count = self.bump_slowly(rounds);
        info!("after");
        count
    }

    /// What was counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a number to the list.
    pub fn append(&mut self, n: u64) {
        self.list.push(&n);
    }

    /// All numbers of the list.
    pub fn list(&self) -> Vec<u64> {
        self.list.iter().collect()
    }

    /// How many there are.
    pub fn length(&self) -> u64 {
        self.list.len()
    }

    /// One of them.
    pub fn at_place(&self, place: u64) -> Option<u64> {
        self.list.get(place)
    }

    /// Keeps a text and tells its length.
    pub fn note(&mut self, text: String) -> u64 {
        self.note.set(&text);
        text.len() as u64
    }

    /// Writes the same number twice, in two rows.
    pub fn set_pair(&mut self, n: u64) {
        self.pair.insert("a".into(), n);
        burn(200_000);
        self.pair.insert("b".into(), n);
    }

    /// Reads both rows, not at once.
    pub fn pair(&self) -> Vec<u64> {
        let a = self.pair.get("a").unwrap_or_default();
        burn(200_000);
        vec![a, self.pair.get("b").unwrap_or_default()]
    }

    /// Counts, and has another probe do the same, which has this one do it again, for ever.
    pub fn volley(&mut self, ctx: &Ctx, to: String) -> u64 {
        self.count += 1;
        Probe::at(&to).volley(ctx.key()).send(ctx);
        self.count
    }

    /// Sends `count` numbers from `first` on to another probe's list.
    pub fn emit(&mut self, ctx: &Ctx, to: String, first: u64, count: u64) {
        for n in first..first + count {
            Probe::at(&to).append(n).send(ctx);
        }
    }

    /// Hands on along `route`, and appends `n` at its end. Where `rest_at` are left, later.
    pub fn relay(&mut self, ctx: &Ctx, route: Vec<String>, n: u64, rest_at: u64, rest_ms: u64) {
        match route.split_first() {
            Some((next, rest)) => {
                let rests = route.len() as u64 == rest_at;
                let message = Probe::at(next).relay(rest.to_vec(), n, rest_at, rest_ms);
                let delay_ms = if rests { rest_ms } else { 0 };
                message.after(Duration::from_millis(delay_ms)).send(ctx);
            }
            None => self.list.push(&n),
        }
    }

    /// Sends a message that works only in attempt `until`, which appends 0, and 1 to `count` behind it.
    pub fn emit_behind_flaky(&mut self, ctx: &Ctx, to: String, until: u32, count: u64) {
        Probe::at(&to).flaky(until, 0).send(ctx);
        for n in 1..=count {
            Probe::at(&to).append(n).send(ctx);
        }
    }

    /// Sends a message that never works, and 0 to `count` behind it.
    pub fn emit_behind_poison(&mut self, ctx: &Ctx, to: String, count: u64) {
        Probe::at(&to).poison("first").send(ctx);
        for n in 0..count {
            Probe::at(&to).append(n).send(ctx);
        }
    }

    /// Appends `n`, and fails all the same before attempt `until`.
    pub fn flaky(&mut self, ctx: &Ctx, until: u32, n: u64) -> Result<u32> {
        self.list.push(&n);
        if ctx.attempt() < until {
            return Err(Error::retryable(format!("attempt {} of {until}", ctx.attempt())));
        }
        Ok(ctx.attempt())
    }

    /// Never works.
    pub fn poison(&mut self, note: String) -> Result<()> {
        self.note.set(&note);
        Err(Error::retryable("poison: this never works"))
    }

    /// Breaks or mends `fragile`.
    pub fn set_broken(&mut self, broken: bool) {
        self.broken = broken;
    }

    /// Counts, unless it is broken.
    pub fn fragile(&mut self) -> Result<u64> {
        self.count += 1;
        if self.broken {
            return Err(Error::retryable("still broken"));
        }
        Ok(self.count)
    }

    /// Whom it was called as.
    pub fn whoami(&mut self, ctx: &Ctx) -> Who {
        self.last_whoami = Who {
            app: ctx.app(),
            kind: ctx.entity().kind.clone(),
            key: ctx.key().to_owned(),
            sender: ctx.sender().map(|sender| sender.key),
            attempt: ctx.attempt(),
        };
        self.last_whoami.clone()
    }

    /// Asks another probe.
    pub fn ask_whoami(&mut self, ctx: &Ctx, to: String) {
        Probe::at(&to).whoami().send(ctx);
    }

    /// What the last `whoami` found.
    pub fn last_whoami(&self) -> Who {
        self.last_whoami.clone()
    }

    /// Sets the timer `name`, which appends `n`.
    pub fn arm(&mut self, ctx: &Ctx, name: String, n: u64, delay_ms: u64) {
        Probe::timer(&name).append(n).after(Duration::from_millis(delay_ms)).set(ctx);
    }

    /// Cancels the timer `name`.
    pub fn disarm(&mut self, ctx: &Ctx, name: String) -> bool {
        ctx.cancel_timer(&name)
    }

    /// The names of the pending timers.
    pub fn timers(&self, ctx: &QueryCtx) -> Vec<String> {
        ctx.timers().into_iter().map(|timer| timer.name).collect()
    }

    /// Sets a timer and takes the time until it strikes.
    pub fn arm_clock(&mut self, ctx: &Ctx, delay_ms: u64) {
        self.armed_ms = ctx.now().as_ms();
        Probe::timer("clock").strike().after(Duration::from_millis(delay_ms)).set(ctx);
    }

    /// What that timer calls.
    pub fn strike(&mut self, ctx: &Ctx) {
        self.clock = ctx.now().as_ms() - self.armed_ms;
    }

    /// How long it took, in milliseconds.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Sends `n` to another probe's list, later.
    pub fn schedule(&mut self, ctx: &Ctx, to: String, n: u64, delay_ms: u64) -> String {
        let message = Probe::at(&to).append(n).after(Duration::from_millis(delay_ms));
        message.send(ctx).to_string()
    }

    /// Cancels what `schedule` sent.
    pub fn unschedule(&mut self, ctx: &Ctx, id: MessageId) -> bool {
        ctx.cancel(&id)
    }

    /// Keeps a word in the guest's memory, beside the state.
    pub fn remember(&mut self, word: String) {
        *MEMORY.lock().expect("one thread") = Some(word);
    }

    /// The word, when this instance has it.
    pub fn recall(&mut self) -> Option<String> {
        MEMORY.lock().expect("one thread").clone()
    }

    /// Writes, sends, schedules and sets a timer, and then ends as it is told.
    pub fn misbehave(&mut self, ctx: &Ctx, how: String, to: String) -> Result<String> {
        self.list.push(&1);
        Probe::at(&to).bump().send(ctx);
        Probe::at(&to).bump().after(Duration::from_secs(3_600)).send(ctx);
        Probe::timer("misbehave").bump().after(Duration::from_millis(50)).set(ctx);
        match how.as_str() {
            "giant_key" => self.pair.insert("k".repeat(2_000), 1),
            "giant_value" => self.note.set(&"x".repeat(2 << 20)),
            "flood" => (0..20_000).for_each(|n| drop(Probe::at(&to).append(n).send(ctx))),
            _ => return attack::end(&how),
        }
        Ok(how)
    }

    /// The same for a query.
    pub fn misread(&self, how: String) -> Result<String> {
        attack::end(&how)
    }
}

/// Computes for a while.
fn burn(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}

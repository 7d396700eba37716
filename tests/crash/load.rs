//! Clients: each asks one thing after the other, of cells and nodes, with and without a key, at once or later, and
//! writes down what it heard. What has a key is asked until it is answered; what has none is asked once.
//! Panics when the host says what it may never say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::book::{Asked, Book};
use super::cell::{Ask, Held, Told};
use crate::harness::{Answer, Client, PATIENCE};

pub(crate) const NODES: u64 = 6;
/// How long delayed messages and timers wait at most.
pub(crate) const DELAY_MS_MAX: u64 = 1_200;
/// A client pauses this long when the host is not there.
const PAUSE: Duration = Duration::from_millis(15);
/// The host's clock counts in whole milliseconds.
const TICK_US: u64 = 2_000;
/// Between two looks of a client that waits for an outcome.
const OUTCOME_WAIT: &str = "5s";

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: u64,
    pub(crate) cells: u64,
    /// A pause after each request.
    pub(crate) pause: Duration,
    /// One in so many requests makes the journal grow by some 60 KB.
    pub(crate) ballast: u32,
}

/// Clients at work.
pub(crate) struct Clients {
    done: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts them.
    pub(crate) fn start(load: Load, client: &Client, book: &Book, seed: u64) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..load.clients {
            let chance = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number));
            let name = format!("{seed:x}-{number}");
            let (client, book, done) = (client.clone(), book.clone(), done.clone());
            let mut asker = Asker { load, client, book, name, asked: 0, chance };
            tasks.spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    asker.ask().await;
                    tokio::time::sleep(load.pause).await;
                }
            });
        }
        Self { done, tasks }
    }

    /// Waits until all are answered. Panics when one of them did.
    pub(crate) async fn finish(self) {
        self.done.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

/// One client.
struct Asker {
    load: Load,
    client: Client,
    book: Book,
    name: String,
    asked: u64,
    chance: StdRng,
}

/// What a request without a key came to.
enum Once {
    Answered(Answer),
    /// It was not taken.
    Refused,
    /// It may have happened.
    Unsure,
}

impl Asker {
    async fn ask(&mut self) {
        self.asked += 1;
        if self.chance.random_ratio(1, self.load.ballast) {
            let input = json!({"bytes": self.chance.random_range(1_000..120_000)});
            let entity = format!("crash/cell/ballast{}", self.chance.random_range(0..4));
            drop(self.once(&self.plain("call", &entity, "load", input)).await);
            return;
        }
        match self.chance.random_range(0..20) {
            0..4 => self.read().await,
            4..7 => self.change_once("call").await,
            7 => self.change_once("send").await,
            8..11 => self.change_for_sure("call").await,
            11 => self.change_for_sure("send").await,
            12..14 => self.change_later().await,
            14..17 => self.give().await,
            17 => self.node("give_later", json!({})).await,
            18 => self.node("arm", json!({})).await,
            _ => self.withdraw().await,
        }
    }

    /// A query, sometimes only if something is new.
    async fn read(&mut self) {
        let entity = self.cell();
        let seen = self.book.pages().seen.get(&entity).copied().unwrap_or_default();
        let from = self.book.now();
        let mut request = self.client.read(&entity, "value", json!({}));
        if self.chance.random() {
            request = request.header("If-None-Match", &format!("\"{}\"", seen.version));
        }
        let Once::Answered(answer) = self.sent(request, "a read").await else { return };
        let tag = answer.header("etag").unwrap_or_else(|| panic!("no ETag in {answer:?}"));
        let version = tag.trim_matches('"').parse().expect("a version");
        let told = match answer.status {
            304 => Told::Version(version),
            200 => Told::Held(Held { value: number(&answer), version }),
            _ => panic!("a read was answered {answer:?}"),
        };
        self.book.heard(&entity, (from, Ask::Read), told);
    }

    /// A command without a key: nobody can ask again.
    async fn change_once(&mut self, verb: &'static str) {
        let entity = self.cell();
        let ask = self.change(&entity);
        let asked = Asked { verb, ..self.plain(verb, &entity, handler(ask), input(ask)) };
        let from = self.book.now();
        match self.once(&asked).await {
            Once::Answered(answer) if verb == "call" => {
                self.book.heard(&entity, (from, ask), told(&answer));
            }
            Once::Answered(answer) => {
                let outcome = self.outcome(&answer).await;
                self.book.heard(&entity, (from, ask), told(&outcome));
            }
            Once::Refused => {}
            Once::Unsure => self.book.maybe(&entity, (from, ask)),
        }
    }

    /// A command with a key: it happens once, however often it is asked for.
    async fn change_for_sure(&mut self, verb: &'static str) {
        let entity = self.cell();
        let ask = self.change(&entity);
        let asked = self.keyed(verb, &entity, handler(ask), input(ask));
        let from = self.book.now();
        let answer = self.for_sure(&asked).await;
        let answer = if verb == "send" { self.outcome(&answer).await } else { answer };
        self.book.heard(&entity, (from, ask), told(&answer));
    }

    /// A delayed one: not before its time, or not at all if it is cancelled in time.
    async fn change_later(&mut self) {
        let entity = self.cell();
        let ask = self.change(&entity);
        let delay_ms = self.chance.random_range(50..DELAY_MS_MAX);
        let delay = Some(Duration::from_millis(delay_ms));
        let asked = Asked { delay, ..self.keyed("send", &entity, handler(ask), input(ask)) };
        let due = self.book.now() + delay_ms * 1_000 - TICK_US;
        let answer = self.for_sure(&asked).await;
        if self.chance.random() {
            let wait = self.chance.random_range(0..delay_ms + 20);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if self.cancelled(&answer.id()).await {
                return;
            }
        }
        let outcome = self.outcome(&answer).await;
        self.book.heard(&entity, (due, ask), told(&outcome));
    }

    /// A node gives to another; the number that it says must be the next.
    async fn give(&mut self) {
        let (from_node, to) = self.pair();
        let entity = format!("crash/node/n{from_node}");
        let input = json!({"to": format!("n{to}"), "amount": self.chance.random_range(1..100)});
        let (pair, ask) = (format!("n{from_node}>n{to}"), Ask::Add(1));
        let from = self.book.now();
        if self.chance.random() {
            let asked = self.keyed("call", &entity, "give", input);
            let answer = self.for_sure(&asked).await;
            self.book.heard(&pair, (from, ask), told(&answer));
            return;
        }
        match self.once(&self.plain("call", &entity, "give", input)).await {
            Once::Answered(answer) => self.book.heard(&pair, (from, ask), told(&answer)),
            Once::Refused => {}
            Once::Unsure => self.book.maybe(&pair, (from, ask)),
        }
    }

    /// What a node keeps account of by itself.
    async fn node(&mut self, handler: &'static str, mut input: Value) {
        let (node, to) = self.pair();
        let entity = format!("crash/node/n{node}");
        let delay_ms = self.chance.random_range(0..DELAY_MS_MAX);
        match handler {
            "give_later" => {
                input = json!({"to": format!("n{to}"), "amount": 7, "delay_ms": delay_ms});
            }
            "arm" => input = json!({"name": format!("t{}", to % 3), "delay_ms": delay_ms}),
            _ => {}
        }
        if self.chance.random() {
            let asked = self.keyed("call", &entity, handler, input);
            self.for_sure(&asked).await;
        } else {
            drop(self.once(&self.plain("call", &entity, handler, input)).await);
        }
    }

    async fn withdraw(&mut self) {
        let name = format!("t{}", self.chance.random_range(0..3));
        if self.chance.random() {
            self.node("regret", json!({})).await;
        } else {
            self.node("disarm", json!({"name": name})).await;
        }
    }

    /// Sends a request once.
    async fn once(&self, asked: &Asked) -> Once {
        let began = Instant::now();
        let once = self.sent(asked.request(&self.client), &format!("{asked:?}")).await;
        if matches!(once, Once::Answered(_)) && asked.verb == "call" {
            self.book.pages().took_us.push(began.elapsed().as_micros() as u64);
        }
        once
    }

    async fn sent(&self, request: crate::harness::Request, what: &str) -> Once {
        self.book.pages().requests += 1;
        let Ok(answer) = request.try_answer().await else {
            tokio::time::sleep(PAUSE).await;
            return Once::Unsure;
        };
        match answer.status {
            200 | 202 | 304 | 422 => Once::Answered(answer),
            429 => Once::Refused,
            503 | 504 => {
                let code = answer.json()["code"].clone();
                tokio::time::sleep(PAUSE).await;
                if code == "overloaded" { Once::Refused } else { Once::Unsure }
            }
            _ => panic!("{what}\nwas answered {answer:?}"),
        }
    }

    /// Sends a request with a key until it is answered.
    async fn for_sure(&mut self, asked: &Asked) -> Answer {
        let began = Instant::now();
        loop {
            if let Once::Answered(answer) = self.once(asked).await {
                self.book.keep(asked, &answer, self.chance.random());
                return answer;
            }
            assert!(began.elapsed() < PATIENCE * 2, "nobody answers {asked:?}");
        }
    }

    /// What became of what was accepted: it must not be lost.
    async fn outcome(&self, accepted: &Answer) -> Answer {
        let (id, began) = (accepted.id(), Instant::now());
        assert_eq!(accepted.status, 202, "{accepted:?}");
        loop {
            let path = format!("/v1/messages/{id}?wait={OUTCOME_WAIT}");
            match self.sent(self.client.ingress(Method::GET, path), &id).await {
                Once::Answered(answer) if answer.status != 202 => return answer,
                _ => {}
            }
            assert!(began.elapsed() < PATIENCE * 2, "{id} was accepted and never ends");
        }
    }

    /// Whether it was cancelled in time.
    async fn cancelled(&self, id: &str) -> bool {
        let began = Instant::now();
        let mut again = false;
        loop {
            let request = self.client.ingress(Method::DELETE, format!("/v1/messages/{id}"));
            self.book.pages().requests += 1;
            match request.try_answer().await {
                Ok(answer) if answer.status == 200 => return true,
                Ok(answer) if answer.status == 409 => return false,
                // An earlier try was answered to nobody.
                Ok(answer) if answer.status == 404 && again => return true,
                Ok(answer) => assert_eq!(answer.status, 503, "cancelling {id}: {answer:?}"),
                Err(_) => {}
            }
            again = true;
            tokio::time::sleep(PAUSE).await;
            assert!(began.elapsed() < PATIENCE * 2, "nobody says whether {id} is cancelled");
        }
    }

    fn change(&mut self, entity: &str) -> Ask {
        let value = self.chance.random_range(1..1 << 50);
        match self.chance.random_range(0..4) {
            0 => Ask::Put(value),
            1 => {
                let seen = self.book.pages().seen.get(entity).map_or(0, |held| held.value);
                Ask::SwapIf { expected: seen, value }
            }
            _ => Ask::Add(self.chance.random_range(1..1_000)),
        }
    }

    fn cell(&mut self) -> String {
        format!("crash/cell/c{}", self.chance.random_range(0..self.load.cells))
    }

    fn pair(&mut self) -> (u64, u64) {
        let from = self.chance.random_range(0..NODES);
        (from, (from + self.chance.random_range(1..NODES)) % NODES)
    }

    fn plain(
        &self,
        verb: &'static str,
        entity: &str,
        handler: &'static str,
        input: Value,
    ) -> Asked {
        Asked { verb, entity: entity.to_owned(), handler, input, key: None, delay: None }
    }

    fn keyed(
        &self,
        verb: &'static str,
        entity: &str,
        handler: &'static str,
        input: Value,
    ) -> Asked {
        let key = Some(format!("{}-{}", self.name, self.asked));
        Asked { key, ..self.plain(verb, entity, handler, input) }
    }
}

fn handler(ask: Ask) -> &'static str {
    match ask {
        Ask::Put(_) => "put",
        Ask::Add(_) => "add",
        Ask::SwapIf { .. } => "swap_if",
        Ask::Read => "value",
    }
}

fn input(ask: Ask) -> Value {
    match ask {
        Ask::Put(value) => json!({"value": value}),
        Ask::Add(by) => json!({"by": by}),
        Ask::SwapIf { expected, value } => json!({"expected": expected, "value": value}),
        Ask::Read => json!({}),
    }
}

fn told(answer: &Answer) -> Told {
    if answer.status == 422 {
        let problem = answer.json();
        assert_eq!(problem["code"], "other_value", "{answer:?}");
        return Told::Rejected;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    Told::Value(number(answer))
}

fn number(answer: &Answer) -> u64 {
    answer.json().as_u64().unwrap_or_else(|| panic!("no number in {answer:?}"))
}

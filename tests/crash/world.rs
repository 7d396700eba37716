//! A host with a disk that fails when it is told to, its clients, and what must hold whenever they have stopped:
//! everything drains, each entity's history has an order, nodes have nothing to complain of, no money was made
//! or lost, first answers stay the answers, and the data folder is sound.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

use super::book::{Book, Kept};
use super::cell::{Ask, Cell, Held, Told};
use super::history::{End, Operation, Verdict, explain};
use super::load::{Clients, Load, NODES};
use crate::harness::faults::Faults;
use crate::harness::{Client, Guest, Host, PATIENCE, eventually, keystead};

const OPENING: i64 = 1_000_000;
/// Answers that are asked for again at each check.
const REPLAYS: usize = 20;
/// No answer is asked for again that may be forgotten.
const REPLAY_AGE_MAX: Duration = Duration::from_secs(45);

/// Everything that a run has.
pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) faults: Faults,
    pub(crate) book: Book,
    pub(crate) chance: StdRng,
    pub(crate) load: Load,
    pub(crate) tally: Tally,
    clients: Option<Clients>,
    retention_s: u64,
}

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) faults: u64,
    /// Of them those of which the disk says that they happened.
    pub(crate) struck: u64,
    /// SIGKILLs that ended a host.
    pub(crate) kills: u64,
    /// Times that it was gone and started again.
    pub(crate) starts: u64,
    pub(crate) checks: u64,
    pub(crate) operations: u64,
    pub(crate) replays: u64,
    pub(crate) examinations: u64,
    /// The longest time from a fault's end until a call was answered.
    pub(crate) recovery: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.struck += other.struck;
        self.kills += other.kills;
        self.starts += other.starts;
        self.checks += other.checks;
        self.operations += other.operations;
        self.replays += other.replays;
        self.examinations += other.examinations;
        self.recovery = self.recovery.max(other.recovery);
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, serde::Deserialize)]
struct Statement {
    balance: i64,
    sent: BTreeMap<String, u64>,
    heard: BTreeMap<String, u64>,
    late: [u64; 3],
    timers: [u64; 3],
    waiting: u64,
    wrongs: Vec<String>,
}

impl World {
    /// A new host with the guests in it. Outcomes are kept for `retention_s`.
    pub(crate) fn new(seed: u64, load: Load, retention_s: u64) -> Self {
        let (host, faults) = Host::with_faults();
        let (book, chance) = (Book::new(), StdRng::seed_from_u64(seed));
        let tally = Tally::default();
        Self { host, faults, book, chance, load, tally, clients: None, retention_s }
    }

    /// Starts it, deploys, and gives everybody money.
    pub(crate) async fn open(&mut self) {
        self.revive().await;
        let config = json!({"outcome_retention_s": self.retention_s});
        self.host.deploy_with(Guest::Witness, "crash", config).await;
        for node in 0..NODES {
            let call = self.client().call(&node_at(node), "open", json!({"amount": OPENING}));
            call.ok().await;
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.host.client()
    }

    /// The clients begin, or go on.
    pub(crate) fn begin(&mut self) {
        let seed = self.chance.random();
        if self.clients.is_none() {
            self.clients = Some(Clients::start(self.load, &self.client(), &self.book, seed));
        }
    }

    /// Starts the host again until it lives, if it is dead; then it must answer by itself.
    pub(crate) async fn recover(&mut self) {
        let began = Instant::now();
        self.revive().await;
        let client = self.client();
        let answered = |what: &'static str| {
            let client = client.clone();
            async move {
                let status = client.admin(Method::GET, "/admin/v1/status").try_answer().await;
                let status = status.map_err(|broken| format!("{what}: {broken:?}"))?;
                let sick = status.json()["partitions"][0]["poisoned"].is_string();
                let add = client.call("crash/cell/pulse", "add", json!({"by": 1})).try_answer();
                let add = add.await.map_err(|broken| format!("{what}: {broken:?}"))?;
                if add.status == 200 && !sick { Ok(()) } else { Err(format!("{add:?}")) }
            }
        };
        eventually("the host serves again", PATIENCE, || answered("after a fault")).await;
        self.tally.recovery = self.tally.recovery.max(began.elapsed());
    }

    /// Starts it again if it is dead; a disk that fails may kill it or end it while it starts.
    pub(crate) async fn revive(&mut self) {
        for _ in 0..20 {
            if self.host.pid().is_some()
                && self.host.ended(Duration::from_millis(1)).await.is_none()
            {
                return;
            }
            self.tally.starts += 1;
            if self.host.try_spawn_with(&self.faults).await.is_ok() {
                return;
            }
        }
        panic!("the host does not start:\n{}", self.host.log());
    }

    /// Waits for the clients and until nothing is under way; then everything must have been right.
    pub(crate) async fn check(&mut self) {
        if let Some(clients) = self.clients.take() {
            clients.finish().await;
        }
        self.drained().await;
        self.tally.checks += 1;
        let statements = self.statements().await;
        check_nodes(&statements);
        let cells = self.held().await;
        self.check_histories(&statements, &cells);
        self.check_replays().await;
        assert_eq!(self.host.dead_letters().await, Vec::<Value>::new());
        for sign in ["panicked at", "a request panicked", "host call panicked"] {
            assert!(!self.host.log().contains(sign), "the host's log tells of a panic");
        }
    }

    /// The data folder of a host that is gone must be sound, by the host's own doctor.
    pub(crate) async fn examine(&mut self) -> Value {
        let output = Command::new(keystead())
            .args(["doctor", "--json", "--data"])
            .arg(self.host.data())
            .output()
            .await
            .expect("keystead doctor");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "the data folder is not sound: {text}\n{output:?}");
        self.tally.examinations += 1;
        serde_json::from_str(&text).expect("JSON")
    }

    async fn drained(&self) {
        eventually("everything drains", PATIENCE * 2, || async {
            let totals = self.host.totals().await;
            let rest = (totals.queued, totals.running, totals.scheduled);
            if rest == (0, 0, 0) { Ok(()) } else { Err(format!("{totals:?}")) }
        })
        .await;
    }

    async fn statements(&self) -> Vec<Statement> {
        let mut all = vec![];
        for node in 0..NODES {
            let statement = self.client().value(&node_at(node), "statement").await;
            all.push(serde_json::from_value(statement).expect("a statement"));
        }
        all
    }

    /// What is in each cell now.
    async fn held(&self) -> BTreeMap<String, Held> {
        let mut cells = BTreeMap::new();
        let entities: Vec<String> = self.book.pages().histories.keys().cloned().collect();
        for entity in entities.into_iter().filter(|entity| entity.starts_with("crash/cell/")) {
            let answer = self.client().read(&entity, "value", json!({})).answer().await;
            let answer = answer.expect_status(200);
            let tag = answer.header("etag").expect("an ETag").trim_matches('"');
            let version = tag.parse().expect("a version");
            let value = answer.json().as_u64().expect("a number");
            cells.insert(entity, Held { value, version });
        }
        cells
    }

    /// Each history has an order that ends with what is there now; the next ones begin with that.
    fn check_histories(&mut self, statements: &[Statement], cells: &BTreeMap<String, Held>) {
        let now = self.book.now();
        let mut pages = self.book.pages();
        for (entity, mut history) in std::mem::take(&mut pages.histories) {
            let (last, told) = match cells.get(&entity) {
                Some(held) => (*held, Told::Held(*held)),
                None => {
                    let sum = sent(statements, &entity);
                    (Held { value: sum, version: 0 }, Told::Sum(sum))
                }
            };
            let end = End::Answered(now + 1, told);
            history.push(Operation { input: Ask::Read, from: now, end });
            self.tally.operations += history.len() as u64;
            let began = pages.began.get(&entity).copied().unwrap_or_default();
            let verdict = explain::<Cell>(began, &history);
            let explained = verdict == Verdict::Explained;
            assert!(explained, "{entity}, which began as {began:?}: {}", verdict.text());
            pages.began.insert(entity, last);
        }
    }

    /// First answers are the answers.
    async fn check_replays(&mut self) {
        let kept: Vec<Kept> = {
            let pages = self.book.pages();
            let young = pages.kept.iter().filter(|kept| kept.at.elapsed() < REPLAY_AGE_MAX);
            young.cloned().collect()
        };
        for _ in 0..REPLAYS.min(kept.len()) {
            let Kept { asked, status, body, .. } = &kept[self.chance.random_range(0..kept.len())];
            let answer = asked.request(&self.client()).answer().await;
            let same = answer.status == *status && (*status == 202 || answer.body == *body);
            assert!(same, "{asked:?}\nwas answered {status} {body:?}, and now {answer:?}");
            let again = match asked.verb {
                "send" => answer.json()["status"] == "previously_accepted",
                _ => answer.header("idempotency-replayed") == Some("true"),
            };
            assert!(again, "{asked:?}\nhappens again: {answer:?}");
            self.tally.replays += 1;
        }
    }
}

/// What nodes may not say, and that they agree.
fn check_nodes(statements: &[Statement]) {
    let sum = |number: &dyn Fn(&Statement) -> i64| statements.iter().map(number).sum::<i64>();
    for (node, statement) in statements.iter().enumerate() {
        assert!(statement.wrongs.is_empty(), "n{node} says: {:?}", statement.wrongs);
        assert_eq!(statement.waiting, 0, "timers of n{node} never rang: {statement:?}");
        let [set, rung, ended] = statement.timers;
        assert_eq!(set, rung + ended, "timers of n{node}: {statement:?}");
        for (to, sent) in &statement.sent {
            let receiver: usize = to[1..].parse().expect("a node");
            let heard = statements[receiver].heard.get(&format!("n{node}"));
            assert_eq!(heard, Some(sent), "gifts from n{node} to {to}");
        }
    }
    let late = |which: usize| sum(&|statement| statement.late[which].cast_signed());
    assert_eq!(late(0), late(1) + late(2), "delayed gifts: {statements:?}");
    let money = sum(&|statement| statement.balance);
    assert_eq!(money, OPENING * NODES.cast_signed(), "money was made or lost: {statements:?}");
}

/// How many gifts the first of a pair says that it sent to the second.
fn sent(statements: &[Statement], pair: &str) -> u64 {
    let (from, to) = pair.split_once('>').expect("a pair");
    let from: usize = from[1..].parse().expect("a node");
    statements[from].sent.get(to).copied().unwrap_or(0)
}

fn node_at(node: u64) -> String {
    format!("crash/node/n{node}")
}

/// How much a folder takes on its disk, and how many of its files are the journal's.
pub(crate) fn folder_size(folder: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut journal) = (0, 0);
    let Ok(entries) = std::fs::read_dir(folder) else { return (0, 0) };
    for entry in entries.filter_map(Result::ok) {
        // One that is gone meanwhile takes nothing.
        let Ok(found) = entry.metadata() else { continue };
        if found.is_dir() {
            let (inner, of_journal) = folder_size(&entry.path());
            (bytes, journal) = (bytes + inner, journal + of_journal);
        } else {
            bytes += found.blocks() * 512;
            let name = entry.file_name().to_string_lossy().into_owned();
            journal += u64::from(name.starts_with("journal-") || name.starts_with("spare-"));
        }
    }
    (bytes, journal)
}

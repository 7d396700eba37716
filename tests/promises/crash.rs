//! The crash proof: 64 clients move money between 100 accounts while the host is killed again and again. At the
//! end the sum is what it was, every answered transfer is there once, and every unanswered one is there once
//! or not at all, as its retry says.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Client, Guest, Host, Request};

pub(crate) const CLIENTS: u64 = 64;
pub(crate) const ACCOUNTS: u64 = 100;
pub(crate) const OPENING: i64 = 1_000_000;
const KILLS: u32 = 22;
/// How long the host lives between two kills.
const LIFE_MS: std::ops::Range<u64> = 30..500;
/// Kills or not, a client pauses this long when its connection broke.
const PAUSE: Duration = Duration::from_millis(100);

/// One transfer and what its client knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    id: String,
    from: u64,
    to: u64,
    amount: i64,
    pub(crate) answered: bool,
}

impl Transfer {
    fn draw(client: u64, number: usize, rng: &mut StdRng) -> Self {
        let from = rng.random_range(0..ACCOUNTS);
        let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let amount = rng.random_range(1..100);
        Self { id: format!("t{client}-{number}"), from, to, amount, answered: false }
    }

    fn request(&self, client: &Client) -> Request {
        let to = self.to.to_string();
        let input = json!({"id": self.id, "to": to, "amount": self.amount});
        client.call(&account(self.from), "transfer", input).key(&self.id)
    }
}

pub(crate) fn account(key: u64) -> String {
    format!("ledger/account/{key}")
}

/// What an account says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Statement {
    balance: i64,
    pub(crate) entries: Vec<(String, i64)>,
}

pub(crate) async fn statements(client: &Client) -> BTreeMap<u64, Statement> {
    let mut all = BTreeMap::new();
    for key in 0..ACCOUNTS {
        let statement = client.value(&account(key), "statement").await;
        let statement = serde_json::from_value(statement).expect("a statement");
        all.insert(key, statement);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_between_accounts_survive_kill_9() {
    let seed = RandomState::new().hash_one("seed");
    println!("seed {seed}");
    let mut host = Host::with(Guest::Ledger, "ledger").await;
    let client = host.client();
    for key in 0..ACCOUNTS {
        client.call(&account(key), "open", json!({"amount": OPENING})).ok().await;
    }

    let done = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let rng = StdRng::seed_from_u64(seed ^ number);
        tasks.spawn(transfer_until(done.clone(), answers.clone(), client.clone(), number, rng));
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lives_with_answers = 0;
    for _ in 0..KILLS {
        let before = answers.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        lives_with_answers += u32::from(answers.load(Ordering::Relaxed) > before);
        host.crash().await;
    }
    done.store(true, Ordering::Relaxed);
    let transfers: Vec<Transfer> = tasks.join_all().await.into_iter().flatten().collect();
    let answered = transfers.iter().filter(|transfer| transfer.answered).count();
    let unanswered = transfers.len() - answered;
    println!(
        "{answered} answered, {unanswered} not; {lives_with_answers} of {KILLS} lives gave answers"
    );
    assert!(lives_with_answers >= KILLS / 2, "the host hardly lived: {lives_with_answers} lives");
    assert!(unanswered > 0, "no kill cut a request short");

    check_quiet(&host).await;
    let before_retries = statements(&client).await;
    check_money(&before_retries);
    check_effects(&transfers, &before_retries);

    retry_unanswered(&client, &transfers, &before_retries).await;
    check_quiet(&host).await;
    let after_retries = statements(&client).await;
    check_money(&after_retries);
    let all: Vec<Transfer> =
        transfers.iter().map(|transfer| Transfer { answered: true, ..transfer.clone() }).collect();
    check_effects(&all, &after_retries);

    assert!(host.stop().await.success(), "a clean stop");
    host.spawn().await;
    assert_eq!(statements(&client).await, after_retries, "after a clean stop");
}

/// One client: transfers, each tried once, until it is told to stop.
pub(crate) async fn transfer_until(
    done: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    client: Client,
    number: u64,
    mut rng: StdRng,
) -> Vec<Transfer> {
    let mut transfers = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let mut transfer = Transfer::draw(number, transfers.len(), &mut rng);
        match transfer.request(&client).try_answer().await {
            Ok(answer) if answer.status == 200 => {
                transfer.answered = true;
                answers.fetch_add(1, Ordering::Relaxed);
            }
            // A host that goes down or is over its limits may say so; it must not say that it failed.
            Ok(answer) => assert!(matches!(answer.status, 503 | 504), "{transfer:?}: {answer:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        transfers.push(transfer);
    }
    transfers
}

/// Sends each unanswered transfer again with its key: the answer must say whether it was there.
async fn retry_unanswered(
    client: &Client,
    transfers: &[Transfer],
    before: &BTreeMap<u64, Statement>,
) {
    let mut there = 0;
    for transfer in transfers.iter().filter(|transfer| !transfer.answered) {
        let was_there = before[&transfer.from].entries.iter().any(|(id, _)| *id == transfer.id);
        let answer = transfer.request(client).answer().await.expect_status(200);
        let replayed = answer.header("idempotency-replayed") == Some("true");
        assert_eq!(replayed, was_there, "the retry of {transfer:?} says otherwise: {answer:?}");
        there += u32::from(was_there);
    }
    println!("{there} of the unanswered ones were there");
}

pub(crate) async fn check_quiet(host: &Host) {
    let totals = host.quiet().await;
    let stuck = (totals.queued, totals.scheduled, totals.dead);
    assert_eq!(stuck, (0, 0, 0), "queued, scheduled, dead: {:?}", host.dead_letters().await);
}

pub(crate) fn check_money(statements: &BTreeMap<u64, Statement>) {
    let sum: i64 = statements.values().map(|statement| statement.balance).sum();
    assert_eq!(sum, ACCOUNTS as i64 * OPENING, "money was made or lost");
    for (key, statement) in statements {
        let moved: i64 = statement.entries.iter().map(|(_, amount)| amount).sum();
        assert_eq!(statement.balance, OPENING + moved, "account {key} contradicts its own log");
    }
}

/// Each transfer is there once at both ends, or at neither when nobody was told that it is.
pub(crate) fn check_effects(transfers: &[Transfer], statements: &BTreeMap<u64, Statement>) {
    let mut seen: HashMap<&str, Vec<(u64, i64)>> = HashMap::new();
    for (key, statement) in statements {
        for (id, amount) in &statement.entries {
            seen.entry(id).or_default().push((*key, *amount));
        }
    }
    for transfer in transfers {
        let mut effects = seen.remove(transfer.id.as_str()).unwrap_or_default();
        effects.sort_unstable_by_key(|(_, amount)| *amount);
        let once = [(transfer.from, -transfer.amount), (transfer.to, transfer.amount)];
        let right = effects == once || (effects.is_empty() && !transfer.answered);
        assert!(right, "{transfer:?}\nhad these effects (account, amount): {effects:?}");
    }
    assert!(seen.is_empty(), "effects of transfers that nobody made: {seen:?}");
}

/// The checks above find what they are for.
#[test]
fn the_checks_find_lost_doubled_and_invented_transfers() {
    let transfer = |answered| Transfer { id: "t".into(), from: 0, to: 1, amount: 5, answered };
    let statements = |entries: &[(u64, i64)]| {
        let mut all = BTreeMap::new();
        for key in 0..2 {
            let own = entries.iter().filter(|(account, _)| *account == key);
            let entries = own.map(|(_, amount)| ("t".to_owned(), *amount)).collect();
            all.insert(key, Statement { balance: 0, entries });
        }
        all
    };
    let passes = |answered: bool, entries: &[(u64, i64)]| {
        let statements = statements(entries);
        std::panic::catch_unwind(|| check_effects(&[transfer(answered)], &statements)).is_ok()
    };
    assert!(passes(true, &[(0, -5), (1, 5)]));
    assert!(passes(false, &[(0, -5), (1, 5)]));
    assert!(passes(false, &[]));
    assert!(!passes(true, &[]), "lost");
    assert!(!passes(true, &[(0, -5)]), "half");
    assert!(!passes(false, &[(0, -5)]), "half");
    assert!(!passes(true, &[(0, -5), (1, 5), (1, 5)]), "doubled");
    assert!(!passes(true, &[(0, -5), (1, 6)]), "another amount");
    let invented = statements(&[(0, -5), (1, 5)]);
    assert!(std::panic::catch_unwind(|| check_effects(&[], &invented)).is_err(), "invented");
}

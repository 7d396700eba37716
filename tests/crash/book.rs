//! What clients wrote down: what they asked of each entity, when, and what they heard, or that they heard nothing.
//! It is kept outside of the host. Knows no faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::cell::{Ask, Held, Told};
use super::history::{End, Operation};
use crate::harness::{Answer, Client, Request};

/// Answers of keyed requests that are kept to be asked for again.
const KEPT_MAX: usize = 400;

/// Operations on one entity.
pub(crate) type Operations = Vec<Operation<Ask, Told>>;

/// A book that all clients write into.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    begun: Instant,
    pages: Arc<Mutex<Pages>>,
}

/// What is in it.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// By entity; what nodes send to each other is by pair.
    pub(crate) histories: BTreeMap<String, Operations>,
    /// How each of them began.
    pub(crate) began: BTreeMap<String, Held>,
    /// What was seen there last.
    pub(crate) seen: BTreeMap<String, Held>,
    pub(crate) kept: Vec<Kept>,
    /// How many requests were sent, and how many of them left the client without an answer.
    pub(crate) requests: u64,
    pub(crate) maybes: u64,
    /// How long calls took whose first try was answered, in microseconds.
    pub(crate) took_us: Vec<u64>,
}

/// An answer to a keyed request, which is the answer whenever it is asked again.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) asked: Asked,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

/// A command of a client, as it can be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `call` or `send`.
    pub(crate) verb: &'static str,
    pub(crate) entity: String,
    pub(crate) handler: &'static str,
    pub(crate) input: serde_json::Value,
    pub(crate) key: Option<String>,
    pub(crate) delay: Option<Duration>,
}

impl Asked {
    pub(crate) fn request(&self, client: &Client) -> Request {
        let delay = self.delay.map(|delay| format!("?delay={}ms", delay.as_millis()));
        let (Self { verb, entity, handler, .. }, delay) = (self, delay.unwrap_or_default());
        let path = format!("/v1/{verb}/{entity}/{handler}{delay}");
        let request = client.ingress(http::Method::POST, path).json(self.input.clone());
        match &self.key {
            Some(key) => request.key(key),
            None => request,
        }
    }
}

impl Book {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), pages: Arc::default() }
    }

    /// The moment, in microseconds since the book was begun.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no client panicked while it wrote")
    }

    /// Notes an operation that was begun at `from` and heard this now.
    pub(crate) fn heard(&self, entity: &str, (from, input): (u64, Ask), told: Told) {
        let end = End::Answered(self.now(), told);
        let mut pages = self.pages();
        let seen = pages.seen.entry(entity.to_owned()).or_default();
        match told {
            Told::Held(held) => *seen = held,
            Told::Value(value) if matches!(input, Ask::Add(_)) => seen.value = value,
            _ => {}
        }
        pages.note(entity, Operation { input, from, end });
    }

    /// Notes one that heard nothing.
    pub(crate) fn maybe(&self, entity: &str, (from, input): (u64, Ask)) {
        self.pages().note(entity, Operation { input, from, end: End::Maybe });
    }

    /// Keeps an answer to a keyed request, if there is room or in place of another.
    pub(crate) fn keep(&self, asked: &Asked, answer: &Answer, chance: u64) {
        let (status, body) = (answer.status, answer.body.clone());
        let kept = Kept { asked: asked.clone(), status, body, at: Instant::now() };
        let mut pages = self.pages();
        if pages.kept.len() < KEPT_MAX {
            pages.kept.push(kept);
        } else if chance.is_multiple_of(8) {
            pages.kept[chance as usize / 8 % KEPT_MAX] = kept;
        }
    }
}

impl Pages {
    fn note(&mut self, entity: &str, operation: Operation<Ask, Told>) {
        self.maybes += u64::from(matches!(operation.end, End::Maybe));
        self.histories.entry(entity.to_owned()).or_default().push(operation);
    }
}

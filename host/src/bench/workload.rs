//! The workloads: what each one asks of the bench guest, as HTTP requests and as invocations. Knows nothing of
//! how fast or over how many connections. Invariant: the same seed gives the same sequence of requests.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::wire;
use super::zipf::{Random, Zipf};
use crate::ids::{BadId, EntityRef};
use crate::limits;
use crate::partition::request::Invocation;

/// The name that the bench guest is deployed as.
pub(super) const APP: &str = "bench";
/// The name of the same guest as a noisy neighbour.
pub(super) const NOISY: &str = "noisy";
/// Messages of one call of `fanout`.
pub(super) const FAN: u64 = 100;
/// Bytes of one body of `big`: a little less than a value may have, for its encoding.
const BIG_BYTES: usize = limits::STATE_VALUE_BYTES_MAX - 4 * 1024;
/// Pages that `big` writes to.
const BIG_KEYS: u64 = 100;
const ZIPF_THETA: f64 = 0.99;
pub(super) const ADD_BY_ONE: &[u8] = br#"{"by":1}"#;
const JSON: &str = "content-type: application/json\r\n";

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Nothing is asked: what an idle host costs.
    Idle,
    /// Adds to keys chosen at random.
    Add,
    /// Adds to one key.
    Hot,
    /// Adds to keys chosen by Zipf's law with 0.99.
    Zipf,
    /// Adds, each with an `Idempotency-Key` of its own.
    Keyed,
    /// Adds that are queued.
    Send,
    /// Queries.
    Read,
    /// Two transactions and the message between them.
    Transfer,
    /// One call that sends 100 messages.
    Fanout,
    /// Bodies and values of almost 1 MiB.
    Big,
    /// Many sends that are due at the same time, accepted first and drained then.
    Backlog,
    /// Adds to keys chosen at random, all of which exist before.
    Entities,
    /// Starts after a kill under such adds.
    Restart,
    /// Adds of one app while another asks for ten times its quota.
    Neighbour,
}

impl Workload {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 14] = [
        ("idle", Self::Idle),
        ("add", Self::Add),
        ("hot", Self::Hot),
        ("zipf", Self::Zipf),
        ("keyed", Self::Keyed),
        ("send", Self::Send),
        ("read", Self::Read),
        ("transfer", Self::Transfer),
        ("fanout", Self::Fanout),
        ("big", Self::Big),
        ("backlog", Self::Backlog),
        ("entities", Self::Entities),
        ("restart", Self::Restart),
        ("neighbour", Self::Neighbour),
    ];

    /// True when its calls leave work behind that belongs to them: the time until that is done counts.
    pub(super) fn drains(self) -> bool {
        matches!(self, Self::Transfer | Self::Fanout)
    }

    /// True when it can be driven without HTTP.
    #[must_use]
    pub fn runs_inside(self) -> bool {
        matches!(self, Self::Add | Self::Hot | Self::Send | Self::Transfer | Self::Entities)
    }

    /// True when all its entities exist before it is measured.
    pub(super) fn is_filled(self) -> bool {
        matches!(self, Self::Entities | Self::Restart)
    }

    /// How many keys it chooses from when nobody says.
    pub(super) fn keys(self) -> &'static [u64] {
        match self {
            Self::Entities => &[10_000, 10_000_000],
            Self::Restart => &[1_000_000],
            _ => &[10_000],
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, workload)| workload == self).map_or("?", |all| all.0);
        f.write_str(name)
    }
}

/// A name that no workload has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no workload; there are {known}")]
pub struct UnknownWorkload {
    name: String,
    known: String,
}

impl FromStr for Workload {
    type Err = UnknownWorkload;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, workload)| *workload).ok_or_else(|| UnknownWorkload {
            name: name.into(),
            known: Self::ALL.map(|(known, _)| known).join(", "),
        })
    }
}

/// The requests of one driver, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Script {
    app: &'static str,
    workload: Workload,
    keys: u64,
    random: Random,
    zipf: Option<Zipf>,
    /// What `Idempotency-Key`s start with.
    prefix: u64,
    sent: u64,
    /// When sends are due, as a query string.
    due: String,
    big: Vec<u8>,
}

impl Script {
    /// `seed` sets the keys; two scripts of one run have different ones.
    pub(super) fn new(workload: Workload, keys: u64, seed: u64) -> Self {
        let keys = keys.max(2);
        let zipf = (workload == Workload::Zipf).then(|| Zipf::new(keys, ZIPF_THETA));
        let big = if workload == Workload::Big { vec![b'k'; BIG_BYTES] } else { vec![] };
        let mut random = Random::new(seed);
        let prefix = random.next();
        let (app, due) = (APP, String::new());
        Self { app, workload, keys, random, zipf, prefix, sent: 0, due, big }
    }

    /// The same, of another app.
    pub(super) fn of(mut self, app: &'static str) -> Self {
        self.app = app;
        self
    }

    /// The same, with sends that are due at `at` (RFC 3339).
    pub(super) fn due_at(mut self, at: &str) -> Self {
        self.due = format!("?at={at}");
        self
    }

    /// Replaces `out` by the next request.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let key = self.key();
        self.sent += 1;
        match self.workload {
            Workload::Idle
            | Workload::Add
            | Workload::Hot
            | Workload::Zipf
            | Workload::Entities
            | Workload::Restart
            | Workload::Neighbour => {
                wire::request(out, "POST", &path("call", self.app, key, "add"), JSON, ADD_BY_ONE);
            }
            Workload::Keyed => {
                let (prefix, sent) = (self.prefix, self.sent);
                let headers = format!("{JSON}idempotency-key: {prefix:016x}-{sent}\r\n");
                wire::request(
                    out,
                    "POST",
                    &path("call", self.app, key, "add"),
                    &headers,
                    ADD_BY_ONE,
                );
            }
            Workload::Send | Workload::Backlog => {
                let path = path("send", self.app, key, "add") + &self.due;
                wire::request(out, "POST", &path, JSON, ADD_BY_ONE);
            }
            Workload::Read => {
                wire::request(out, "GET", &path("read", self.app, key, "get"), "", b"");
            }
            Workload::Transfer => {
                let body = self.transfer(key);
                wire::request(
                    out,
                    "POST",
                    &path("call", self.app, key, "transfer"),
                    JSON,
                    body.as_bytes(),
                );
            }
            Workload::Fanout => {
                let body = format!(r#"{{"messages":{FAN}}}"#);
                wire::request(
                    out,
                    "POST",
                    &path("call", self.app, key, "fan"),
                    JSON,
                    body.as_bytes(),
                );
            }
            Workload::Big => {
                let path = format!("/v1/call/{APP}/page/p{}/put", key % BIG_KEYS);
                // Another value each time: one that is there already is not written again.
                let mark = format!("{:016x}", self.sent);
                self.big[..mark.len()].copy_from_slice(mark.as_bytes());
                wire::request(out, "POST", &path, "", &self.big);
            }
        }
    }

    /// The next request as the router takes it, for workloads that run without HTTP.
    pub(super) fn invocation(&mut self) -> Result<Invocation, BadId> {
        let key = self.key();
        let (handler, input) = match self.workload {
            Workload::Transfer => ("transfer", Bytes::from(self.transfer(key))),
            _ => ("add", Bytes::from_static(ADD_BY_ONE)),
        };
        Ok(Invocation {
            entity: EntityRef::new(APP, "counter", &key_name(key))?,
            handler: handler.into(),
            input,
            content_type: None,
            trace: None,
            idempotency_key: None,
        })
    }

    fn key(&mut self) -> u64 {
        match (&self.zipf, self.workload) {
            (Some(zipf), _) => zipf.draw(&mut self.random),
            (None, Workload::Hot) => 0,
            (None, _) => self.random.below(self.keys),
        }
    }

    /// The body of a transfer from `key` to another one.
    fn transfer(&mut self, key: u64) -> String {
        let to = (key + 1 + self.random.below(self.keys - 1)) % self.keys;
        format!(r#"{{"to":"k{to}","by":1}}"#)
    }
}

/// The key of counter number `key`.
pub(super) fn key_name(key: u64) -> String {
    format!("k{key}")
}

fn path(verb: &str, app: &str, key: u64, handler: &str) -> String {
    format!("/v1/{verb}/{app}/counter/k{key}/{handler}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(workload: Workload) -> String {
        let mut out = b"old".to_vec();
        Script::new(workload, 10, 1).write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn names_are_read_back() {
        for (name, workload) in Workload::ALL {
            assert_eq!((name.parse(), workload.to_string()), (Ok(workload), name.to_owned()));
        }
        let error = "adds".parse::<Workload>().expect_err("unknown").to_string();
        assert!(error.starts_with("\"adds\" is no workload; there are idle, add,"), "{error}");
    }

    #[test]
    fn every_workload_asks_for_what_its_name_says() {
        assert!(
            first(Workload::Hot).starts_with("POST /v1/call/bench/counter/k0/add HTTP/1.1\r\n")
        );
        assert!(first(Workload::Read).starts_with("GET /v1/read/bench/counter/k"));
        assert!(first(Workload::Send).starts_with("POST /v1/send/bench/counter/k"));
        assert!(first(Workload::Fanout).ends_with("{\"messages\":100}"));
        let big = first(Workload::Big);
        assert!(big.contains("/page/p") && big.len() > BIG_BYTES, "{} bytes", big.len());
        let mut script = Script::new(Workload::Big, 10, 1);
        let bodies = [(); 2].map(|()| {
            let mut out = vec![];
            script.write(&mut out);
            out.split_off(out.len() - BIG_BYTES)
        });
        assert_ne!(bodies[0], bodies[1], "each value is another one");
        let mut script = Script::new(Workload::Backlog, 10, 1).due_at("2030-01-01T00:00:00Z");
        let mut out = vec![];
        script.write(&mut out);
        assert!(String::from_utf8_lossy(&out).contains("/add?at=2030-01-01T00:00:00Z HTTP/1.1"));
    }

    #[test]
    fn idempotency_keys_are_fresh() {
        let mut keys = std::collections::BTreeSet::new();
        for seed in [1, 2] {
            let mut script = Script::new(Workload::Keyed, 10, seed);
            let mut out = vec![];
            for _ in 0..100 {
                script.write(&mut out);
                let text = String::from_utf8_lossy(&out).into_owned();
                let line = text.lines().find(|line| line.starts_with("idempotency-key: "));
                keys.insert(line.expect("a key").to_owned());
            }
        }
        assert_eq!(keys.len(), 200);
    }

    #[test]
    fn transfers_go_to_another_key() {
        let mut script = Script::new(Workload::Transfer, 2, 5);
        for _ in 0..50 {
            let invocation = script.invocation().expect("valid");
            let to = if invocation.entity.key() == "k0" { "k1" } else { "k0" };
            assert_eq!(invocation.input, format!(r#"{{"to":"{to}","by":1}}"#));
        }
    }
}

//! Clients that cost without asking for much: slow ones, many, ones that go away, ones that never read. Everybody
//! else is served meanwhile, and memory and open files are back at their base afterwards.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Guest, Host, PATIENCE, eventually};
use crate::watch::{Neighbour, P99_MAX, Process, assert_no_panic, closes_down_to, settles_below};
use crate::wire::Wire;

/// What the host may hold above its base once they are gone, in MiB.
const REST_MIB_MAX: u64 = 64;
/// What it may hold while they are there: a thousand connections with all that each may buffer would be more.
const PEAK_MIB_MAX: u64 = 256;
/// What the host gives a head, with a rest for a loaded machine.
const HEAD_ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A host with a neighbour, and what it holds.
struct Besieged {
    host: Host,
    process: Process,
    neighbour: Neighbour,
    base_mib: u64,
    base_files: usize,
    _alone: MutexGuard<'static, ()>,
}

/// One siege at a time: a neighbour suffers from its own host's guests, not from another test's.
static SIEGE: Mutex<()> = Mutex::const_new(());

impl Besieged {
    async fn new() -> Self {
        let alone = SIEGE.lock().await;
        let host = Host::with(Guest::Hostile, "app").await;
        Neighbour::settle(&host).await;
        host.client().call("app/probe/a", "bump", json!({})).ok().await;
        let process = Process::of(&host);
        let (base_mib, base_files) = (process.memory_mib(), process.open_files());
        let neighbour = Neighbour::start(host.client());
        Self { host, process, neighbour, base_mib, base_files, _alone: alone }
    }

    fn ingress(&self) -> String {
        self.host.addresses().ingress
    }

    fn admin(&self) -> String {
        self.host.addresses().admin
    }

    /// So many connections, each of which has said `bytes`.
    async fn connections(address: &str, count: usize, bytes: &[u8]) -> Vec<Wire> {
        let mut wires = Vec::new();
        for _ in 0..count {
            let mut wire = Wire::to(address).await;
            wire.say(bytes).await;
            wires.push(wire);
        }
        wires
    }

    /// Waits until the host knows of so many connections.
    async fn has_accepted(&self, count: usize) {
        let wanted = self.base_files + count;
        eventually("they are accepted", PATIENCE, || async move {
            let open = self.process.open_files();
            if open >= wanted { Ok(()) } else { Err(format!("{open} of {wanted} files")) }
        })
        .await;
    }

    /// The attack is over: nothing of it is left.
    async fn relieved(self, what: &str) {
        let peak_mib = self.process.peak_mib();
        let (count, p99) = self.neighbour.stop().await;
        closes_down_to(self.process, self.base_files + 4).await;
        settles_below(self.process, self.base_mib + REST_MIB_MAX).await;
        let (base, now) = (self.base_mib, self.process.memory_mib());
        println!("{what}: {base} MiB, at most {peak_mib}, now {now}; {count} neighbourly, {p99:?}");
        assert!(peak_mib < base + PEAK_MIB_MAX, "{peak_mib} MiB from {base}");
        assert!(p99 < P99_MAX, "the neighbour's p99 is {p99:?}");
        assert_no_panic(&self.host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_cut_off() {
    let besieged = Besieged::new().await;
    let parts: [&[u8]; 4] =
        [b"", b"P", b"POST /v1/call/app/probe/a/bump HTTP/1.1\r\nHost: lo", b"PRI * HTTP/2.0\r\n"];
    let mut tasks = JoinSet::new();
    for n in 0..200 {
        let (address, first) = (besieged.ingress(), parts[n % parts.len()].to_vec());
        tasks.spawn(async move {
            let mut wire = Wire::to(&address).await;
            let began = Instant::now();
            wire.say(&first).await;
            // A byte now and then: it is the whole head that has a time, not each byte.
            let mut pause = tokio::time::interval(Duration::from_millis(200));
            while began.elapsed() < HEAD_ENDS_WITHIN && (first.is_empty() || wire.say(b"x").await) {
                pause.tick().await;
                if first.is_empty() && wire.hear_end(Duration::from_millis(1)).await.is_some() {
                    break;
                }
            }
            began.elapsed()
        });
    }
    for took in tasks.join_all().await {
        assert!(took < HEAD_ENDS_WITHIN, "a slow head was there for {took:?}");
    }
    besieged.relieved("slow heads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_and_slow_bodies_leave_nothing() {
    let besieged = Besieged::new().await;
    let head = "POST /v1/call/app/probe/a/bump HTTP/1.1\r\nHost: localhost\r\n";
    let half = format!("{head}Content-Length: 1000000\r\n\r\n{{");
    let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n");
    for (address, bytes) in
        [(besieged.ingress(), &half), (besieged.ingress(), &chunks), (besieged.admin(), &half)]
    {
        let count = if address == besieged.admin() { 100 } else { 500 };
        let wires = Besieged::connections(&address, count, bytes.as_bytes()).await;
        besieged.has_accepted(count / 2).await;
        for (n, wire) in wires.into_iter().enumerate() {
            // Some go with a reset, some in order.
            if n % 2 == 0 {
                drop(wire.0.set_zero_linger());
            }
        }
    }
    besieged.relieved("half-open connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_hold_little() {
    let besieged = Besieged::new().await;
    let get = b"GET /v1/openapi/app HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let wires = Besieged::connections(&besieged.ingress(), 200, &get.repeat(300)).await;
    let held = besieged.process.memory_mib();
    assert!(held < besieged.base_mib + PEAK_MIB_MAX, "{held} MiB from {}", besieged.base_mib);
    drop(wires);
    besieged.relieved("clients that never read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_long_polls_that_go_away_leave_nothing() {
    let besieged = Besieged::new().await;
    let send = besieged.host.client().ingress(Method::POST, "/v1/send/app/probe/a/bump?delay=1h");
    let id = send.answer().await.expect_status(202).id();
    let poll = format!("GET /v1/messages/{id}?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for _ in 0..2 {
        let wires = Besieged::connections(&besieged.ingress(), 1_000, poll.as_bytes()).await;
        besieged.has_accepted(1_000).await;
        drop(wires);
    }
    besieged.relieved("long polls").await;
}

/// The cap of the admin listener is 256; that of ingress needs more files than a test may open.
#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_are_told_so() {
    const CAP: usize = 256;
    const GET: &[u8] = b"GET /admin/v1/apps HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let besieged = Besieged::new().await;
    let mut wires = Besieged::connections(&besieged.admin(), CAP + 40, GET).await;
    let (mut served, mut refused) = (0, 0);
    for wire in &mut wires {
        match wire.statuses(1).await.first() {
            Some(200) => served += 1,
            Some(503) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    // The neighbour's own client may hold connections to it, from its deploy.
    assert!((CAP - 4..=CAP).contains(&served), "{served} served, {refused} refused");
    assert!(refused >= 40, "{refused} refused");
    drop(wires);
    let client = besieged.host.client();
    eventually("the next one is served", Duration::from_secs(20), || async {
        let answer = client.admin(Method::GET, "/admin/v1/apps").answer().await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    besieged.relieved("too many connections").await;
}

/// Connections that only open and close, as fast as they can.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_passes() {
    let besieged = Besieged::new().await;
    for _ in 0..10 {
        drop(Besieged::connections(&besieged.ingress(), 500, b"").await);
    }
    besieged.relieved("a flood of connections").await;
}

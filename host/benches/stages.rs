//! Each stage of a call by itself, so that a regression has an address: `cargo bench -p keystead --bench stages`.
//! A stage is timed within whole batches of 64 calls on 10 000 entities, on real files; the figure is for the
//! batch, `elem/s` for its calls. `keystead bench` measures the whole. Invariant: nothing but the named stage is timed.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::request::Parts;
use keystead::bench::guest::OneGuest;
use keystead::engine::{Due, Isolation};
use keystead::ids::EntityRef;
use keystead::ingress;
use keystead::partition::request::{Invocation, Send};
use keystead::partition::stages::Machine;
use keystead::registry::Contract;

const BATCH: usize = 64;
const KEYS: usize = 10_000;

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Admit,
    Finish,
    Seal,
    Append,
    Deliver,
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
    Instant::now()
}

fn timed<R>(counts: bool, spent: &mut Duration, stage: impl FnOnce() -> R) -> R {
    let began = now();
    let result = stage();
    if counts {
        *spent += began.elapsed();
    }
    result
}

/// Entities in an order that jumps about, the same in each run.
struct Keys(usize);

impl Keys {
    fn next(&mut self) -> EntityRef {
        self.0 = (self.0 + 6_133) % KEYS;
        EntityRef::new("bench", "counter", &format!("key-{:05}", self.0)).expect("valid")
    }

    fn call(&mut self) -> Invocation {
        Invocation {
            entity: self.next(),
            handler: "add".into(),
            input: Bytes::from_static(b"{\"by\":1}"),
            content_type: None,
            trace: None,
            idempotency_key: None,
        }
    }

    fn calls(&mut self) -> Vec<Invocation> {
        (0..BATCH).map(|_| self.call()).collect()
    }
}

/// One batch of calls through the machine; how long `stage` took of it.
fn batch(machine: &mut Machine, calls: Vec<Invocation>, stage: Stage) -> Duration {
    let mut spent = Duration::ZERO;
    let is = |this| this == stage;
    timed(is(Stage::Admit), &mut spent, || machine.admit(calls));
    let ended = machine.run_guests();
    timed(is(Stage::Finish), &mut spent, || machine.finish(ended));
    timed(is(Stage::Seal), &mut spent, || machine.seal());
    timed(is(Stage::Append), &mut spent, || machine.append()).expect("appends");
    timed(is(Stage::Deliver), &mut spent, || machine.deliver());
    spent
}

fn call_stages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, stage) in [
        ("admit", Stage::Admit),
        ("finish and apply", Stage::Finish),
        ("seal", Stage::Seal),
        ("journal append", Stage::Append),
        ("deliver replies", Stage::Deliver),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        let mut machine = Machine::open(folder.path()).expect("opens");
        let mut keys = Keys(0);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds).map(|_| batch(&mut machine, keys.calls(), stage)).sum()
            });
        });
    }
    group.finish();
}

/// A message from its acceptance until its effects are applied, without the guest and the disk.
fn message_delivery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Elements(BATCH as u64));
    let folder = tempfile::tempdir().expect("folder");
    let mut machine = Machine::open(folder.path()).expect("opens");
    let mut keys = Keys(0);
    group.bench_function("delivery", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let send = |invocation| Send { invocation, due: Due::Now };
                let sends = keys.calls().into_iter().map(send).collect();
                timed(true, &mut spent, || machine.send(sends));
                let ended = machine.run_guests();
                timed(true, &mut spent, || machine.finish(ended));
                machine.seal();
                machine.append().expect("appends");
                machine.deliver();
            }
            spent
        });
    });
    group.finish();
}

/// One checkpoint of 10 000 changed entities.
fn checkpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10).throughput(Throughput::Elements(KEYS as u64));
    let folder = tempfile::tempdir().expect("folder");
    let mut machine = Machine::open(folder.path()).expect("opens");
    let mut keys = Keys(0);
    group.bench_function("write", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                for _ in 0..KEYS.div_ceil(BATCH) {
                    batch(&mut machine, keys.calls(), Stage::Seal);
                }
                // The first batch of all began one that holds little.
                machine.write_checkpoint().expect("writes");
                machine.freeze();
                timed(true, &mut spent, || machine.write_checkpoint()).expect("writes");
            }
            spent
        });
    });
    group.finish();
}

fn decode_request(criterion: &mut Criterion) {
    let contract = Contract::parse(
        br#"{"sdk":{"name":"keystead-sdk","version":"0.1.0"},"entities":[{"type":"counter","handlers":[
        {"name":"add","kind":"command","input":{"json":{"type":"object","properties":{"by":
        {"type":"integer"}},"required":["by"],"additionalProperties":false}},"output":{"json":{}}}]}]}"#,
    );
    let contract = contract.expect("valid");
    let request = http::Request::post("/v1/call/bench/counter/key-00042/add")
        .header("content-type", "application/json")
        .header("idempotency-key", "a-key-of-the-client")
        .body(());
    let (parts, ()): (Parts, ()) = request.expect("valid").into_parts();
    let body = Bytes::from_static(b"{\"by\":1}");
    criterion.bench_function("decode request", |bencher| {
        bencher.iter(|| {
            let rest = parts.uri.path().strip_prefix("/v1/call/").expect("a call");
            let decoded = ingress::decode(black_box(&parts), rest, &contract, body.clone());
            assert!(decoded.is_ok(), "it is a good one");
            decoded
        });
    });
}

fn guest_call(criterion: &mut Criterion) {
    let keystead = env!("CARGO_BIN_EXE_keystead");
    let built = Command::new(keystead)
        .args(["build", "--json", concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/bench")])
        .output()
        .expect("runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let built: serde_json::Value = serde_json::from_slice(&built.stdout).expect("JSON");
    let component = std::fs::read(built["component"].as_str().expect("a path")).expect("built");
    let folder = tempfile::tempdir().expect("folder");
    for (name, isolation) in [("warm", Isolation::App), ("fresh", Isolation::Invocation)] {
        let kind = ("counter", isolation);
        let guest = OneGuest::prepare(keystead.as_ref(), &component, folder.path(), kind);
        let mut guest = guest.expect("prepares");
        criterion.bench_function(&format!("guest call, {name}"), |bencher| {
            bencher.iter(|| guest.call("add", b"{\"by\":1}").expect("answers"));
        });
    }
}

criterion_group!(stages, decode_request, guest_call, call_stages, message_delivery, checkpoint);
criterion_main!(stages);

//! Calls: how each kind of ending looks, and when an instance is used again.

use std::time::Duration;

use super::super::testing::{MapIo, call, component, engine};
use super::super::{
    Call, Continuation, Due, Failure, Guest, Isolation, LogLevel, Outcome, Trap, Worker,
};
use crate::limits;

/// A worker and the guest of `guest.wat`; the cache folder goes when the test ends.
struct Bench {
    worker: Worker,
    guest: Guest,
    _cache: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let cache = tempfile::tempdir().expect("tempdir");
        let engine = engine(cache.path());
        let guest = engine.prepare(&component("{}")).expect("prepared");
        Self { worker: Worker::new(&engine), guest, _cache: cache }
    }

    fn run(&mut self, call: Call<'_>, io: MapIo) -> (Outcome, MapIo) {
        MapIo::back(self.worker.run(&self.guest, call, Box::new(io)))
    }

    fn trap(&mut self, handler: &str) -> Trap {
        match self.run(call(handler, b""), MapIo::new("app", "k")).0 {
            Outcome::Trapped(trap) => trap,
            other => panic!("{handler}: {other:?}"),
        }
    }

    /// How many calls the instance that serves this app has had, this one included.
    fn count(&mut self, app: &str) -> u32 {
        self.count_call(call("count", b""), app)
    }

    fn count_call(&mut self, call: Call<'_>, app: &str) -> u32 {
        match self.run(call, MapIo::new(app, "k")).0 {
            Outcome::Reply(bytes) => u32::from_le_bytes(bytes[..].try_into().expect("4 bytes")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reply_and_a_failure_come_back() {
    let mut bench = Bench::new();
    let (outcome, _) = bench.run(call("echo", b"hello"), MapIo::new("app", "k"));
    assert_eq!(outcome, Outcome::Reply("hello".into()));
    let (outcome, _) = bench.run(call("fail", b""), MapIo::new("app", "k"));
    let failure = Failure {
        code: "no_luck".into(),
        message: "not today".into(),
        details: Some("{\"why\":1}".into()),
        retryable: true,
    };
    assert_eq!(outcome, Outcome::Failed(failure));
}

#[test]
fn host_calls_reach_the_calls_own_io() {
    let mut bench = Bench::new();
    let (_, one) = bench.run(call("write", b"1"), MapIo::new("app", "one"));
    let (_, two) = bench.run(call("write", b"22"), MapIo::new("app", "two"));
    assert_eq!(one.state[&b"key"[..]], "1");
    assert_eq!(two.state[&b"key"[..]], "22");
    let (outcome, one) = bench.run(call("get", b""), one);
    assert_eq!(outcome, Outcome::Reply("1".into()));
    let (outcome, one) = bench.run(call("t", b""), one);
    assert_eq!(outcome, Outcome::Reply("msg_00000000000000000000000000000001".into()));
    assert_eq!(one.sent, [("other/key/no_luck".into(), Due::AtMs(1_700_000_001_123), None)]);
}

#[test]
fn each_ending_has_its_trap() {
    let mut bench = Bench::new();
    assert_eq!(bench.trap("panic"), Trap::Panic("went wrong on purpose".into()));
    assert_eq!(bench.trap("stack"), Trap::Stack);
    assert_eq!(bench.trap("rust-stack"), Trap::Stack);
    assert_eq!(bench.trap("memory"), Trap::Memory(limits::GUEST_MEMORY_BYTES_MAX as u64));
    assert!(
        matches!(bench.trap("unreachable"), Trap::Other(text) if text.contains("without a reason"))
    );
    assert_eq!(bench.trap("deref"), Trap::Other("out of bounds memory access".into()));
    let text = "bytes of the reply is over its limit of 1048576";
    assert_eq!(bench.trap("big"), Trap::Misuse(text.into()));
    let text = "bytes of one host call is over its limit of 4194304";
    assert_eq!(bench.trap("x"), Trap::Misuse(text.into()));
    let text = "number of host calls is over its limit of 1000000";
    assert_eq!(bench.trap("host-calls"), Trap::Misuse(text.into()));
}

#[test]
fn a_loop_ends_at_its_deadline() {
    let mut bench = Bench::new();
    let deadline = Duration::from_millis(60);
    #[expect(clippy::disallowed_methods, reason = "measures the deadline itself")]
    let start = std::time::Instant::now();
    let (outcome, _) = bench.run(Call { deadline, ..call("loop", b"") }, MapIo::new("app", "k"));
    assert_eq!(outcome, Outcome::Trapped(Trap::Deadline(60)));
    assert!(start.elapsed() >= deadline);
}

#[test]
fn a_smaller_memory_limit_counts_for_its_call() {
    let mut bench = Bench::new();
    let memory_bytes_max = 1024 * 1024;
    let small = Call { memory_bytes_max, ..call("memory", b"") };
    let (outcome, _) = bench.run(small, MapIo::new("app", "k"));
    assert_eq!(outcome, Outcome::Trapped(Trap::Memory(memory_bytes_max as u64)));
    let too_small = Call { memory_bytes_max: 64 * 1024, ..call("echo", b"") };
    let (outcome, _) = bench.run(too_small, MapIo::new("app", "k"));
    assert_eq!(outcome, Outcome::Trapped(Trap::Memory(64 * 1024)), "its first memory is larger");
}

#[test]
fn a_fault_of_the_io_keeps_its_kind() {
    let mut bench = Bench::new();
    let io = MapIo { read_only: true, ..MapIo::new("app", "k") };
    let (outcome, io) = bench.run(call("write", b"1"), io);
    let Outcome::Trapped(Trap::ReadOnly(text)) = outcome else { panic!("{outcome:?}") };
    assert!(text.contains("a query may not write state"), "{text}");
    assert!(io.state.is_empty());
}

#[test]
fn a_panic_of_the_host_costs_one_call() {
    let mut bench = Bench::new();
    let io = MapIo { panics: true, ..MapIo::new("app", "k") };
    let (outcome, _) = bench.run(call("ask", b""), io);
    assert_eq!(outcome, Outcome::Trapped(Trap::Other("the host panicked: on purpose".into())));
    assert_eq!(bench.count("app"), 1, "the instance is gone, the worker is not");
}

#[test]
fn lines_are_cut_and_counted_and_a_trap_leaves_its_backtrace() {
    let mut bench = Bench::new();
    let (_, io) = bench.run(call("o", b""), MapIo::new("app", "k"));
    assert_eq!(io.lines.len(), limits::LOG_LINES_PER_CALL_MAX + 1);
    assert!(io.lines[0].1.len() <= limits::LOG_LINE_BYTES_MAX);
    let last = &io.lines[limits::LOG_LINES_PER_CALL_MAX];
    assert_eq!(*last, (LogLevel::Warn, "3 more lines dropped: a call may log 100".into()));

    let (_, io) = bench.run(call("unreachable", b""), MapIo::new("app", "k"));
    assert!(io.lines[0].1.contains("wasm backtrace"), "{:?}", io.lines);
}

#[test]
fn a_page_is_cut_by_bytes_but_never_empty() {
    let mut bench = Bench::new();
    let mut io = MapIo::new("app", "k");
    for n in 0..10_u8 {
        io.state.insert(vec![n], vec![n; limits::STATE_VALUE_BYTES_MAX].into());
    }
    let (outcome, mut io) = bench.run(call("n", b""), io);
    assert_eq!(
        outcome,
        Outcome::Reply(3_u32.to_le_bytes().to_vec().into()),
        "four do not fit with keys"
    );
    io.state = [(vec![0], vec![0; limits::SCAN_BYTES_MAX].into())].into();
    let (outcome, _) = bench.run(call("n", b""), io);
    assert_eq!(outcome, Outcome::Reply(1_u32.to_le_bytes().to_vec().into()));
}

#[test]
fn an_instance_serves_its_app_again_and_no_other() {
    let mut bench = Bench::new();
    assert_eq!([bench.count("one"), bench.count("one")], [1, 2]);
    assert_eq!(bench.count("two"), 1, "the same bytes, another app");
    assert_eq!(bench.count("one"), 3);
    let alone = Call { isolation: Isolation::Invocation, ..call("count", b"") };
    assert_eq!([bench.count_call(alone, "one"), bench.count_call(alone, "one")], [1, 1]);
    assert_eq!(bench.count("one"), 4, "and the warm one is still there");
}

#[test]
fn an_instance_is_gone_after_a_trap_but_not_after_a_failure() {
    let mut bench = Bench::new();
    for handler in ["echo", "fail", "quiet-reason"] {
        let before = bench.count("app");
        let _ = bench.run(call(handler, b""), MapIo::new("app", "k"));
        assert_eq!(bench.count("app"), before + 2, "{handler}");
    }
    let trap = bench.trap("unreachable");
    assert!(matches!(trap, Trap::Other(_)), "an old reason is not a new panic's: {trap}");
    assert_eq!(bench.count("app"), 1);
}

#[test]
fn an_instance_is_gone_after_its_calls_or_when_it_grew() {
    let mut bench = Bench::new();
    for n in 1..=limits::WARM_CALLS_MAX {
        assert_eq!(bench.count("app"), n);
    }
    assert_eq!(bench.count("app"), 1);
    let _ = bench.run(call("keep", b""), MapIo::new("app", "k"));
    assert_eq!(bench.count("app"), 3, "17 MiB are kept");
    let _ = bench.run(call("keep", b""), MapIo::new("app", "k"));
    assert_eq!(bench.count("app"), 1, "34 MiB are not");
    let low = Call { memory_bytes_max: 200_000, ..call("count", b"") };
    let outcome = bench.run(low, MapIo::new("app", "k")).0;
    assert_eq!(outcome, Outcome::Trapped(Trap::Memory(200_000)), "the warm one is over this limit");
}

#[test]
fn warm_instances_share_their_workers_memory() {
    let mut bench = Bench::new();
    let fit = limits::WARM_BYTES_PER_WORKER_MAX / (18 * 1024 * 1024);
    assert!(fit < limits::WARM_INSTANCES_PER_WORKER_MAX, "their number is not what ends them");
    let apps: Vec<_> =
        (0..limits::WARM_INSTANCES_PER_WORKER_MAX).map(|n| format!("a{n}")).collect();
    for app in &apps {
        let _ = bench.run(call("keep", b""), MapIo::new(app, "k"));
    }
    for app in apps.iter().rev().take(fit) {
        assert_eq!(bench.count(app), 2, "{app} is warm");
    }
    assert_eq!(bench.count(&apps[0]), 1, "the oldest made room");
}

#[test]
fn the_least_recently_used_app_goes_first() {
    let mut bench = Bench::new();
    let apps: Vec<_> =
        (0..=limits::WARM_INSTANCES_PER_WORKER_MAX).map(|n| format!("a{n}")).collect();
    for app in &apps[..limits::WARM_INSTANCES_PER_WORKER_MAX] {
        assert_eq!(bench.count(app), 1);
    }
    assert_eq!(bench.count(&apps[0]), 2);
    assert_eq!(bench.count(&apps[limits::WARM_INSTANCES_PER_WORKER_MAX]), 1, "one too many");
    assert_eq!(bench.count(&apps[0]), 3, "used a moment ago");
    assert_eq!(bench.count(&apps[1]), 1, "the oldest made room");
}

#[test]
fn what_hears_of_an_end_crosses_whole() {
    let mut bench = Bench::new();
    let then = |patient| {
        let (handler, context) = ("key".to_owned(), "{\"why\":1}".into());
        Continuation { handler, context, patient }
    };
    let due = Due::AtMs(1_700_000_001_123);
    let (outcome, io) = bench.run(call("v", b""), MapIo::new("app", "k"));
    assert_eq!(outcome, Outcome::Reply("msg_00000000000000000000000000000001".into()));
    assert_eq!(io.sent, [("other/key/no_luck".into(), due, Some(then(true)))]);
    let (outcome, io) = bench.run(call("y", b""), io);
    assert_eq!(outcome, Outcome::Reply("token-1".into()));
    assert_eq!(io.callbacks, [(then(false), due)]);
    let (outcome, io) = bench.run(call("z", b"token-1"), io);
    assert_eq!(outcome, Outcome::Reply("\u{1}".into()));
    let (outcome, _) = bench.run(call("z", b"token-2"), io);
    assert_eq!(outcome, Outcome::Reply("\0".into()));
    let query = MapIo { read_only: true, ..MapIo::new("app", "k") };
    let (outcome, _) = bench.run(call("y", b""), query);
    assert!(matches!(outcome, Outcome::Trapped(Trap::ReadOnly(_))), "{outcome:?}");
}

//! Values at their limits, which pass, and one more, which do not; and arguments without sense.

use super::super::wat::Wat;
use super::{Attack, Ends, misuse, row};

/// Where large values stand.
const LETTERS: &str = "(i32.const 2097152)";
const LARGE: &str = "(memory (export \"memory\") 1000)";

/// Does `code` with six million `k` from 2 MiB on.
fn wide(code: &str) -> Wat {
    let fill = "(memory.fill (i32.const 2097152) (i32.const 107) (i32.const 6000000))";
    Wat::handles(&format!("{fill} {code}")).memory(LARGE)
}

fn set(key_len: u32, value_len: u32) -> Vec<u8> {
    let value = format!("{LETTERS} (i32.const {value_len})");
    wide(&format!("(call $set {LETTERS} (i32.const {key_len}) {value})")).build()
}

fn send(kind_len: u32, key_len: u32, handler: &str, input_len: u32) -> Vec<u8> {
    let target = format!("(i32.const 272) (i32.const {kind_len}) {LETTERS} (i32.const {key_len})");
    let input = format!("{LETTERS} (i32.const {input_len})");
    let due = "(i32.const 1) (i64.const -1)";
    wide(&format!("(call $send {target} {handler} {input} {due} (i32.const 64))")).build()
}

fn timer(name_len: u32) -> Vec<u8> {
    let name = format!("{LETTERS} (i32.const {name_len})");
    let due = "(i32.const 2) (i64.const -1)";
    wide(&format!("(call $timer {name} {HEARD} (i32.const 320) (i32.const 2) {due})")).build()
}

fn then(handler: &str, context: &str) -> Vec<u8> {
    let due = "(i32.const 1) (i64.const 1000)";
    wide(&format!("(call $callback {handler} {context} (i32.const 0) {due} (i32.const 64))"))
        .build()
}

fn reply(len: u32) -> Vec<u8> {
    wide(&format!("(return (call $reply {LETTERS} (i32.const {len})))")).build()
}

/// A failure with this many bytes of code, message and details.
fn failure(code: u32, message: u32, details: u32) -> Vec<u8> {
    let text = |at: u32, len: u32| {
        format!(
            "(i32.store (i32.const {at}) {LETTERS}) (i32.store (i32.const {}) (i32.const {len}))",
            at + 4
        )
    };
    let (code, message, details) = (text(4, code), text(12, message), text(24, details));
    wide(&format!(
        "(i32.store8 (i32.const 0) (i32.const 1)) {code} {message} \
         (i32.store8 (i32.const 20) (i32.const 1)) {details} \
         (i32.store8 (i32.const 32) (i32.const 0)) (return (i32.const 0))"
    ))
    .build()
}

const HEARD: &str = "(i32.const 304) (i32.const 5)";
const EMPTY_OBJECT: &str = "(i32.const 320) (i32.const 2)";

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = of_state();
    rows.extend(of_messages());
    rows.extend(of_results());
    rows
}

fn of_state() -> Vec<Attack> {
    vec![
        row("the largest value", Ends::Answers(200), || set(1024, 1_048_576)),
        row("a value of a byte more", misuse("state value bytes"), || set(3, 1_048_577)),
        row("a key of a byte more", misuse("state key bytes"), || set(1025, 3)),
        row("an empty key", misuse("at least 1 byte"), || set(0, 3)),
        row("a value over a host call's bytes", misuse("one host call"), || set(3, 5_000_000)),
        row("sixteen of the largest values", Ends::Stopped("transaction bytes"), || {
            let set = format!("(call $set {LETTERS} (i32.const 3) {LETTERS} (i32.const 1048576))");
            Wat::floods(&set).memory(LARGE).build()
        }),
        row("the most random bytes", Ends::Answers(200), || {
            Wat::handles("(call $random (i32.const 1024) (i32.const 64))").build()
        }),
        row("a random byte more", misuse("random bytes"), || {
            Wat::handles("(call $random (i32.const 1025) (i32.const 64))").build()
        }),
        row("four billion random bytes", misuse("random bytes"), || {
            Wat::handles("(call $random (i32.const -1) (i32.const 64))").build()
        }),
        row("a scan backwards from behind its end", Ends::Answers(200), || {
            Wat::handles(
                "(call $scan (i32.const 304) (i32.const 5) (i32.const 1) (i32.const 272) \
                 (i32.const 3) (i32.const -1) (i32.const 1) (i32.const 64))",
            )
            .build()
        }),
    ]
}

fn of_messages() -> Vec<Attack> {
    vec![
        row("the largest message", Ends::Answers(200), || send(5, 512, HEARD, 1_048_576)),
        row("a message of a byte more", misuse("message body"), || send(5, 3, HEARD, 1_048_577)),
        row("a message to a key of a byte more", misuse("512"), || send(5, 513, HEARD, 2)),
        row("a message to an empty key", misuse("key"), || send(5, 0, HEARD, 2)),
        row("a message to an empty type", misuse("type"), || send(0, 3, HEARD, 2)),
        row("a message to a query", misuse("no command"), || {
            send(5, 3, "(i32.const 304) (i32.const 4)", 2)
        }),
        row("a cancel of what is no id", misuse("msg_"), || {
            Wat::handles("(drop (call $unsend (i32.const 272) (i32.const 5)))").build()
        }),
        row("a timer with the longest name", Ends::Answers(200), || timer(64)),
        row("a timer with a byte more", misuse("timer"), || timer(65)),
        row("a timer without a name", misuse("timer"), || timer(0)),
        row("a continuation that nobody has", misuse("no command"), || {
            then("(i32.const 272) (i32.const 5)", EMPTY_OBJECT)
        }),
        row("a context that is no JSON", misuse("context"), || {
            then(HEARD, "(i32.const 272) (i32.const 5)")
        }),
        row("a context over its limit", misuse("context bytes"), || {
            then(HEARD, &format!("{LETTERS} (i32.const 65537)"))
        }),
        row("a withdrawal of what is no token", misuse("token"), || {
            Wat::handles("(drop (call $uncallback (i32.const 272) (i32.const 5)))").build()
        }),
    ]
}

fn of_results() -> Vec<Attack> {
    vec![
        // It is no JSON either: what a handler returns is its own affair.
        row("the largest reply", Ends::Answers(200), || reply(1_048_576)),
        row("a reply of a byte more", misuse("bytes of the reply"), || reply(1_048_577)),
        row("a reply of 60 MB", misuse("one host call"), || reply(60_000_000)),
        row("a reply that is no UTF-8", Ends::Answers(200), || {
            Wat::returns("(call $reply (i32.const 336) (i32.const 4))").build()
        }),
        row("a failure with endless texts", Ends::Answers(422), || {
            failure(100_000, 900_000, 1_000_000)
        }),
        row("a failure with details of a byte more", misuse("failure's details"), || {
            failure(4, 4, 1_048_577)
        }),
        row("a failure over a host call's bytes", misuse("one host call"), || {
            failure(5_000_000, 4, 4)
        }),
        row(
            "a panic with an endless reason",
            Ends::Fails(500, "handler_panicked", true, "kkkk"),
            || {
                wide(&format!("(call $panicked {LETTERS} (i32.const 1000000)) (unreachable)"))
                    .build()
            },
        ),
        row("a panic with a reason over a host call's bytes", misuse("one host call"), || {
            wide(&format!("(call $panicked {LETTERS} (i32.const 5000000)) (unreachable)")).build()
        }),
        row("a reason for a panic, and no panic", Ends::Answers(200), || {
            Wat::handles("(call $panicked (i32.const 272) (i32.const 5))").build()
        }),
    ]
}

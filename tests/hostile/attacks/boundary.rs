//! Lies at the canonical ABI: lengths and pointers out of bounds, tags that do not exist, texts that are none, and
//! memory that is handed out wrongly.

use super::super::wat::Wat;
use super::{Attack, Ends, bad, misuse, row, trapped};

/// Stores `value` at `at` as four bytes.
fn store(at: u32, value: i64) -> String {
    format!("(i32.store (i32.const {at}) (i32.const {value}))")
}

/// A handler's result: a list of `len` bytes at `at`.
fn reply(at: i64, len: i64) -> Vec<u8> {
    Wat::returns(&format!("(call $reply (i32.const {at}) (i32.const {len}))")).build()
}

/// A handler's result: a failure whose fields `change` spoils.
fn failure(change: &str) -> Vec<u8> {
    let fields = [store(0, 1), store(4, 272), store(8, 5), store(12, 272), store(16, 5)].concat();
    Wat::returns(&format!("{fields} {change} (i32.const 0)")).build()
}

/// A describe that returns `len` bytes at `at`.
fn describe(at: i64, len: i64) -> Vec<u8> {
    Wat::right().describes(&format!("{} {} (i32.const 0)", store(0, at), store(4, len))).build()
}

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = results();
    rows.extend(arguments());
    rows.extend(lists_and_answers());
    rows.extend(allocations());
    rows
}

fn results() -> Vec<Attack> {
    vec![
        row("a reply out of bounds", trapped("out of bounds"), || reply(2_097_100, 100)),
        row("a reply that wraps around", trapped("out of bounds"), || reply(-4, 100)),
        row("a reply of two to the power of 31 bytes", trapped("out of bounds"), || {
            reply(0, 2_147_483_648)
        }),
        row("a reply of no bytes nowhere", trapped("out of bounds"), || reply(-1, 0)),
        row("a result at an odd address", trapped("aligned"), || {
            Wat::returns("(i32.const 1)").build()
        }),
        row("a result out of bounds", trapped("out of bounds"), || {
            Wat::returns("(i32.const -8)").build()
        }),
        row("a result that is neither", trapped("discriminant"), || {
            Wat::returns(&format!("{} (i32.const 0)", store(0, 7))).build()
        }),
        row("a failure whose code is no text", trapped("utf-8"), || {
            failure(&[store(4, 336), store(8, 4)].concat())
        }),
        row("a failure whose message is out of bounds", trapped("out of bounds"), || {
            failure(&store(16, -1))
        }),
        row("a failure with details that are neither", trapped("discriminant"), || {
            failure(&store(20, 9))
        }),
        // Any byte but 0 is true; so it may be tried again.
        row("a failure whose truth is 77", Ends::Fails(500, "probe", true, "probe"), || {
            failure(&store(32, 77))
        }),
        row("a document out of bounds", bad("out of bounds"), || describe(2_097_100, 100)),
        row("a document of two to the power of 31 bytes", bad("out of bounds"), || {
            describe(0, 2_147_483_648)
        }),
    ]
}

fn arguments() -> Vec<Attack> {
    const VALUE: &str = "(i32.const 256) (i32.const 4)";
    vec![
        row("a key out of bounds", trapped("out of bounds"), || {
            Wat::handles(&format!("(call $set (i32.const -1) (i32.const 9) {VALUE})")).build()
        }),
        row("a key of two to the power of 31 bytes", trapped("out of bounds"), || {
            Wat::handles(&format!("(call $set (i32.const 0) (i32.const 0x80000000) {VALUE})"))
                .build()
        }),
        row("a line that is no text", trapped("utf-8"), || {
            Wat::handles("(call $emit (i32.const 1) (i32.const 336) (i32.const 4))").build()
        }),
        row("a level that there is not", trapped("discriminant"), || {
            Wat::handles("(call $emit (i32.const 9) (i32.const 256) (i32.const 4))").build()
        }),
        row("a direction that there is not", trapped("discriminant"), || {
            Wat::handles(
                "(call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
                 (i32.const 0) (i32.const 5) (i32.const 99) (i32.const 64))",
            )
            .build()
        }),
        row("an end that is neither there nor not", trapped("discriminant"), || {
            Wat::handles(
                "(call $scan (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 0) \
                 (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 64))",
            )
            .build()
        }),
        row("a due that there is not", trapped("discriminant"), || {
            Wat::handles(
                "(call $timer (i32.const 272) (i32.const 5) (i32.const 304) (i32.const 5) \
                 (i32.const 320) (i32.const 2) (i32.const 77) (i64.const 1))",
            )
            .build()
        }),
    ]
}

fn lists_and_answers() -> Vec<Attack> {
    vec![
        row("keys out of bounds", trapped("out of bounds"), || {
            Wat::handles("(call $get_many (i32.const -8) (i32.const 9) (i32.const 64))").build()
        }),
        row("two to the power of 31 keys", trapped("out of bounds"), || {
            Wat::handles("(call $get_many (i32.const 0) (i32.const 0x80000000) (i32.const 64))")
                .build()
        }),
        row("keys at an odd address", trapped("aligned"), || {
            Wat::handles("(call $get_many (i32.const 3) (i32.const 2) (i32.const 64))").build()
        }),
        row("a thousand keys that are all the same megabyte", misuse("one host call"), || {
            let key = format!(
                "(i32.store (i32.add (i32.const 65536) (i32.mul (local.get $n) (i32.const 8))) \
                 (i32.const 131072)) \
                 (i32.store (i32.add (i32.const 65540) (i32.mul (local.get $n) (i32.const 8))) \
                 (i32.const 1000000)) {}",
                "(local.set $n (i32.add (local.get $n) (i32.const 1)))"
            );
            Wat::handles(&format!(
                "(loop $more {key} (br_if $more (i32.lt_u (local.get $n) (i32.const 1000)))) \
                 (call $get_many (i32.const 65536) (i32.const 1000) (i32.const 64))"
            ))
            .build()
        }),
        row("a million empty keys", misuse(""), || {
            Wat::handles("(call $get_many (i32.const 1048576) (i32.const 1000000) (i32.const 64))")
                .memory("(memory (export \"memory\") 200)")
                .build()
        }),
        row("an answer to out of bounds", trapped("out of bounds"), || {
            Wat::handles("(call $get (i32.const 288) (i32.const 3) (i32.const -4))").build()
        }),
        row("an answer to an odd address", trapped("aligned"), || {
            Wat::handles("(call $get (i32.const 288) (i32.const 3) (i32.const 65))").build()
        }),
    ]
}

fn allocations() -> Vec<Attack> {
    vec![
        row("memory handed out beyond its end", trapped("beyond end"), || {
            Wat::right().realloc("(i32.const -16)").build()
        }),
        // Its own data is all that it can spoil: the reply that stood there.
        row("memory handed out over its own data", Ends::Answers(200), || {
            Wat::right().realloc("(i32.const 0)").build()
        }),
        row("unreachable in realloc", trapped("without a reason"), || {
            Wat::right().realloc("(unreachable)").build()
        }),
        row("memory that grows in realloc", Ends::Answers(200), || {
            Wat::right()
                .realloc("(drop (memory.grow (i32.const 1))) (i32.const 1048576)")
                .post("")
                .build()
        }),
    ]
}

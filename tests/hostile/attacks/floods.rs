//! Guests that call each import without end. Texts stand where `wat` keeps them.

use super::super::wat::Wat;
use super::{Attack, Ends, row};

/// Four bytes at 512 that count the rounds: a key of its own for each.
const COUNT: &str = "(i32.store (i32.const 512) (local.get $n))";
const TO_ITSELF: &str = "(i32.const 272) (i32.const 5) (i32.const 288) (i32.const 3)";
const TO_HEARD: &str = "(i32.const 304) (i32.const 5) (i32.const 320) (i32.const 2)";
/// The same handler and context as a continuation has them, impatient.
const THEN: &str = "(i32.const 304) (i32.const 5) (i32.const 320) (i32.const 2) (i32.const 0)";
const NOW: &str = "(i32.const 0) (i64.const 0)";
const IN_AN_HOUR: &str = "(i32.const 1) (i64.const 3600000)";

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = of_state();
    rows.extend(of_messages());
    rows.extend(of_the_rest());
    rows
}

fn of_state() -> Vec<Attack> {
    vec![
        row("get without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $get (i32.const 288) (i32.const 3) (i32.const 64))").build()
        }),
        row("get of absent keys without end", Ends::Stopped("limit"), || {
            Wat::floods(&format!(
                "{COUNT} (call $get (i32.const 512) (i32.const 4) (i32.const 64))"
            ))
            .build()
        }),
        row("get-many without end", Ends::Stopped("limit"), || {
            // A thousand keys, all of them the same empty list at 0.
            Wat::floods("(call $get_many (i32.const 131072) (i32.const 1000) (i32.const 64))")
                .build()
        }),
        row("set of one key without end", Ends::Stopped("transaction bytes"), || {
            Wat::floods(
                "(call $set (i32.const 288) (i32.const 3) (i32.const 65536) (i32.const 65536))",
            )
            .build()
        }),
        row("set of tiny rows without end", Ends::Stopped("limit"), || {
            let set = "(call $set (i32.const 512) (i32.const 4) (i32.const 0) (i32.const 0))";
            Wat::floods(&format!("{COUNT} {set}")).build()
        }),
        row("delete without end", Ends::Stopped("limit"), || {
            Wat::floods(&format!("{COUNT} (call $delete (i32.const 512) (i32.const 4))")).build()
        }),
        row("scan of much without end", Ends::Stopped("limit"), || {
            // Three rows of a million bytes, then scans of all of them.
            let row = "(i32.store8 (i32.const 288) (local.get $n)) \
                (call $set (i32.const 288) (i32.const 3) (i32.const 65536) (i32.const 1000000))";
            let first = format!("(if (i32.lt_u (local.get $n) (i32.const 3)) (then {row}))");
            let scan = "(call $scan (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
                (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 64))";
            Wat::floods(&format!("{first} {scan}"))
                .memory("(memory (export \"memory\") 128)")
                .build()
        }),
    ]
}

fn of_messages() -> Vec<Attack> {
    vec![
        row("send without end", Ends::Stopped("messages and timers"), || {
            Wat::floods(&format!("(call $send {TO_ITSELF} {TO_HEARD} {NOW} (i32.const 64))"))
                .build()
        }),
        row("send and cancel without end", Ends::Stopped("limit"), || {
            let send = format!("(call $send {TO_ITSELF} {TO_HEARD} {IN_AN_HOUR} (i32.const 64))");
            let cancel =
                "(drop (call $unsend (i32.load (i32.const 64)) (i32.load (i32.const 68))))";
            Wat::floods(&format!("{send} {cancel}")).build()
        }),
        row("call-then without end", Ends::Stopped("messages and timers"), || {
            let then = format!("{TO_ITSELF} {TO_HEARD} {NOW} {THEN} (i32.const 64)");
            Wat::floods(&format!("(call $call_then {then})")).build()
        }),
        row("cancel of nothing without end", Ends::Stopped("limit"), || {
            Wat::floods("(drop (call $unsend (i32.const 352) (i32.const 36)))").build()
        }),
        row("one timer set without end", Ends::Stopped("limit"), || {
            let name = "(i32.const 272) (i32.const 5)";
            let timer = format!(
                "(call $timer {name} (i32.const 304) (i32.const 5) (i32.const 65536) \
                 (i32.const 65536) {IN_AN_HOUR})"
            );
            Wat::floods(&timer).build()
        }),
        row("timers without end", Ends::Stopped("limit"), || {
            Wat::floods(&format!("{NAME} (call $timer {NAMED} {TO_HEARD} {IN_AN_HOUR})")).build()
        }),
        row("a list of timers without end", Ends::Stopped("limit"), || {
            let timer = format!("{NAME} (call $timer {NAMED} {TO_HEARD} {IN_AN_HOUR})");
            let first = format!("(if (i32.lt_u (local.get $n) (i32.const 900)) (then {timer}))");
            Wat::floods(&format!("{first} (call $pending (i32.const 64))")).build()
        }),
        row("cancel of no timer without end", Ends::Stopped("limit"), || {
            Wat::floods("(drop (call $untimer (i32.const 272) (i32.const 5)))").build()
        }),
        row("callbacks without end", Ends::Stopped("messages and timers"), || {
            Wat::floods(&format!("(call $callback {THEN} {IN_AN_HOUR} (i32.const 64))")).build()
        }),
        row("callbacks made and withdrawn without end", Ends::Stopped("limit"), || {
            let make = format!("(call $callback {THEN} {IN_AN_HOUR} (i32.const 64))");
            let token = "(i32.load (i32.const 64)) (i32.load (i32.const 68))";
            Wat::floods(&format!("{make} (drop (call $uncallback {token}))")).build()
        }),
    ]
}

/// `t` and four letters at 528 that count the rounds: a name of its own for each.
const NAME: &str = "(i32.store8 (i32.const 528) (i32.const 116)) \
    (i32.store8 (i32.const 529) (i32.add (i32.const 97) (i32.and (local.get $n) (i32.const 7)))) \
    (i32.store8 (i32.const 530) (i32.add (i32.const 97) \
      (i32.and (i32.shr_u (local.get $n) (i32.const 3)) (i32.const 7)))) \
    (i32.store8 (i32.const 531) (i32.add (i32.const 97) \
      (i32.and (i32.shr_u (local.get $n) (i32.const 6)) (i32.const 7)))) \
    (i32.store8 (i32.const 532) (i32.add (i32.const 97) \
      (i32.and (i32.shr_u (local.get $n) (i32.const 9)) (i32.const 7))))";
const NAMED: &str = "(i32.const 528) (i32.const 5)";

fn of_the_rest() -> Vec<Attack> {
    vec![
        row("log without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $emit (i32.const 3) (i32.const 65536) (i32.const 8192))").build()
        }),
        row("log in describe without end", super::bad("describe failed"), || {
            let log = "(call $emit (i32.const 1) (i32.const 256) (i32.const 4))";
            Wat::right().describes(&format!("(loop $on {log} (br $on)) (i32.const 0)")).build()
        }),
        row("reasons for a panic without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $panicked (i32.const 65536) (i32.const 1000000))").build()
        }),
        row("random without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $random (i32.const 1024) (i32.const 64))").build()
        }),
        row("its own name without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $self_ref (i32.const 64)) (call $message_id (i32.const 64))").build()
        }),
        row("a setting without end", Ends::Stopped("limit"), || {
            Wat::floods("(call $config (i32.const 65536) (i32.const 1000000) (i32.const 64))")
                .build()
        }),
        row("attempt without end", Ends::Stopped("limit"), || {
            Wat::floods("(drop (call $attempt))").build()
        }),
    ]
}

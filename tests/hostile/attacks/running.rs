//! Guests that do not end, recurse, or take memory, in each place where the host runs guest code.

use super::super::wat::Wat;
use super::{Attack, Ends, bad, late, row, too_large, trapped};

const SPIN: &str = "(loop $spin (br $spin))";
/// A stack in linear memory, as Rust's is.
const FRAMES: &str = "(global $sp (mut i32) (i32.const 8192)) (func $frames \
    (global.set $sp (i32.sub (global.get $sp) (i32.const 64))) \
    (i32.store (global.get $sp) (i32.const 1)) (call $frames) \
    (global.set $sp (i32.add (global.get $sp) (i32.const 64))))";
const DEEP: &str = "(func $deep (param i32) (result i32) \
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
/// Two functions that call each other through a table.
const RING: &str = "(type $step (func)) (table 2 funcref) (elem (i32.const 0) $here $there) \
    (func $here (call_indirect (type $step) (i32.const 1)) (drop (i32.load (i32.const 0)))) \
    (func $there (call_indirect (type $step) (i32.const 0)) (drop (i32.load (i32.const 0))))";

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = endless();
    rows.extend(deep());
    rows.extend(large());
    rows.extend(after_its_end());
    rows
}

fn endless() -> Vec<Attack> {
    vec![
        row("a loop in a handler", late(), || Wat::handles(SPIN).build()),
        row("a loop in describe", bad("deadline"), || {
            Wat::right().describes(&format!("{SPIN} (i32.const 0)")).build()
        }),
        row("a loop in the start function", bad("deadline"), || {
            Wat::right().fields(format!("(func $start {SPIN}) (start $start)")).build()
        }),
        row("a loop in realloc", late(), || {
            Wat::right().realloc(&format!("{SPIN} (i32.const 0)")).build()
        }),
        row("a loop after the result", late(), || Wat::right().post(SPIN).build()),
        row("memory.fill without end", late(), || {
            let fill = "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 62914560))";
            Wat::floods(fill).memory("(memory (export \"memory\") 1000)").build()
        }),
        row("memory.copy without end", late(), || {
            let copy = "(memory.copy (i32.const 65536) (i32.const 131072) (i32.const 62914560))";
            Wat::floods(copy).memory("(memory (export \"memory\") 1000)").build()
        }),
        row("table.fill and table.copy without end", late(), || {
            let fill = "(table.fill $t (i32.const 0) (ref.null func) (i32.const 99999)) \
                        (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 99998))";
            Wat::floods(fill).fields("(table $t 99999 funcref)").build()
        }),
    ]
}

fn deep() -> Vec<Attack> {
    vec![
        row("recursion on wasm's stack", trapped("stack"), || {
            Wat::handles("(drop (call $deep (i32.const 0)))").fields(DEEP).build()
        }),
        row("recursion on a stack in memory", trapped("stack"), || {
            Wat::handles("(call $frames)").fields(FRAMES).build()
        }),
        row("recursion through a table", trapped("stack"), || {
            Wat::handles("(call $here)").fields(RING).build()
        }),
        row("recursion in describe", bad("stack"), || {
            Wat::right().describes("(call $deep (i32.const 0))").fields(DEEP).build()
        }),
        row("recursion in realloc", trapped("stack"), || {
            Wat::right().realloc("(call $deep (i32.const 0))").fields(DEEP).build()
        }),
        row("unreachable", trapped("without a reason"), || Wat::handles("(unreachable)").build()),
        row("a division by zero", trapped("divide by zero"), || {
            Wat::handles("(drop (i32.div_u (i32.const 1) (i32.const 0)))").build()
        }),
        row("a wild read", trapped("out of bounds"), || {
            Wat::handles("(drop (i32.load (i32.const -16)))").build()
        }),
        row("a call of nothing", trapped("uninitialized"), || {
            let table = "(type $step (func)) (table 2 funcref)";
            Wat::handles("(call_indirect (type $step) (i32.const 1))").fields(table).build()
        }),
    ]
}

fn large() -> Vec<Attack> {
    vec![
        row("memory in steps", trapped("memory"), || {
            Wat::floods("(drop (memory.grow (i32.const 1)))").build()
        }),
        row("memory in steps, all touched", trapped("memory"), || {
            let touched = "(drop (memory.grow (i32.const 16))) \
                (memory.fill (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1048576)) \
                 (i32.const 7) (i32.const 1048576))";
            Wat::floods(touched).build()
        }),
        row("memory at once", trapped("memory"), || {
            Wat::handles("(drop (memory.grow (i32.const 65000)))").build()
        }),
        row("memory at once in describe", bad("memory"), || {
            Wat::right().describes("(memory.grow (i32.const 65000))").build()
        }),
        row("memory from the start", too_large("exceeds the limit"), || {
            Wat::right().memory("(memory (export \"memory\") 20000)").build()
        }),
        row("a table in steps", trapped("memory"), || {
            Wat::floods("(drop (table.grow $t (ref.null func) (i32.const 1000)))")
                .fields("(table $t 1 funcref)")
                .build()
        }),
        row("a table at once", trapped("memory"), || {
            Wat::handles("(drop (table.grow $t (ref.null func) (i32.const 2000000000)))")
                .fields("(table $t 1 funcref)")
                .build()
        }),
        row("a table from the start", too_large("exceeds the limit"), || {
            Wat::right().fields("(table 9999999 funcref)").build()
        }),
        row("a hundred tables", too_large("exceeds the per-instance limit"), || {
            Wat::right().fields("(table 1 funcref)".repeat(99)).build()
        }),
        row("resources of its own, never dropped", Ends::Stopped("handles"), || {
            Wat::floods("(drop (call $new (local.get $n)))")
                .fields("") // The import must stand first: it is part of the memory's place.
                .memory(
                    "(import \"[export]things\" \"[resource-new]thing\" \
                     (func $new (param i32) (result i32))) (memory (export \"memory\") 32)",
                )
                .world("export things: interface { resource thing; }")
                .build()
        }),
    ]
}

/// Guest memory outlives a call; a transaction does not.
fn after_its_end() -> Vec<Attack> {
    vec![
        row("a write after the result", trapped("cannot leave"), || {
            let write = "(call $set (i32.const 288) (i32.const 3) (i32.const 256) (i32.const 4))";
            Wat::right().post(write).build()
        }),
        row("a read after the result", trapped("cannot leave"), || {
            Wat::right().post("(call $get (i32.const 288) (i32.const 3) (i32.const 64))").build()
        }),
        row("a write in realloc", trapped("cannot leave"), || {
            let write = "(call $set (i32.const 288) (i32.const 3) (i32.const 256) (i32.const 4))";
            Wat::right().realloc(&format!("{write} (i32.const 1048576)")).build()
        }),
        row("a write in describe", bad("no import but log"), || {
            let write = "(call $set (i32.const 288) (i32.const 3) (i32.const 256) (i32.const 4))";
            Wat::right().describes(&format!("{write} (i32.const 0)")).build()
        }),
        // A component's imports are there once it is instantiated, and so after its start function.
        row("a write in the start function", bad("describe failed"), || {
            let write = "(call $set (i32.const 288) (i32.const 3) (i32.const 256) (i32.const 4))";
            Wat::right().fields(format!("(func $start {write}) (start $start)")).build()
        }),
        row("a message that another call sent", Ends::Answers(200), || {
            // The id of the first call's message is kept in memory; later calls cancel it, which is theirs to do
            // only as long as it waits.
            let code = "(if (i32.eqz (global.get $times)) (then \
                (call $send (i32.const 272) (i32.const 5) (i32.const 288) (i32.const 3) (i32.const 304) \
                 (i32.const 5) (i32.const 320) (i32.const 2) (i32.const 0) (i64.const 0) (i32.const 64))) \
              (else (drop (call $unsend (i32.load (i32.const 64)) (i32.load (i32.const 68)))))) \
              (global.set $times (i32.const 1))";
            Wat::handles(code).post("").build()
        }),
    ]
}

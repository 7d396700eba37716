//! The ways to end a call badly, for commands and queries alike. Each one goes for one limit of the host.

use std::hint::black_box;

use keystead_sdk::prelude::*;

/// Ends as it is told.
pub(crate) fn end(how: &str) -> Result<String> {
    match how {
        "fine" => Ok(how.to_owned()),
        "panic" => panic!("told to panic"),
        "error" => Err(Error::retryable("told to fail")),
        "reject" => reject!("told to reject"),
        "loop" => spin(),
        "memory" => hoard(),
        "stack" => Ok(format!("{}", descend(black_box(u64::MAX)))),
        "wild" => std::process::abort(),
        "giant_reply" => Ok("x".repeat(2 << 20)),
        _ => reject!(code = "unknown_attack", "there is no {how:?}"),
    }
}

fn spin() -> ! {
    loop {
        black_box(0);
    }
}

fn hoard() -> ! {
    let mut heap = Vec::new();
    loop {
        heap.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Too deep for any stack.
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { descend(depth - 1) + black_box(frame[depth as usize % 64]) }
}

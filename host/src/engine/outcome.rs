//! Says how a call ended, from what wasmtime returned: the one place that reads its errors.

use std::collections::HashMap;

use wasmtime::{Error, WasmBacktrace};

use super::limiter::OutOfMemory;
use super::{Call, Fault, Trap};
use crate::limits;

/// Frames of one function on the stack that make it a recursion.
const RECURSION_FRAMES: usize = 8;

/// What ended a call that did not return. `panic` is what the guest said of its own panic.
pub(super) fn trap(error: &Error, call: &Call<'_>, panic: Option<String>) -> Trap {
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return match fault {
            Fault::ReadOnly { .. } => Trap::ReadOnly(fault.to_string()),
            Fault::Host(_) => Trap::Fault(fault.to_string()),
            Fault::Limit { .. } | Fault::BadArgument(_) | Fault::NoEntity => {
                Trap::Misuse(fault.to_string())
            }
        };
    }
    if let Some(OutOfMemory(max)) = error.downcast_ref::<OutOfMemory>() {
        return Trap::Memory(*max);
    }
    if let Some(code) = error.downcast_ref::<wasmtime::Trap>() {
        return match code {
            wasmtime::Trap::Interrupt => Trap::Deadline(call.deadline.as_millis() as u64),
            wasmtime::Trap::StackOverflow => Trap::Stack,
            // A Rust guest's stack is the lowest part of its memory: used up, it wraps out of bounds.
            wasmtime::Trap::MemoryOutOfBounds if recursed(error) => Trap::Stack,
            wasmtime::Trap::UnreachableCodeReached => match panic {
                Some(message) => Trap::Panic(message),
                None => Trap::Other(
                    "the guest ended itself (wasm `unreachable`) without a reason; an \
                     abort or a failed allocation does that. What it wrote before is in the app's log"
                        .into(),
                ),
            },
            code => Trap::Other(code.to_string().replace("wasm trap: ", "")),
        };
    }
    let text = error.root_cause().to_string();
    if text.contains("fuel allocated for hostcalls") {
        let max = limits::HOST_CALL_BYTES_MAX as u64;
        return Trap::Misuse(Fault::Limit { what: "bytes of one host call", max }.to_string());
    }
    if text.contains("handle limit exceeded") {
        let max = limits::GUEST_HANDLES_MAX as u64;
        return Trap::Misuse(Fault::Limit { what: "component handles", max }.to_string());
    }
    Trap::Other(text)
}

/// The guest's stack when it trapped, for its author's log.
pub(super) fn backtrace(error: &Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    (!backtrace.frames().is_empty()).then(|| backtrace.to_string())
}

/// Whether the stack, as far as it was kept, is mostly one function over and over.
fn recursed(error: &Error) -> bool {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return false };
    let mut times = HashMap::new();
    for frame in backtrace.frames() {
        *times.entry(frame.func_index()).or_insert(0) += 1;
    }
    times.into_values().any(|times: usize| times >= RECURSION_FRAMES)
}

//! The `keystead` binary: parses, traces, runs, and turns the outcome into an exit code.

fn main() {}

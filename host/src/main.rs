//! The `keystead` binary: parses, traces, runs, and turns the outcome into an exit code.
//! It is not where anything is decided: verbs live in `cli`. Invariant: 0 ok, 1 failed, 2 usage.

use std::process::ExitCode;

use keystead::cli::Cli;
use keystead::logging;

/// Bodies are made on one thread and freed on another; this allocator is built for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_line();
    logging::start(cli.log_level(), cli.log_format());
    cli.run()
}

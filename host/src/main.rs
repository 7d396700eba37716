//! The `keystead` binary: parses, traces, runs, and turns the outcome into an exit code.
//! It is not where anything is decided: verbs live in `cli`. Invariant: 0 ok, 1 failed, 2 usage.

use std::io::IsTerminal;
use std::process::ExitCode;

use keystead::cli::Cli;

/// Bodies are made on one thread and freed on another; this allocator is built for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_line();
    tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(cli.log_level())
        .with_writer(std::io::stderr)
        .init();
    cli.run()
}

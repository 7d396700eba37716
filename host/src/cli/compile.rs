//! `keystead compile-component`: the child process in which a host compiles untrusted components. Not for
//! people. Invariant: it starts no runtime and opens no file, so that its limits are the compiler's alone.

use crate::engine;

/// Compile a component from stdin to stdout under limits (hosts run this themselves)
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> anyhow::Result<()> {
    engine::compile_in_child()
}

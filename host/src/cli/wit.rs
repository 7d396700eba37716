//! `keystead wit`: prints the guest interface that this host speaks, for authors in other languages. The text
//! is the file that the engine's bindings are made from, so it cannot differ from what the host does.

use super::output::Output;

const WIT: &str = include_str!("../../../wit/keystead.wit");

/// Print the WIT of the guest interface, for authors in any language that makes components
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, out: &Output) -> anyhow::Result<()> {
    let document = serde_json::json!({ "wit": WIT });
    Ok(out.document(&document, |_| WIT.trim_end().to_owned())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_world_that_guests_target() {
        assert!(WIT.contains("package keystead:entity@0.1.0;") && WIT.contains("world app {"));
    }
}

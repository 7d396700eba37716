//! `keystead build`: a guest crate becomes a component. Cargo and rustup do the work; what they print for
//! people passes through untouched. Invariant: a component is written only when it is whole.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output as Finished, Stdio};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::process::Command;

use super::artifact::{Metadata, Package, find_module};
use super::output::{self, Output};
use crate::engine;

const TARGET: &str = "wasm32-unknown-unknown";

/// Settings for guests, given to cargo on its command line so that no file of the author's changes: a small
/// stack (a fresh instance costs what its memory costs), whole-program optimisation, and function names
/// kept, because traps are told with them. (Debug information would come from std even with `debug=false`.)
const SETTINGS: [&str; 8] = [
    "target.wasm32-unknown-unknown.rustflags=['-C','link-arg=-zstack-size=131072']",
    "profile.keystead-guest.inherits='release'",
    "profile.keystead-guest.opt-level=3",
    "profile.keystead-guest.lto=true",
    "profile.keystead-guest.codegen-units=1",
    "profile.keystead-guest.panic='abort'",
    "profile.keystead-guest.debug=false",
    "profile.keystead-guest.strip='debuginfo'",
];

/// Build a guest crate into a component
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder that holds the crate's Cargo.toml
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// A component that was built.
#[derive(Debug, Clone)]
pub(super) struct Built {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) component: Vec<u8>,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let built = build(&args.dir, out).await?;
    let bytes = built.component.len();
    let path = built.path.display();
    let document = json!({"name": built.name, "component": path.to_string(), "bytes": bytes});
    Ok(out.document(&document, |_| format!("{path} ({})", output::size(bytes)))?)
}

/// Builds the guest crate in `dir`. Dropping the future stops cargo.
pub(super) async fn build(dir: &Path, out: &Output) -> anyhow::Result<Built> {
    let manifest = manifest(dir)?;
    let metadata = metadata(dir, &manifest).await?;
    let Some(package) = metadata.package(&manifest) else {
        bail!(
            "{} is a workspace's; say `keystead build DIR` with the folder of one of its crates",
            manifest.display()
        );
    };
    if !package.has_cdylib() {
        bail!(no_cdylib(package));
    }
    ensure_target(dir, out).await?;
    let messages = cargo_build(dir, &manifest, package).await?;
    let module = find_module(&messages, package).context("cargo reported no WebAssembly module")?;
    let module = std::fs::read(&module)
        .with_context(|| format!("the module {} cannot be read", module.display()))?;
    let component = engine::componentize(&module)?;
    let path = write(&metadata.target_directory, &package.name, &component)?;
    Ok(Built { name: package.name.clone(), path, component })
}

/// The full path of the crate's `Cargo.toml`.
fn manifest(dir: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join("Cargo.toml");
    if !path.is_file() {
        bail!(
            "there is no Cargo.toml in {}; `keystead new NAME` makes a guest crate",
            if dir == Path::new(".") { "this folder".into() } else { dir.display().to_string() }
        );
    }
    path.canonicalize().with_context(|| format!("{} cannot be found", path.display()))
}

async fn metadata(dir: &Path, manifest: &Path) -> anyhow::Result<Metadata> {
    let mut cargo = tool("cargo", dir);
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
    let output = finish(cargo).await.context(NO_CARGO)?;
    if !output.status.success() {
        bail!("cargo does not understand {}", manifest.display());
    }
    Metadata::read(&output.stdout).context("cargo's metadata cannot be read")
}

const NO_CARGO: &str = "cargo does not run; install Rust from https://rustup.rs";

fn no_cdylib(package: &Package) -> String {
    format!(
        "{} does not build to a WebAssembly module; add these two lines to its Cargo.toml:\n\n\
         [lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n",
        package.name
    )
}

/// Adds the WebAssembly target to the toolchain when it is missing.
async fn ensure_target(dir: &Path, out: &Output) -> anyhow::Result<()> {
    let mut rustc = tool("rustc", dir);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let found = finish(rustc).await.context(NO_CARGO)?;
    let libdir = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if found.status.success() && !libdir.is_empty() && Path::new(&libdir).is_dir() {
        return Ok(());
    }
    out.note(&format!("adding Rust's target {TARGET}"));
    let mut rustup = tool("rustup", dir);
    rustup.args(["target", "add", TARGET]);
    match finish(rustup).await {
        Ok(added) if added.status.success() => Ok(()),
        Ok(_) => bail!("`rustup target add {TARGET}` failed"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "Rust's target {TARGET} is missing and rustup is not there to add it; install Rust from \
             https://rustup.rs, or your system's package of that target"
        ),
        Err(error) => Err(error).context("rustup does not run"),
    }
}

async fn cargo_build(dir: &Path, manifest: &Path, package: &Package) -> anyhow::Result<Vec<u8>> {
    let mut cargo = tool("cargo", dir);
    cargo.args(["build", "--lib", "--profile=keystead-guest", "--target", TARGET]);
    cargo.args(["--message-format=json-render-diagnostics", "--manifest-path"]).arg(manifest);
    for setting in SETTINGS {
        cargo.args(["--config", setting]);
    }
    // These would replace the settings above, and they are meant for this machine, not for guests.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = finish(cargo).await.context(NO_CARGO)?;
    if !output.status.success() {
        bail!("{} does not build; the errors are above", package.name);
    }
    Ok(output.stdout)
}

/// A tool that runs in `dir`, prints to our stderr and dies with us.
fn tool(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a tool and keeps its stdout. (tokio's `output` would keep what is meant for people, too.)
async fn finish(mut command: Command) -> std::io::Result<Finished> {
    command.spawn()?.wait_with_output().await
}

fn write(target: &Path, name: &str, component: &[u8]) -> anyhow::Result<PathBuf> {
    let dir = target.join("keystead");
    let path = dir.join(format!("{name}.component.wasm"));
    let partial = dir.join(format!(".{name}.component.wasm.{}", std::process::id()));
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&partial, component))
        .and_then(|()| std::fs::rename(&partial, &path))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_without_a_crate_says_so() {
        let dir = tempfile::tempdir().expect("folder");
        let error = build(dir.path(), &Output::new(false)).await.expect_err("no crate");
        let error = error.to_string();
        assert!(error.contains("no Cargo.toml in") && error.contains("keystead new"), "{error}");
    }

    #[tokio::test]
    async fn a_crate_without_cdylib_is_told_the_two_lines() {
        let dir = tempfile::tempdir().expect("folder");
        let manifest = "[package]\nname = \"plain\"\nedition = \"2024\"\n[workspace]\n";
        std::fs::write(dir.path().join("Cargo.toml"), manifest).expect("write");
        std::fs::create_dir(dir.path().join("src")).expect("folder");
        std::fs::write(dir.path().join("src/lib.rs"), "").expect("write");
        let error = build(dir.path(), &Output::new(false)).await.expect_err("no cdylib");
        let lines = "\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n";
        assert!(error.to_string().contains(lines), "{error}");
    }

    #[tokio::test]
    async fn a_workspace_is_not_a_crate() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = []").expect("write");
        let error = build(dir.path(), &Output::new(false)).await.expect_err("a workspace");
        assert!(error.to_string().contains("is a workspace's"), "{error}");
    }

    #[test]
    fn components_are_written_whole_and_replaced() {
        let dir = tempfile::tempdir().expect("folder");
        for bytes in [&b"first"[..], b"second"] {
            let path = write(dir.path(), "bank", bytes).expect("written");
            assert_eq!(path, dir.path().join("keystead/bank.component.wasm"));
            assert_eq!(std::fs::read(path).expect("read"), bytes);
        }
        let left = std::fs::read_dir(dir.path().join("keystead")).expect("folder").count();
        assert_eq!(left, 1, "no partial file stays");
    }
}

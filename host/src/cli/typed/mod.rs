//! `keystead client APP|FILE`: a Rust file with typed clients of an app's entities, made from what they say of
//! themselves, for crates that do not have their source. Invariant: a file that it did not make is never
//! overwritten.

mod names;
mod rust;
mod types;

use std::path::{Path as FilePath, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::client::{AdminUrl, Path};
use super::output::Output;
use crate::clock::SystemClock;
use crate::engine::{Engine, EngineConfig};
use crate::ids::check_name;

/// Write a Rust file with typed clients of an app's entities
#[derive(Debug, clap::Args)]
#[command(after_help = "Put it beside your own modules: `mod bank;`, then \
    `bank::Account::at(key).deposit(5).send(ctx)`.")]
pub(super) struct Args {
    /// An app of a running host, or a component's file (or its describe document, .json)
    #[arg(value_name = "APP|FILE")]
    source: Source,
    /// The file to write, or to write again; printed when not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Where the describe document comes from. An app's name has neither a dot nor a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    App(String),
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match check_name("app", text) {
            Ok(()) => Self::App(text.to_owned()),
            Err(_) => Self::File(text.into()),
        })
    }
}

/// A describe document and whose it is.
struct Described {
    name: String,
    document: Value,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let described = match &args.source {
        Source::App(app) => from_host(&args.admin, app).await?,
        Source::File(path) => from_file(path).await?,
    };
    let made = rust::file(&described.name, &described.document)?;
    let text = formatted(&made.text).await.unwrap_or(made.text);
    let Some(path) = &args.out else { return Ok(out.body(text.as_bytes(), true)?) };
    write(path, &text)?;
    let document = json!({"file": path.display().to_string(), "types": made.types});
    Ok(out.document(&document, |_| format!("{}: {}", path.display(), made.types.join(", ")))?)
}

async fn from_host(admin: &AdminUrl, app: &str) -> anyhow::Result<Described> {
    let shown = admin.client().get(Path::new("/admin/v1/apps").part(app)).await?;
    Ok(Described { name: app.to_owned(), document: shown["contract"].clone() })
}

async fn from_file(path: &FilePath) -> anyhow::Result<Described> {
    let bytes =
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    // `bank.component.wasm` is `bank`: the text is the same as from a host that has it.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    let is_json = path.extension().is_some_and(|kind| kind == "json");
    let document = if is_json {
        bytes
    } else {
        tokio::task::spawn_blocking(move || describe(&bytes)).await??
    };
    let document = serde_json::from_slice(&document)
        .with_context(|| format!("{} is no describe document", path.display()))?;
    Ok(Described { name, document })
}

/// Asks a component what it offers, in an engine of its own.
fn describe(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let compiler = std::env::current_exe().context("this program cannot find itself")?;
    let cache = tempfile::tempdir().context("there is no scratch folder")?;
    let config =
        EngineConfig { cache_dir: cache.path().into(), workers: 1, compiler: Some(compiler) };
    let engine = Engine::new(config, Arc::new(SystemClock::new()))?;
    Ok(engine.prepare(component)?.describe().to_vec())
}

/// The text as the author's rustfmt would have it; `None` when there is no rustfmt.
async fn formatted(text: &str) -> Option<String> {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--emit", "stdout"]);
    rustfmt.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = rustfmt.spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let source = text.as_bytes().to_vec();
    // From a task of its own: it answers while it still reads.
    let feeding = tokio::spawn(async move { stdin.write_all(&source).await });
    let finished = child.wait_with_output().await.ok()?;
    feeding.await.ok()?.ok()?;
    let formatted = String::from_utf8(finished.stdout).ok()?;
    (finished.status.success() && !formatted.is_empty()).then_some(formatted)
}

fn write(path: &FilePath, text: &str) -> anyhow::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(there) if !there.contains(rust::MARK) => {
            bail!("{} is there already and `keystead client` did not make it", path.display())
        }
        _ => std::fs::write(path, text)
            .with_context(|| format!("{} cannot be written", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_app_and_anything_else_a_file() {
        let source = |text: &str| text.parse::<Source>().expect("infallible");
        assert_eq!(source("bank"), Source::App("bank".into()));
        for file in ["bank.json", "./bank", "target/bank.component.wasm", "/bank"] {
            assert_eq!(source(file), Source::File(file.into()));
        }
    }

    #[test]
    fn only_its_own_files_are_written_again() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("bank.rs");
        let first = rust::file("bank", &json!({"entities": []})).expect("made").text;
        write(&path, &first).expect("new");
        write(&path, &first).expect("its own");
        std::fs::write(&path, "//! Mine.\n").expect("write");
        let error = write(&path, &first).expect_err("the author's").to_string();
        assert!(error.contains("did not make it"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "//! Mine.\n");
    }
}

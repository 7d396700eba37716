//! `keystead snapshot create|ls|rm|restore`: copies of a data folder. All but `restore` ask the host; `restore` makes a
//! data folder of a snapshot and asks nobody. Invariant: nothing is ever restored over anything.

use std::path::PathBuf;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::backup;
use crate::clock::SystemClock;

const SNAPSHOTS: &str = "/admin/v1/snapshots";

/// Copy everything a host holds while it runs, and make a data folder of a copy
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a snapshot: apps, and all entities and messages at one moment
    Create(CreateArgs),
    /// List the snapshots
    Ls(LsArgs),
    /// Remove a snapshot
    Rm(RmArgs),
    /// Make a new data folder of a snapshot, checking every byte
    Restore(RestoreArgs),
}

/// A snapshot to make.
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// Its name; the time by default
    name: Option<String>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Which host.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    admin: AdminUrl,
}

/// A snapshot to remove.
#[derive(Debug, clap::Args)]
pub(super) struct RmArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What is restored, and where.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The snapshot's folder, or a copy of it
    #[arg(value_name = "SNAPSHOT")]
    from: PathBuf,
    /// The data folder to make; new or empty
    #[arg(long, value_name = "DIR", default_value = "./keystead-data")]
    data: PathBuf,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(args) => create(args, out).await,
        Verb::Ls(args) => ls(args, out).await,
        Verb::Rm(args) => rm(args, out).await,
        Verb::Restore(args) => restore(args, out),
    }
}

async fn create(args: &CreateArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(SNAPSHOTS).maybe("name", args.name.as_deref());
    let bar = out.spinner("copying");
    let made = args.admin.client().document(Method::POST, path, Bytes::new()).await;
    bar.finish_and_clear();
    Ok(out.document(&made?, render)?)
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let page = args.admin.client().get(Path::new(SNAPSHOTS)).await?;
    Ok(out.document(&page, render_all)?)
}

async fn rm(args: &RmArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(SNAPSHOTS).part(&args.name);
    let done = args.admin.client().document(Method::DELETE, path, Bytes::new()).await?;
    Ok(out.document(&done, |_| format!("{} removed", args.name))?)
}

fn restore(args: &RestoreArgs, out: &Output) -> anyhow::Result<()> {
    let bar = out.spinner("restoring");
    let watch = |bytes: u64| bar.set_message(format!("restoring: {} MiB", bytes >> 20));
    let made = backup::restore(&args.from, &args.data, &SystemClock::new(), &watch);
    bar.finish_and_clear();
    let mut shown = json!(made?);
    shown["data"] = json!(args.data);
    Ok(out.document(&shown, |made| {
        let data = args.data.display();
        let (name, rows) = (output::text(&made["name"]), output::text(&made["rows"]));
        format!("{data} is what {name} holds, {rows} rows\nkeystead serve --data {data}")
    })?)
}

fn render(made: &Value) -> String {
    output::fields(&[
        ("snapshot", output::text(&made["name"])),
        ("folder", output::text(&made["path"])),
        ("bytes", output::text(&made["bytes"])),
        ("rows", output::text(&made["rows"])),
    ])
}

fn render_all(page: &Value) -> String {
    let row = |kept: &Value| {
        vec![
            output::text(&kept["name"]),
            output::time(&kept["created_at_ms"]),
            output::text(&kept["bytes"]),
            output::text(&kept["rows"]),
        ]
    };
    let rows: Vec<_> = output::items(&page["snapshots"]).iter().map(row).collect();
    output::table(&["snapshot", "made", "bytes", "rows"], &rows)
}

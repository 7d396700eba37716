//! `keystead snapshot create|ls|get|rm|restore`: copies of a data folder. All but `restore` ask the host; `restore` makes a
//! data folder of a snapshot and asks nobody. Invariants: nothing is ever restored or saved over anything, and a file
//! that is saved has its name when all of it is on stable storage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path;
use std::path::PathBuf;

use anyhow::Context as _;
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
    /// Copy a snapshot from the host into one tar archive
    Get(GetArgs),
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
    /// Copy it from the host into this tar archive too; - is standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Which host.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    admin: AdminUrl,
}

/// A snapshot to copy.
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// Its name
    name: String,
    /// The archive, which must not be there yet; NAME.tar by default, - is standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
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
    /// The snapshot's folder or archive, or a copy of it; - is an archive from standard input
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
        Verb::Get(args) => get(args, out).await,
        Verb::Rm(args) => rm(args, out).await,
        Verb::Restore(args) => restore(args, out),
    }
}

async fn create(args: &CreateArgs, out: &Output) -> anyhow::Result<()> {
    if let Some(to) = &args.to {
        expect_free(to)?;
    }
    let path = Path::new(SNAPSHOTS).maybe("name", args.name.as_deref());
    let bar = out.spinner("copying");
    let made = args.admin.client().document(Method::POST, path, Bytes::new()).await;
    bar.finish_and_clear();
    let mut made = made?;
    if let Some(to) = &args.to {
        save(&args.admin, &output::text(&made["name"]), to, out).await?;
        if is_stdio(to) {
            return Ok(());
        }
        made["archive"] = json!(to);
    }
    Ok(out.document(&made, render)?)
}

async fn get(args: &GetArgs, out: &Output) -> anyhow::Result<()> {
    let to = args.to.clone().unwrap_or_else(|| format!("{}.tar", args.name).into());
    expect_free(&to)?;
    let bytes = save(&args.admin, &args.name, &to, out).await?;
    if is_stdio(&to) {
        return Ok(());
    }
    let shown = json!({"name": args.name, "archive": to, "bytes": bytes});
    Ok(out.document(&shown, |shown| {
        let (bytes, to) = (output::text(&shown["bytes"]), to.display());
        format!(
            "{to} is all of {}, {bytes} bytes\nkeystead snapshot restore {to} --data NEW",
            args.name
        )
    })?)
}

/// Copies a snapshot from the host. Gives the archive's size.
async fn save(admin: &AdminUrl, name: &str, to: &path::Path, out: &Output) -> anyhow::Result<u64> {
    let client = admin.client();
    let mut download = client.download(&Path::new(SNAPSHOTS).part(name)).await?;
    let bar = out.spinner("fetching");
    let mut bytes = 0;
    let mut target = Target::new(to)?;
    while let Some(piece) = download.next().await? {
        target.write(&piece)?;
        bytes += piece.len() as u64;
        bar.set_message(format!("fetching: {} MiB", bytes >> 20));
    }
    target.finish()?;
    bar.finish_and_clear();
    Ok(bytes)
}

/// Where an archive goes. Dropped before its end, it leaves no file.
enum Target {
    Stdout,
    File { file: File, part: PathBuf, to: PathBuf, whole: bool },
}

impl Target {
    fn new(to: &path::Path) -> anyhow::Result<Self> {
        if is_stdio(to) {
            return Ok(Self::Stdout);
        }
        let name = to.file_name().with_context(|| format!("{} is no file", to.display()))?;
        let part = to.with_file_name(format!(".{}.part", name.to_string_lossy()));
        // Secrets may be in it, and the hashes of tokens are.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.with_context(|| format!("{} cannot be written", part.display()))?;
        Ok(Self::File { file, part, to: to.into(), whole: false })
    }

    fn write(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => Ok(io::stdout().write_all(piece)?),
            Self::File { file, part, .. } => {
                let written = file.write_all(piece);
                written.with_context(|| format!("{} cannot be written", part.display()))
            }
        }
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let Self::File { file, part, to, whole } = &mut self else {
            return Ok(io::stdout().flush()?);
        };
        let around = to.parent().filter(|around| !around.as_os_str().is_empty());
        let around = around.unwrap_or(path::Path::new("."));
        file.sync_all().with_context(|| format!("{} cannot be written", part.display()))?;
        expect_free(to)?;
        let named = fs::rename(&*part, &*to).and_then(|()| File::open(around)?.sync_all());
        named.with_context(|| format!("{} cannot be written", to.display()))?;
        *whole = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { part, whole: false, .. } = self {
            drop(fs::remove_file(part));
        }
    }
}

fn is_stdio(path: &path::Path) -> bool {
    path.as_os_str() == "-"
}

fn expect_free(to: &path::Path) -> anyhow::Result<()> {
    let free = is_stdio(to) || !to.exists();
    anyhow::ensure!(free, "{} is there already, and nothing is written over it", to.display());
    Ok(())
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
    let (from, clock) = (args.from.as_path(), SystemClock::new());
    let made = match is_stdio(from) {
        true => {
            let from = path::Path::new("standard input");
            backup::restore_archive(io::stdin().lock(), from, &args.data, &clock, &watch)
        }
        false => backup::restore(from, &args.data, &clock, &watch),
    };
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
    let mut pairs = vec![
        ("snapshot", output::text(&made["name"])),
        ("folder", output::text(&made["path"])),
        ("bytes", output::text(&made["bytes"])),
        ("rows", output::text(&made["rows"])),
    ];
    if let Some(archive) = made["archive"].as_str() {
        pairs.push(("archive", archive.into()));
    }
    output::fields(&pairs)
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

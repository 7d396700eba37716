//! `keystead entity export|import`: an app's entities as lines of JSON, one each, as `get --json` shows it. State that one
//! line cannot hold goes on in lines with `part` 2, 3, … Invariant: what is exported of an entity is of one version of
//! it, and each line is imported in one transaction.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminUrl, Client, Path};
use super::entity::{KindRef, Named, entity_path};
use super::output::{self, Output};
use crate::ids::EntityRef;

/// What to export.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// An app, a type, or one entity
    #[arg(value_name = "APP[/TYPE[/KEY]]")]
    of: Named,
    /// Only keys that start with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What to import.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The file that an export wrote; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Replace entities that are there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn export(args: &ExportArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.admin.client();
    match &args.of {
        Named::Entity(entity) => {
            let info = client.get(entity_path(entity)).await?;
            whole(&client, info, out).await
        }
        Named::App(app) => {
            let types = client.get(Path::new("/admin/v1/entities").part(app)).await?;
            for kind in output::items(&types["types"]) {
                let kind = KindRef { app: app.clone(), kind: output::text(kind) };
                export_type(&client, &kind, &args.prefix, out).await?;
            }
            Ok(())
        }
        Named::Kind(kind) => export_type(&client, kind, &args.prefix, out).await,
    }
}

async fn export_type(
    client: &Client,
    kind: &KindRef,
    prefix: &str,
    out: &Output,
) -> anyhow::Result<()> {
    let mut after: Option<String> = None;
    loop {
        let path = Path::new("/admin/v1/export").part(&kind.app).part(&kind.kind);
        let path = path.query("prefix", prefix).maybe("after", after.as_deref());
        let mut page = client.get(path).await?;
        for info in page["entities"].as_array_mut().into_iter().flatten() {
            whole(client, info.take(), out).await?;
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// Writes one entity, in as many lines as it takes.
async fn whole(client: &Client, mut info: Value, out: &Output) -> anyhow::Result<()> {
    let version = info["version"].clone();
    let name = output::text(&info["entity"]);
    for part in 1_u64.. {
        let more = info["more_state"] == true;
        if more || part > 1 {
            info["part"] = part.into();
        }
        out.line(&info.to_string())?;
        if !more {
            break;
        }
        let last = output::items(&info["state"]).last();
        let last = last.and_then(|row| row["key"].as_str()).context("a page without state")?;
        let path = entity_path(&name.parse()?).query("after", last);
        info = client.get(path).await?;
        ensure!(
            info["version"] == version,
            "{name} changed while it was exported; pause it: `keystead entity pause {name}`"
        );
    }
    Ok(())
}

pub(super) async fn import(args: &ImportArgs, out: &Output) -> anyhow::Result<()> {
    let source: Box<dyn BufRead> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(&args.file);
        let file = file.with_context(|| format!("{} cannot be read", args.file.display()))?;
        Box::new(BufReader::new(file))
    };
    let client = args.admin.client();
    let mut import = Import { count: 0, part: None };
    let mut number = 0_u64;
    for line in source.lines() {
        let line = line?;
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("line {number}, after {} entities that are imported", import.count);
        import.line(&client, &line, args.replace).await.with_context(|| match &import.part {
            Some(open) => format!("{at} and a part of {}, which --replace overwrites", open.name),
            None => at,
        })?;
    }
    if let Some(open) = import.part {
        bail!("the file ends within {}: only a part of it is imported", open.name);
    }
    let count = import.count;
    let done = json!({"imported": count});
    Ok(out.document(&done, |_| format!("{count} entities are imported"))?)
}

/// How far an import is.
struct Import {
    /// Entities that are there whole.
    count: u64,
    part: Option<Part>,
}

/// An entity whose next lines are to come.
struct Part {
    name: String,
    /// The last part that is there.
    part: u64,
    /// The version that it left.
    version: String,
}

impl Import {
    async fn line(&mut self, client: &Client, line: &str, replace: bool) -> anyhow::Result<()> {
        let mut info: Value = serde_json::from_str(line)?;
        let name = info["entity"].as_str().context("it names no entity")?.to_owned();
        let entity: EntityRef = name.parse()?;
        let part = info["part"].as_u64().unwrap_or(1);
        let more = info["more_state"] == true;
        let path = entity_path(&entity);
        let path = match &self.part {
            Some(open) => {
                let next = open.name == name && open.part + 1 == part;
                ensure!(next, "part {} of {} is to come here", open.part + 1, open.name);
                path.query("if_version", &open.version).query("mode", "merge")
            }
            None => {
                ensure!(part == 1, "this is part {part} of {name}, whose part before is not there");
                let expect = if replace { "any" } else { "absent" };
                path.query("if_version", expect).query("mode", "import")
            }
        };
        let body = if more {
            // The host refuses what says that it is a part; here the others follow.
            info.as_object_mut().map(|info| info.remove("more_state"));
            info.to_string()
        } else {
            line.to_owned()
        };
        let done = client.document(Method::PUT, path, body.into()).await?;
        self.count += u64::from(!more);
        self.part = more.then(|| Part { name, part, version: done["version"].to_string() });
        Ok(())
    }
}

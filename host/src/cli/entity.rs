//! `keystead entity ls|get|put|rm|pause|resume`: entities as operators see and change them; `export` and `import` are in
//! `cli/export`. Invariant: `put` never overwrites a version that nobody looked at.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::export::{self, ExportArgs, ImportArgs};
use super::output::{self, Output};
use crate::ids::{BadId, EntityRef, check_name};

/// Look at entities and their state, and change them
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List the entities of a type in order of their keys, or the types of an app that have any
    Ls(LsArgs),
    /// Show one entity: its version, state and timers
    Get(GetArgs),
    /// Write an entity's state: what `get --json` showed, edited
    Put(PutArgs),
    /// Remove all of an entity: state, timers, mailbox, dead letters
    Rm(RmArgs),
    /// Let the commands of an app, a type or an entity wait, while queries go on; or list what is paused
    Pause(PauseArgs),
    /// End a pause
    Resume(ResumeArgs),
    /// Write entities of an app or a type, one a line, with their state and timers
    Export(ExportArgs),
    /// Read entities that were exported
    Import(ImportArgs),
}

/// Which entities to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// The entity type; or an app
    #[arg(value_name = "APP[/TYPE]", value_parser = Named::app_or_kind)]
    of: Named,
    /// Only keys that start with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Only keys after this one: the way to the next page
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Most rows to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Which entity to show.
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// The entity; a key may hold slashes
    #[arg(value_name = "APP/TYPE/KEY")]
    entity: EntityRef,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What to write.
#[derive(Debug, clap::Args)]
pub(super) struct PutArgs {
    /// The entity; a key may hold slashes
    #[arg(value_name = "APP/TYPE/KEY")]
    entity: EntityRef,
    /// The file with its state as `get --json` shows it; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The version that it must have: the one in the file unless said; `absent` or `any`
    #[arg(long, value_name = "N")]
    if_version: Option<String>,
    /// Leave what the file does not name; its member `remove` lists keys to remove
    #[arg(long)]
    merge: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What to remove.
#[derive(Debug, clap::Args)]
pub(super) struct RmArgs {
    /// The entity; a key may hold slashes
    #[arg(value_name = "APP/TYPE/KEY")]
    entity: EntityRef,
    /// Yes, all of it; what it sent stays on its way
    #[arg(long, required = true)]
    all: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What to pause.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    /// An app, a type or an entity; without one, what is paused is listed
    #[arg(value_name = "APP[/TYPE[/KEY]]")]
    scope: Option<Named>,
    /// Everything
    #[arg(long, conflicts_with = "scope")]
    all: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What goes on.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// An app, a type or an entity
    #[arg(value_name = "APP[/TYPE[/KEY]]", required_unless_present = "all")]
    scope: Option<Named>,
    /// Everything
    #[arg(long, conflicts_with = "scope")]
    all: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// An entity type of an app, `app/type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KindRef {
    pub(super) app: String,
    pub(super) kind: String,
}

impl FromStr for KindRef {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let Some((app, kind)) = text.split_once('/') else {
            return Err(BadId { field: "type", problem: format!("{text:?} is not APP/TYPE") });
        };
        check_name("app", app)?;
        check_name("type", kind)?;
        Ok(Self { app: app.into(), kind: kind.into() })
    }
}

/// An app, a type of its entities, or an entity, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    App(String),
    Kind(KindRef),
    Entity(EntityRef),
}

impl Named {
    fn app_or_kind(text: &str) -> Result<Self, BadId> {
        match text.contains('/') {
            true => text.parse().map(Self::Kind),
            false => text.parse(),
        }
    }
}

impl FromStr for Named {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        match text.matches('/').count() {
            0 => check_name("app", text).map(|()| Self::App(text.into())),
            1 => text.parse().map(Self::Kind),
            _ => text.parse().map(Self::Entity),
        }
    }
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => ls(args, out).await,
        Verb::Get(args) => get(args, out).await,
        Verb::Put(args) => put(args, out).await,
        Verb::Rm(args) => rm(args, out).await,
        Verb::Pause(PauseArgs { scope: None, all: false, admin }) => pauses(admin, out).await,
        Verb::Pause(args) => pause(&args.admin, args.scope.as_ref(), true, out).await,
        Verb::Resume(args) => pause(&args.admin, args.scope.as_ref(), false, out).await,
        Verb::Export(args) => export::export(args, out).await,
        Verb::Import(args) => export::import(args, out).await,
    }
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let kind = match &args.of {
        Named::App(app) => return types(&args.admin, app, out).await,
        Named::Kind(kind) => kind,
        Named::Entity(entity) => bail!("{entity} is an entity; `keystead entity get` shows it"),
    };
    let path = Path::new("/admin/v1/entities").part(&kind.app).part(&kind.kind);
    let path = path.query("prefix", &args.prefix).maybe("after", args.after.as_deref());
    let page = args.admin.client().get(path.query("limit", &args.limit.to_string())).await?;
    out.document(&page, render_page)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --after {}", output::shell(next)));
    }
    Ok(())
}

async fn types(admin: &AdminUrl, app: &str, out: &Output) -> anyhow::Result<()> {
    let types = admin.client().get(Path::new("/admin/v1/entities").part(app)).await?;
    Ok(out.document(&types, |types| {
        let name = |kind: &Value| vec![format!("{app}/{}", output::text(kind))];
        let rows: Vec<_> = output::items(&types["types"]).iter().map(name).collect();
        output::table(&["type"], &rows)
    })?)
}

async fn get(args: &GetArgs, out: &Output) -> anyhow::Result<()> {
    let info = args.admin.client().get(entity_path(&args.entity)).await?;
    Ok(out.document(&info, render)?)
}

async fn put(args: &PutArgs, out: &Output) -> anyhow::Result<()> {
    let text = if args.file.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        text
    } else {
        std::fs::read(&args.file)
            .with_context(|| format!("{} cannot be read", args.file.display()))?
    };
    let entity: Value = serde_json::from_slice(&text).context("the file is not JSON")?;
    let said = args.if_version.clone().or_else(|| Some(entity.get("version")?.to_string()));
    let said = said.context("the file has no version; say --if-version N, absent or any")?;
    let mode = if args.merge { "merge" } else { "replace" };
    let path = entity_path(&args.entity).query("if_version", &said).query("mode", mode);
    let done = args.admin.client().document(Method::PUT, path, text.into()).await?;
    Ok(out.document(&done, |done| format!("{} is at version {}", args.entity, done["version"]))?)
}

async fn rm(args: &RmArgs, out: &Output) -> anyhow::Result<()> {
    let path = entity_path(&args.entity);
    let done = args.admin.client().document(Method::DELETE, path, Bytes::new()).await?;
    Ok(out.document(&done, |done| {
        let gone = &done["removed"];
        format!(
            "{} is removed, with {} messages, {} scheduled ones and timers, {} dead letters",
            args.entity, gone["messages"], gone["scheduled"], gone["dead"]
        )
    })?)
}

async fn pauses(admin: &AdminUrl, out: &Output) -> anyhow::Result<()> {
    let all = admin.client().get(Path::new("/admin/v1/pauses")).await?;
    Ok(out.document(&all, |all| {
        let row = |scope: &Value| vec![output::text(scope)];
        let rows: Vec<_> = output::items(&all["paused"]).iter().map(row).collect();
        output::table(&["paused"], &rows)
    })?)
}

async fn pause(
    admin: &AdminUrl,
    scope: Option<&Named>,
    paused: bool,
    out: &Output,
) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/pauses");
    let path = match scope {
        None => path.query("all", "true"),
        Some(Named::App(app)) => path.query("app", app),
        Some(Named::Kind(kind)) => path.query("app", &kind.app).query("type", &kind.kind),
        Some(Named::Entity(entity)) => {
            path.query("app", entity.app()).query("type", entity.kind()).query("key", entity.key())
        }
    };
    let method = if paused { Method::PUT } else { Method::DELETE };
    let done = admin.client().document(method, path, Bytes::new()).await?;
    Ok(out.document(&done, |done| {
        let state = match (paused, done["changed"] == true) {
            (true, true) => "is paused",
            (true, false) => "was paused already",
            (false, true) => "goes on",
            (false, false) => "was not paused by itself; `keystead entity pause` lists what is",
        };
        format!("{} {state}", output::text(&done["scope"]))
    })?)
}

pub(super) fn entity_path(entity: &EntityRef) -> Path {
    let path = Path::new("/admin/v1/entities").part(entity.app()).part(entity.kind());
    path.part(entity.key())
}

fn render_page(page: &Value) -> String {
    let row = |info: &Value| {
        vec![
            output::text(&info["entity"]),
            output::text(&info["version"]),
            output::text(&info["mailbox"]),
            if info["paused"] == true { "paused".to_owned() } else { String::new() },
        ]
    };
    let rows: Vec<_> = output::items(&page["entities"]).iter().map(row).collect();
    output::table(&["entity", "version", "waiting", ""], &rows)
}

fn render(info: &Value) -> String {
    let mut fields = vec![
        ("entity", output::text(&info["entity"])),
        ("version", output::text(&info["version"])),
        ("waiting", output::text(&info["mailbox"])),
    ];
    let is = |name: &str| info[name] == true;
    let states = ["removed", "paused", "running"].into_iter().filter(|name| is(name));
    let states: Vec<_> = states.collect();
    if !states.is_empty() {
        fields.push(("is", states.join(", ")));
    }
    for name in ["delayed", "callbacks"] {
        if info[name].is_u64() {
            fields.push((name, output::text(&info[name])));
        }
    }
    let head = output::fields(&fields);
    let state = output::items(&info["state"]).iter();
    let state: Vec<_> =
        state.map(|row| vec![output::text(&row["key"]), row["value"].to_string()]).collect();
    let timers = output::items(&info["timers"]).iter();
    let timers: Vec<_> = timers
        .map(|timer| {
            let due = output::time(&timer["due_ms"]);
            vec![output::text(&timer["name"]), output::text(&timer["handler"]), due]
        })
        .collect();
    let mut blocks = vec![head];
    if !state.is_empty() {
        blocks.push(output::table(&["state", "value"], &state));
    }
    if is("more_state") {
        blocks.push("and more state, which is not shown".to_owned());
    }
    if !timers.is_empty() {
        blocks.push(output::table(&["timer", "handler", "due"], &timers));
    }
    blocks.join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_read_and_bad_ones_are_named() {
        let kind: KindRef = "bank/account".parse().expect("valid");
        assert_eq!(kind, KindRef { app: "bank".into(), kind: "account".into() });
        let field = |text: &str| text.parse::<KindRef>().expect_err("bad").field;
        assert_eq!(field("bank"), "type");
        assert_eq!("bank".parse(), Ok(Named::App("bank".into())));
        assert_eq!("bank/account".parse(), Ok(Named::Kind(kind)));
        let alice = "bank/account/al/ice".parse().expect("an entity");
        assert_eq!("bank/account/al/ice".parse(), Ok(Named::Entity(alice)));
        assert_eq!("1/account/alice".parse::<Named>().expect_err("bad").field, "app");
        assert_eq!(field("1/account"), "app");
        assert_eq!(field("bank/"), "type");
        assert_eq!(field("bank/account/alice"), "type");
    }

    #[test]
    fn an_entity_shows_state_and_timers_only_when_it_has_some() {
        let bare = json!({"entity": "a/b/c", "version": 3, "mailbox": 0});
        assert_eq!(render(&bare), "entity   a/b/c\nversion  3\nwaiting  0");
        let full = json!({"entity": "a/b/c", "version": 3, "mailbox": 0,
            "state": [{"key": "f", "value": {"n": 1}}],
            "timers": [{"name": "t", "handler": "ring", "due_ms": 0}]});
        let expected = "\n\nSTATE  VALUE\nf      {\"n\":1}\n\n\
                        TIMER  HANDLER  DUE\nt      ring     1970-01-01T00:00:00Z";
        assert!(render(&full).ends_with(expected), "{}", render(&full));
    }

    #[test]
    fn a_page_is_a_table() {
        let page = json!({"entities": [{"entity": "a/b/c", "version": 3, "mailbox": 0}]});
        assert_eq!(render_page(&page), "ENTITY  VERSION  WAITING\na/b/c   3        0");
        let held = json!({"entity": "a/b/c", "version": 3, "mailbox": 9, "paused": true,
            "running": true, "delayed": 2});
        let page = render_page(&json!({ "entities": [held] }));
        assert!(page.ends_with("9        paused"), "{page}");
        assert!(
            render(&held).ends_with("is       paused, running\ndelayed  2"),
            "{}",
            render(&held)
        );
    }
}

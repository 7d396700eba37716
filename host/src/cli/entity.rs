//! `keystead entity ls|get`: entities as operators see them. It changes nothing.

use std::str::FromStr;

use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::ids::{BadId, EntityRef, check_name};

/// Look at entities and their state
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List the entities of a type in order of their keys
    Ls(LsArgs),
    /// Show one entity: its version, state and timers
    Get(GetArgs),
}

/// Which entities to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// The entity type
    #[arg(value_name = "APP/TYPE")]
    kind: KindRef,
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

/// An entity type of an app, `app/type`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KindRef {
    app: String,
    kind: String,
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

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => ls(args, out).await,
        Verb::Get(args) => get(args, out).await,
    }
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/entities").part(&args.kind.app).part(&args.kind.kind);
    let path = path.query("prefix", &args.prefix).maybe("after", args.after.as_deref());
    let page = args.admin.client().get(path.query("limit", &args.limit.to_string())).await?;
    out.document(&page, render_page)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --after {}", output::shell(next)));
    }
    Ok(())
}

async fn get(args: &GetArgs, out: &Output) -> anyhow::Result<()> {
    let entity = &args.entity;
    let path = Path::new("/admin/v1/entities").part(entity.app()).part(entity.kind());
    let info = args.admin.client().get(path.part(entity.key())).await?;
    Ok(out.document(&info, render)?)
}

fn render_page(page: &Value) -> String {
    let row = |info: &Value| {
        vec![
            output::text(&info["entity"]),
            output::text(&info["version"]),
            output::text(&info["mailbox"]),
        ]
    };
    let rows: Vec<_> = output::items(&page["entities"]).iter().map(row).collect();
    output::table(&["entity", "version", "waiting"], &rows)
}

fn render(info: &Value) -> String {
    let head = output::fields(&[
        ("entity", output::text(&info["entity"])),
        ("version", output::text(&info["version"])),
        ("waiting", output::text(&info["mailbox"])),
    ]);
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
    }
}

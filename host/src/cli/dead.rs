//! `keystead dead ls|show|edit|retry|drop`: messages that could not be processed, parked whole with their reason.
//! Invariant: nothing leaves the list but by `retry` or `drop`, for ids or for a filter that was said.

use anyhow::bail;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::ids::MessageId;

const DEAD: &str = "/admin/v1/dead";

/// Look at dead letters, send them again, or drop them
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List dead letters in order of their ids
    Ls(LsArgs),
    /// Show one dead letter whole: message, reason and attempts
    Show(OneArgs),
    /// Change a dead letter's input; it must fit its handler
    Edit(EditArgs),
    /// Send dead letters again, with their attempts at zero: by id, or all that match, in the order they came
    Retry(SomeArgs),
    /// Forget dead letters for good: by id, or all that match
    Drop(SomeArgs),
}

/// Which dead letters, by what they are.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Filter {
    /// Only those of this app
    #[arg(long)]
    app: Option<String>,
    /// Only those for this entity type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only those for this handler
    #[arg(long)]
    handler: Option<String>,
    /// Only those whose reason contains this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those parked at this time or later, e.g. 2030-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    parked_from: Option<String>,
    /// Only those parked before this time
    #[arg(long, value_name = "TIME")]
    parked_until: Option<String>,
}

impl Filter {
    fn all(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("app", self.app.as_deref()),
            ("type", self.kind.as_deref()),
            ("handler", self.handler.as_deref()),
            ("reason", self.reason.as_deref()),
            ("parked_from", self.parked_from.as_deref()),
            ("parked_until", self.parked_until.as_deref()),
        ]
    }

    fn on(&self, path: Path) -> Path {
        self.all().into_iter().fold(path, |path, (name, value)| path.maybe(name, value))
    }

    fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, value)| value.is_none())
    }
}

/// Which dead letters to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    filter: Filter,
    /// Only ids after this one: the way to the next page
    #[arg(long, value_name = "ID")]
    after: Option<MessageId>,
    /// Most rows to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    admin: AdminUrl,
}

/// One dead letter.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// The message's id
    id: MessageId,
    #[command(flatten)]
    admin: AdminUrl,
}

/// What to change.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// The message's id
    id: MessageId,
    /// Its new input: a JSON object
    #[arg(value_name = "JSON")]
    input: String,
    /// Send it again, too
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Some dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct SomeArgs {
    /// The messages' ids
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    #[command(flatten)]
    filter: Filter,
    /// All there are, or all that match
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => ls(args, out).await,
        Verb::Show(args) => show(args, out).await,
        Verb::Edit(args) => edit(args, out).await,
        Verb::Retry(args) if args.many()? => many(args, "retry", "sent again", out).await,
        Verb::Drop(args) if args.many()? => many(args, "drop", "dropped", out).await,
        Verb::Retry(args) => each(args, Method::POST, Some("retry"), "sent again", out).await,
        Verb::Drop(args) => each(args, Method::DELETE, None, "dropped", out).await,
    }
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let after = args.after.map(|id| id.to_string());
    let path = args.filter.on(Path::new(DEAD)).maybe("after", after.as_deref());
    let page = args.admin.client().get(path.query("limit", &args.limit.to_string())).await?;
    out.document(&page, render_page)?;
    if let Some(next) = page["next"].as_str() {
        out.note(&format!("more: --after {}", output::shell(next)));
    }
    Ok(())
}

async fn show(args: &OneArgs, out: &Output) -> anyhow::Result<()> {
    let letter = args.admin.client().get(Path::new(DEAD).part(&args.id.to_string())).await?;
    Ok(out.document(&letter, render)?)
}

async fn edit(args: &EditArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(DEAD).part(&args.id.to_string());
    let path = path.query("retry", if args.retry { "true" } else { "false" });
    let input = Bytes::from(args.input.clone());
    let done = args.admin.client().document(Method::PUT, path, input).await?;
    let what = if args.retry { "edited and sent again" } else { "edited" };
    Ok(out.document(&done, |_| format!("{} {what}", args.id))?)
}

impl SomeArgs {
    /// True when a filter says which.
    fn many(&self) -> anyhow::Result<bool> {
        match (self.ids.is_empty(), self.filter.is_empty(), self.all) {
            (false, false, _) => bail!("give ids or a filter, not both"),
            (true, _, true) | (true, false, _) => Ok(true),
            (true, true, false) => bail!("give ids, or a filter, or --all"),
            (false, true, _) => Ok(false),
        }
    }
}

/// Step by step until all that match when it began are settled.
async fn many(args: &SomeArgs, step: &str, done: &str, out: &Output) -> anyhow::Result<()> {
    let client = args.admin.client();
    let (mut count, mut finals) = (0_u64, 0_u64);
    let (mut after, mut through): (Option<String>, Option<String>) = (None, None);
    let bar = out.spinner(&format!("{step} dead letters"));
    loop {
        let path = args.filter.on(Path::new(DEAD).part(step)).maybe("after", after.as_deref());
        let path = path.maybe("through", through.as_deref());
        let told = client.document(Method::POST, path, Bytes::new()).await?;
        count += told["done"].as_u64().unwrap_or(0);
        finals += told["final"].as_u64().unwrap_or(0);
        bar.set_message(format!("{count} {done}"));
        through = told["through"].as_u64().map(|through| through.to_string());
        match told["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    bar.finish_and_clear();
    let document = json!({"done": count, "final": finals});
    Ok(out.document(&document, |_| match finals {
        0 => format!("{count} {done}"),
        _ => format!("{count} {done}; {finals} are final and stay, their senders were told"),
    })?)
}

async fn each(
    args: &SomeArgs,
    method: Method,
    step: Option<&str>,
    done: &str,
    out: &Output,
) -> anyhow::Result<()> {
    let client = args.admin.client();
    for id in &args.ids {
        let path = Path::new(DEAD).part(&id.to_string());
        let path = step.into_iter().fold(path, Path::part);
        client.document(method.clone(), path, Bytes::new()).await?;
        let document = json!({"id": id.to_string(), "status": done.replace(' ', "_")});
        out.document(&document, |_| format!("{id} {done}"))?;
    }
    Ok(())
}

fn render_page(page: &Value) -> String {
    let row = |letter: &Value| {
        vec![
            output::text(&letter["id"]),
            output::text(&letter["entity"]),
            output::text(&letter["handler"]),
            output::text(&letter["attempts"]),
            output::text(&letter["reason"]),
        ]
    };
    let rows: Vec<_> = output::items(&page["dead_letters"]).iter().map(row).collect();
    output::table(&["id", "entity", "handler", "attempts", "reason"], &rows)
}

fn render(letter: &Value) -> String {
    output::fields(&[
        ("id", output::text(&letter["id"])),
        ("entity", output::text(&letter["entity"])),
        ("handler", output::text(&letter["handler"])),
        ("sender", output::text(&letter["sender"])),
        ("input", letter["input"].to_string()),
        ("reason", output::text(&letter["reason"])),
        ("attempts", output::text(&letter["attempts"])),
        ("parked", output::time(&letter["parked_at_ms"])),
        ("retry", retry(letter).to_owned()),
    ])
}

/// Whether it can be sent again.
fn retry(letter: &Value) -> &'static str {
    match letter["answered"].as_bool() {
        Some(true) => "no: its sender was told that it failed",
        _ => "yes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_shown_whole() {
        let letter = json!({"id": "msg_1", "entity": "a/b/c", "handler": "h", "sender": null,
            "input": {"n": 1}, "reason": "error: no\nway", "attempts": 10, "parked_at_ms": 0});
        let expected = "id        msg_1\nentity    a/b/c\nhandler   h\nsender    -\n\
                        input     {\"n\":1}\nreason    error: no\\nway\nattempts  10\n\
                        parked    1970-01-01T00:00:00Z\nretry     yes";
        assert_eq!(render(&letter), expected);
        assert!(
            render(&json!({"answered": true})).ends_with("no: its sender was told that it failed")
        );
        let page = render_page(&json!({ "dead_letters": [letter] }));
        let expected = "ID     ENTITY  HANDLER  ATTEMPTS  REASON\n\
                        msg_1  a/b/c   h        10        error: no\\nway";
        assert_eq!(page, expected);
    }
}

//! `keystead dead ls|show|retry|drop`: messages that could not be processed, parked whole with their reason.
//! Invariant: nothing leaves the list but by `retry` or `drop`, one id at a time.

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
    /// Send dead letters again, with their attempts at zero
    Retry(SomeArgs),
    /// Forget dead letters for good
    Drop(SomeArgs),
}

/// Which dead letters to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Only those of this app
    #[arg(long)]
    app: Option<String>,
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

/// One or more dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct SomeArgs {
    /// The messages' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<MessageId>,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => ls(args, out).await,
        Verb::Show(args) => show(args, out).await,
        Verb::Retry(args) => each(args, Method::POST, Some("retry"), "sent again", out).await,
        Verb::Drop(args) => each(args, Method::DELETE, None, "dropped", out).await,
    }
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let after = args.after.map(|id| id.to_string());
    let path = Path::new(DEAD).maybe("app", args.app.as_deref()).maybe("after", after.as_deref());
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

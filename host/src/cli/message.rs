//! `keystead message ls|where|show|journey|cancel`: messages that wait, and one call or send by its id. A message that was
//! rejected or parked is an error of `show` too, with its exit code; one on its way is not, and its status says so.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminUrl, IngressUrl, Path};
use super::output::{self, Output};
use crate::ids::MessageId;

const MESSAGES: &str = "/v1/messages";

/// Look at messages, or cancel one before it starts
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List messages that wait: in mailboxes as they arrived, then scheduled ones by time
    Ls(LsArgs),
    /// Show where a message waits, who sent it and what it is about
    Where(WhereArgs),
    /// Show where a message is, or the answer it came to
    Show(ShowArgs),
    /// Show what caused a message and all that came of it, as a tree
    Journey(JourneyArgs),
    /// Cancel a message that has not started
    Cancel(CancelArgs),
}

/// Which messages to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Only those for an app, a type or an entity
    #[arg(value_name = "APP[/TYPE[/KEY]]")]
    of: Option<String>,
    /// Only those at this stage
    #[arg(long, value_parser = ["queued", "running", "backing_off", "scheduled"])]
    stage: Option<String>,
    /// Only those that this entity sent
    #[arg(long, value_name = "APP/TYPE/KEY")]
    sender: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// A page of a listing.
#[derive(Debug, clap::Args)]
pub(super) struct PageArgs {
    /// The way to the next page
    #[arg(long, value_name = "MARK")]
    after: Option<String>,
    /// Most rows to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    pub(super) admin: AdminUrl,
}

/// Which message to look for.
#[derive(Debug, clap::Args)]
pub(super) struct WhereArgs {
    /// The message's id
    id: MessageId,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Which message to show.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The message's id
    id: MessageId,
    /// Wait this long for it to end, e.g. 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<String>,
    #[command(flatten)]
    ingress: IngressUrl,
}

/// Whose journey to show.
#[derive(Debug, clap::Args)]
pub(super) struct JourneyArgs {
    /// The message's id
    id: MessageId,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Which message to cancel.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The message's id
    id: MessageId,
    #[command(flatten)]
    ingress: IngressUrl,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => ls(args, out).await,
        Verb::Where(args) => look(args, out).await,
        Verb::Show(args) => show(args, out).await,
        Verb::Journey(args) => journey(args, out).await,
        Verb::Cancel(args) => cancel(args, out).await,
    }
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let path = of(Path::new("/admin/v1/messages"), args.of.as_deref());
    let path = path.maybe("stage", args.stage.as_deref());
    let path = path.maybe("sender", args.sender.as_deref());
    list(path, &args.page, out, |page| render(page, "messages")).await
}

/// Asks for one page and prints it.
pub(super) async fn list(
    path: Path,
    page: &PageArgs,
    out: &Output,
    render: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    let path = path.maybe("after", page.after.as_deref()).query("limit", &page.limit.to_string());
    let rows = page.admin.client().get(path).await?;
    out.document(&rows, render)?;
    if let Some(next) = rows["next"].as_str() {
        out.note(&format!("more: --after {}", output::shell(next)));
    }
    Ok(())
}

/// Adds what `app/type/key` or a part of it says.
pub(super) fn of(path: Path, scope: Option<&str>) -> Path {
    let parts = scope.into_iter().flat_map(|scope| scope.splitn(3, '/'));
    ["app", "type", "key"]
        .into_iter()
        .zip(parts)
        .fold(path, |path, (name, part)| path.query(name, part))
}

/// A page of messages or timers as a table.
pub(super) fn render(page: &Value, name: &str) -> String {
    let row = |message: &Value| {
        let from = match message["timer"].as_str() {
            Some(timer) => format!("timer {timer}"),
            None => match &message["sender"] {
                Value::Null => output::text(&message["origin"]),
                sender => output::text(sender),
            },
        };
        vec![
            output::text(&message["id"]),
            output::text(&message["entity"]),
            output::text(&message["handler"]),
            from,
            output::text(&message["stage"]),
            output::text(&message["attempts"]),
            if message["due_ms"].is_u64() { output::time(&message["due_ms"]) } else { "-".into() },
        ]
    };
    let rows: Vec<_> = output::items(&page[name]).iter().map(row).collect();
    output::table(&["id", "entity", "handler", "from", "stage", "attempts", "due"], &rows)
}

async fn look(args: &WhereArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/messages").part(&args.id.to_string());
    let found = args.admin.client().get(path).await?;
    Ok(out.document(&found, |found| {
        let head = render(&json!({ "messages": [found] }), "messages");
        format!("{head}\n\ninput  {}", found["input"])
    })?)
}

async fn show(args: &ShowArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(MESSAGES).part(&args.id.to_string()).maybe("wait", args.wait.as_deref());
    let answer = args.ingress.client().request(Method::GET, path, &[], Bytes::new()).await?;
    Ok(out.body(&answer.body, answer.is_text())?)
}

async fn journey(args: &JourneyArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/messages").part(&args.id.to_string()).part("journey");
    let journey = args.admin.client().get(path).await?;
    out.document(&journey, tree)?;
    if journey["cut_below"] == true {
        out.note("more came of it than is shown");
    }
    Ok(())
}

/// A journey as lines, each message below its cause.
fn tree(journey: &Value) -> String {
    let steps = output::items(&journey["messages"]);
    let known = |id: &Value| steps.iter().any(|step| step["id"] == *id);
    let tops = steps.iter().filter(|step| !known(&step["cause"]["message"]));
    let mut lines = Vec::new();
    if journey["cut_above"] == true {
        let since = output::time(&journey["since_ms"]);
        lines.push(format!("(what caused the first is not remembered; turns are since {since})"));
    }
    tops.for_each(|top| branch(steps, top, ("", ""), &mut lines));
    lines.join("\n")
}

/// A message and what came of it; `head` stands before its own line, `rest` before those below.
fn branch(steps: &[Value], step: &Value, (head, rest): (&str, &str), lines: &mut Vec<String>) {
    lines.push(format!("{head}{}", line(step)));
    let below: Vec<_> = steps.iter().filter(|s| s["cause"]["message"] == step["id"]).collect();
    for (at, effect) in below.iter().enumerate() {
        let (head, next) =
            if at + 1 == below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(steps, effect, (&format!("{rest}{head}"), &format!("{rest}{next}")), lines);
    }
}

fn line(step: &Value) -> String {
    let text = |name: &str| output::plain(&output::text(&step[name]));
    let mut line = format!("{} {} {}", text("entity"), text("handler"), text("status"));
    if let Some(name) = step["cause"]["timer"].as_str() {
        line += &format!(" (timer {})", output::plain(name));
    }
    if step["attempts"].as_u64().is_some_and(|attempts| attempts > 1) {
        line += &format!(" after {} attempts", step["attempts"]);
    }
    if let Some(us) = step["took_us"].as_u64() {
        line += &format!(", {} ms", us as f64 / 1_000.0);
    }
    if let Some(why) = step["reason"].as_str() {
        line += &format!(": {}", output::plain(why));
    }
    format!("{line}  {}", text("id"))
}

async fn cancel(args: &CancelArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(MESSAGES).part(&args.id.to_string());
    let status = args.ingress.client().document(Method::DELETE, path, Bytes::new()).await?;
    Ok(out.document(&status, |_| format!("{} cancelled", args.id))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_says_where_each_message_comes_from() {
        let page = json!({"messages": [
            {"id": "m1", "entity": "a/b/c", "handler": "h", "origin": "send", "sender": null,
             "stage": "queued", "attempts": 0, "due_ms": null},
            {"id": "m2", "entity": "a/b/c", "handler": "h", "origin": "timer", "sender": null,
             "timer": "t", "stage": "scheduled", "attempts": 2, "due_ms": 0},
        ]});
        let table = render(&page, "messages");
        assert!(table.contains("m1  a/b/c   h        send     queued     0         -"), "{table}");
        let timer = "m2  a/b/c   h        timer t  scheduled  2         1970-01-01T00:00:00Z";
        assert!(table.ends_with(timer), "{table}");
        let path = of(Path::new("/x"), Some("a/b/c/d"));
        assert_eq!(path.as_str(), "/x?app=a&type=b&key=c%2Fd");
        assert_eq!(of(Path::new("/x"), None).as_str(), "/x");
    }

    #[test]
    fn a_journey_is_a_tree_of_lines() {
        let step = |id: &str, cause: Option<&str>, status: &str| {
            json!({"id": id, "entity": format!("a/t/{id}"), "handler": "go", "status": status, "attempts": 1,
                "cause": {"kind": "entity", "message": cause}, "took_us": 1500})
        };
        let mut parked = step("4", Some("1"), "parked");
        (parked["reason"], parked["attempts"]) = (json!("no\u{1b}way"), json!(10));
        let mut timer = step("3", Some("2"), "scheduled");
        (timer["cause"]["timer"], timer["took_us"]) = (json!("tick"), json!(null));
        let messages = [step("1", None, "done"), step("2", Some("1"), "done"), timer, parked];
        let journey = json!({"messages": messages, "cut_above": false});
        let expected = "a/t/1 go done, 1.5 ms  1\n\
                        ├─ a/t/2 go done, 1.5 ms  2\n\
                        │  └─ a/t/3 go scheduled (timer tick)  3\n\
                        └─ a/t/4 go parked after 10 attempts, 1.5 ms: no\\u{1b}way  4";
        assert_eq!(tree(&journey), expected);
        let cut =
            json!({"messages": [step("2", Some("1"), "done")], "cut_above": true, "since_ms": 0});
        assert_eq!(
            tree(&cut),
            "(what caused the first is not remembered; turns are since 1970-01-01T00:00:00Z)\n\
             a/t/2 go done, 1.5 ms  2"
        );
    }
}

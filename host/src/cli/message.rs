//! `keystead message show|journey|cancel`: one call or send by its id. A message that was rejected or parked is an
//! error here too, with its exit code; one that is still on its way is not, and its status says so.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{AdminUrl, IngressUrl, Path};
use super::output::{self, Output};
use crate::ids::MessageId;

const MESSAGES: &str = "/v1/messages";

/// Look at one message, or cancel it before it starts
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show where a message is, or the answer it came to
    Show(ShowArgs),
    /// Show what caused a message and all that came of it, as a tree
    Journey(JourneyArgs),
    /// Cancel a message that has not started
    Cancel(CancelArgs),
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
        Verb::Show(args) => show(args, out).await,
        Verb::Journey(args) => journey(args, out).await,
        Verb::Cancel(args) => cancel(args, out).await,
    }
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
    use serde_json::json;

    use super::*;

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

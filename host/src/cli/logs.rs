//! `keystead logs APP`: what an app's guests logged. The host keeps the last lines in memory; these are for
//! people, so nothing here promises that none is missed. Invariant: lines come in the order of their numbers.

use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::limits;

/// Show what an app's handlers logged
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app
    app: String,
    /// Go on with new lines as they come
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let client = args.admin.client();
    let wait = format!("{}s", limits::LOGS_FOLLOW_WAIT.as_secs());
    let mut after = 0;
    loop {
        let path = Path::new("/admin/v1/apps").part(&args.app).part("logs");
        let path = path.query("after", &after.to_string());
        let path = path.query("limit", &limits::PAGE_ROWS_MAX.to_string());
        let page = client.get(path.maybe("wait", args.follow.then_some(wait.as_str()))).await?;
        let lines = output::items(&page["lines"]);
        for line in lines {
            out.document(line, render)?;
        }
        if lines.len() < limits::PAGE_ROWS_MAX && !args.follow {
            return Ok(());
        }
        after = page["next"].as_u64().unwrap_or(after).max(after);
    }
}

fn render(line: &Value) -> String {
    let level = output::text(&line["level"]).to_uppercase();
    let entity = output::plain(&output::text(&line["entity"]));
    let text = output::plain(&output::text(&line["line"]));
    format!("{} {level:5} {entity}  {text}", output::time(&line["at_ms"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let line = json!({"seq": 1, "at_ms": 1, "level": "warn", "entity": "account/a",
            "message_id": "msg_1", "line": "low\nfunds"});
        let expected = "1970-01-01T00:00:00.001Z WARN  account/a  low\\nfunds";
        assert_eq!(render(&line), expected);
    }
}

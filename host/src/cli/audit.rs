//! `keystead audit`: who changed what on a host. It only looks. Invariant: damage that the host found in the log is
//! said, and is an error.

use anyhow::bail;
use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::output::{self, Output};

/// Show who changed what, oldest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only lines after this one: the way to the next page
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// Most lines to show
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/audit").query("after", &args.after.to_string());
    let page = args.admin.client().get(path.query("limit", &args.limit.to_string())).await?;
    out.document(&page, render)?;
    if let Some(next) = page["next"].as_u64() {
        out.note(&format!("more: --after {next}"));
    }
    let damage = output::items(&page["damage"]);
    if !damage.is_empty() {
        let places: Vec<_> = damage.iter().map(output::text).collect();
        bail!("the audit log is damaged or was changed: {}", places.join("; "));
    }
    Ok(())
}

fn render(page: &Value) -> String {
    let row = |line: &Value| {
        let who = if line["name"].is_null() { &line["who"] } else { &line["name"] };
        let of = line["of"].as_u64().map_or_else(String::new, |of| format!(" ({of})"));
        vec![
            output::text(&line["seq"]),
            output::time(&line["at_ms"]),
            output::text(who),
            output::text(&line["what"]),
            output::text(&line["target"]),
            format!("{}{of}", output::text(&line["event"])),
            facts(line),
        ]
    };
    let rows: Vec<_> = output::items(&page["entries"]).iter().map(row).collect();
    output::table(&["line", "at", "who", "what", "target", "event", "facts"], &rows)
}

/// What was there and what is.
fn facts(line: &Value) -> String {
    match (&line["before"], &line["after"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, after) => format!("now {after}"),
        (before, Value::Null) => format!("was {before}"),
        (before, after) => format!("was {before}, now {after}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_who_did_what() {
        let line = json!({"seq": 2, "at_ms": 0, "who": "tok_1", "name": "ci", "what": "Deploy", "of": 1,
            "target": "PUT /admin/v1/apps/bank", "event": "done", "before": {"version": "0e"},
            "after": {"version": "0f"}});
        let expected = "LINE  AT                    WHO  WHAT    TARGET                   EVENT     FACTS\n\
            2     1970-01-01T00:00:00Z  ci   Deploy  PUT /admin/v1/apps/bank  done (1)  \
            was {\"version\":\"0e\"}, now {\"version\":\"0f\"}";
        assert_eq!(render(&json!({"entries": [line]})), expected);
    }
}

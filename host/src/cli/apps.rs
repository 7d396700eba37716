//! `keystead apps`: what is deployed. It changes nothing.

use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::output::{self, Output};

/// List deployed apps
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let page = args.admin.client().get(Path::new("/admin/v1/apps")).await?;
    Ok(out.document(&page, render)?)
}

fn render(page: &Value) -> String {
    let row = |app: &Value| {
        let types: Vec<_> = output::items(&app["types"]).iter().map(output::text).collect();
        vec![
            output::text(&app["app"]),
            output::text(&app["version"]),
            types.join(", "),
            output::time(&app["deployed_at_ms"]),
        ]
    };
    let rows: Vec<_> = output::items(&page["apps"]).iter().map(row).collect();
    output::table(&["app", "version", "types", "deployed"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn apps_are_a_table() {
        let app = json!({"app": "bank", "version": "0f", "types": ["account", "audit"],
                         "deployed_at_ms": 0});
        let expected = "APP   VERSION  TYPES           DEPLOYED\n\
                        bank  0f       account, audit  1970-01-01T00:00:00Z";
        assert_eq!(render(&json!({ "apps": [app] })), expected);
        assert_eq!(render(&json!({ "apps": [] })), "APP  VERSION  TYPES  DEPLOYED");
    }
}

//! `keystead deploy FILE`: hands a built component to a host. The host validates, compiles and decides;
//! deploying the same bytes and configuration again changes nothing.

use std::path::{Path as FilePath, PathBuf};

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminUrl, Client, ClientError, Path};
use super::output::{self, Output};
use crate::config::AppConfig;

/// Deploy a component as an app
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The component, as `keystead build` makes it
    file: PathBuf,
    /// The app's name
    #[arg(long)]
    app: String,
    /// The app's settings (keystead.toml)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deploy even if it takes away or retypes what callers of the live version use, or does not read state
    /// that earlier versions left
    #[arg(long)]
    breaking: bool,
    /// Keep it beside the live version, which stays live, for `keystead ramp` and `keystead activate`
    #[arg(long)]
    no_activate: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let component = std::fs::read(&args.file)
        .with_context(|| format!("the component {} cannot be read", args.file.display()))?;
    let config = args.config.as_deref().map(read_config).transpose()?;
    let spinner = out.spinner("deploying");
    let client = args.admin.client();
    let path = path(&args.app, config.as_ref(), args.breaking)
        .maybe("activate", args.no_activate.then_some("false"))
        .maybe("dry_run", args.dry_run.then_some("true"));
    let deployed = client.document(Method::PUT, path, component.into()).await;
    spinner.finish_and_clear();
    let deployed = deployed.inspect_err(|error| explain(error, out))?;
    let render = match (args.dry_run, args.no_activate) {
        (true, _) => render_dry_run,
        (_, true) => render_kept,
        _ => render,
    };
    Ok(out.document(&deployed, render)?)
}

/// Deploys; the answer is the host's document.
pub(super) async fn put(
    client: &Client,
    app: &str,
    component: Vec<u8>,
    config: Option<&AppConfig>,
    breaking: bool,
) -> Result<Value, ClientError> {
    client.document(Method::PUT, path(app, config, breaking), component.into()).await
}

fn path(app: &str, config: Option<&AppConfig>, breaking: bool) -> Path {
    let path = Path::new("/admin/v1/apps").part(app).query("breaking", &breaking.to_string());
    let config = config.map(|config| json!(config).to_string());
    path.maybe("config", config.as_deref())
}

/// Shows, for a refusal that tells it, everything that the version would change.
pub(super) fn explain(error: &ClientError, out: &Output) {
    let diff = error.problem().map(|problem| &problem.document["details"]["diff"]);
    if let Some(diff) = diff.filter(|diff| !output::items(diff).is_empty()) {
        out.note(&format!("what it changes:{}", changes(diff)));
    }
}

/// A contract's differences, each on a line of its own after a line end: `+` new, `-` gone, `~` another, `!` what
/// breaks callers.
pub(super) fn changes(diff: &Value) -> String {
    let line = |change: &Value| {
        let mark = match change["change"].as_str() {
            Some("added") => '+',
            Some("removed") => '-',
            _ => '~',
        };
        let breaking = if change["breaking"] == true { '!' } else { ' ' };
        let (name, detail) = (output::text(&change["name"]), output::text(&change["detail"]));
        format!("\n{breaking}{mark} {name}: {detail}")
    };
    output::items(diff).iter().map(line).collect()
}

/// Reads and checks an app's settings.
pub(super) fn read_config(path: &FilePath) -> anyhow::Result<AppConfig> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the settings {} cannot be read", path.display()))?;
    let config: AppConfig =
        toml::from_str(&text).with_context(|| format!("{} is not right", path.display()))?;
    config.validate().with_context(|| format!("{} is not right", path.display()))?;
    Ok(config)
}

/// One sentence about what a deploy did.
pub(super) fn render(deployed: &Value) -> String {
    let app = output::text(&deployed["app"]);
    let version = output::text(&deployed["version"]);
    if deployed["changed"] == false {
        return format!("{app} is unchanged: version {version} is live already");
    }
    format!("deployed {app}, version {version}{}", changes(&deployed["diff"]))
}

fn render_kept(deployed: &Value) -> String {
    let (app, version) = (output::text(&deployed["app"]), output::text(&deployed["version"]));
    if deployed["changed"] == false {
        return format!("{app} is unchanged: version {version} is kept already");
    }
    format!("kept version {version} beside the live one of {app}{}", changes(&deployed["diff"]))
}

fn render_dry_run(deployed: &Value) -> String {
    let (app, version) = (output::text(&deployed["app"]), output::text(&deployed["version"]));
    if deployed["changed"] == false {
        return format!("{app} would not change: it has version {version} already");
    }
    let breaking = output::items(&deployed["breaking"]);
    let breaking: String =
        breaking.iter().map(|text| format!("\n{}", output::text(text))).collect();
    let refused = if breaking.is_empty() { "" } else { "\nrefused without --breaking:" };
    let changes = changes(&deployed["diff"]);
    format!("would deploy {app}, version {version}{changes}{refused}{breaking}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_name_file_and_field() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("keystead.toml");
        let error = |text: &str| {
            std::fs::write(&path, text).expect("write");
            format!("{:#}", read_config(&path).expect_err("bad"))
        };
        assert!(error("deadline_ms = 0").contains("keystead.toml is not right: deadline_ms is 0"));
        assert!(error("dedline_ms = 1").contains("dedline_ms"));
        std::fs::write(&path, "deadline_ms = 100\n[values]\ngreeting = \"hi\"").expect("write");
        let config = read_config(&path).expect("valid");
        assert_eq!((config.deadline_ms, config.values["greeting"].as_str()), (100, "hi"));
    }

    #[test]
    fn a_deploy_says_whether_it_changed_anything() {
        let deployed = json!({"app": "bank", "version": "0f", "changed": true});
        assert_eq!(render(&deployed), "deployed bank, version 0f");
        let deployed = json!({"app": "bank", "version": "0f", "changed": false});
        assert_eq!(render(&deployed), "bank is unchanged: version 0f is live already");
    }

    #[test]
    fn what_changes_is_listed() {
        let diff = json!([
            {"change": "added", "name": "a", "detail": "why", "breaking": false},
            {"change": "removed", "name": "b", "detail": "why", "breaking": true},
            {"change": "changed", "name": "c", "detail": "why", "breaking": false},
        ]);
        let deployed = json!({"app": "bank", "version": "0f", "changed": true, "diff": diff,
                              "breaking": ["- b: why"]});
        let lines = "\n + a: why\n!- b: why\n ~ c: why";
        assert_eq!(render(&deployed), format!("deployed bank, version 0f{lines}"));
        let refused = "\nrefused without --breaking:\n- b: why";
        let expected = format!("would deploy bank, version 0f{lines}{refused}");
        assert_eq!(render_dry_run(&deployed), expected);
    }
}

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
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let component = std::fs::read(&args.file)
        .with_context(|| format!("the component {} cannot be read", args.file.display()))?;
    let config = args.config.as_deref().map(read_config).transpose()?;
    let spinner = out.spinner("deploying");
    let client = args.admin.client();
    let deployed = put(&client, &args.app, component, config.as_ref(), args.breaking).await;
    spinner.finish_and_clear();
    Ok(out.document(&deployed?, render)?)
}

/// Deploys; the answer is the host's document.
pub(super) async fn put(
    client: &Client,
    app: &str,
    component: Vec<u8>,
    config: Option<&AppConfig>,
    breaking: bool,
) -> Result<Value, ClientError> {
    let path = Path::new("/admin/v1/apps").part(app).query("breaking", &breaking.to_string());
    let config = config.map(|config| json!(config).to_string());
    client.document(Method::PUT, path.maybe("config", config.as_deref()), component.into()).await
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
    format!("deployed {app}, version {version}")
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
}

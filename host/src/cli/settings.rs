//! `keystead config` and `keystead secret`: what an app is given beside its component. Settings have the names that
//! they have in `keystead.toml`, with dots. Invariant: a secret is read from a file or from standard input, never
//! from the command line, and never printed.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::Usage;
use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::limits;

/// Show or change an app's settings: values for its handlers, deadlines, retries, limits
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigVerb {
    /// Show an app's settings, and the names of its secrets
    Show(AppArgs),
    /// Set settings: `deadline_ms=250`, `retry.attempts_max=3`, `values.greeting=hello`
    Set(SetArgs),
    /// Make settings the default again, or take values away
    Unset(UnsetArgs),
}

/// Set or remove an app's secrets, which its handlers read like values and nobody else sees again
#[derive(Debug, clap::Subcommand)]
pub(super) enum SecretVerb {
    /// List the names of an app's secrets
    Ls(AppArgs),
    /// Set a secret to what is read from a file or from standard input, less one line end
    Set(SecretArgs),
    /// Remove a secret
    Unset(SecretNameArgs),
}

/// One app.
#[derive(Debug, clap::Args)]
pub(super) struct AppArgs {
    /// The app's name
    app: String,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Settings and what they are to be.
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// The app's name
    app: String,
    /// The settings, by the names that they have in keystead.toml
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Settings by name.
#[derive(Debug, clap::Args)]
pub(super) struct UnsetArgs {
    /// The app's name
    app: String,
    /// The settings' names
    #[arg(required = true, value_name = "NAME")]
    settings: Vec<String>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// A secret and where it is read from.
#[derive(Debug, clap::Args)]
pub(super) struct SecretArgs {
    /// The app's name
    app: String,
    /// The secret's name
    name: String,
    /// Read it from this file and not from standard input
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminUrl,
}

/// A secret by name.
#[derive(Debug, clap::Args)]
pub(super) struct SecretNameArgs {
    /// The app's name
    app: String,
    /// The secret's name
    name: String,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn config(verb: &ConfigVerb, out: &Output) -> anyhow::Result<()> {
    match verb {
        ConfigVerb::Show(args) => {
            let shown = args.admin.client().get(config_of(&args.app)).await?;
            Ok(out.document(&shown, render_config)?)
        }
        ConfigVerb::Set(args) => {
            let settings = args.settings.iter().map(|text| setting(text));
            let settings = settings.collect::<Result<Vec<_>, _>>()?;
            configure(&args.admin, &args.app, settings, out).await
        }
        ConfigVerb::Unset(args) => {
            let settings = args.settings.iter().map(|name| (name.as_str(), Value::Null)).collect();
            configure(&args.admin, &args.app, settings, out).await
        }
    }
}

pub(super) async fn secret(verb: &SecretVerb, out: &Output) -> anyhow::Result<()> {
    let secret =
        |app: &str, name: &str| Path::new("/admin/v1/apps").part(app).part("secrets").part(name);
    match verb {
        SecretVerb::Ls(args) => {
            let shown = args.admin.client().get(config_of(&args.app)).await?;
            let names = json!({"app": shown["app"], "secrets": shown["secrets"]});
            Ok(out.document(&names, render_names)?)
        }
        SecretVerb::Set(args) => {
            let value = read(args, out)?;
            let path = secret(&args.app, &args.name);
            let done = args.admin.client().document(Method::PUT, path, value).await?;
            Ok(out.document(&done, render_set)?)
        }
        SecretVerb::Unset(args) => {
            let path = secret(&args.app, &args.name);
            let done = args.admin.client().document(Method::DELETE, path, Bytes::new()).await?;
            Ok(out
                .document(&done, |done| format!("{} is removed", output::text(&done["secret"])))?)
        }
    }
}

async fn configure(
    admin: &AdminUrl,
    app: &str,
    settings: Vec<(&str, Value)>,
    out: &Output,
) -> anyhow::Result<()> {
    let patch = patch(settings).to_string();
    let done = admin.client().document(Method::PATCH, config_of(app), patch.into()).await?;
    Ok(out.document(&done, render_config)?)
}

fn config_of(app: &str) -> Path {
    Path::new("/admin/v1/apps").part(app).part("config")
}

/// What handlers are to get: all of it, less the line end that editors and `echo` add.
fn read(args: &SecretArgs, out: &Output) -> anyhow::Result<Bytes> {
    let mut value = Vec::new();
    let most = limits::SECRET_BYTES_MAX as u64 + 2;
    if let Some(path) = &args.file {
        let file = std::fs::File::open(path);
        let file = file.with_context(|| format!("{} cannot be read", path.display()))?;
        file.take(most).read_to_end(&mut value)?;
    } else {
        if std::io::stdin().is_terminal() {
            out.note("type the secret, a line end, and Ctrl-D; it is shown as you type");
        }
        std::io::stdin().lock().take(most).read_to_end(&mut value)?;
    }
    if value.ends_with(b"\n") {
        value.pop();
        value.pop_if(|byte| *byte == b'\r');
    }
    Ok(value.into())
}

/// Reads `NAME=VALUE`. Values are text; other settings are JSON where they can be read as such.
fn setting(text: &str) -> Result<(&str, Value), Usage> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Usage(format!(
                "{text:?} is not NAME=VALUE, like deadline_ms=250 or values.greeting=hello"
            ))
        })?;
    let is_text = name.starts_with("values.");
    let read = if is_text { None } else { serde_json::from_str(value).ok() };
    Ok((name, read.unwrap_or_else(|| value.into())))
}

/// A merge patch; the first dot of a name parts a table from what is in it.
fn patch(settings: Vec<(&str, Value)>) -> Value {
    let mut patch = json!({});
    for (name, value) in settings {
        match name.split_once('.') {
            Some((table, name)) => patch[table][name] = value,
            None => patch[name] = value,
        }
    }
    patch
}

fn render_config(shown: &Value) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in shown["config"].as_object().into_iter().flatten() {
        match value.as_object() {
            Some(table) => {
                let row = |(key, value): (&String, &Value)| {
                    (format!("{name}.{key}"), output::text(value))
                };
                pairs.extend(table.iter().map(row));
            }
            None => pairs.push((name.clone(), output::text(value))),
        }
    }
    for name in output::items(&shown["secrets"]) {
        pairs.push((output::text(name), "(secret)".into()));
    }
    let rows: Vec<_> = pairs.into_iter().map(|(name, value)| vec![name, value]).collect();
    output::table(&["setting", "value"], &rows)
}

fn render_set(done: &Value) -> String {
    let name = output::text(&done["secret"]);
    match done["sealed"].as_bool() {
        Some(true) => format!("{name} is set; on disk it is encrypted with the host's key"),
        Some(false) => format!(
            "{name} is set; on disk whoever reads the host's data folder or a snapshot can read it, for the \
             host has no --secrets-key"
        ),
        None => format!("{name} is set"),
    }
}

fn render_names(shown: &Value) -> String {
    let names = output::items(&shown["secrets"]);
    if names.is_empty() {
        return "no secrets".into();
    }
    names.iter().map(output::text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_a_patch() {
        let texts =
            ["deadline_ms=250", "isolation=invocation", "retry.attempts_max=3", "values.a.b=1=2"];
        let settings = texts.into_iter().map(|text| setting(text).expect("right")).collect();
        let expected = json!({"deadline_ms": 250, "isolation": "invocation",
            "retry": {"attempts_max": 3}, "values": {"a.b": "1=2"}});
        assert_eq!(patch(settings), expected);
        assert!(setting("deadline_ms").is_err() && setting("=1").is_err());
    }

    #[test]
    fn settings_are_a_table_and_secrets_are_names() {
        let shown =
            json!({"config": {"deadline_ms": 5, "values": {"a": "b"}}, "secrets": ["token"]});
        let expected = "SETTING      VALUE\ndeadline_ms  5\nvalues.a     b\ntoken        (secret)";
        assert_eq!(render_config(&shown), expected);
        assert_eq!(render_names(&shown), "token");
        assert_eq!(render_names(&json!({"secrets": []})), "no secrets");
        let set = |sealed: bool| render_set(&json!({"secret": "token", "sealed": sealed}));
        assert!(set(true).contains("encrypted") && set(false).contains("can read it"));
    }
}

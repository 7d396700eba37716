//! `keystead versions|activate|rollback|ramp`: which version of an app is live. The host decides what is possible; a
//! version is named by the beginning of its hash.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{AdminUrl, Path};
use super::deploy::{changes, explain};
use super::output::{self, Output};

/// List an app's kept versions, its ramp, and the last ramp that halted
#[derive(Debug, clap::Args)]
pub(super) struct VersionsArgs {
    /// The app's name
    app: String,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Make a kept version the live one; ends a ramp
#[derive(Debug, clap::Args)]
pub(super) struct ActivateArgs {
    /// The app's name
    app: String,
    /// The version: the beginning of its hash, at least 4 digits
    version: String,
    /// Activate it even if it takes away or retypes what callers use, or does not read state that may be there
    #[arg(long)]
    breaking: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Make the version before the live one live again; ends a ramp
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    /// The app's name
    app: String,
    /// Go back even if that version does not read state that may be there
    #[arg(long)]
    breaking: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

/// Put a share of an app's entities on a kept version
#[derive(Debug, clap::Args)]
pub(super) struct RampArgs {
    /// The app's name
    app: String,
    /// The version: the beginning of its hash, at least 4 digits
    version: String,
    /// The share of the entities, chosen by a hash of their keys; 0 ends the ramp
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    percent: u8,
    /// Ramp it even if it takes away or retypes what callers use
    #[arg(long)]
    breaking: bool,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn versions(args: &VersionsArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/apps").part(&args.app).part("versions");
    let page = args.admin.client().get(path).await?;
    Ok(out.document(&page, render_versions)?)
}

pub(super) async fn activate(args: &ActivateArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/apps").part(&args.app).part("versions").part(&args.version);
    let path = path.part("activate").maybe("breaking", args.breaking.then_some("true"));
    change(&args.admin, path, out, render_activated).await
}

pub(super) async fn rollback(args: &RollbackArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/apps").part(&args.app).part("rollback");
    let path = path.maybe("breaking", args.breaking.then_some("true"));
    change(&args.admin, path, out, render_activated).await
}

pub(super) async fn ramp(args: &RampArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new("/admin/v1/apps").part(&args.app).part("versions").part(&args.version);
    let path = path.part("ramp").query("percent", &args.percent.to_string());
    let path = path.maybe("breaking", args.breaking.then_some("true"));
    change(&args.admin, path, out, render_ramped).await
}

async fn change(
    admin: &AdminUrl,
    path: Path,
    out: &Output,
    render: fn(&Value) -> String,
) -> anyhow::Result<()> {
    let done = admin.client().document(Method::POST, path, Bytes::new()).await;
    let done = done.inspect_err(|error| explain(error, out))?;
    Ok(out.document(&done, render)?)
}

fn render_versions(page: &Value) -> String {
    let row = |of: &Value| {
        let status = match (of["live"] == true, of["percent"].as_u64(), of["previous"] == true) {
            (true, ..) => "live".to_owned(),
            (_, Some(percent), _) => format!("{percent} %"),
            (.., true) => "previous".to_owned(),
            _ => String::new(),
        };
        let offer = |of: &Value| {
            let state = match of["state"].as_u64() {
                Some(version) if version > 1 => format!(", state {version}"),
                _ => String::new(),
            };
            format!("{} ({} handlers{state})", output::text(&of["type"]), of["handlers"])
        };
        let types: Vec<_> = output::items(&of["types"]).iter().map(offer).collect();
        let hash = output::text(&of["hash"]);
        vec![
            output::text(&of["version"]),
            status,
            output::time(&of["deployed_at_ms"]),
            types.join(", "),
            hash,
        ]
    };
    let rows: Vec<_> = output::items(&page["versions"]).iter().map(row).collect();
    let mut text = output::table(&["version", "status", "deployed", "offers", "hash"], &rows);
    let (trial, halted) = (&page["trial"], &page["halted"]);
    if !trial.is_null() {
        let side = |of: &Value| format!("{} of {} failed", of["failed"], of["ended"]);
        let (live, new) = (side(&trial["live"]), side(&trial["new"]));
        text += &format!("\n\nthe ramp, lately: {new} on the new version, {live} on the live one");
    }
    if !halted.is_null() {
        let (version, percent) = (output::text(&halted["version"]), &halted["percent"]);
        let (at, reason) = (output::time(&halted["at_ms"]), output::text(&halted["reason"]));
        text += &format!("\n\nthe ramp of {version} at {percent} % was halted at {at}: {reason}");
    }
    text
}

fn render_activated(done: &Value) -> String {
    let app = output::text(&done["app"]);
    let (version, replaced) = (output::text(&done["version"]), output::text(&done["replaced"]));
    if done["changed"] == false {
        return format!("{app} is unchanged: version {version} is live already");
    }
    format!("{app} is on version {version} now; it was on {replaced}{}", changes(&done["diff"]))
}

fn render_ramped(done: &Value) -> String {
    let app = output::text(&done["app"]);
    let (version, live) = (output::text(&done["version"]), output::text(&done["live"]));
    match done["percent"].as_u64() {
        Some(0) => format!("{app} is on version {live} alone"),
        _ => {
            let (percent, changes) = (&done["percent"], changes(&done["diff"]));
            format!("{percent} % of {app} is on version {version}, the rest on {live}{changes}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_a_table_with_what_the_ramp_does() {
        let offer = json!([{"type": "account", "handlers": 3, "state": 2}]);
        let page = json!({"app": "bank", "versions": [
            {"version": "0b", "hash": "0bff", "deployed_at_ms": 0, "live": false, "previous": false,
             "percent": 10, "types": offer},
            {"version": "0a", "hash": "0aff", "deployed_at_ms": 0, "live": true, "previous": false,
             "percent": null, "types": []},
        ], "trial": {"live": {"ended": 90, "failed": 0}, "new": {"ended": 10, "failed": 1}},
           "halted": {"version": "0c", "percent": 5, "at_ms": 0, "reason": "it was worse"}});
        let expected = "\
VERSION  STATUS  DEPLOYED              OFFERS                         HASH
0b       10 %    1970-01-01T00:00:00Z  account (3 handlers, state 2)  0bff
0a       live    1970-01-01T00:00:00Z                                 0aff

the ramp, lately: 1 of 10 failed on the new version, 0 of 90 failed on the live one

the ramp of 0c at 5 % was halted at 1970-01-01T00:00:00Z: it was worse";
        assert_eq!(render_versions(&page), expected);
    }

    #[test]
    fn changes_are_sentences() {
        let mut done =
            json!({"app": "bank", "version": "0b", "replaced": "0a", "changed": true, "diff": []});
        assert_eq!(render_activated(&done), "bank is on version 0b now; it was on 0a");
        done["changed"] = json!(false);
        assert_eq!(render_activated(&done), "bank is unchanged: version 0b is live already");
        let mut done =
            json!({"app": "bank", "version": "0b", "live": "0a", "percent": 10, "diff": []});
        assert_eq!(render_ramped(&done), "10 % of bank is on version 0b, the rest on 0a");
        done["percent"] = json!(0);
        assert_eq!(render_ramped(&done), "bank is on version 0a alone");
    }
}

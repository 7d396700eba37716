//! `keystead token create|ls|revoke`: who may do what. Through the admin API of a running host, or, with `--data`, in
//! the folder of one that does not run: that is how the first token of a host comes about that listens beyond
//! loopback, and a new one when the last is lost. Invariant: a secret is printed once, on stdout.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use http::Method;
use serde_json::{Value, json};

use super::Usage;
use super::client::{AdminUrl, Path};
use super::output::{self, Output};
use crate::access::audit::{Audit, Change, End, Facts, Who};
use crate::access::{Access, Apps, NewToken, Role, Token};
use crate::clock::{Clock, SystemClock};
use crate::edge::time;
use crate::limits;
use crate::server::{ACCESS, DataFolder};

const TOKENS: &str = "/admin/v1/tokens";

/// Make, list and revoke the tokens that a host asks for
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make a token and print it, once. From the first one on, every request needs one
    Create(CreateArgs),
    /// List tokens, without their secrets
    Ls(LsArgs),
    /// Take tokens away, from the next request on
    Revoke(RevokeArgs),
}

/// The token to make.
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// What it is for
    #[arg(long)]
    name: String,
    /// What its holder may do; more than one may be given
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<RoleArg>,
    /// An app that it is for; more than one may be given
    #[arg(long = "app", value_name = "APP", required_unless_present = "all_apps")]
    apps: Vec<String>,
    /// It is for all apps, and for the host
    #[arg(long, conflicts_with = "apps")]
    all_apps: bool,
    /// How long it works, e.g. 30d; for ever when not given
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Which tokens to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    place: Place,
}

/// Which tokens to revoke.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The tokens' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Where the tokens are.
#[derive(Debug, clap::Args)]
struct Place {
    /// In this folder, of a host that does not run
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminUrl,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Call handlers, send messages, ask for their outcome
    Invoke,
    /// Look at apps, entities, messages and logs, and run queries
    Read,
    /// Change what is in flight and what entities hold; looks, too
    Operate,
    /// Deploy, and say who may do what; all of the others, too
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Invoke => Self::Invoke,
            RoleArg::Read => Self::Read,
            RoleArg::Operate => Self::Operate,
            RoleArg::Admin => Self::Admin,
        }
    }
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Create(args) => create(args, out).await,
        Verb::Ls(args) => ls(args, out).await,
        Verb::Revoke(args) => revoke(args, out).await,
    }
}

async fn create(args: &CreateArgs, out: &Output) -> anyhow::Result<()> {
    let roles: BTreeSet<Role> = args.roles.iter().copied().map(Role::from).collect();
    let apps = match args.all_apps {
        true => Apps::All,
        false => Apps::These(args.apps.iter().cloned().collect()),
    };
    let made = match &args.place.data {
        None => {
            let asked = json!({
                "name": args.name, "roles": roles, "apps": apps, "expires": args.expires,
            });
            let body = Bytes::from(asked.to_string());
            let admin = args.place.admin.client();
            admin.document(Method::POST, Path::new(TOKENS), body).await?
        }
        Some(data) => {
            let lasts = args.expires.as_deref();
            let lasts = lasts.map(|text| time::duration("expires", text, limits::TOKEN_TIME_MAX));
            let lasts = lasts.transpose().map_err(|problem| Usage(problem.detail().to_owned()))?;
            let new = NewToken { name: args.name.clone(), roles, apps, lasts };
            let folder = Folder::open(data)?;
            let (secret, token) = folder.change("TokenCreate", "", |access| {
                let (secret, token) = access.create(new)?;
                let facts = Facts { after: shown(&token), ..Facts::default() };
                Ok(((secret, token), facts))
            })?;
            let mut made = shown(&token);
            made["token"] = json!(secret.text());
            made
        }
    };
    out.document(&made, |made| output::text(&made["token"]))?;
    let id = output::text(&made["id"]);
    out.note(&format!("{id}: {}. It is shown this once; the host keeps a hash of it", of(&made)));
    Ok(())
}

async fn ls(args: &LsArgs, out: &Output) -> anyhow::Result<()> {
    let page = match &args.place.data {
        None => args.place.admin.client().get(Path::new(TOKENS)).await?,
        Some(data) => {
            let access = Folder::open(data)?.access;
            let tokens: Vec<_> = access.list().iter().map(|token| shown(token)).collect();
            json!({"tokens": tokens, "asked_for": access.asks()})
        }
    };
    Ok(out.document(&page, render)?)
}

async fn revoke(args: &RevokeArgs, out: &Output) -> anyhow::Result<()> {
    for id in &args.ids {
        let revoked = match &args.place.data {
            None => {
                let path = Path::new(TOKENS).part(id);
                args.place.admin.client().document(Method::DELETE, path, Bytes::new()).await?
            }
            Some(data) => {
                Folder::open(data)?.change("TokenRevoke", id, |access| {
                    let revoked = access.revoke(id)?;
                    let revoked =
                        revoked.with_context(|| format!("there is no token with id {id}"))?;
                    Ok(((), Facts { before: shown(&revoked), ..Facts::default() }))
                })?;
                json!({"id": id, "status": "revoked"})
            }
        };
        out.document(&revoked, |_| format!("{id} revoked"))?;
    }
    Ok(())
}

/// The tokens of a host that does not run, and will not while this lives.
struct Folder {
    access: Access,
    audit: Audit,
    _lock: DataFolder,
}

impl Folder {
    fn open(data: &FilePath) -> anyhow::Result<Self> {
        let lock = DataFolder::open(data).context(
            "with --data tokens are changed in the folder of a host that does not run; without it, a running host \
             is asked",
        )?;
        let (folder, clock) = (data.join(ACCESS), Arc::new(SystemClock::new()));
        let audit = Audit::new(&folder, Arc::clone(&clock) as Arc<dyn Clock>);
        let access = Access::open(&folder, clock, false)
            .with_context(|| format!("the tokens in {} cannot be read", folder.display()))?;
        Ok(Self { access, audit, _lock: lock })
    }

    /// Makes a change that is in the audit log as one of a running host is.
    fn change<T>(
        &self,
        what: &str,
        target: &str,
        make: impl FnOnce(&Access) -> anyhow::Result<(T, Facts)>,
    ) -> anyhow::Result<T> {
        let (what, target) = (what.to_owned(), target.to_owned());
        let change = Change { who: Who::offline(), what, target, parameters: vec![] };
        let begun = self.audit.begin(&change)?;
        let made = make(&self.access);
        let (end, facts) = match &made {
            Ok((_, facts)) => (End::Done, facts.clone()),
            Err(_) => (End::Refused, Facts::default()),
        };
        self.audit.end(begun, &change, end, None, facts)?;
        made.map(|(made, _)| made)
    }
}

/// As the admin API shows it.
fn shown(token: &Token) -> Value {
    json!({
        "id": token.id, "name": token.name, "roles": token.roles, "apps": token.apps,
        "created_at_ms": token.created_ms, "expires_at_ms": token.expires_ms,
    })
}

fn of(token: &Value) -> String {
    let apps = listed(&token["apps"]);
    format!(
        "{} for {}",
        listed(&token["roles"]),
        if apps == "all" { "all apps".into() } else { apps }
    )
}

fn listed(value: &Value) -> String {
    match value.as_array() {
        Some(items) => items.iter().map(output::text).collect::<Vec<_>>().join(", "),
        None => output::text(value),
    }
}

fn render(page: &Value) -> String {
    let row = |token: &Value| {
        vec![
            output::text(&token["id"]),
            output::text(&token["name"]),
            listed(&token["roles"]),
            listed(&token["apps"]),
            output::time(&token["created_at_ms"]),
            output::time(&token["expires_at_ms"]),
        ]
    };
    let rows: Vec<_> = output::items(&page["tokens"]).iter().map(row).collect();
    output::table(&["id", "name", "roles", "apps", "created", "expires"], &rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn run(line: &[&str]) -> anyhow::Result<String> {
        let cli = Cli::try_parse_from(["keystead", "token"].iter().chain(line)).expect("valid");
        let out = Output::captured(cli.json);
        cli.verb.run(&out)?;
        Ok(out.text())
    }

    #[test]
    fn tokens_of_a_host_that_does_not_run_are_made_listed_and_revoked() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data").display().to_string();
        let refused =
            run(&["create", "--name", "a", "--role", "read", "--app", "b", "--data", &data]);
        assert!(
            refused.expect_err("nobody could make another").to_string().contains("first token")
        );
        let admin = ["create", "--name", "root", "--role", "admin", "--all-apps", "--data", &data];
        let secret = run(&admin).expect("made");
        assert!(secret.starts_with("ks_") && secret.lines().count() == 1, "{secret}");
        let other =
            ["create", "--name", "ci", "--role", "invoke", "--role", "read", "--app", "bank"];
        let made = run(&[&other[..], &["--expires", "30d", "--data", &data, "--json"]].concat());
        let made: Value = serde_json::from_str(&made.expect("made")).expect("JSON");
        assert_eq!(made["roles"], json!(["invoke", "read"]));
        let listed = run(&["ls", "--data", &data]).expect("listed");
        assert!(listed.contains("root") && listed.contains("invoke, read"), "{listed}");
        assert!(!listed.contains("ks_"), "{listed}");
        let id = made["id"].as_str().expect("an id");
        assert_eq!(
            run(&["revoke", id, "--data", &data]).expect("revoked"),
            format!("{id} revoked\n")
        );
        assert!(run(&["revoke", id, "--data", &data]).is_err(), "once");

        let _host = DataFolder::open(FilePath::new(&data)).expect("a host takes it");
        let refused = format!("{:#}", run(&["ls", "--data", &data]).expect_err("taken"));
        assert!(refused.contains("does not run") && refused.contains("process"), "{refused}");
    }
}

//! `keystead dev`: a host in this process, and guest crates that are built, deployed and watched. It deploys
//! through the admin API like anyone else. Invariant: a build or deploy that fails leaves what was live live.

use std::path::{Path as FilePath, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::client::{Client, Credentials, Path};
use super::output::{self, Output};
use super::serve::{HostArgs, Stop};
use super::watch::Watch;
use super::{build, deploy, sample};
use crate::config::AppConfig;
use crate::server::Server;

/// Serve, build, deploy, and do it again on every save
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A guest crate, or a folder of guest crates
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    host: HostArgs,
    #[command(flatten)]
    with: Credentials,
}

pub(super) async fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let crates = find_crates(&args.dir)?;
    // Watching starts first, so that a save during the first build is not missed.
    let watch = Watch::new(&crates)?;
    let server = args.host.start(out).await?;
    let dev = Dev::new(&server, &args.with, crates, out);
    let ended = tokio::select! {
        ended = dev.work(watch) => ended,
        () = stop.asked() => Ok(()),
    };
    stop.shut_down(server).await.and(ended)
}

struct Dev<'a> {
    admin: Client,
    ingress: String,
    apps: Vec<App>,
    out: &'a Output,
}

/// One crate and what its live version offers.
struct App {
    dir: PathBuf,
    contract: Option<Value>,
}

impl<'a> Dev<'a> {
    fn new(server: &Server, with: &Credentials, crates: Vec<PathBuf>, out: &'a Output) -> Self {
        let apps = crates.into_iter().map(|dir| App { dir, contract: None }).collect();
        let admin = with.client(&format!("http://{}", server.admin_addr));
        Self { admin, ingress: format!("http://{}", server.ingress_addr), apps, out }
    }

    async fn work(mut self, mut watch: Watch) -> anyhow::Result<()> {
        for index in 0..self.apps.len() {
            self.refresh(index).await;
        }
        self.out.note("watching for changes; Ctrl-C stops");
        while let Some(changed) = watch.next().await {
            for index in changed {
                self.refresh(index).await;
            }
        }
        bail!("files are not watched any more")
    }

    /// Builds and deploys one crate and says how that went.
    async fn refresh(&mut self, index: usize) {
        let Err(error) = self.bring_up(index).await else { return };
        let app = &self.apps[index];
        self.out.error(&error.context(format!("{} is not deployed", app.dir.display())), None);
        if app.contract.is_some() {
            self.out.note("the version before stays live");
        }
    }

    async fn bring_up(&mut self, index: usize) -> anyhow::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "told to a person, decides nothing")]
        let start = Instant::now();
        let app = &mut self.apps[index];
        let config = config(&app.dir)?;
        let built = build::build(&app.dir, self.out).await?;
        let spinner = self.out.spinner(&format!("deploying {}", built.name));
        let deployed =
            deploy::put(&self.admin, &built.name, built.component, Some(&config), true).await;
        spinner.finish_and_clear();
        let deployed = deployed?;
        let live = self.admin.get(Path::new("/admin/v1/apps").part(&built.name)).await?;
        let lines = sample::curl_lines(&self.ingress, &built.name, &live["contract"]);
        let is_new = app.contract.as_ref() != Some(&live["contract"]);
        app.contract = Some(live["contract"].clone());
        let docs = format!("{}/docs/{}", self.ingress, built.name);
        let document = json!({"event": "deployed", "app": deployed["app"], "call": lines,
            "docs": docs, "version": deployed["version"], "changed": deployed["changed"]});
        self.out.document(&document, |deployed| {
            let head = format!("{} ({})", deploy::render(deployed), output::took(start.elapsed()));
            if !is_new {
                return head;
            }
            let shown = lines.iter().fold(head, |text, line| format!("{text}\n  {line}"));
            format!("{shown}\n  {docs} reads and tries them in a browser")
        })?;
        Ok(())
    }
}

/// The app's settings: `keystead.toml` beside its `Cargo.toml`, or the defaults.
fn config(dir: &FilePath) -> anyhow::Result<AppConfig> {
    let path = dir.join("keystead.toml");
    if path.exists() { deploy::read_config(&path) } else { Ok(AppConfig::default()) }
}

/// The crate in `dir`, or those in its direct subfolders, by their full paths in order.
fn find_crates(dir: &FilePath) -> anyhow::Result<Vec<PathBuf>> {
    let root = dir.canonicalize().with_context(|| format!("{} cannot be read", dir.display()))?;
    if is_crate(&root) {
        return Ok(vec![root]);
    }
    let entries =
        std::fs::read_dir(&root).with_context(|| format!("{} cannot be read", dir.display()))?;
    let mut crates: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    crates.retain(|path| is_crate(path));
    crates.sort();
    if crates.is_empty() {
        bail!(
            "{} holds no guest crate, and neither do its folders; `keystead new NAME` makes one",
            root.display()
        );
    }
    Ok(crates)
}

/// True when the folder's `Cargo.toml` is a crate's. One that does not parse counts: it is being edited, and
/// the build says what is wrong with it.
fn is_crate(dir: &FilePath) -> bool {
    let Ok(text) = std::fs::read_to_string(dir.join("Cargo.toml")) else { return false };
    toml::from_str::<toml::Table>(&text).map_or(true, |manifest| manifest.contains_key("package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &FilePath, text: &str) {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, text).expect("write");
    }

    #[test]
    fn one_crate_or_a_folder_of_them() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().canonicalize().expect("path");
        let error = find_crates(&root).expect_err("empty").to_string();
        assert!(error.contains("holds no guest crate"), "{error}");
        write(&root.join("Cargo.toml"), "[workspace]\n");
        write(&root.join("b/Cargo.toml"), "[package]\nname = \"b\"\n");
        write(&root.join("a/Cargo.toml"), "[package\n");
        write(&root.join("c/d/Cargo.toml"), "[package]\nname = \"d\"\n");
        write(&root.join("w/Cargo.toml"), "[workspace]\n");
        assert_eq!(find_crates(&root).expect("two"), [root.join("a"), root.join("b")]);
        assert_eq!(find_crates(&root.join("b")).expect("one"), [root.join("b")]);
        assert!(find_crates(&root.join("nowhere")).is_err());
    }

    #[test]
    fn settings_default_only_when_there_are_none() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(config(dir.path()).expect("default"), AppConfig::default());
        write(&dir.path().join("keystead.toml"), "deadline_ms = 0");
        assert!(config(dir.path()).is_err(), "bad settings are never silently the defaults");
    }
}

//! The registry on disk, as files that replace each other whole: `components/HASH.wasm` and `apps/APP.json`.
//! Invariant: an app's record names only components that were on stable storage before it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::lineage::Lineage;
use crate::config::AppConfig;
use crate::ids::{VersionId, check_name};
use crate::limits;

/// What an app's file says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of this text; older and newer hosts can tell.
    pub(super) format: u32,
    /// Deployed versions, the live one last.
    pub(super) versions: Vec<Deployment>,
    /// What state entities may be in.
    #[serde(default)]
    pub(super) states: Lineage,
}

/// One deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployment {
    /// The component's hash in hex.
    #[serde(with = "hex")]
    pub(super) version: VersionId,
    /// When, in milliseconds since 1970.
    pub(super) deployed_at_ms: u64,
    /// The app's configuration of that time.
    pub(super) config: AppConfig,
}

/// 2: what state entities may be in.
const FORMAT: u32 = 2;

/// The two folders.
pub(super) struct Store {
    apps: PathBuf,
    components: PathBuf,
}

impl Store {
    /// Opens the folders, created when missing, and removes what an interrupted write left.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let store = Self { apps: dir.join("apps"), components: dir.join("components") };
        for folder in [&store.apps, &store.components] {
            let at = || format!("cannot open the registry folder {}", folder.display());
            // Configurations may hold secrets.
            DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(at)?;
            for entry in fs::read_dir(folder).with_context(at)? {
                let path = entry.with_context(at)?.path();
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    fs::remove_file(&path).with_context(at)?;
                }
            }
            File::open(folder).and_then(|folder| folder.sync_all()).with_context(at)?;
        }
        File::open(dir)?.sync_all()?;
        Ok(store)
    }

    /// The names of all recorded apps, in order.
    pub(super) fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.apps).context("cannot list the registered apps")? {
            let name = entry.context("cannot list the registered apps")?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            names.extend(name.filter(|name| check_name("app", name).is_ok()).map(Into::into));
        }
        names.sort();
        Ok(names)
    }

    /// An app's record; an empty one when there is none.
    pub(super) fn record(&self, app: &str) -> anyhow::Result<Record> {
        let text = match fs::read(self.app_file(app)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
            read => read.with_context(|| format!("cannot read the record of app {app}"))?,
        };
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("the record of app {app} is damaged"))?;
        anyhow::ensure!(
            record.format == FORMAT,
            "the record of app {app} has format {}; this host reads {FORMAT}",
            record.format
        );
        Ok(record)
    }

    /// A component whose bytes are what their name says.
    pub(super) fn component(&self, version: VersionId) -> anyhow::Result<Vec<u8>> {
        let path = self.component_file(version);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(VersionId::of(&bytes) == version, "{} is damaged", path.display());
        Ok(bytes)
    }

    /// Makes the last deployment of `record`, which is of `component`, the live one of `app`: first the component,
    /// then the record, each durable before the next.
    pub(super) fn publish(
        &self,
        app: &str,
        component: &[u8],
        mut record: Record,
    ) -> anyhow::Result<()> {
        let version = VersionId::of(component);
        if self.component(version).is_err() {
            replace(&self.components, &self.component_file(version), component)?;
        }
        record.format = FORMAT;
        let surplus = record.versions.len().saturating_sub(limits::APP_VERSIONS_KEPT);
        record.versions.drain(..surplus);
        replace(&self.apps, &self.app_file(app), &serde_json::to_vec_pretty(&record)?)
    }

    fn app_file(&self, app: &str) -> PathBuf {
        self.apps.join(format!("{app}.json"))
    }

    fn component_file(&self, version: VersionId) -> PathBuf {
        self.components.join(format!("{}.wasm", blake3::Hash::from_bytes(version.0).to_hex()))
    }
}

/// After this either the old file or all of the new one is there, whatever happens to the machine.
fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A version as all of its hash, for `Display` shortens it.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::VersionId;

    pub(super) fn serialize<S: Serializer>(
        v: &VersionId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(v.0).to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<VersionId, D::Error> {
        let text = String::deserialize(d)?;
        let hash = blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)?;
        Ok(VersionId(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(component: &[u8], at: u64) -> Deployment {
        let version = VersionId::of(component);
        Deployment { version, deployed_at_ms: at, config: AppConfig::default() }
    }

    fn publish(store: &Store, component: &[u8], at: u64) {
        let mut record = store.record("bank").unwrap_or_default();
        record.versions.push(deployment(component, at));
        store.publish("bank", component, record).expect("published");
    }

    #[test]
    fn what_is_published_reads_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        publish(&store, b"one", 1);
        publish(&store, b"two", 2);
        let store = Store::open(dir.path()).expect("open");
        assert_eq!(store.names().expect("names"), ["bank"]);
        let record = store.record("bank").expect("record");
        assert_eq!(record.versions, [deployment(b"one", 1), deployment(b"two", 2)]);
        assert_eq!(store.component(VersionId::of(b"one")).expect("component"), b"one");
        assert_eq!(store.record("none").expect("empty"), Record::default());
    }

    #[test]
    fn damage_is_an_error_and_leftovers_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        publish(&store, b"one", 1);
        fs::write(store.component_file(VersionId::of(b"one")), b"ome").expect("write");
        assert!(store.component(VersionId::of(b"one")).is_err());
        publish(&store, b"one", 2);
        assert!(store.component(VersionId::of(b"one")).is_ok(), "mended by the next deploy");

        fs::write(store.app_file("bank"), b"{").expect("write");
        assert!(store.record("bank").expect_err("damaged").to_string().contains("is damaged"));
        fs::write(store.apps.join("bank.tmp"), b"half").expect("write");
        let store = Store::open(dir.path()).expect("open");
        assert!(!store.apps.join("bank.tmp").exists());
    }

    #[test]
    fn old_versions_are_forgotten_at_the_limit() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        for at in 0..=limits::APP_VERSIONS_KEPT as u64 {
            publish(&store, b"one", at);
        }
        let versions = store.record("bank").expect("record").versions;
        assert_eq!(versions.len(), limits::APP_VERSIONS_KEPT);
        assert_eq!(versions[0].deployed_at_ms, 1);
    }
}

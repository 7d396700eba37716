//! The registry on disk, as files that replace each other whole: `components/HASH.wasm` and `apps/APP.json`.
//! Invariant: an app's record names only components that were on stable storage before it. A record says whose
//! it is and has a checksum, and `apps/names` lists the apps that have one, so damage and loss are noticed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::lineage::Lineage;
use crate::config::AppConfig;
use crate::ids::{VersionId, check_name};
use crate::{limits, storage};

/// What an app's file says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of this text; older and newer hosts can tell.
    pub(super) format: u32,
    /// The app's name; empty in format 2.
    #[serde(default)]
    pub(super) app: String,
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

/// 2: what state entities may be in. 3: the app's name and a checksum.
const FORMAT: u32 = 3;
/// The oldest that is read.
const FORMAT_MIN: u32 = 2;
/// A record begins with the hash of what follows its first line.
const CHECK: (&[u8], &[u8]) = (b"{\"check\":\"", b"\",");
/// Lists the apps that have a record.
const NAMES: &str = "names";

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
            storage::make_folder(folder).with_context(at)?;
            for entry in fs::read_dir(folder).with_context(at)? {
                let path = entry.with_context(at)?.path();
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    fs::remove_file(&path).with_context(at)?;
                }
            }
            File::open(folder).and_then(|folder| folder.sync_all()).with_context(at)?;
        }
        Ok(store)
    }

    /// The folders as they are, for who only looks.
    pub(super) fn look(dir: &Path) -> Self {
        Self { apps: dir.join("apps"), components: dir.join("components") }
    }

    /// Sets an app's record aside under another name, and takes the app off the list. Gives the names of what
    /// it keeps.
    pub(super) fn set_aside(&self, app: &str) -> anyhow::Result<Vec<PathBuf>> {
        let path = self.app_file(app);
        let mut names = self.listed().unwrap_or_default();
        names.retain(|name| name != app);
        let mut kept: Vec<PathBuf> = keep(&self.apps.join(NAMES))?.into_iter().collect();
        if let Some(copy) = keep(&path)? {
            kept.push(copy);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        replace(&self.apps, &self.apps.join(NAMES), &print_names(&names))?;
        Ok(kept)
    }

    /// Writes the list of apps anew, from the records that are there. Gives the name of the old one's copy.
    pub(super) fn list_anew(&self) -> anyhow::Result<Option<PathBuf>> {
        let path = self.apps.join(NAMES);
        let kept = keep(&path)?;
        replace(&self.apps, &path, &print_names(&self.recorded()?))?;
        Ok(kept)
    }

    /// The names of all apps that have a record or should have one, in order.
    pub(super) fn names(&self) -> anyhow::Result<Vec<String>> {
        let mut names = self.recorded()?;
        names.extend(self.listed()?);
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The names of all apps that have a record, in order.
    pub(super) fn recorded(&self) -> anyhow::Result<Vec<String>> {
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
        let path = self.app_file(app);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let lost = self.listed()?.iter().any(|name| name == app);
                anyhow::ensure!(!lost, "{} is missing", path.display());
                return Ok(Record::default());
            }
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        parse(app, &text).with_context(|| format!("{} is damaged", path.display()))
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
        (record.format, record.app) = (FORMAT, app.into());
        let surplus = record.versions.len().saturating_sub(limits::APP_VERSIONS_KEPT);
        record.versions.drain(..surplus);
        replace(&self.apps, &self.app_file(app), &print(&record)?)?;
        // What cannot be read is made anew from the records that are there.
        let mut names = self.listed().unwrap_or_default();
        if names.iter().any(|name| name == app) {
            return Ok(());
        }
        names.extend(self.recorded()?);
        names.sort();
        names.dedup();
        replace(&self.apps, &self.apps.join(NAMES), &print_names(&names))
    }

    /// The apps that `apps/names` lists; none when there is no such file.
    pub(super) fn listed(&self) -> anyhow::Result<Vec<String>> {
        let path = self.apps.join(NAMES);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let damaged = || format!("{} is damaged: it is not what was written", path.display());
        let text = String::from_utf8(text).with_context(damaged)?;
        let names: Vec<String> = text.lines().skip(1).map(Into::into).collect();
        anyhow::ensure!(text.as_bytes() == print_names(&names), damaged());
        Ok(names)
    }

    fn app_file(&self, app: &str) -> PathBuf {
        self.apps.join(format!("{app}.json"))
    }

    fn component_file(&self, version: VersionId) -> PathBuf {
        self.components.join(format!("{}.wasm", blake3::Hash::from_bytes(version.0).to_hex()))
    }
}

/// Copies a file beside itself, if it is there; the copy is on stable storage then. Gives its name.
fn keep(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = |number: u32| {
        let copy = path.with_file_name(format!("{name}.before-repair-{number}"));
        (!copy.exists()).then_some(copy)
    };
    let copy = (1..).find_map(free).context("no free name for a copy")?;
    let copied = fs::copy(path, &copy).and_then(|_| File::open(&copy)?.sync_all());
    copied.with_context(|| format!("cannot copy {}", path.display()))?;
    Ok(Some(copy))
}

/// The text of a record: JSON whose first line is the hash of the others.
pub(super) fn print(record: &Record) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(record)?;
    let rest = text.strip_prefix(b"{\n").unwrap_or(&text);
    let hash = blake3::hash(rest).to_hex();
    Ok([CHECK.0, hash.as_bytes(), CHECK.1, b"\n", rest].concat())
}

/// Reads the text of `app`'s record.
pub(super) fn parse(app: &str, text: &[u8]) -> anyhow::Result<Record> {
    let checked = text.strip_prefix(CHECK.0).and_then(|text| {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        Some((text[..end].strip_suffix(CHECK.1)?, &text[end + 1..]))
    });
    if let Some((hash, rest)) = checked {
        let right = blake3::hash(rest).to_hex().as_bytes() == hash;
        anyhow::ensure!(right, "its text is not what was written");
    }
    let record: Record = serde_json::from_slice(text).context("it is not a record")?;
    let format = record.format;
    anyhow::ensure!(
        (FORMAT_MIN..=FORMAT).contains(&format),
        "it has format {format}; this host reads {FORMAT_MIN} to {FORMAT}"
    );
    anyhow::ensure!(checked.is_some() || format < FORMAT, "its checksum is gone");
    let whose = &record.app;
    anyhow::ensure!(whose == app || format < FORMAT, "it is the record of app {whose}");
    Ok(record)
}

/// The text of the list of apps: a hash, then a name a line.
fn print_names(names: &[String]) -> Vec<u8> {
    let list = names.iter().map(|name| format!("{name}\n")).collect::<String>();
    format!("{}\n{list}", blake3::hash(list.as_bytes()).to_hex()).into_bytes()
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
        fs::remove_file(store.app_file("bank")).expect("removed");
        assert_eq!(store.names().expect("lists"), ["bank"]);
        assert!(store.record("bank").expect_err("lost").to_string().contains("is missing"));
        fs::write(store.apps.join("bank.tmp"), b"half").expect("write");
        let store = Store::open(dir.path()).expect("open");
        assert!(!store.apps.join("bank.tmp").exists());
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed_and_older_ones_are_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path()).expect("open");
        publish(&store, b"one", 1);
        let text = fs::read(store.app_file("bank")).expect("reads");
        let record = parse("bank", &text).expect("sound");
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flip that only makes the hash's field another one leaves what it says.
            let read = parse("bank", &flipped);
            assert!(read.is_err() || read.is_ok_and(|read| read == record), "bit {bit}");
        }
        let other = parse("shop", &text).expect_err("another's").to_string();
        assert!(other.contains("app bank"), "{other}");
        let older = Record { format: FORMAT_MIN, app: String::new(), ..record };
        let text = serde_json::to_vec_pretty(&older).expect("prints");
        assert_eq!(parse("bank", &text).expect("older"), older);
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

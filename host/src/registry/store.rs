//! The registry on disk, as files that replace each other whole: `components/HASH.wasm` and `apps/APP.json`.
//! Invariant: an app's record names only components that were on stable storage before it. A record says whose
//! it is and has a checksum, and `apps/names` lists the apps that have one, so damage and loss are noticed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::record::{self, Record};
use super::seal::{Keyring, Sealer};
use super::secrets::{Form, Secrets};
use crate::ids::{VersionId, check_name};
use crate::storage;

/// Lists the apps that have a record.
const NAMES: &str = "names";

/// Ends the name of a file of secrets.
const SECRETS: &str = ".secrets";

/// The two folders.
pub(super) struct Store {
    apps: PathBuf,
    components: PathBuf,
    /// What seals secrets, where there is a key.
    sealer: Option<Sealer>,
}

impl Store {
    /// Opens the folders, created when missing, and removes what an interrupted write left.
    pub(super) fn open(dir: &Path, sealer: Option<Sealer>) -> anyhow::Result<Self> {
        let store = Self { sealer, ..Self::look(dir) };
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
        let (apps, components) = (dir.join("apps"), dir.join("components"));
        Self { apps, components, sealer: None }
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
        record::parse(app, &text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// A component whose bytes are what their name says.
    pub(super) fn component(&self, version: VersionId) -> anyhow::Result<Vec<u8>> {
        let path = self.component_file(version);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(VersionId::of(&bytes) == version, "{} is damaged", path.display());
        Ok(bytes)
    }

    /// Puts `record` into the place of `app`'s record, after `component`, if there is one that it is to name: each is
    /// durable before the next.
    pub(super) fn publish(
        &self,
        app: &str,
        component: Option<&[u8]>,
        mut record: Record,
    ) -> anyhow::Result<()> {
        if let Some(component) = component {
            let version = VersionId::of(component);
            if self.component(version).is_err() {
                replace(&self.components, &self.component_file(version), component)?;
            }
        }
        (record.format, record.app) = (record::FORMAT, app.into());
        replace(&self.apps, &self.app_file(app), &record::print(&record)?)?;
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

    /// An app's secrets; none when there is no such file.
    pub(super) fn secrets(&self, app: &str) -> anyhow::Result<Secrets> {
        self.secrets_with(app, self.keys())
    }

    /// The same, opened with `keys`.
    pub(super) fn secrets_with(
        &self,
        app: &str,
        keys: Option<&Keyring>,
    ) -> anyhow::Result<Secrets> {
        let path = self.secrets_file(app);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Secrets::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => Secrets::parse(app, &text, keys)
                .with_context(|| format!("{} is damaged", path.display())),
        }
    }

    /// How the file of an app's secrets is written; empty when there is no such file.
    pub(super) fn secrets_form(&self, app: &str) -> anyhow::Result<Form> {
        let path = self.secrets_file(app);
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Form::Empty),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => {
                Form::of(app, &text).with_context(|| format!("{} is damaged", path.display()))
            }
        }
    }

    /// Puts all of an app's secrets into the place of those that were there.
    pub(super) fn put_secrets(&self, app: &str, secrets: &Secrets) -> anyhow::Result<()> {
        replace(&self.apps, &self.secrets_file(app), &secrets.print(app, self.sealer.as_ref())?)
    }

    /// Whether secrets are sealed from now on.
    pub(super) fn seals(&self) -> bool {
        self.sealer.is_some()
    }

    /// Seals with the first key what is not sealed with it. What is damaged stays, and is said when its app is loaded.
    ///
    /// # Errors
    /// When secrets are sealed with a key that is not here: nothing has changed then.
    pub(super) fn seal_all(&self) -> anyhow::Result<()> {
        let mut stale = vec![];
        for app in self.with_secrets()? {
            let key = match self.secrets_form(&app) {
                Ok(Form::Readable) => None,
                Ok(Form::Sealed(key)) => Some(key),
                Ok(Form::Empty) | Err(_) => continue,
            };
            let missing = key.as_ref().filter(|key| !self.keys().is_some_and(|keys| keys.has(key)));
            if let Some(key) = missing {
                anyhow::bail!(locked(&app, key, self.seals()));
            }
            let first = self.keys().map(Keyring::first);
            if first.is_some() && first != key.as_deref() {
                stale.push(app);
            }
        }
        for app in stale {
            let Ok(secrets) = self.secrets(&app) else { continue };
            self.put_secrets(&app, &secrets)?;
            let key = self.keys().map_or("", Keyring::first);
            tracing::info!(app, key, "the app's secrets are sealed with the key now");
        }
        Ok(())
    }

    /// Files beside the apps' that hold, or may hold, readable secrets.
    pub(super) fn readable(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = vec![];
        for entry in fs::read_dir(&self.apps).context("cannot list the registered apps")? {
            let path = entry.context("cannot list the registered apps")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some((app, _)) = name.split_once(SECRETS) else { continue };
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // Damaged ones are copies that were set aside.
            if !matches!(Form::of(app, &text), Ok(Form::Empty | Form::Sealed(_))) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Gives the file of an app's secrets another name, so that the app is served without them. Gives that name.
    pub(super) fn set_secrets_aside(&self, app: &str) -> anyhow::Result<Option<PathBuf>> {
        let path = self.secrets_file(app);
        let kept = keep(&path)?;
        if kept.is_some() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(kept)
    }

    /// The versions that records name; `None` when one of them cannot be read, for then nobody knows.
    pub(super) fn named(&self) -> Option<BTreeSet<VersionId>> {
        let mut named = BTreeSet::new();
        for app in self.names().ok()? {
            let record = self.record(&app).ok()?;
            named.extend(record.versions.iter().map(|kept| kept.version));
        }
        Some(named)
    }

    /// Removes the components that are not in `named`. What cannot be removed stays for the next time.
    pub(super) fn collect(&self, named: &BTreeSet<VersionId>) {
        let names: BTreeSet<_> =
            named.iter().map(|version| self.component_file(*version)).collect();
        for entry in fs::read_dir(&self.components).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "wasm") && !names.contains(&path) {
                drop(fs::remove_file(path));
            }
        }
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

    /// The apps that have a file of secrets, whether they have a record or not.
    fn with_secrets(&self) -> anyhow::Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.apps).context("cannot list the registered apps")? {
            let name = entry.context("cannot list the registered apps")?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(SECRETS));
            names.extend(name.filter(|name| check_name("app", name).is_ok()).map(Into::into));
        }
        names.sort();
        Ok(names)
    }

    fn keys(&self) -> Option<&Keyring> {
        self.sealer.as_ref().map(Sealer::keys)
    }

    fn app_file(&self, app: &str) -> PathBuf {
        self.apps.join(format!("{app}.json"))
    }

    fn secrets_file(&self, app: &str) -> PathBuf {
        self.apps.join(format!("{app}{SECRETS}"))
    }

    fn component_file(&self, version: VersionId) -> PathBuf {
        self.components.join(format!("{}.wasm", version.hex()))
    }
}

/// Why a host does not start without the key.
fn locked(app: &str, key: &str, others: bool) -> String {
    let without = match others {
        true => "the file of --secrets-key does not have it",
        false => "this host was started without --secrets-key FILE (KEYSTEAD_SECRETS_KEY)",
    };
    format!("the secrets of app {app} are sealed with the key {key}, and {without}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Contract;

    fn contract() -> Contract {
        Contract::parse(br#"{"entities":[{"type":"a","handlers":[]}]}"#).expect("right")
    }

    fn publish(store: &Store, component: &[u8], at: u64) {
        let mut record = store.record("bank").unwrap_or_default();
        let version = VersionId::of(component);
        record.keep(version, &contract(), at);
        record.activate(version, &contract());
        store.publish("bank", Some(component), record).expect("published");
    }

    #[test]
    fn what_is_published_reads_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path(), None).expect("open");
        publish(&store, b"one", 1);
        publish(&store, b"two", 2);
        let store = Store::open(dir.path(), None).expect("open");
        assert_eq!(store.names().expect("names"), ["bank"]);
        let record = store.record("bank").expect("record");
        assert_eq!(record.lives, [VersionId::of(b"one"), VersionId::of(b"two")]);
        assert_eq!(store.component(VersionId::of(b"one")).expect("component"), b"one");
        assert_eq!(store.record("none").expect("empty"), Record::default());
    }

    #[test]
    fn damage_is_an_error_and_leftovers_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path(), None).expect("open");
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
        let store = Store::open(dir.path(), None).expect("open");
        assert!(!store.apps.join("bank.tmp").exists());
    }

    #[test]
    fn components_that_no_record_names_go_unless_a_record_is_damaged() {
        let dir = tempfile::tempdir().expect("tempdir");
        let store = Store::open(dir.path(), None).expect("open");
        let there = |component: &[u8]| store.component(VersionId::of(component)).is_ok();
        publish(&store, b"one", 1);
        publish(&store, b"two", 2);
        let mut record = store.record("bank").expect("record");
        record.versions.remove(0);
        store.publish("bank", None, record.clone()).expect("published");
        store.publish("shop", Some(b"three"), Record::default()).expect("published");
        fs::write(store.app_file("shop"), b"{").expect("damaged");
        assert_eq!(store.named(), None);
        store.publish("shop", None, Record::default()).expect("mended");
        let named = store.named().expect("known");
        assert!(there(b"one") && there(b"two") && there(b"three"));
        store.collect(&named);
        assert!(!there(b"one") && there(b"two") && !there(b"three"));
    }
}

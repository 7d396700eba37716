//! Looking at the apps of a data folder without opening them, and setting aside what does not read, for
//! `keystead doctor`. Compiles nothing. Invariant: looking changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::seal::Keyring;
use super::secrets::Form;
use super::store::Store;

/// One app as its files say.
#[derive(Debug, Serialize)]
pub struct AppFiles {
    /// Its name.
    pub app: String,
    /// The live version.
    pub version: Option<String>,
    /// How many versions are kept.
    pub versions: usize,
    /// What is wrong with its record.
    pub record: Option<String>,
    /// What is wrong with its live component, or with that of its ramp.
    pub component: Option<String>,
    /// What is wrong with the file of its secrets; without its key, as far as that can be told.
    pub secrets: Option<String>,
    /// The name of the key that they are sealed with.
    pub sealed: Option<String>,
    /// Whether it was there, so that they were opened.
    pub opened: bool,
}

/// The apps in the registry folder `dir`, in order of their names; and what is wrong with their list. What is sealed is
/// opened with `keys`, where they have its key.
///
/// # Errors
/// When the folder cannot be read.
pub fn look(dir: &Path, keys: Option<&Keyring>) -> anyhow::Result<(Vec<AppFiles>, Option<String>)> {
    let store = Store::look(dir);
    if !dir.join("apps").exists() {
        return Ok((vec![], None));
    }
    let (names, list) = match store.names() {
        Ok(names) => (names, None),
        Err(error) => (store.recorded()?, Some(format!("{error:#}"))),
    };
    let look = |app: String| {
        let Looked { secrets, sealed, opened } = secrets(&store, &app, keys);
        let record = match store.record(&app) {
            Ok(record) => record,
            Err(error) => {
                let record = Some(format!("{error:#}"));
                return AppFiles {
                    app,
                    version: None,
                    versions: 0,
                    record,
                    component: None,
                    secrets,
                    sealed,
                    opened,
                };
            }
        };
        let live = record.live();
        let ramped = record.ramp.map(|ramp| ramp.version);
        let mut served = [live, ramped].into_iter().flatten();
        let component = served.find_map(|version| store.component(version).err());
        AppFiles {
            app,
            version: live.map(|version| version.to_string()),
            versions: record.versions.len(),
            record: None,
            component: component.map(|error| format!("{error:#}")),
            secrets,
            sealed,
            opened,
        }
    };
    Ok((names.into_iter().map(look).collect(), list))
}

/// What is wrong with secrets, and how they are kept.
#[derive(Default)]
struct Looked {
    secrets: Option<String>,
    sealed: Option<String>,
    opened: bool,
}

fn secrets(store: &Store, app: &str, keys: Option<&Keyring>) -> Looked {
    let wrong = |error: anyhow::Error| Some(format!("{error:#}"));
    match store.secrets_form(app) {
        Ok(Form::Empty | Form::Readable) => Looked::default(),
        Ok(Form::Sealed(key)) => {
            let keys = keys.filter(|keys| keys.has(&key));
            let opening = keys.map(|keys| store.secrets_with(app, Some(keys)));
            let opened = opening.is_some();
            let secrets = opening.and_then(|opened| opened.err().and_then(wrong));
            Looked { secrets, sealed: Some(key), opened }
        }
        Err(error) => Looked { secrets: wrong(error), ..Looked::default() },
    }
}

/// Files in the registry folder `dir` that hold, or may hold, secrets that whoever reads them reads; none when it is no
/// such folder.
///
/// # Errors
/// When a file cannot be read.
pub fn readable_secrets(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !dir.join("apps").exists() {
        return Ok(vec![]);
    }
    Store::look(dir).readable()
}

/// Sets `app`'s record aside, so that a deploy begins anew. Gives the names of what it keeps.
///
/// # Errors
/// The file system's.
pub fn set_aside(dir: &Path, app: &str) -> anyhow::Result<Vec<PathBuf>> {
    Store::look(dir).set_aside(app)
}

/// Sets the file of `app`'s secrets aside. Gives the name of what it keeps.
///
/// # Errors
/// The file system's.
pub fn set_secrets_aside(dir: &Path, app: &str) -> anyhow::Result<Option<PathBuf>> {
    Store::look(dir).set_secrets_aside(app)
}

/// Writes the list of apps anew from their records. Gives the name of the old one's copy, if there was one.
///
/// # Errors
/// The file system's.
pub fn list_anew(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    Store::look(dir).list_anew()
}

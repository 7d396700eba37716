//! Looking at the apps of a data folder without opening them, and setting aside what does not read, for
//! `keystead doctor`. Compiles nothing. Invariant: looking changes nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::store::Store;

/// One app as its files say.
#[derive(Debug, Serialize)]
pub struct AppFiles {
    /// Its name.
    pub app: String,
    /// The live version.
    pub version: Option<String>,
    /// How many deploys its record lists.
    pub deploys: usize,
    /// What is wrong with its record.
    pub record: Option<String>,
    /// What is wrong with its live component.
    pub component: Option<String>,
}

/// The apps in the registry folder `dir`, in order of their names; and what is wrong with their list.
///
/// # Errors
/// When the folder cannot be read.
pub fn look(dir: &Path) -> anyhow::Result<(Vec<AppFiles>, Option<String>)> {
    let store = Store::look(dir);
    if !dir.join("apps").exists() {
        return Ok((vec![], None));
    }
    let (names, list) = match store.names() {
        Ok(names) => (names, None),
        Err(error) => (store.recorded()?, Some(format!("{error:#}"))),
    };
    let look = |app: String| {
        let record = match store.record(&app) {
            Ok(record) => record,
            Err(error) => {
                let record = Some(format!("{error:#}"));
                return AppFiles { app, version: None, deploys: 0, record, component: None };
            }
        };
        let live = record.versions.last().map(|deployment| deployment.version);
        let component = live.and_then(|version| store.component(version).err());
        AppFiles {
            app,
            version: live.map(|version| version.to_string()),
            deploys: record.versions.len(),
            record: None,
            component: component.map(|error| format!("{error:#}")),
        }
    };
    Ok((names.into_iter().map(look).collect(), list))
}

/// Sets `app`'s record aside, so that a deploy begins anew. Gives the names of what it keeps.
///
/// # Errors
/// The file system's.
pub fn set_aside(dir: &Path, app: &str) -> anyhow::Result<Vec<PathBuf>> {
    Store::look(dir).set_aside(app)
}

/// Writes the list of apps anew from their records. Gives the name of the old one's copy, if there was one.
///
/// # Errors
/// The file system's.
pub fn list_anew(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    Store::look(dir).list_anew()
}

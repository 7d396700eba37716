//! The keys that seal apps' secrets: where they may lie, and what else still holds secrets that anybody reads. Says so in
//! the log and removes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::ServerConfig;
use crate::backup::Backups;
use crate::registry::{Keyring, check};

/// Anybody on the machine reads a file of this mode.
const READABLE_BY_ALL: u32 = 0o004;

/// Reads the keys, if there is a file of them. Touches nothing.
pub(super) fn read(config: &ServerConfig) -> anyhow::Result<Option<Keyring>> {
    let Some(path) = &config.secrets_key else { return Ok(None) };
    let keys = Keyring::read(path).context("the keys of --secrets-key cannot be used")?;
    ensure!(
        !within(path, &config.data),
        "{} is within the data folder: a key that lies beside what it seals seals nothing; keep it elsewhere",
        path.display()
    );
    let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & READABLE_BY_ALL != 0 {
        let path = path.display();
        tracing::warn!(%path, "anybody on this machine may read the keys of secrets; chmod 600 ends that");
    }
    Ok(Some(keys))
}

/// Says which files still hold readable secrets: copies that `doctor` set aside, and snapshots of before.
pub(super) fn tell_of_readable(data: &Path) {
    let snapshots = Backups::of(data).folders().unwrap_or_default();
    let folders = snapshots.iter().map(PathBuf::as_path).chain([data]);
    for folder in folders {
        match check::readable_secrets(&folder.join("apps")) {
            Ok(files) => {
                for file in files {
                    let file = file.display();
                    tracing::warn!(%file, "secrets are readable in this copy of before; remove it, or change them");
                }
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a copy cannot be looked at");
            }
        }
    }
}

fn within(path: &Path, folder: &Path) -> bool {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        // There is no such folder yet.
        _ => false,
    }
}

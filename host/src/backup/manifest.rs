//! What a snapshot says of itself: where its cut is, and each file with size and hash. The manifest has a hash of its
//! own as its first line. Invariant: what is read was written whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::{BackupError, at};

/// Of the manifest.
pub(super) const FORMAT: u32 = 1;
/// Its name in a snapshot.
pub(super) const FILE: &str = "manifest";

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this document.
    pub format: u32,
    /// The version of the host that made it.
    pub keystead: String,
    /// Of the records in the state files.
    pub record_format: u8,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The partitions.
    pub partitions: Vec<Copied>,
    /// All other files.
    pub files: Vec<Named>,
}

/// A partition of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Its folder's name.
    pub partition: String,
    /// The last position of its journal that the copy holds.
    pub position: u64,
    /// Rows of its state file.
    pub rows: u64,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Relative to the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
}

/// A snapshot in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its size, without the manifest.
    pub bytes: u64,
    /// Rows of all state files.
    pub rows: u64,
}

impl Manifest {
    /// The one of the snapshot at `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        Self::parse(&Self::text(folder)?)
    }

    /// Its text, as it is in the file.
    pub(super) fn text(folder: &Path) -> Result<String, BackupError> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = folder.display();
                let problem = format!("is missing: {folder} is no snapshot, or not a whole one");
                Err(BackupError::Damaged { file: FILE.into(), problem })
            }
            read => read.map_err(at(&path)),
        }
    }

    /// The manifest that this text is.
    pub(super) fn parse(text: &str) -> Result<Self, BackupError> {
        let damaged = |problem: String| BackupError::Damaged { file: FILE.into(), problem };
        let sound = text.split_once('\n').filter(|(hash, rest)| {
            blake3::Hash::from_hex(hash).is_ok_and(|hash| hash == blake3::hash(rest.as_bytes()))
        });
        let (_, document) = sound.ok_or_else(|| damaged("is not what was written".into()))?;
        let manifest: Self =
            serde_json::from_str(document).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            let format = manifest.format;
            return Err(damaged(format!("is of format {format}; this build reads {FORMAT}")));
        }
        // A snapshot may come from anywhere; what it names stays within it.
        let within = |path: &str| {
            Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        };
        let names = manifest.partitions.iter().map(|copied| &copied.partition);
        let mut names = names.chain(manifest.files.iter().map(|file| &file.path));
        if let Some(name) = names.find(|name| !within(name)) {
            return Err(damaged(format!("names {name:?}, which is outside of it")));
        }
        Ok(manifest)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let path = folder.join(FILE);
        let document = serde_json::to_string_pretty(self).map_err(io::Error::from);
        let document = document.map_err(at(&path))?;
        // The end of its last line belongs to it.
        let document = format!("{document}\n");
        let hash = blake3::hash(document.as_bytes()).to_hex();
        let written = File::create(&path).and_then(|mut file| write!(file, "{hash}\n{document}"));
        written.map_err(at(&path))
    }

    pub(super) fn kept(&self, path: &Path) -> Kept {
        Kept {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.display().to_string(),
            created_at_ms: self.created_at_ms,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            rows: self.partitions.iter().map(|copied| copied.rows).sum(),
        }
    }
}

/// Every file below `folder`, by path.
pub(super) fn files(folder: &Path) -> Result<Vec<Named>, BackupError> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(at(&next))? {
            let path = entry.map_err(at(&next))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            let bytes = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
            let bytes = bytes.map_err(at(&path))?;
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            let hash = hasher.finalize().to_hex().to_string();
            found.push(Named { path: name, bytes, hash });
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_was_changed_or_points_elsewhere_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let named = |path: &str| Named { path: path.into(), bytes: 0, hash: String::new() };
        let mut manifest = Manifest {
            format: FORMAT,
            keystead: "x".into(),
            record_format: 1,
            created_at_ms: 7,
            partitions: vec![Copied { partition: "0".into(), position: 3, rows: 1 }],
            files: vec![named("apps/a")],
        };
        manifest.write(dir.path()).expect("written");
        assert_eq!(Manifest::read(dir.path()).expect("sound"), manifest);
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).expect("there");
        fs::write(&path, text.replace("\"position\": 3", "\"position\": 4")).expect("written");
        assert!(Manifest::read(dir.path()).expect_err("changed").to_string().contains("written"));
        for outside in ["../a", "/etc/passwd", "apps/../../a"] {
            manifest.files = vec![named(outside)];
            manifest.write(dir.path()).expect("written");
            let error = Manifest::read(dir.path()).expect_err(outside).to_string();
            assert!(error.contains("outside"), "{error}");
        }
        fs::remove_file(&path).expect("removed");
        assert!(Manifest::read(dir.path()).expect_err("gone").to_string().contains("no snapshot"));
    }
}

//! Data folders of snapshots, which are folders or archives. Invariant: nothing is restored over anything, nothing whose
//! hash is not the manifest's, and a folder has its name when all of it is there and on stable storage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::archive::Unpacking;
use super::manifest::{self, Kept, Manifest, Named};
use super::{BackupError, PART, PARTITIONS, at, copy, sync_all};
use crate::clock::Clock;
use crate::ids::Position;
use crate::journal::LocalJournal;
use crate::record;
use crate::storage;

/// Makes a data folder at `to` of the snapshot at `from`, a folder or an archive. `watch` hears of bytes on the way.
/// Blocks.
///
/// # Errors
/// [`BackupError`]; the folder is then removed again.
pub fn restore(
    from: &Path,
    to: &Path,
    clock: &dyn Clock,
    watch: &dyn Fn(u64),
) -> Result<Kept, BackupError> {
    if from.is_file() {
        let archive = File::open(from).map_err(at(from))?;
        return restore_archive(archive, from, to, clock, watch);
    }
    let manifest = Manifest::read(from)?;
    make(&manifest, to, clock, |part| from_folder(from, part, &manifest, watch))?;
    Ok(manifest.kept(from))
}

/// The same of an archive that comes from anywhere and is called `from`. What it holds is checked as it comes, and nothing
/// is kept in memory but its manifest.
///
/// # Errors
/// [`BackupError`]; the folder is then removed again.
pub fn restore_archive(
    archive: impl Read,
    from: &Path,
    to: &Path,
    clock: &dyn Clock,
    watch: &dyn Fn(u64),
) -> Result<Kept, BackupError> {
    let mut archive = tar::Archive::new(archive);
    let (manifest, unpacking) = Unpacking::begin(&mut archive, from)?;
    make(&manifest, to, clock, |part| from_archive(unpacking, part, &manifest, watch))?;
    Ok(manifest.kept(from))
}

fn make(
    manifest: &Manifest,
    to: &Path,
    clock: &dyn Clock,
    fill: impl FnOnce(&Path) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(to.into()));
    }
    if !record::reads(manifest.record_format) {
        let problem = record::other_format(u64::from(manifest.record_format));
        return Err(BackupError::Damaged { file: manifest::FILE.into(), problem });
    }
    // Under another name until it is whole, so that no host opens half of one.
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let part = to.with_file_name(format!(".{name}{PART}"));
    let begin = || {
        if part.exists() {
            fs::remove_dir_all(&part).map_err(at(&part))?;
        }
        storage::make_folder(&part).map_err(at(&part))
    };
    let made = begin()
        .and_then(|()| fill(&part))
        .and_then(|()| journals(&part, manifest, clock))
        .and_then(|()| sync_all(&part))
        .and_then(|()| {
            // An empty folder is replaced.
            fs::rename(&part, to).map_err(at(to))?;
            let around = to.parent().filter(|around| !around.as_os_str().is_empty());
            let around = around.unwrap_or(Path::new("."));
            File::open(around).and_then(|folder| folder.sync_all()).map_err(at(around))
        });
    if made.is_err() {
        drop(fs::remove_dir_all(&part));
    }
    made
}

fn from_folder(
    from: &Path,
    part: &Path,
    manifest: &Manifest,
    watch: &dyn Fn(u64),
) -> Result<(), BackupError> {
    let mut bytes = 0;
    for file in &manifest.files {
        let (source, target) = (from.join(&file.path), part.join(&file.path));
        let folder = target.parent().unwrap_or(part);
        storage::make_folder(folder).map_err(at(folder))?;
        let (size, hash) = match copy(&source, &target) {
            Err(BackupError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Err(file.damaged("is missing"));
            }
            copied => copied?,
        };
        file.expect(size, &hash)?;
        bytes += size;
        watch(bytes);
    }
    Ok(())
}

fn from_archive(
    unpacking: Unpacking<'_, impl Read>,
    part: &Path,
    manifest: &Manifest,
    watch: &dyn Fn(u64),
) -> Result<(), BackupError> {
    let files = manifest.files.iter().map(|file| (file.path.as_str(), file));
    let mut left: BTreeMap<&str, &Named> = files.collect();
    let mut bytes = 0;
    unpacking.each(|path, entry, from| {
        let Some(file) = left.remove(path) else {
            // Its name may be anything.
            let (file, problem) = (format!("{path:?}"), "is not in its manifest, or twice in it");
            return Err(BackupError::Damaged { file, problem: problem.into() });
        };
        // IMPORTANT: the manifest's path, which does not lead out of the folder.
        let target = part.join(&file.path);
        let folder = target.parent().unwrap_or(part);
        storage::make_folder(folder).map_err(at(folder))?;
        if entry.size() != file.bytes {
            return Err(file.damaged("is not what was written"));
        }
        let (size, hash) = super::pour(entry, from, &target)?;
        if size < file.bytes {
            return Err(file.damaged("ends early: the archive was cut"));
        }
        file.expect(size, &hash)?;
        bytes += size;
        watch(bytes);
        Ok(())
    })?;
    match left.values().next() {
        Some(file) => Err(file.damaged("is missing: the archive was cut")),
        None => Ok(()),
    }
}

fn journals(part: &Path, manifest: &Manifest, clock: &dyn Clock) -> Result<(), BackupError> {
    for partition in &manifest.partitions {
        let folder = part.join(PARTITIONS).join(&partition.partition);
        let mut chance = [0; 32];
        clock.fill(&mut chance);
        LocalJournal::found(&folder, chance, Position(partition.position))?;
    }
    Ok(())
}

impl Named {
    fn damaged(&self, problem: &str) -> BackupError {
        BackupError::Damaged { file: self.path.clone(), problem: problem.into() }
    }

    /// Refuses what is not what the manifest says.
    pub(super) fn expect(&self, size: u64, hash: &blake3::Hash) -> Result<(), BackupError> {
        match (size, hash.to_hex().as_str()) == (self.bytes, &self.hash) {
            true => Ok(()),
            false => Err(self.damaged("is not what was written")),
        }
    }
}

//! A snapshot as one tar archive: below its name the manifest, then every file that the manifest names, in its order. So
//! whoever reads it knows each file's size and hash before its bytes, and that some are missing when it was cut; `tar`
//! makes a snapshot's folder of it. Invariant: neither side holds more than a piece of a file in memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{BackupError, Backups, at};
use crate::limits;

/// A tar archive consists of these.
const BLOCK: u64 = 512;
/// What ends it.
const END: u64 = 2 * BLOCK;

/// A snapshot that is to be written as an archive.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    name: String,
    text: String,
    manifest: Manifest,
}

impl Backups {
    /// The snapshot `name` as an archive.
    ///
    /// # Errors
    /// [`BackupError::Unknown`], [`BackupError::Name`], and when its manifest is damaged.
    pub fn archive(&self, name: &str) -> Result<Archive, BackupError> {
        let folder = self.path(name)?;
        if !folder.exists() {
            return Err(BackupError::Unknown(name.into()));
        }
        let text = Manifest::text(&folder)?;
        let manifest = Manifest::parse(&text)?;
        Ok(Archive { folder, name: name.into(), text, manifest })
    }
}

impl Archive {
    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let entry = |bytes: u64| BLOCK + bytes.next_multiple_of(BLOCK);
        let files = self.manifest.files.iter().map(|file| entry(file.bytes));
        entry(self.text.len() as u64) + files.sum::<u64>() + END
    }

    /// Writes it. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read or is not what the manifest says: what was written until then is no whole archive.
    pub fn write(&self, to: &mut dyn Write) -> Result<(), BackupError> {
        let mut builder = tar::Builder::new(to);
        self.entry(&mut builder, manifest::FILE, self.text.len() as u64, self.text.as_bytes())?;
        for file in &self.manifest.files {
            let path = self.folder.join(&file.path);
            let source = File::open(&path).map_err(at(&path))?;
            let mut hashed =
                Hashed { source: source.take(file.bytes), hash: blake3::Hasher::new() };
            self.entry(&mut builder, &file.path, file.bytes, &mut hashed)?;
            file.expect(file.bytes - hashed.source.limit(), &hashed.hash.finalize())?;
        }
        let written = builder.finish();
        written.map_err(at(&self.folder))
    }

    fn entry(
        &self,
        builder: &mut tar::Builder<&mut dyn Write>,
        path: &str,
        bytes: u64,
        content: impl Read,
    ) -> Result<(), BackupError> {
        let path = Path::new(&self.name).join(path);
        let mut header = tar::Header::new_ustar();
        header.set_path(&path).map_err(at(&path))?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.manifest.created_at_ms / 1_000);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        builder.append(&header, content).map_err(at(&path))
    }
}

/// Hashes what is read.
struct Hashed<R> {
    source: R,
    hash: blake3::Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// An archive that is being read, after its manifest.
pub(super) struct Unpacking<'a, R: Read> {
    entries: tar::Entries<'a, R>,
    /// What every path in it begins with.
    root: String,
    /// What it is called.
    from: PathBuf,
}

impl<'a, R: Read> Unpacking<'a, R> {
    /// Reads the manifest.
    pub(super) fn begin(
        archive: &'a mut tar::Archive<R>,
        from: &Path,
    ) -> Result<(Manifest, Self), BackupError> {
        let none = |problem: &str| {
            let problem = format!("{problem}: {} is no archive of a snapshot", from.display());
            BackupError::Damaged { file: manifest::FILE.into(), problem }
        };
        // Raw: what would give the next entry another name is an entry like any other, and refused.
        let mut entries = archive.entries().map_err(at(from))?.raw(true);
        let first = entries.next().ok_or_else(|| none("is missing"))?;
        let mut first = first.map_err(|error| none(&format!("cannot be read ({error})")))?;
        let path = plain(&first)?;
        let root = path.strip_suffix(manifest::FILE).and_then(|root| root.strip_suffix('/'));
        let root = root.filter(|root| !root.is_empty() && !root.contains('/'));
        let root = root.ok_or_else(|| none("does not come first"))?.to_owned();
        if first.size() > limits::SNAPSHOT_MANIFEST_BYTES_MAX {
            return Err(none("is too large"));
        }
        let mut text = String::new();
        first.read_to_string(&mut text).map_err(at(from))?;
        if (text.len() as u64) < first.size() {
            return Err(none("ends early, so the archive was cut"));
        }
        let manifest = Manifest::parse(&text)?;
        Ok((manifest, Self { entries, root, from: from.into() }))
    }

    /// Hands each file to `take`, with its path in the snapshot and what the archive is called.
    pub(super) fn each(
        self,
        mut take: impl FnMut(&str, &mut tar::Entry<'a, R>, &Path) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Self { entries, root, from } = self;
        for entry in entries {
            let mut entry = entry.map_err(at(&from))?;
            let path = plain(&entry)?;
            let below = path.strip_prefix(&*root).and_then(|path| path.strip_prefix('/'));
            let below = below.unwrap_or(&path).to_owned();
            take(&below, &mut entry, &from)?;
        }
        Ok(())
    }
}

/// The path of an entry, which is a plain file.
fn plain<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, BackupError> {
    let path = entry.path_bytes();
    let path = String::from_utf8_lossy(&path);
    match entry.header().entry_type() {
        tar::EntryType::Regular => Ok(path.into_owned()),
        other => {
            let (file, problem) = (format!("{path:?}"), format!("is no plain file ({other:?})"));
            Err(BackupError::Damaged { file, problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{data, make};
    use super::super::{restore, restore_archive};
    use super::*;
    use crate::clock::SystemClock;

    /// An archive of a snapshot, and where it may be restored.
    fn archive() -> (tempfile::TempDir, Vec<u8>, PathBuf) {
        let (dir, _live, cut) = data();
        make(dir.path(), cut);
        let archive = Backups::of(dir.path()).archive("one").expect("there");
        let mut bytes = vec![];
        archive.write(&mut bytes).expect("written");
        assert_eq!(bytes.len() as u64, archive.bytes(), "as long as was said");
        let to = dir.path().join("restored");
        (dir, bytes, to)
    }

    fn unpack(bytes: &[u8], to: &Path) -> Result<(), String> {
        let unpacked = restore_archive(bytes, Path::new("x.tar"), to, &SystemClock::new(), &|_| ());
        let part = to.with_file_name(".restored.part");
        assert!(!part.exists() && to.exists() == unpacked.is_ok(), "half of it is left");
        unpacked.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn an_archive_restores_what_its_snapshot_does() {
        let (dir, bytes, to) = archive();
        unpack(&bytes, &to).expect("whole");
        let file = dir.path().join("x.tar");
        std::fs::write(&file, &bytes).expect("written");
        let other = dir.path().join("other");
        restore(&file, &other, &SystemClock::new(), &|_| ()).expect("a file of it");
        for folder in [&to, &other] {
            for name in ["apps/apps/bank.json", "partitions/0/state.redb"] {
                let of = dir.path().join("snapshots/one").join(name);
                assert!(std::fs::read(folder.join(name)).ok() == std::fs::read(of).ok(), "{name}");
            }
        }
        assert!(matches!(
            Backups::of(dir.path()).archive("none"),
            Err(BackupError::Unknown(name)) if name == "none"
        ));
    }

    #[test]
    fn wherever_it_is_cut_it_is_noticed() {
        let (_dir, bytes, to) = archive();
        let mut cuts: Vec<usize> = (0..bytes.len() - END as usize).step_by(4_001).collect();
        cuts.extend((0..bytes.len() - END as usize).step_by(512));
        for cut in cuts {
            unpack(&bytes[..cut], &to).expect_err("cut");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_file_is_noticed() {
        let (_dir, bytes, to) = archive();
        for at in (0..bytes.len() - END as usize).step_by(997) {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            // What fills a block up says nothing of the snapshot; headers have a checksum.
            if unpack(&bad, &to).is_ok() {
                let padding = bytes[at] == 0;
                assert!(padding, "byte {at} is not looked at");
                std::fs::remove_dir_all(&to).expect("removed");
            }
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (dir, bytes, to) = archive();
        let sound = Backups::of(dir.path()).archive("one").expect("there");
        for name in ["../evil", "one/../../evil", "/etc/evil", "evil", "one/apps/../evil"] {
            for kind in
                [tar::EntryType::Regular, tar::EntryType::Symlink, tar::EntryType::Directory]
            {
                let mut header = tar::Header::new_ustar();
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.set_entry_type(kind);
                header.set_size(0);
                header.set_cksum();
                let before = &bytes[..bytes.len() - END as usize];
                let bad = [before, header.as_bytes(), &[0; END as usize]].concat();
                let refused = unpack(&bad, &to).expect_err(name);
                let right = match kind {
                    tar::EntryType::Regular => "is not in its manifest",
                    _ => "is no plain file",
                };
                assert!(refused.contains(right), "{name}: {refused}");
            }
        }
        // A long name for the next entry is no way around it.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(0);
        header.set_cksum();
        let mut bad = header.as_bytes().to_vec();
        bad.extend_from_slice(&bytes);
        assert!(unpack(&bad, &to).expect_err("long").contains("no plain file"));
        assert_eq!(sound.name, "one");
    }

    #[test]
    fn what_is_no_archive_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let to = dir.path().join("restored");
        for bytes in [&b""[..], &[0; 2_048], &[b'x'; 5_000]] {
            let refused = unpack(bytes, &to).expect_err("nothing");
            assert!(refused.contains("is no archive of a snapshot"), "{refused}");
        }
    }

    #[test]
    fn a_snapshot_that_is_damaged_on_disk_ends_its_archive() {
        let (dir, bytes, _) = archive();
        let state = dir.path().join("snapshots/one/partitions/0/state.redb");
        let mut bad = std::fs::read(&state).expect("there");
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&state, bad).expect("damaged");
        let archive = Backups::of(dir.path()).archive("one").expect("there");
        let error = archive.write(&mut Vec::with_capacity(bytes.len())).expect_err("damaged");
        assert!(error.to_string().contains("partitions/0/state.redb"), "{error}");
    }
}

//! Compiled components on disk, so that a restart compiles nothing. Loading compiled code trusts it
//! completely; therefore the folder is private and each file opens with a keyed hash over its name and
//! content. Invariant: code that this host did not write is a miss, like code of another wasmtime, another
//! processor or other settings.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::Clock;
use crate::ids::VersionId;
use crate::limits;

const MAC_BYTES: usize = 32;

/// The folder, its key, and what this engine's code is called.
pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; MAC_BYTES],
    compatibility: String,
}

impl Cache {
    /// Makes the folder private and its key when they are missing.
    pub(super) fn open(dir: &Path, engine: &Engine, clock: &dyn Clock) -> anyhow::Result<Self> {
        let at = || format!("cannot open the cache of compiled code at {}", dir.display());
        DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(at)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700)).with_context(at)?;
        let key = read_or_make_key(dir, clock).with_context(at)?;
        let mut hasher = StableHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = hasher.0.finalize().to_hex()[..16].to_owned();
        let cache = Self { dir: dir.into(), key, compatibility };
        cache.prune().with_context(at)?;
        Ok(cache)
    }

    /// The compiled component, or `None` for any doubt about it.
    pub(super) fn load(&self, engine: &Engine, version: VersionId) -> Option<Component> {
        let name = self.name(version);
        let file = fs::File::open(self.dir.join(&name)).ok()?;
        let mut bytes = Vec::new();
        let most = (limits::COMPILED_BYTES_MAX + MAC_BYTES) as u64;
        file.take(most).read_to_end(&mut bytes).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        // `Hash` compares in constant time.
        if self.mac(&name, code) != blake3::Hash::from_slice(mac).ok()? {
            tracing::warn!(%name, "compiled code is not what was written here; compiling again");
            return None;
        }
        match deserialize(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::info!(%name, %error, "compiled code does not load; compiling again");
                None
            }
        }
    }

    /// Loads freshly compiled code, and keeps it. Failing to keep it costs the next start time, nothing else.
    pub(super) fn store(
        &self,
        engine: &Engine,
        version: VersionId,
        code: &[u8],
    ) -> wasmtime::Result<Component> {
        let component = deserialize(engine, code)?;
        let name = self.name(version);
        let mac = self.mac(&name, code);
        if let Err(error) = write_whole(&self.dir, &name, &[mac.as_bytes(), code]) {
            tracing::warn!(%name, %error, "cannot keep compiled code; the next start compiles again");
        }
        Ok(component)
    }

    /// Removes the code of components that are not in `named`. What cannot be removed stays for the next time.
    pub(super) fn collect(&self, named: &BTreeSet<VersionId>) {
        let names: BTreeSet<_> = named.iter().map(|version| self.name(*version)).collect();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".cwasm") && !names.contains(&name) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Removes what another wasmtime or other settings compiled, and what an interrupted write left: none of
    /// it would ever load again.
    fn prune(&self) -> std::io::Result<()> {
        let ours = format!("-{}.cwasm", self.compatibility);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let foreign = name.ends_with(".cwasm") && !name.ends_with(&ours);
            if foreign || name.ends_with(".tmp") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn name(&self, version: VersionId) -> String {
        let version = blake3::Hash::from_bytes(version.0).to_hex();
        format!("{version}-{}.cwasm", self.compatibility)
    }

    /// Covers the name, so that one component's code cannot stand in for another's.
    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(name.as_bytes()).update(&[0]).update(code);
        hasher.finalize()
    }
}

/// Files of compiled code in `dir` that no host would load, with why: a start compiles again. Looks only.
///
/// # Errors
/// When the folder cannot be read.
pub fn unusable_code(dir: &Path) -> std::io::Result<Vec<(String, String)>> {
    let path = dir.join("key");
    let key = match read_key(&path) {
        Ok(key) => key,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Ok(vec![("key".into(), error.to_string())]),
    };
    let mut unusable = vec![];
    let cache = Cache { dir: dir.into(), key, compatibility: String::new() };
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".cwasm") {
            continue;
        }
        let bytes = fs::read(dir.join(&name))?;
        let right = bytes
            .split_at_checked(MAC_BYTES)
            .is_some_and(|(mac, code)| cache.mac(&name, code).as_bytes() == mac);
        if !right {
            let what = "it and the file key beside it are not what a host wrote here";
            unusable.push((name, what.into()));
        }
    }
    Ok(unusable)
}

fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` came from our own compiler just now, or from a file whose keyed hash says that this host
    // wrote it; the key is in a folder that only this user can read.
    #[expect(unsafe_code, reason = "the one place that loads compiled code")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

fn read_or_make_key(dir: &Path, clock: &dyn Clock) -> std::io::Result<[u8; MAC_BYTES]> {
    let path = dir.join("key");
    match read_key(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let mut key = [0; MAC_BYTES];
    clock.fill(&mut key);
    let mut tag = [0; 8];
    clock.fill(&mut tag);
    let temporary = dir.join(format!("key.{:016x}.tmp", u64::from_le_bytes(tag)));
    write_private(&temporary, &[&key])?;
    // A link fails where a rename would replace: of two hosts that start at once, one makes the key.
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => read_key(&path),
    }
}

fn read_key(path: &Path) -> std::io::Result<[u8; MAC_BYTES]> {
    let bytes = fs::read(path)?;
    let damaged =
        || std::io::Error::other("the key file is damaged; remove the folder to rebuild it");
    bytes.try_into().map_err(|_| damaged())
}

/// All or nothing: written under another name, then renamed.
fn write_whole(dir: &Path, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
    let temporary = dir.join(format!("{name}.{}.tmp", std::process::id()));
    write_private(&temporary, parts)?;
    fs::rename(&temporary, dir.join(name))
}

fn write_private(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// wasmtime gives something to hash; std's hashers may change from one Rust to the next, so that a cache
/// would be lost with each.
struct StableHasher(blake3::Hasher);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

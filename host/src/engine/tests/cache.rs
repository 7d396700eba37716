//! The cache of compiled code, seen by whether the compiler runs again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::testing::{component, engine};
use super::super::{Engine, EngineConfig};
use crate::clock::ManualClock;

/// An engine whose compiler does not exist: it prepares from the cache or not at all.
fn engine_without_compiler(cache_dir: &Path) -> Engine {
    let compiler = Some(PathBuf::from("/nonexistent/compiler"));
    let config = EngineConfig { cache_dir: cache_dir.into(), workers: 1, compiler };
    Engine::new(config, Arc::new(ManualClock::new(1_000, 8))).expect("engine")
}

fn compiled_file(cache_dir: &Path) -> PathBuf {
    let entries =
        fs::read_dir(cache_dir).expect("folder").map(|entry| entry.expect("entry").path());
    let mut code: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "cwasm")).collect();
    assert_eq!(code.len(), 1, "{code:?}");
    code.remove(0)
}

#[test]
fn a_second_prepare_does_not_compile() {
    let cache = tempfile::tempdir().expect("tempdir");
    let bytes = component("{}");
    assert!(engine_without_compiler(cache.path()).prepare(&bytes).is_err(), "nothing is there yet");
    engine(cache.path()).prepare(&bytes).expect("compiled");
    engine_without_compiler(cache.path()).prepare(&bytes).expect("from the cache");
}

#[test]
fn a_damaged_foreign_or_renamed_file_is_a_miss() {
    let cache = tempfile::tempdir().expect("tempdir");
    let bytes = component("{}");
    engine(cache.path()).prepare(&bytes).expect("compiled");
    let file = compiled_file(cache.path());
    let good = fs::read(&file).expect("read");

    for at in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).expect("write");
        assert!(engine_without_compiler(cache.path()).prepare(&bytes).is_err(), "byte {at}");
    }
    for len in [0, 10, 32, good.len() - 1] {
        fs::write(&file, &good[..len]).expect("write");
        assert!(engine_without_compiler(cache.path()).prepare(&bytes).is_err(), "{len} bytes");
    }

    let other = component("{\"entities\":[]}");
    fs::write(&file, &good).expect("write");
    let version = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let renamed = file.to_str().expect("UTF-8").replace(&version(&bytes), &version(&other));
    fs::copy(&file, renamed).expect("copy");
    assert!(engine_without_compiler(cache.path()).prepare(&other).is_err(), "another's code");

    fs::write(cache.path().join("key"), [9; 32]).expect("write");
    assert!(engine_without_compiler(cache.path()).prepare(&bytes).is_err(), "another host's code");
    engine(cache.path()).prepare(&bytes).expect("compiles again");
    engine_without_compiler(cache.path()).prepare(&bytes).expect("and is kept again");
}

#[test]
fn code_of_other_settings_goes_and_ours_stays() {
    let cache = tempfile::tempdir().expect("tempdir");
    engine(cache.path()).prepare(&component("{}")).expect("compiled");
    let ours = compiled_file(cache.path());
    let foreign = cache.path().join("00-0123456789abcdef.cwasm");
    let half = cache.path().join("00-0123456789abcdef.cwasm.1.tmp");
    for file in [&foreign, &half] {
        fs::write(file, b"old").expect("write");
    }
    let _engine = engine_without_compiler(cache.path());
    assert_eq!([ours.exists(), foreign.exists(), half.exists()], [true, false, false]);
}

#[test]
fn the_folder_and_its_files_are_private() {
    let parent = tempfile::tempdir().expect("tempdir");
    let dir = parent.path().join("cache");
    fs::create_dir(&dir).expect("folder");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("permissions");
    engine(&dir).prepare(&component("{}")).expect("compiled");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("key")), 0o600);
    assert_eq!(mode(&compiled_file(&dir)), 0o600);
}

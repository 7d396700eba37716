//! Watches the sources of guest crates for `dev`. It builds nothing. Invariant: nothing that a build writes
//! counts as a change, so a build never starts the next one.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use crate::limits;

/// The watched crates.
pub(super) struct Watch {
    roots: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    changed: Receiver<usize>,
}

impl Watch {
    /// Starts to watch the crates in these folders, given by their full paths.
    pub(super) fn new(roots: &[PathBuf]) -> anyhow::Result<Self> {
        let (tell, changed) = channel(limits::WATCH_EVENTS_MAX);
        let watched = roots.to_vec();
        let handler = move |event: notify::Result<Event>| {
            for index in event.iter().flat_map(|event| touched(&watched, event)) {
                // A full channel holds a change already, and it is the same to build once or twice.
                let _ = tell.try_send(index);
            }
        };
        let mut watcher =
            notify::recommended_watcher(handler).context("files cannot be watched")?;
        for root in roots {
            watcher
                .watch(root, RecursiveMode::NonRecursive)
                .with_context(|| format!("{} cannot be watched", root.display()))?;
        }
        let mut watch = Self { roots: roots.to_vec(), watcher, changed };
        watch.follow_sources();
        Ok(watch)
    }

    /// Waits for changes, then until they pause, and gives the numbers of the crates they are in.
    pub(super) async fn next(&mut self) -> Option<BTreeSet<usize>> {
        let crates = gather(&mut self.changed).await?;
        self.follow_sources();
        Some(crates)
    }

    /// Follows `src` folders; one that was replaced since (as some tools do) is followed again.
    fn follow_sources(&mut self) {
        for root in &self.roots {
            let src = root.join("src");
            if src.is_dir()
                && let Err(error) = self.watcher.watch(&src, RecursiveMode::Recursive)
            {
                tracing::warn!("{} cannot be watched: {error}", src.display());
            }
        }
    }
}

/// Waits for one change, then takes all that follow it without a pause.
async fn gather(changed: &mut Receiver<usize>) -> Option<BTreeSet<usize>> {
    let mut crates = BTreeSet::from([changed.recv().await?]);
    let settle = async {
        while let Ok(Some(index)) = timeout(limits::WATCH_QUIET, changed.recv()).await {
            crates.insert(index);
        }
    };
    // Changes without end are no reason never to build.
    let _ = timeout(limits::WATCH_QUIET_WAIT_MAX, settle).await;
    Some(crates)
}

/// The crates whose sources an event touches.
fn touched(roots: &[PathBuf], event: &Event) -> Vec<usize> {
    if matches!(event.kind, EventKind::Access(_)) {
        return Vec::new();
    }
    let is_touched = |root: &Path| event.paths.iter().any(|path| is_source(root, path));
    roots.iter().enumerate().filter(|(_, root)| is_touched(root)).map(|(index, _)| index).collect()
}

/// True for what a rebuild of the crate in `root` depends on.
fn is_source(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else { return false };
    let hidden = |part: &Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    let backup = inside.as_os_str().as_encoded_bytes().ends_with(b"~");
    if backup || inside.components().any(|part| hidden(&part)) {
        return false;
    }
    inside.starts_with("src")
        || ["Cargo.toml", "keystead.toml", "build.rs"].iter().any(|name| inside == Path::new(name))
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, CreateKind, ModifyKind};

    use super::*;

    #[test]
    fn only_sources_count() {
        let root = Path::new("/w/bank");
        for yes in ["Cargo.toml", "keystead.toml", "build.rs", "src/lib.rs", "src/a/b.sql", "src"] {
            assert!(is_source(root, &root.join(yes)), "{yes}");
        }
        for no in ["target/x/bank.wasm", "Cargo.lock", "README.md", "src/.lib.rs.swp", "src/a~"] {
            assert!(!is_source(root, &root.join(no)), "{no}");
        }
        assert!(!is_source(root, Path::new("/w/other/src/lib.rs")));
        assert!(!is_source(root, Path::new("/w/bank2/src/lib.rs")));
    }

    #[test]
    fn reading_is_not_changing() {
        let roots = [PathBuf::from("/w/a"), PathBuf::from("/w/b")];
        let event = |kind| Event::new(kind).add_path("/w/b/src/lib.rs".into());
        assert_eq!(touched(&roots, &event(EventKind::Create(CreateKind::File))), [1]);
        assert_eq!(touched(&roots, &event(EventKind::Modify(ModifyKind::Any))), [1]);
        assert!(touched(&roots, &event(EventKind::Access(AccessKind::Any))).is_empty());
    }

    #[tokio::test]
    async fn changes_in_quick_succession_are_one() {
        let (tell, mut changed) = channel(8);
        for index in [1, 0, 1] {
            tell.try_send(index).expect("room");
        }
        assert_eq!(gather(&mut changed).await, Some(BTreeSet::from([0, 1])));
        drop(tell);
        assert_eq!(gather(&mut changed).await, None);
    }

    #[tokio::test]
    async fn a_save_is_seen() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().canonicalize().expect("path");
        std::fs::create_dir(root.join("src")).expect("folder");
        let mut watch = Watch::new(std::slice::from_ref(&root)).expect("watching");
        std::fs::write(root.join("Cargo.lock"), "").expect("write");
        std::fs::write(root.join("src/lib.rs"), "// new").expect("write");
        assert_eq!(watch.next().await, Some(BTreeSet::from([0])));
    }
}

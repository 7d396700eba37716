//! What cargo says of a guest crate, read from its JSON: the package, its target folder, the module it built.
//! It starts no process. Invariant: a module found here belongs to the package that was asked for.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What `cargo metadata --no-deps` says.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    pub(super) target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl Metadata {
    pub(super) fn read(json: &[u8]) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The package whose `Cargo.toml` this is; `None` for a workspace's own.
    pub(super) fn package(&self, manifest: &Path) -> Option<&Package> {
        self.packages.iter().find(|package| package.manifest_path == manifest)
    }
}

impl Package {
    /// True when it has a library that builds to a WebAssembly module.
    pub(super) fn has_cdylib(&self) -> bool {
        self.targets.iter().any(Target::is_cdylib)
    }
}

impl Target {
    fn is_cdylib(&self) -> bool {
        self.crate_types.iter().any(|kind| kind == "cdylib")
    }
}

/// The WebAssembly module that a build of `package` made, from cargo's JSON messages.
pub(super) fn find_module(messages: &[u8], package: &Package) -> Option<PathBuf> {
    let lines = messages.split(|&byte| byte == b'\n');
    // A line that is not a message is what a build script printed.
    let messages = lines.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let ours = messages.filter(|message| {
        message.reason == "compiler-artifact"
            && message.package_id == package.id
            && message.target.as_ref().is_some_and(Target::is_cdylib)
    });
    let is_module = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "wasm");
    ours.flat_map(|message| message.filenames).find(is_module)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages":[
        {"name":"bank","version":"0.1.0","id":"path+file:///w/bank#0.1.0","manifest_path":"/w/bank/Cargo.toml",
         "targets":[{"kind":["cdylib","rlib"],"crate_types":["cdylib","rlib"],"name":"bank"}]},
        {"name":"plain","version":"0.1.0","id":"path+file:///w/plain#0.1.0","manifest_path":"/w/plain/Cargo.toml",
         "targets":[{"kind":["lib"],"crate_types":["lib"],"name":"plain"}]}],
        "target_directory":"/w/target","workspace_root":"/w","version":1}"#;

    fn package(name: &str) -> Package {
        let metadata = Metadata::read(METADATA.as_bytes()).expect("metadata");
        metadata.package(Path::new(&format!("/w/{name}/Cargo.toml"))).expect("package").clone()
    }

    #[test]
    fn packages_are_found_by_their_manifest() {
        let metadata = Metadata::read(METADATA.as_bytes()).expect("metadata");
        assert_eq!(metadata.target_directory, Path::new("/w/target"));
        assert_eq!(metadata.package(Path::new("/w/Cargo.toml")), None);
        assert!(package("bank").has_cdylib() && !package("plain").has_cdylib());
    }

    #[test]
    fn the_module_is_the_packages_own_cdylib() {
        let artifact = |id: &str, kinds: &str, files: &str| {
            let target = format!(r#"{{"crate_types":[{kinds}],"name":"x"}}"#);
            let head = format!(r#""reason":"compiler-artifact","package_id":"{id}""#);
            format!(r#"{{{head},"target":{target},"profile":{{}},"filenames":[{files}]}}"#)
        };
        let bank = "path+file:///w/bank#0.1.0";
        let lines = [
            "a build script's words".to_owned(),
            artifact("registry#serde@1.0.0", "\"lib\"", "\"/w/t/libserde.rlib\""),
            artifact("path+file:///w/other#0.1.0", "\"cdylib\"", "\"/w/t/other.wasm\""),
            r#"{"reason":"compiler-message","package_id":"x","message":{"rendered":"w"}}"#.into(),
            artifact(bank, "\"bin\"", "\"/w/t/tool.wasm\""),
            artifact(bank, "\"cdylib\",\"rlib\"", "\"/w/t/libbank.rlib\",\"/w/t/bank.wasm\""),
            r#"{"reason":"build-finished","success":true}"#.into(),
        ];
        let found = find_module(lines.join("\n").as_bytes(), &package("bank"));
        assert_eq!(found.as_deref(), Some(Path::new("/w/t/bank.wasm")));
        let without = lines[..5].join("\n");
        assert_eq!(find_module(without.as_bytes(), &package("bank")), None);
    }
}

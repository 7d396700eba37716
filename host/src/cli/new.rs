//! `keystead new NAME`: a guest project that builds and tests as it stands. Its files are in `template/`.
//! Invariant: nothing that is there already is ever overwritten.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::Usage;
use super::output::Output;
use crate::ids::check_name;

/// Each file's path in the project and its text; `{{…}}` is filled in.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("keystead.toml", include_str!("template/keystead.toml.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
];

/// Names that Rust or cargo keep for themselves.
const RESERVED: [&str; 53] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "yield",
];

/// Make a guest project
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project's name: its folder's, its crate's and its app's
    name: String,
    /// The folder of keystead-sdk, instead of the one this program was built beside
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    check(&args.name)?;
    let sdk = sdk_dependency(args.sdk.as_deref())?;
    let dir = PathBuf::from(&args.name);
    write(&dir, &args.name, &sdk)?;
    let files: Vec<_> = FILES.iter().map(|(path, _)| *path).collect();
    let document = json!({"name": args.name, "path": dir.display().to_string(), "files": files});
    Ok(out.document(&document, |_| next_steps(&args.name))?)
}

fn check(name: &str) -> anyhow::Result<()> {
    check_name("name", name).map_err(|error| Usage(error.to_string()))?;
    if RESERVED.contains(&name) || name.starts_with("keystead-sdk") {
        return Err(Usage(format!("name: {name:?} is a word that Rust keeps for itself")).into());
    }
    Ok(())
}

/// How the project finds the SDK, as the value of a dependency.
fn sdk_dependency(chosen: Option<&Path>) -> anyhow::Result<String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk");
    let path = match chosen {
        Some(path) => path,
        None if beside.join("Cargo.toml").is_file() => &beside,
        None => return Ok("\"0.1\"".into()),
    };
    if !path.join("Cargo.toml").is_file() {
        let problem = format!("--sdk: there is no Cargo.toml in {}", path.display());
        return Err(Usage(problem).into());
    }
    let path = path.canonicalize()?;
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("{{ path = {} }}", toml::Value::from(path)))
}

fn write(dir: &Path, name: &str, sdk: &str) -> anyhow::Result<()> {
    let is_free = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be used", dir.display()));
        }
    };
    if !is_free {
        bail!("{} exists and is not empty; choose another name", dir.display());
    }
    for (path, text) in FILES {
        let text = text.replace("{{name}}", name).replace("{{sdk}}", sdk);
        let text = text.replace("{{crate}}", &name.replace('-', "_"));
        let path = dir.join(path);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn next_steps(name: &str) -> String {
    format!(
        "made {name}; next:\n  \
         cd {name}\n  \
         cargo test       # runs its entities natively\n  \
         keystead dev     # builds, serves, and rebuilds on save"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_all_its_files_filled_in() {
        let dir = tempfile::tempdir().expect("folder");
        let dir = dir.path().join("my-app");
        write(&dir, "my-app", "{ path = \"/sdk\" }").expect("written");
        for (path, _) in FILES {
            let text = std::fs::read_to_string(dir.join(path)).expect("written");
            assert!(!text.contains("{{"), "{path} has a gap");
        }
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).expect("written");
        let manifest: toml::Table = toml::from_str(&manifest).expect("TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-app"));
        assert_eq!(manifest["dependencies"]["keystead-sdk"]["path"].as_str(), Some("/sdk"));
        assert!(manifest["workspace"].as_table().is_some_and(toml::Table::is_empty));
        let kinds = manifest["lib"]["crate-type"].as_array().expect("crate types");
        assert!(kinds.iter().any(|kind| kind.as_str() == Some("cdylib")));
        let config = super::super::deploy::read_config(&dir.join("keystead.toml"));
        assert_eq!(config.expect("valid"), crate::config::AppConfig::default());
    }

    #[test]
    fn a_folder_with_anything_in_it_is_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("notes"), "mine").expect("write");
        let error = write(dir.path(), "x", "\"0.1\"").expect_err("not empty").to_string();
        assert!(error.contains("exists and is not empty"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
        let file = dir.path().join("notes");
        assert!(write(&file, "x", "\"0.1\"").is_err());
        assert_eq!(std::fs::read_to_string(file).expect("kept"), "mine");
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "1st", "a b", "../x", "fn", "test", "std", "keystead-sdk", "a/b", "é"] {
            assert!(check(bad).is_err_and(|error| error.is::<Usage>()), "{bad:?} was taken");
        }
        for good in ["bank", "my-app", "a_1"] {
            assert!(check(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn the_sdk_is_the_one_beside_or_the_one_that_was_named() {
        let beside = sdk_dependency(None).expect("beside");
        assert!(beside.ends_with("guest-sdk\" }"), "{beside}");
        let dir = tempfile::tempdir().expect("folder");
        let error = sdk_dependency(Some(dir.path())).expect_err("no SDK there");
        assert!(error.is::<Usage>() && error.to_string().contains("no Cargo.toml"), "{error}");
    }
}

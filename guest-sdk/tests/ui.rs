//! What the compiler tells an author who got something wrong: each file in `ui/` is one mistake, and beside
//! it lies the text that the author reads. Not a test of the macros' output; `handlers.rs` is.
//! Invariant: the texts are of one version of the compiler, and with another the test says only that.

use std::process::Command;

/// The compiler whose words the committed texts are.
const RUSTC: &str = "rustc 1.95.";
/// Fewer files than this means that the pattern no longer finds them.
const MISTAKES_MIN: usize = 40;
const MISTAKES: &str = "tests/ui/*/*.rs";

#[test]
fn mistakes_are_told_where_they_are() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc --version runs");
    let version = String::from_utf8_lossy(&version.stdout);
    assert!(
        version.starts_with(RUSTC),
        "the texts in guest-sdk/tests/ui are those of {RUSTC}x, and this is {}: run \
         `cargo +1.95 test -p keystead-sdk --test ui`; or let RUSTC name the new compiler, renew the \
         texts with TRYBUILD=overwrite, and read the difference",
        version.trim(),
    );
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui");
    let areas = std::fs::read_dir(folder).expect("the folder of mistakes");
    let files =
        areas.flat_map(|area| std::fs::read_dir(area.expect("an area").path()).expect("area"));
    let mistakes = files.filter(|file| {
        file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|end| end == "rs"))
    });
    assert!(mistakes.count() >= MISTAKES_MIN, "the mistakes are in {folder}");
    // One run for all: the dependencies are checked once, and the files beside each other.
    trybuild::TestCases::new().compile_fail(MISTAKES);
}

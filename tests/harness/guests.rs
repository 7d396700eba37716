//! Guest crates as components. Each is built at most once per test program, by `keystead build` of the binary
//! under test, so that every test also goes through the command that an author uses.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The guests that tests deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guest {
    /// `tests/guests/hostile`: entity `probe`, which does what it is told, nice or not.
    Hostile,
    /// `tests/guests/ledger`: entity `account`, which logs each transfer by its id.
    Ledger,
    /// `tests/guests/desk`: entity `desk`, which asks `shop`s and hands out tokens, and logs what it hears.
    Desk,
    /// `tests/guests/purse1`: entity `purse`, state version 1.
    FirstPurse,
    /// `tests/guests/purse2`: the same, state version 2.
    SecondPurse,
    /// `tests/guests/edition1`: entity `page`, which says which build it is.
    FirstEdition,
    /// `tests/guests/edition2`: the same source, another build.
    SecondEdition,
    /// `examples/bank`.
    Bank,
    /// `examples/chat`.
    Chat,
    /// `examples/shop`.
    Shop,
    /// `tests/guests/witness`: `cell`s that say what was before, and `node`s that number what they send.
    Witness,
}

impl Guest {
    fn folder(self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        root.join(match self {
            Self::Hostile => "tests/guests/hostile",
            Self::Ledger => "tests/guests/ledger",
            Self::Desk => "tests/guests/desk",
            Self::FirstPurse => "tests/guests/purse1",
            Self::SecondPurse => "tests/guests/purse2",
            Self::FirstEdition => "tests/guests/edition1",
            Self::SecondEdition => "tests/guests/edition2",
            Self::Bank => "examples/bank",
            Self::Chat => "examples/chat",
            Self::Shop => "examples/shop",
            Self::Witness => "tests/guests/witness",
        })
    }

    /// The component's bytes.
    pub(crate) async fn component(self) -> Bytes {
        static HOSTILE: OnceCell<Bytes> = OnceCell::const_new();
        static LEDGER: OnceCell<Bytes> = OnceCell::const_new();
        static DESK: OnceCell<Bytes> = OnceCell::const_new();
        static FIRST_PURSE: OnceCell<Bytes> = OnceCell::const_new();
        static SECOND_PURSE: OnceCell<Bytes> = OnceCell::const_new();
        static FIRST_EDITION: OnceCell<Bytes> = OnceCell::const_new();
        static SECOND_EDITION: OnceCell<Bytes> = OnceCell::const_new();
        static BANK: OnceCell<Bytes> = OnceCell::const_new();
        static CHAT: OnceCell<Bytes> = OnceCell::const_new();
        static SHOP: OnceCell<Bytes> = OnceCell::const_new();
        static WITNESS: OnceCell<Bytes> = OnceCell::const_new();
        let cell = match self {
            Self::Hostile => &HOSTILE,
            Self::Ledger => &LEDGER,
            Self::Desk => &DESK,
            Self::FirstPurse => &FIRST_PURSE,
            Self::SecondPurse => &SECOND_PURSE,
            Self::FirstEdition => &FIRST_EDITION,
            Self::SecondEdition => &SECOND_EDITION,
            Self::Bank => &BANK,
            Self::Chat => &CHAT,
            Self::Shop => &SHOP,
            Self::Witness => &WITNESS,
        };
        cell.get_or_init(|| build(self.folder())).await.clone()
    }
}

/// The binary that cargo built for the tests.
pub(crate) fn keystead() -> &'static str {
    env!("CARGO_BIN_EXE_keystead")
}

/// The host under test: that one, or the one that `KEYSTEAD_BINARY` names.
pub(crate) fn host_binary() -> PathBuf {
    std::env::var_os("KEYSTEAD_BINARY").map_or_else(|| keystead().into(), PathBuf::from)
}

/// What cargo needs to know when a test calls it: where to build, so that all tests share one folder, which
/// is not the one that the cargo around this test holds locked.
pub(crate) fn cargo_environment() -> [(&'static str, PathBuf); 1] {
    [("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests"))]
}

async fn build(folder: PathBuf) -> Bytes {
    let output = Command::new(keystead())
        .args(["build", "--json"])
        .arg(&folder)
        .envs(cargo_environment())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("keystead build");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let what = format!("keystead build {}", folder.display());
    assert!(output.status.success(), "{what} failed:\n{stdout}\n{stderr}");
    let answer: serde_json::Value = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{what} printed no JSON ({error}): {stdout}"));
    let path = answer["component"]
        .as_str()
        .unwrap_or_else(|| panic!("{what} named no component: {stdout}"));
    Bytes::from(std::fs::read(path).expect("the component that was built"))
}

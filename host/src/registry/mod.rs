//! Apps and their deployed versions: validated, persisted, chosen. Knows nothing of partitions.
//! Invariant: what [`Registry::app`] returns has been validated and is on disk.

mod contract;
mod logbook;

use std::path::Path;
use std::sync::Arc;

pub use contract::{Body, Contract, ContractError, Entity, Handler, HandlerKind};
pub use logbook::{LogBook, LogLine};

use crate::clock::Clock;
use crate::config::AppConfig;
use crate::engine::{Engine, Guest, PrepareError};
use crate::ids::{BadId, VersionId};

/// A deployed app as it is now; a new deploy makes a new one.
pub struct App {
    /// Its name.
    pub name: String,
    /// The live version.
    pub version: VersionId,
    /// When the live version was deployed, in milliseconds since 1970.
    pub deployed_at_ms: u64,
    /// What its component offers.
    pub contract: Contract,
    /// Its configuration.
    pub config: AppConfig,
    /// Its component, ready to run.
    pub guest: Guest,
    /// What its guests logged; one for all versions.
    pub logs: Arc<LogBook>,
}

/// Why a deploy was refused; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The app's name is not a name.
    #[error(transparent)]
    Name(#[from] BadId),
    /// The component is not right.
    #[error(transparent)]
    Component(#[from] PrepareError),
    /// What it describes is not right.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// It takes away or retypes what the live version offers, and `breaking` was not said.
    #[error("this version breaks callers of the live one:\n{}\nsay --breaking to deploy it all the same", .0.join("\n"))]
    Breaking(Vec<String>),
    /// The disk failed.
    #[error("the registry could not be written: {0}")]
    Storage(String),
}

/// What a deploy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployed {
    /// The live version now.
    pub version: VersionId,
    /// False when the same bytes and configuration were live already.
    pub changed: bool,
}

/// All apps of this host. Share it in an [`Arc`].
pub struct Registry {}

impl Registry {
    /// Opens the registry in `dir` (created when missing) and prepares every live version.
    ///
    /// # Errors
    /// When the folder cannot be read or written. A version that no longer prepares is logged and left out.
    pub fn open(_dir: &Path, _engine: Engine, _clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        todo!("registry")
    }

    /// Makes `component` the live version of `app`. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// [`DeployError`]; nothing has changed then.
    pub fn deploy(
        &self,
        _app: &str,
        _component: &[u8],
        _config: AppConfig,
        _breaking: bool,
    ) -> Result<Deployed, DeployError> {
        todo!("registry")
    }

    /// The app as it is now.
    #[must_use]
    pub fn app(&self, _name: &str) -> Option<Arc<App>> {
        todo!("registry")
    }

    /// All apps in order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<App>> {
        todo!("registry")
    }
}

//! Apps and their deployed versions: validated, persisted, chosen. Knows nothing of partitions.
//! Invariant: what [`Registry::app`] returns has been validated and is on disk.

mod breaks;
mod change;
pub mod check;
mod contract;
mod deploy;
mod diff;
mod fits;
#[cfg(test)]
pub(crate) mod fuzz;
mod lineage;
mod logbook;
mod pace;
mod quota;
mod record;
mod secrets;
mod served;
mod store;
#[cfg(test)]
mod tests;
mod trial;
mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Context;

pub use change::{Activated, ChangeError, Version, Versions};
pub use contract::{Body, Contract, ContractError, Entity, Handler, HandlerKind};
pub use deploy::{Deploy, DeployError, Deployed};
pub use diff::{Change, How, Item};
pub use lineage::{Field, State};
pub use logbook::{LogBook, LogLine};
pub use pace::Pace;
pub use quota::{OverQuota, Quota, Ticket, next_due};
pub use record::{Halted, Offer};
pub use secrets::{Secret, Secrets};
pub use served::App;
pub use trial::{Side, Trial};

use crate::clock::Clock;
use crate::engine::Engine;
use crate::ids::{EntityRef, VersionId};
use crate::metrics;

use record::Record;
use served::Served;
use store::Store;

/// All apps of this host. Share it in an [`Arc`].
pub struct Registry {
    engine: Engine,
    clock: Arc<dyn Clock>,
    store: Store,
    apps: RwLock<BTreeMap<String, Arc<Served>>>,
    /// Held from the comparison with what is served to its replacement. Names the apps whose last change failed
    /// while it was written: their record may say something else than what is served.
    publishing: Mutex<BTreeSet<String>>,
    /// Whether any app has a rate of turns.
    paced: AtomicBool,
}

impl Registry {
    /// Opens the registry in `dir` (created when missing) and prepares every live and every ramped version.
    ///
    /// # Errors
    /// When the folder cannot be read or written. A version that no longer prepares is logged and left out.
    pub fn open(dir: &Path, engine: Engine, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let store = Store::open(dir)?;
        let mut apps = BTreeMap::new();
        for name in store.names()? {
            match load(&store, &engine, &name) {
                Ok(served) => {
                    apps.insert(name, Arc::new(served));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(app = name, error, "app cannot be served; deploy it again");
                }
            }
        }
        let paced = AtomicBool::new(any_paced(&apps));
        let (apps, publishing) = (RwLock::new(apps), Mutex::default());
        let registry = Self { engine, clock, store, apps, publishing, paced };
        registry.collect();
        Ok(registry)
    }

    /// The live version of an app.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<Arc<App>> {
        self.served(name).map(|served| served.live.clone())
    }

    /// The version of its app that handles what is for this handler of this entity now. A turn asks once and runs on
    /// what it got, whatever is deployed meanwhile.
    #[must_use]
    pub fn serving(&self, entity: &EntityRef, handler: &str) -> Option<Arc<App>> {
        self.served(entity.app()).map(|served| served.choose(entity, handler).clone())
    }

    /// The live versions of all apps, in order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<App>> {
        let apps = self.apps.read().unwrap_or_else(PoisonError::into_inner);
        apps.values().map(|served| served.live.clone()).collect()
    }

    /// The ramped version of an app, and its percentage.
    #[must_use]
    pub fn ramped(&self, app: &str) -> Option<(VersionId, u8)> {
        let served = self.served(app)?;
        served.ramp.as_ref().map(|ramp| (ramp.app.version, ramp.percent))
    }

    /// False while no app has a quota of turns a second.
    #[must_use]
    pub fn any_paced(&self) -> bool {
        self.paced.load(Ordering::Relaxed)
    }

    /// The versions that serve an app, each with the percentage of the entities that are on it: the live one, and then
    /// a ramped one. None when there is no such app.
    #[must_use]
    pub fn sides(&self, app: &str) -> Vec<(Arc<App>, u8)> {
        let Some(served) = self.served(app) else { return vec![] };
        let ramp = served.ramp.as_ref().map(|ramp| (ramp.app.clone(), ramp.percent));
        let rest = 100 - ramp.as_ref().map_or(0, |(_, percent)| *percent);
        [(served.live.clone(), rest)].into_iter().chain(ramp).collect()
    }

    fn publishing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn served(&self, name: &str) -> Option<Arc<Served>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// From here on every turn that begins sees it.
    fn serve(&self, app: &str, served: Served) {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.insert(app.into(), Arc::new(served));
        self.paced.store(any_paced(&apps), Ordering::Relaxed);
    }

    /// Removes components and compiled code that no record names. What runs is in memory and does not need them.
    fn collect(&self) {
        if let Some(named) = self.store.named() {
            self.store.collect(&named);
            self.engine.collect(&named);
        }
    }
}

fn any_paced(apps: &BTreeMap<String, Arc<Served>>) -> bool {
    apps.values().any(|served| served.live.config.quotas.turns_per_s.is_some())
}

/// What an app's record says is served, ready to run.
fn load(store: &Store, engine: &Engine, name: &str) -> anyhow::Result<Served> {
    let record = store.record(name)?;
    let live = record.live().context("it has no version")?;
    let secrets = Arc::new(store.secrets(name)?);
    let app = |version| version_of(store, engine, &record, &secrets, version);
    let served = Served::alone(app(live)?);
    let Some(ramp) = record.ramp else { return Ok(served) };
    match app(ramp.version) {
        Ok(ramped) => Ok(served.with_ramp(&ramped, ramp.percent)),
        Err(error) => {
            let (version, error) = (ramp.version, format!("{error:#}"));
            tracing::error!(app = name, %version, error, "the ramp's version cannot be served");
            Ok(served)
        }
    }
}

fn version_of(
    store: &Store,
    engine: &Engine,
    record: &Record,
    secrets: &Arc<Secrets>,
    version: VersionId,
) -> anyhow::Result<App> {
    let guest = engine.prepare(&store.component(version)?)?;
    Ok(App {
        name: record.app.clone(),
        version,
        deployed_at_ms: record.deployment(version).map_or(0, |kept| kept.deployed_at_ms),
        contract: Arc::new(Contract::parse(guest.describe())?),
        config: record.config.clone(),
        secrets: secrets.clone(),
        guest,
        logs: Arc::default(),
        metrics: metrics::app(&record.app),
        quota: Arc::default(),
        trial: None,
    })
}

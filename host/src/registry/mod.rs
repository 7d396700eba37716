//! Apps and their deployed versions: validated, persisted, chosen. Knows nothing of partitions.
//! Invariant: what [`Registry::app`] returns has been validated and is on disk.

mod breaks;
pub mod check;
mod contract;
mod fits;
#[cfg(test)]
pub(crate) mod fuzz;
mod lineage;
mod logbook;
mod pace;
mod quota;
mod store;
mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::Context;

pub use contract::{Body, Contract, ContractError, Entity, Handler, HandlerKind};
pub use lineage::{Field, State};
pub use logbook::{LogBook, LogLine};
pub use pace::Pace;
pub use quota::{OverQuota, Quota, Ticket};

use crate::clock::Clock;
use crate::config::{AppConfig, BadConfig};
use crate::engine::{Engine, Guest, PrepareError};
use crate::ids::{BadId, VersionId, check_name};
use crate::metrics::{self, AppMetrics};

use store::{Deployment, Record, Store};

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
    /// What is measured of it; one for all versions.
    pub metrics: Arc<AppMetrics>,
    /// What it has used of its quotas; one for all versions.
    pub quota: Arc<Quota>,
}

/// Why a deploy was refused; nothing has changed, but for [`DeployError::Storage`].
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The app's name is not a name.
    #[error(transparent)]
    Name(#[from] BadId),
    /// Its configuration is out of bounds.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The component is not right.
    #[error(transparent)]
    Component(#[from] PrepareError),
    /// What it describes is not right.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// It takes away or retypes what the live version offers, or does not read the state that an earlier one may
    /// have left, and `breaking` was not said.
    #[error(
        "this version breaks callers of the live one, or does not read state that is there:\n{}\nsay --breaking to \
         deploy it all the same",
        .0.join("\n")
    )]
    Breaking(Vec<String>),
    /// The disk failed. What is live goes on being live; whether the next start finds it or the new version is not
    /// known until a deploy succeeds.
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
pub struct Registry {
    engine: Engine,
    clock: Arc<dyn Clock>,
    store: Store,
    apps: RwLock<BTreeMap<String, Arc<App>>>,
    /// Held from the comparison with the live version to its replacement. Names the apps whose last deploy failed
    /// while it was written: their record may be of another version than the live one.
    publishing: Mutex<BTreeSet<String>>,
}

impl Registry {
    /// Opens the registry in `dir` (created when missing) and prepares every live version.
    ///
    /// # Errors
    /// When the folder cannot be read or written. A version that no longer prepares is logged and left out.
    pub fn open(dir: &Path, engine: Engine, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let store = Store::open(dir)?;
        let mut apps = BTreeMap::new();
        for name in store.names()? {
            match load(&store, &engine, &name) {
                Ok(app) => {
                    apps.insert(name, Arc::new(app));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(app = name, error, "app cannot be served; deploy it again");
                }
            }
        }
        let (apps, publishing) = (RwLock::new(apps), Mutex::default());
        Ok(Self { engine, clock, store, apps, publishing })
    }

    /// Makes `component` the live version of `app`. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// [`DeployError`]; it says what has changed then.
    pub fn deploy(
        &self,
        app: &str,
        component: &[u8],
        config: AppConfig,
        breaking: bool,
    ) -> Result<Deployed, DeployError> {
        check_name("app", app)?;
        config.validate()?;
        let version = VersionId::of(component);
        let is_live = |live: &App| live.version == version && live.config == config;
        let recorded = !self.publishing().contains(app);
        if recorded && self.app(app).is_some_and(|live| is_live(&live)) {
            return Ok(Deployed { version, changed: false });
        }
        let guest = self.engine.prepare(component)?;
        let contract = Contract::parse(guest.describe())?;

        let mut unsure = self.publishing();
        let live = self.app(app);
        let mut record = match self.store.record(app) {
            Ok(record) => record,
            // What it says of the state that is there is lost; that is for somebody to decide.
            Err(_) if breaking => Record::default(),
            Err(error) => {
                let text = format!("{error:#}; say --breaking to replace it");
                return Err(DeployError::Storage(text));
            }
        };
        let mut breaks = Vec::new();
        if let Some(live) = &live {
            if is_live(live) && !unsure.contains(app) {
                return Ok(Deployed { version, changed: false });
            }
            breaks = contract.breaks(&live.contract);
        }
        breaks.extend(lineage::unreadable(&record.states, &contract));
        if !breaks.is_empty() && !breaking {
            return Err(DeployError::Breaking(breaks));
        }
        lineage::extend(&mut record.states, &contract);
        let deployed_at_ms = self.clock.now_ms();
        record.versions.push(Deployment { version, deployed_at_ms, config: config.clone() });
        // IMPORTANT: a failed write may be there after a restart, so who deploys the live version next is not told
        // that it is recorded until it is.
        unsure.insert(app.into());
        self.store
            .publish(app, component, record)
            .map_err(|error| DeployError::Storage(format!("{error:#}")))?;
        unsure.remove(app);
        let kept = live.map(|live| (Arc::clone(&live.logs), Arc::clone(&live.quota)));
        let (logs, quota) = kept.unwrap_or_default();
        let (name, metrics) = (app.to_owned(), metrics::app(app));
        let now =
            App { name, version, deployed_at_ms, contract, config, guest, logs, metrics, quota };
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.insert(app.into(), Arc::new(now));
        Ok(Deployed { version, changed: true })
    }

    fn publishing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The app as it is now.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<Arc<App>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All apps in order of their names.
    #[must_use]
    pub fn apps(&self) -> Vec<Arc<App>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn load(store: &Store, engine: &Engine, name: &str) -> anyhow::Result<App> {
    let live = store.record(name)?.versions.pop().context("it has no version")?;
    let guest = engine.prepare(&store.component(live.version)?)?;
    Ok(App {
        name: name.into(),
        version: live.version,
        deployed_at_ms: live.deployed_at_ms,
        contract: Contract::parse(guest.describe())?,
        config: live.config,
        guest,
        logs: Arc::default(),
        metrics: metrics::app(name),
        quota: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::testing;

    const DEPOSIT: &str = r#"{"entities":[{"type":"account","handlers":[{"name":"deposit","kind":"command",
        "input":{"json":{"type":"object","properties":{"amount":{"type":"integer"}}}},
        "output":{"json":{"type":"integer"}}}]}]}"#;
    const NOTHING: &str = r#"{"entities":[{"type":"account","handlers":[]}]}"#;

    fn open(dir: &Path) -> Registry {
        let clock = Arc::new(ManualClock::new(5_000, 1));
        Registry::open(dir, testing::engine(&dir.join("cache")), clock).expect("registry")
    }

    fn deploy(
        registry: &Registry,
        document: &str,
        breaking: bool,
    ) -> Result<Deployed, DeployError> {
        registry.deploy("bank", &testing::component(document), AppConfig::default(), breaking)
    }

    #[test]
    fn a_deploy_is_live_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let registry = open(dir.path());
        assert!(registry.app("bank").is_none());
        let deployed = deploy(&registry, DEPOSIT, false).expect("deployed");
        assert!(deployed.changed);
        for registry in [registry, open(dir.path())] {
            let app = registry.app("bank").expect("live");
            assert_eq!((app.version, app.deployed_at_ms), (deployed.version, 5_000));
            assert!(app.contract.handler("account", "deposit").is_some());
            assert_eq!(registry.apps().len(), 1);
            assert!(!deploy(&registry, DEPOSIT, false).expect("again").changed, "idempotent");
        }
    }

    #[test]
    fn a_break_must_be_said_and_the_log_goes_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let registry = open(dir.path());
        deploy(&registry, DEPOSIT, false).expect("deployed");
        let before = registry.app("bank").expect("live");
        let error = deploy(&registry, NOTHING, false).expect_err("breaks");
        let DeployError::Breaking(breaks) = &error else { panic!("{error}") };
        assert_eq!(breaks, &["- account.deposit: the handler is gone"]);
        assert_eq!(registry.app("bank").expect("live").version, before.version);
        assert_eq!(open(dir.path()).app("bank").expect("live").version, before.version);

        assert!(deploy(&registry, NOTHING, true).expect("deployed").changed);
        let after = registry.app("bank").expect("live");
        assert!(Arc::ptr_eq(&before.logs, &after.logs));
        assert!(deploy(&registry, DEPOSIT, false).expect("deployed").changed, "adds only");
    }

    #[test]
    fn state_that_may_be_there_must_be_read_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = |state: &str| {
            format!(r#"{{"entities":[{{"type":"account","handlers":[],"state":{state}}}]}}"#)
        };
        let first = state(r#"{"fields":{"balance":{"kind":"plain","schema":{"type":"integer"}}}}"#);
        let retyped =
            state(r#"{"fields":{"balance":{"kind":"plain","schema":{"type":"string"}}}}"#);
        let second = r#"{"version":2,"migrates_from":1,
            "fields":{"balance":{"kind":"plain","schema":{"type":"string"}}}}"#;
        let second = state(second);
        deploy(&open(dir.path()), &first, false).expect("deployed");
        let error = deploy(&open(dir.path()), &retyped, false).expect_err("unreadable");
        let text = error.to_string();
        assert!(text.contains("account.balance") && text.contains("--breaking"), "{text}");
        deploy(&open(dir.path()), &second, false).expect("migrates");
        let record = dir.path().join("apps/bank.json");
        let kept = std::fs::read(&record).expect("there");
        std::fs::write(&record, b"{").expect("damaged");
        let error = deploy(&open(dir.path()), &second, false).expect_err("nobody knows");
        assert!(
            matches!(&error, DeployError::Storage(why) if why.contains("--breaking")),
            "{error}"
        );
        std::fs::write(&record, kept).expect("mended");
        let error = deploy(&open(dir.path()), &first, false).expect_err("an older version");
        assert!(matches!(&error, DeployError::Breaking(breaks) if breaks.len() == 1), "{error}");
        assert!(deploy(&open(dir.path()), &first, true).expect("it was said").changed);
    }

    #[test]
    fn another_configuration_is_a_change() {
        let dir = tempfile::tempdir().expect("tempdir");
        let registry = open(dir.path());
        let component = testing::component(DEPOSIT);
        let config = AppConfig { deadline_ms: 77, ..AppConfig::default() };
        deploy(&registry, DEPOSIT, false).expect("deployed");
        assert!(registry.deploy("bank", &component, config, false).expect("deployed").changed);
        assert_eq!(open(dir.path()).app("bank").expect("live").config.deadline_ms, 77);
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let dir = tempfile::tempdir().expect("tempdir");
        let registry = open(dir.path());
        let good = testing::component(DEPOSIT);
        let config = AppConfig::default;
        let error = registry.deploy("1bank", &good, config(), false).expect_err("name");
        assert!(matches!(error, DeployError::Name(_)));
        let bad = AppConfig { deadline_ms: 0, ..config() };
        let error = registry.deploy("bank", &good, bad, false).expect_err("config");
        assert!(matches!(error, DeployError::Config(_)));
        let error = registry.deploy("bank", &good[..99], config(), false).expect_err("cut");
        assert!(matches!(error, DeployError::Component(_)));
        let error = deploy(&registry, "{}", false).expect_err("document");
        assert!(matches!(error, DeployError::Contract(_)), "{error}");
        assert!(registry.apps().is_empty() && open(dir.path()).apps().is_empty());
    }

    #[test]
    fn a_damaged_component_leaves_its_app_out_and_others_in() {
        let dir = tempfile::tempdir().expect("tempdir");
        let registry = open(dir.path());
        deploy(&registry, DEPOSIT, false).expect("deployed");
        let other = testing::component(NOTHING);
        registry.deploy("other", &other, AppConfig::default(), false).expect("deployed");
        let hash = blake3::Hash::from_bytes(VersionId::of(&other).0).to_hex();
        let file = dir.path().join(format!("components/{hash}.wasm"));
        std::fs::write(file, b"not it").expect("write");
        let registry = open(dir.path());
        assert!(registry.app("other").is_none() && registry.app("bank").is_some());
        registry.deploy("other", &other, AppConfig::default(), false).expect("deployed again");
        assert!(open(dir.path()).app("other").is_some());
    }
}

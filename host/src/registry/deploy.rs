//! Deploying: a component's bytes become a kept version of an app and, mostly, its live one. Everything is compared
//! before anything changes. Invariant: what is refused has changed nothing.

use std::sync::Arc;

use super::Registry;
use super::contract::{Contract, ContractError};
use super::diff::{self, Change};
use super::lineage;
use super::record::Record;
use super::secrets::Secrets;
use super::served::{App, Served};
use crate::config::{AppConfig, BadConfig};
use crate::engine::{Guest, PrepareError};
use crate::ids::{BadId, VersionId, check_name};
use crate::metrics;

/// How to deploy.
#[derive(Debug, Clone, Default)]
pub struct Deploy {
    /// The app's configuration; without one it keeps the one it has.
    pub config: Option<AppConfig>,
    /// Also when callers or stored state may break.
    pub breaking: bool,
    /// Keep it beside the live version, which stays live.
    pub inactive: bool,
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
}

/// What a deploy did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The version.
    pub version: VersionId,
    /// False when that was so already: the same bytes and configuration.
    pub changed: bool,
    /// What its contract changes beside that of the live version; empty when there was none.
    pub diff: Vec<Change>,
    /// What of it breaks callers or does not read state that may be there, a sentence each.
    pub breaking: Vec<String>,
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
    /// A value of its configuration has the name of a secret.
    #[error("{0:?} is the name of a secret of this app; handlers could not tell which they read")]
    Clash(String),
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
        .0.breaking.join("\n")
    )]
    Breaking(Box<Deployed>),
    /// It is to stay beside the live version, and there is none.
    #[error("there is no live version of {0} to keep it beside; deploy it as the live one")]
    NothingLive(String),
    /// The disk failed. What is live goes on being live; whether the next start finds it or the new version is not
    /// known until a deploy succeeds.
    #[error("the registry could not be written: {0}")]
    Storage(String),
}

impl Registry {
    /// Makes `component` the live version of `app`, or as `how` says. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// [`DeployError`]; it says what has changed then.
    pub fn deploy(
        &self,
        app: &str,
        component: &[u8],
        how: &Deploy,
    ) -> Result<Deployed, DeployError> {
        check_name("app", app)?;
        if let Some(config) = &how.config {
            config.validate()?;
        }
        let version = VersionId::of(component);
        let unchanged = Deployed { version, changed: false, diff: vec![], breaking: vec![] };
        let recorded = !self.publishing().contains(app);
        if recorded && self.served(app).is_some_and(|served| is_done(&served, version, how)) {
            return Ok(unchanged);
        }
        let (guest, contract) = self.made(app, component)?;
        let mut unsure = self.publishing();
        let (served, recorded) = (self.served(app), !unsure.contains(app));
        if recorded && served.as_ref().is_some_and(|served| is_done(served, version, how)) {
            return Ok(unchanged);
        }
        let mut record = self.record_or_new(app, how.breaking)?;
        let mut deployed = compare(served.as_deref(), &record, version, &contract);
        let same_config = how.config.as_ref().is_none_or(|config| *config == record.config);
        let kept = how.inactive && same_config && record.deployment(version).is_some();
        deployed.changed = !(kept && recorded);
        if how.dry_run || !deployed.changed {
            return Ok(deployed);
        }
        if !deployed.breaking.is_empty() && !how.breaking && !how.inactive {
            return Err(DeployError::Breaking(Box::new(deployed)));
        }
        if how.inactive && (served.is_none() || record.live().is_none()) {
            return Err(DeployError::NothingLive(app.into()));
        }
        let secrets = self.settle(app, how, served.as_deref(), &mut record)?;
        let new = App {
            name: app.to_owned(),
            version,
            deployed_at_ms: self.clock.now_ms(),
            contract,
            config: record.config.clone(),
            secrets,
            guest,
            logs: served.as_ref().map(|served| served.live.logs.clone()).unwrap_or_default(),
            metrics: metrics::app(app),
            quota: served.as_ref().map(|served| served.live.quota.clone()).unwrap_or_default(),
            trial: None,
        };
        // IMPORTANT: a failed write may be there after a restart, so who deploys the live version next is not told
        // that it is recorded until it is.
        unsure.insert(app.into());
        self.install(component, new, served.as_deref(), record, how.inactive).map_err(storage)?;
        unsure.remove(app);
        Ok(deployed)
    }

    fn record_or_new(&self, app: &str, breaking: bool) -> Result<Record, DeployError> {
        match self.store.record(app) {
            Ok(record) => Ok(record),
            // What it says of the state that is there is lost; that is for somebody to decide.
            Err(_) if breaking => Ok(Record::default()),
            Err(error) => {
                let text = format!("{error:#}; say --breaking to replace it");
                Err(DeployError::Storage(text))
            }
        }
    }

    /// What runs already, or is compiled now, before anybody has to wait for this deploy.
    fn made(&self, app: &str, component: &[u8]) -> Result<(Guest, Arc<Contract>), DeployError> {
        let version = VersionId::of(component);
        if let Some(app) = self.served(app).and_then(|served| served.at_hand(version).cloned()) {
            return Ok((app.guest.clone(), app.contract.clone()));
        }
        let guest = self.engine.prepare(component)?;
        let contract = Arc::new(Contract::parse(guest.describe())?);
        Ok((guest, contract))
    }

    /// Puts the configuration into the record, if there is one, and gives the secrets that are beside it.
    fn settle(
        &self,
        app: &str,
        how: &Deploy,
        served: Option<&Served>,
        record: &mut Record,
    ) -> Result<Arc<Secrets>, DeployError> {
        let secrets = match served {
            Some(served) => served.live.secrets.clone(),
            None => Arc::new(self.store.secrets(app).map_err(storage)?),
        };
        let Some(config) = &how.config else { return Ok(secrets) };
        if let Some(name) = secrets.names().find(|name| config.values.contains_key(*name)) {
            return Err(DeployError::Clash(name.into()));
        }
        record.config = config.clone();
        Ok(secrets)
    }

    /// Writes a new version down and serves it.
    fn install(
        &self,
        component: &[u8],
        new: App,
        served: Option<&Served>,
        mut record: Record,
        inactive: bool,
    ) -> anyhow::Result<()> {
        let (name, config, secrets) = (new.name.clone(), new.config.clone(), new.secrets.clone());
        record.keep(new.version, &new.contract, new.deployed_at_ms);
        let inactive = inactive && record.live() != Some(new.version);
        if !inactive {
            record.activate(new.version, &new.contract);
        }
        self.store.publish(&name, Some(component), record)?;
        let now = match served {
            Some(served) if inactive => served.with_settings(&config, &secrets).with_ready(&new),
            Some(served) => served.with_settings(&config, &secrets).with_live(new),
            None => Served::alone(new),
        };
        self.serve(&name, now);
        self.collect();
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn storage(error: anyhow::Error) -> DeployError {
    DeployError::Storage(format!("{error:#}"))
}

/// Whether that is how it is already.
fn is_done(served: &Served, version: VersionId, how: &Deploy) -> bool {
    let live = &served.live;
    let same_config = how.config.as_ref().is_none_or(|config| live.config == *config);
    live.version == version && same_config
}

fn compare(
    served: Option<&Served>,
    record: &Record,
    version: VersionId,
    contract: &Contract,
) -> Deployed {
    let live = served.map(|served| &*served.live.contract);
    let diff = live.map(|live| diff::between(live, contract)).unwrap_or_default();
    let mut breaking = live.map(|live| contract.breaks(live)).unwrap_or_default();
    breaking.extend(lineage::unreadable(&record.states, contract));
    Deployed { version, changed: true, diff, breaking }
}

//! What operators change of an app that is deployed: which of its versions is live, a ramp, its configuration and its
//! secrets. None of it compiles while the compiled code is kept. Invariant: what is served is on disk before anybody
//! sees it; only a ramp that halts itself is taken back first and written down after.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::contract::{Contract, ContractError};
use super::diff::{self, Change};
use super::record::{Halted, Ramp, Record};
use super::secrets::Secret;
use super::served::{App, Served};
use super::{Offer, Registry, lineage};
use crate::config::{AppConfig, BadConfig};
use crate::engine::PrepareError;
use crate::ids::VersionId;

/// Fewest digits that a version may be named by.
const PREFIX_DIGITS_MIN: usize = 4;

/// Names of apps of which it is not sure what the next start finds.
type Unsure = BTreeSet<String>;

/// Why a change was refused; nothing has changed, but for [`ChangeError::Storage`].
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such app.
    #[error("there is no app {0:?}")]
    UnknownApp(String),
    /// It has no such version.
    #[error(
        "no kept version of {app} begins with {version:?}; `keystead versions {app}` lists them"
    )]
    UnknownVersion {
        /// The app.
        app: String,
        /// What was asked for.
        version: String,
    },
    /// It has several.
    #[error("{version:?} is the beginning of several versions: {}", .of.join(", "))]
    Ambiguous {
        /// What was asked for.
        version: String,
        /// All that begin so.
        of: Vec<String>,
    },
    /// Nothing was live before the live version, or it is not kept any more.
    #[error("no version of {0} was live before the live one")]
    NoPrevious(String),
    /// Somebody else changed it meanwhile.
    #[error("{0} was changed by somebody else meanwhile; look at it and try again")]
    Moved(String),
    /// The version takes away what callers use, or does not read state that is there.
    #[error("{}\nsay --breaking to do it all the same", .0.join("\n"))]
    Breaking(Vec<String>),
    /// The two versions cannot be served beside each other.
    #[error(
        "the two versions cannot both be live: while a ramp goes on, an entity may be read by either, so each must \
         read what the other writes, and a state's version only grows:\n{}\nactivate the new version instead",
        .0.join("\n")
    )]
    NotBeside(Vec<String>),
    /// It is the live version.
    #[error("version {0} is the live one; a ramp puts entities on another")]
    IsLive(VersionId),
    /// The share is none.
    #[error("percent is {0}; it must be 0 to 100")]
    Percent(u64),
    /// The configuration is out of bounds.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// A setting does not exist, or its value is of another kind.
    #[error("{0}")]
    BadSetting(String),
    /// The secret or its name is not right.
    #[error("{0}")]
    BadSecret(String),
    /// The kept component does not run any more.
    #[error(transparent)]
    Component(#[from] PrepareError),
    /// What it describes is not right.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The disk failed. What is served goes on; whether the next start finds it or what was wanted is not known
    /// until a change succeeds.
    #[error("the registry could not be read or written: {0}")]
    Storage(String),
}

/// What a change of the live version did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// The live version now.
    pub version: VersionId,
    /// The one before.
    pub replaced: VersionId,
    /// False when it was live already, alone.
    pub changed: bool,
    /// What its contract changes.
    pub diff: Vec<Change>,
}

/// One kept version.
#[derive(Debug, Clone)]
pub struct Version {
    /// Which.
    pub version: VersionId,
    /// When it was deployed last, in milliseconds since 1970.
    pub deployed_at_ms: u64,
    /// Whether it is live.
    pub live: bool,
    /// Whether a rollback would make it live.
    pub previous: bool,
    /// The share of the entities that a ramp puts on it.
    pub percent: Option<u8>,
    /// What it offers.
    pub types: Vec<Offer>,
}

/// All of an app's versions.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The last deployed one first.
    pub versions: Vec<Version>,
    /// The last ramp that halted itself, until the next one.
    pub halted: Option<Halted>,
    /// What the two versions of the ramp did lately: the live one, the new one; ended and failed.
    pub trial: Option<[(u64, u64); 2]>,
}

impl Registry {
    /// An app's kept versions.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn versions(&self, app: &str) -> Result<Versions, ChangeError> {
        let served = self.served_or_unknown(app)?;
        let record = self.record_of(app)?;
        let version = |kept: &super::record::Deployment| Version {
            version: kept.version,
            deployed_at_ms: kept.deployed_at_ms,
            live: record.live() == Some(kept.version),
            previous: record.previous() == Some(kept.version),
            percent: record.ramp.filter(|r| r.version == kept.version).map(|ramp| ramp.percent),
            types: kept.types.clone(),
        };
        let trial = served.live.trial.as_ref().map(|(_, trial)| {
            let (old, new) = trial.samples();
            [(old.ended, old.failed), (new.ended, new.failed)]
        });
        let versions = record.versions.iter().rev().map(version).collect();
        Ok(Versions { versions, halted: record.halted.clone(), trial })
    }

    /// Makes a kept version, named by the beginning of its hash, the live one. Ends a ramp.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn activate(
        &self,
        app: &str,
        version: &str,
        breaking: bool,
    ) -> Result<Activated, ChangeError> {
        let candidate = self.candidate(app, resolve(app, &self.record_of(app)?, version)?)?;
        let mut unsure = self.publishing();
        let (served, mut record) = self.present(app, &candidate)?;
        let mut breaks = candidate.contract.breaks(&served.live.contract);
        breaks.extend(lineage::unreadable(&record.states, &candidate.contract));
        if !breaks.is_empty() && !breaking {
            return Err(ChangeError::Breaking(breaks));
        }
        let unchanged = served.live.version == candidate.version && served.ramp.is_none();
        record.activate(candidate.version, &candidate.contract);
        let changed = !unchanged || unsure.contains(app);
        self.switch(&served, record, candidate, changed, &mut unsure)
    }

    /// Makes the version before the live one live again. Ends a ramp. Callers that use what only the live version has
    /// do not hold it up; state that the version before cannot read does.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn roll_back(&self, app: &str, breaking: bool) -> Result<Activated, ChangeError> {
        self.served_or_unknown(app)?;
        let previous = self.record_of(app)?.previous();
        let previous = previous.ok_or_else(|| ChangeError::NoPrevious(app.into()))?;
        let candidate = self.candidate(app, previous)?;
        let mut unsure = self.publishing();
        let (served, mut record) = self.present(app, &candidate)?;
        if record.previous() != Some(previous) {
            return Err(ChangeError::Moved(app.into()));
        }
        let unreadable = lineage::unreadable(&record.states, &candidate.contract);
        if !unreadable.is_empty() && !breaking {
            return Err(ChangeError::Breaking(unreadable));
        }
        record.roll_back(&candidate.contract);
        self.switch(&served, record, candidate, true, &mut unsure)
    }

    /// Puts `percent` of an app's entities on a kept version, by a hash of their keys; 0 ends the ramp.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn ramp(
        &self,
        app: &str,
        version: &str,
        percent: u64,
        breaking: bool,
    ) -> Result<Activated, ChangeError> {
        let share = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
        let percent = share.ok_or(ChangeError::Percent(percent))?;
        let candidate = self.candidate(app, resolve(app, &self.record_of(app)?, version)?)?;
        let mut unsure = self.publishing();
        let (served, mut record) = self.present(app, &candidate)?;
        let live = &served.live;
        if percent > 0 {
            if candidate.version == live.version {
                return Err(ChangeError::IsLive(live.version));
            }
            beside(&record, live, &candidate)?;
            let breaks = candidate.contract.breaks(&live.contract);
            if !breaks.is_empty() && !breaking {
                return Err(ChangeError::Breaking(breaks));
            }
        }
        let diff = diff::between(&live.contract, &candidate.contract);
        let (version, since_ms) = (candidate.version, self.clock.now_ms());
        let before = record.ramp.map(|ramp| (ramp.version, ramp.percent));
        let same = before == (percent > 0).then_some((version, percent));
        let changed = !same || unsure.contains(app);
        let replaced = live.version;
        if changed {
            record.ramp(Ramp { version, percent, since_ms }, &candidate.contract);
            self.publish(app, record, &mut unsure)?;
            let App { config, secrets, .. } = &**live;
            let now = served.with_ramp(&candidate, percent);
            self.serve(app, now.with_settings(config, secrets));
        }
        Ok(Activated { version, replaced, changed, diff })
    }

    /// Ends the ramp of `app`, which turned out to be worse than the live version: every entity is on the live one
    /// from the next turn on. Does nothing when that ramp has ended already.
    pub fn halt(&self, app: &App, reason: String) {
        let mut unsure = self.publishing();
        let Some(served) = self.served(&app.name) else { return };
        let same = |now: &&super::served::Ramped| now.app.version == app.version;
        let Some(ramp) = served.ramp.as_ref().filter(same) else { return };
        let (name, version, percent) = (&app.name, app.version, ramp.percent);
        tracing::warn!(app = name, %version, percent, reason, "the ramp is halted");
        app.metrics.ramp_halted();
        self.serve(name, served.without_ramp());
        let written = self.record_of(name).and_then(|mut record| {
            let at_ms = self.clock.now_ms();
            record.ramp = None;
            record.halted = Some(Halted { version, percent, at_ms, reason });
            self.publish(name, record, &mut unsure)
        });
        if let Err(error) = written {
            tracing::error!(app = name, %error, "a halted ramp is not written down; a restart resumes it");
        }
    }

    /// Changes settings: members of `patch` replace those of the configuration, at any depth; null makes one the
    /// default, or takes a value away.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn configure(&self, app: &str, patch: &Value) -> Result<AppConfig, ChangeError> {
        let mut unsure = self.publishing();
        let (served, mut record) = (self.served_or_unknown(app)?, self.record_of(app)?);
        let mut document = serde_json::json!(record.config);
        merge(&mut document, patch);
        let config: AppConfig = serde_path_to_error::deserialize(document)
            .map_err(|error| ChangeError::BadSetting(format!("the settings: {error}")))?;
        config.validate()?;
        let secrets = &served.live.secrets;
        if let Some(name) = secrets.names().find(|name| config.values.contains_key(*name)) {
            let text = format!("values.{name}: a secret of this app has this name");
            return Err(ChangeError::BadSetting(text));
        }
        if config != record.config || unsure.contains(app) {
            record.config = config.clone();
            self.publish(app, record, &mut unsure)?;
            self.serve(app, served.with_settings(&config, secrets));
        }
        Ok(config)
    }

    /// Sets or removes a secret. Handlers read it from their next turn on.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then.
    pub fn set_secret(
        &self,
        app: &str,
        name: &str,
        secret: Option<Secret>,
    ) -> Result<(), ChangeError> {
        let _one_at_a_time = self.publishing();
        let served = self.served_or_unknown(app)?;
        let App { config, secrets, .. } = &*served.live;
        if secret.is_some() && config.values.contains_key(name) {
            let text = format!("{name:?} is a value of this app's configuration; unset it first");
            return Err(ChangeError::BadSecret(text));
        }
        let secrets = Arc::new(secrets.with(name, secret).map_err(ChangeError::BadSecret)?);
        self.store.put_secrets(app, &secrets).map_err(storage)?;
        self.serve(app, served.with_settings(config, &secrets));
        Ok(())
    }

    /// Writes `record` and makes `candidate` what is live.
    fn switch(
        &self,
        served: &Served,
        record: Record,
        candidate: App,
        changed: bool,
        unsure: &mut Unsure,
    ) -> Result<Activated, ChangeError> {
        let diff = diff::between(&served.live.contract, &candidate.contract);
        let (version, replaced) = (candidate.version, served.live.version);
        if changed {
            let name = candidate.name.clone();
            self.publish(&name, record, unsure)?;
            // The candidate was made ready before the lock was taken.
            let App { config, secrets, .. } = &*served.live;
            let now = served.with_live(candidate);
            self.serve(&name, now.with_settings(config, secrets));
        }
        Ok(Activated { version, replaced, changed, diff })
    }

    /// A kept version, ready to run: in memory, or from its compiled code.
    fn candidate(&self, app: &str, version: VersionId) -> Result<App, ChangeError> {
        let served = self.served_or_unknown(app)?;
        if let Some(at_hand) = served.at_hand(version) {
            return Ok(App { trial: None, ..App::clone(at_hand) });
        }
        let component = self.store.component(version).map_err(storage)?;
        let guest = self.engine.prepare(&component)?;
        let contract = Arc::new(Contract::parse(guest.describe())?);
        Ok(App { version, contract, guest, trial: None, ..App::clone(&served.live) })
    }

    /// What is served and written now, under the lock; `candidate` gets the settings of now.
    fn present(&self, app: &str, candidate: &App) -> Result<(Arc<Served>, Record), ChangeError> {
        let (served, record) = (self.served_or_unknown(app)?, self.record_of(app)?);
        if record.deployment(candidate.version).is_none() {
            return Err(ChangeError::Moved(app.into()));
        }
        Ok((served, record))
    }

    fn served_or_unknown(&self, app: &str) -> Result<Arc<Served>, ChangeError> {
        self.served(app).ok_or_else(|| ChangeError::UnknownApp(app.into()))
    }

    fn record_of(&self, app: &str) -> Result<Record, ChangeError> {
        self.store.record(app).map_err(storage)
    }

    /// A write that failed may be there after a restart: until one succeeds, nobody is told that nothing changed.
    fn publish(&self, app: &str, record: Record, unsure: &mut Unsure) -> Result<(), ChangeError> {
        unsure.insert(app.into());
        self.store.publish(app, None, record).map_err(storage)?;
        unsure.remove(app);
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn storage(error: anyhow::Error) -> ChangeError {
    ChangeError::Storage(format!("{error:#}"))
}

/// The one kept version whose hash begins with `prefix`.
fn resolve(app: &str, record: &Record, prefix: &str) -> Result<VersionId, ChangeError> {
    let lower = prefix.to_ascii_lowercase();
    let begins = |version: &VersionId| version.hex().starts_with(&lower);
    let all = record.versions.iter().map(|kept| kept.version).filter(begins);
    let all: Vec<_> = all.collect();
    match all[..] {
        [one] if prefix.len() >= PREFIX_DIGITS_MIN => Ok(one),
        [] | [_] => Err(ChangeError::UnknownVersion { app: app.into(), version: prefix.into() }),
        _ => {
            let of = all.iter().map(VersionId::hex).collect();
            Err(ChangeError::Ambiguous { version: prefix.into(), of })
        }
    }
}

/// Whether both versions read what the other writes, whatever is stored already.
fn beside(record: &Record, live: &App, candidate: &App) -> Result<(), ChangeError> {
    let mut states = record.states.clone();
    let mut problems = lineage::unreadable(&states, &candidate.contract);
    lineage::extend(&mut states, &candidate.contract);
    let of_live = lineage::unreadable(&states, &live.contract);
    problems.extend(of_live.into_iter().map(|text| format!("{text} (the live version)")));
    if problems.is_empty() { Ok(()) } else { Err(ChangeError::NotBeside(problems)) }
}

/// RFC 7386: null takes a member away.
fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    let Some(object) = document.as_object_mut() else { return };
    for (name, member) in members {
        if member.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), member);
        }
    }
}

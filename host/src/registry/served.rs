//! What is served of one app: the live version, perhaps a ramped one beside it, and which of the two an entity is
//! on. Immutable: every change of an app makes a new one. Invariant: for a ramp of a given version, an entity that
//! is on it at a percentage is on it at every higher one.

use std::sync::Arc;

use super::contract::Contract;
use super::logbook::LogBook;
use super::quota::Quota;
use super::secrets::Secrets;
use super::trial::{Side, Trial};
use crate::config::AppConfig;
use crate::engine::Guest;
use crate::ids::{EntityRef, VersionId};
use crate::limits;
use crate::metrics::{self, AppMetrics};

/// One version of a deployed app as it is now; a change of the app makes a new one.
#[derive(Clone)]
pub struct App {
    /// The app's name.
    pub name: String,
    /// The version.
    pub version: VersionId,
    /// When it was deployed last, in milliseconds since 1970.
    pub deployed_at_ms: u64,
    /// What its component offers.
    pub contract: Arc<Contract>,
    /// The app's configuration.
    pub config: AppConfig,
    /// The app's secrets.
    pub secrets: Arc<Secrets>,
    /// Its component, ready to run.
    pub guest: Guest,
    /// What its guests logged; one for all versions.
    pub logs: Arc<LogBook>,
    /// What is measured of it; one for all versions, and one for those that are ramped.
    pub metrics: Arc<AppMetrics>,
    /// What it has used of its quotas; one for all versions.
    pub quota: Arc<Quota>,
    /// While it is one of the two versions of a ramp: which, and how they do.
    pub trial: Option<(Side, Arc<Trial>)>,
}

/// What is served of one app.
pub(super) struct Served {
    pub(super) live: Arc<App>,
    pub(super) ramp: Option<Ramped>,
    /// Versions that can be live again at once, the last live one first.
    pub(super) ready: Vec<Arc<App>>,
}

/// A version that a share of the entities is on.
#[derive(Clone)]
pub(super) struct Ramped {
    pub(super) app: Arc<App>,
    pub(super) percent: u8,
}

/// How finely entities are told apart: an entity's place is below it.
const PLACES: u64 = 10_000;

impl Served {
    /// Nothing but a live version.
    pub(super) fn alone(live: App) -> Self {
        Self { live: Arc::new(live), ramp: None, ready: vec![] }
    }

    /// The version that `entity` is on; for a handler that only the other one has, that one.
    pub(super) fn choose(&self, entity: &EntityRef, handler: &str) -> &Arc<App> {
        let Some(ramp) = &self.ramp else { return &self.live };
        let (its, other) = match ramp.takes(entity) {
            true => (&ramp.app, &self.live),
            false => (&self.live, &ramp.app),
        };
        let has = |app: &App| app.contract.handler(entity.kind(), handler).is_some();
        if has(its) || !has(other) { its } else { other }
    }

    /// The version, if it is in memory.
    pub(super) fn at_hand(&self, version: VersionId) -> Option<&Arc<App>> {
        let ramped = self.ramp.as_ref().map(|ramp| &ramp.app);
        let all = [&self.live].into_iter().chain(ramped).chain(&self.ready);
        all.into_iter().find(|app| app.version == version)
    }

    /// With `live` in the place of the live version, and no ramp. What was served stays ready.
    pub(super) fn with_live(&self, live: App) -> Self {
        let ramped = self.ramp.as_ref().map(|ramp| &ramp.app);
        let before = [&self.live].into_iter().chain(&self.ready).chain(ramped);
        let mut ready: Vec<Arc<App>> = Vec::new();
        for app in before {
            let known = ready.iter().any(|ready| ready.version == app.version);
            if app.version != live.version && !known && ready.len() < limits::APP_VERSIONS_READY {
                ready.push(app.clone());
            }
        }
        let metrics = metrics::app(&live.name);
        let live = Arc::new(App { trial: None, metrics, ..live });
        Self { live, ramp: None, ready }
    }

    /// With `app` among the versions that can be live at once.
    pub(super) fn with_ready(&self, app: &App) -> Self {
        let others = self.ready.iter().filter(|ready| ready.version != app.version);
        let ready = [Arc::new(app.clone())].into_iter().chain(others.cloned());
        let ready = ready.take(limits::APP_VERSIONS_READY).collect();
        let (live, ramp) = (self.live.clone(), self.ramp.clone());
        Self { live, ramp, ready }
    }

    /// With `percent` of the entities on `version`, and the others on the live one.
    pub(super) fn with_ramp(&self, version: &App, percent: u8) -> Self {
        if percent == 0 {
            return self.without_ramp();
        }
        let trial = Arc::new(Trial::default());
        let on = |app: &App, side| {
            let metrics = metrics::app(&app.name);
            let metrics = if side == Side::New { metrics.of_ramp() } else { metrics };
            Arc::new(App { trial: Some((side, trial.clone())), metrics, ..app.clone() })
        };
        let ramp = Some(Ramped { app: on(version, Side::New), percent });
        Self { live: on(&self.live, Side::Old), ramp, ready: self.ready.clone() }
    }

    /// With the live version alone.
    pub(super) fn without_ramp(&self) -> Self {
        self.with_live(App::clone(&self.live))
    }

    /// With another configuration and other secrets.
    pub(super) fn with_settings(&self, config: &AppConfig, secrets: &Arc<Secrets>) -> Self {
        let set = |app: &Arc<App>| {
            let (config, secrets) = (config.clone(), secrets.clone());
            Arc::new(App { config, secrets, ..App::clone(app) })
        };
        let ramped = |ramp: &Ramped| Ramped { app: set(&ramp.app), percent: ramp.percent };
        Self {
            live: set(&self.live),
            ramp: self.ramp.as_ref().map(ramped),
            ready: self.ready.iter().map(set).collect(),
        }
    }
}

impl Ramped {
    fn takes(&self, entity: &EntityRef) -> bool {
        place(self.app.version, entity) < u64::from(self.percent) * (PLACES / 100)
    }
}

/// Where an entity stands in the ramp of a version. The version is in it, so that it is not the same entities that
/// see every new version first.
fn place(version: VersionId, entity: &EntityRef) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(&version.0);
    for part in [entity.kind(), "/", entity.key()] {
        hasher.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first) % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(n: u32) -> EntityRef {
        EntityRef::new("bank", "account", &format!("k{n}")).expect("valid")
    }

    #[test]
    fn a_ramp_takes_about_its_share_and_other_entities_for_each_version() {
        let version = VersionId::of(b"new");
        for percent in [1, 10, 50, 99] {
            let on = |n| place(version, &entity(n)) < percent * (PLACES / 100);
            let taken = (0..10_000).filter(|n| on(*n)).count() as f64;
            let wanted = percent as f64 * 100.0;
            assert!((taken - wanted).abs() < 4.0 * (wanted * (1.0 - wanted / 10_000.0)).sqrt());
        }
        let other = VersionId::of(b"other");
        let moved = |n: &u32| place(version, &entity(*n)) != place(other, &entity(*n));
        assert!((0..100).filter(moved).count() > 90, "another version begins with other entities");
    }
}

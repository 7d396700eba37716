//! What an app has used of its quotas: a generic cell rate (a virtual time that each request moves on) for the app and for
//! each of its entities, and the requests under way. One for all versions. Invariant: a request that is refused costs
//! its app nothing, and a ticket that is dropped gives its place back.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::Quotas;
use crate::ids::EntityRef;
use crate::limits;
use crate::metrics::QuotaKind;

/// The use of one app's quotas; share it in an [`Arc`].
#[derive(Default)]
pub struct Quota {
    /// When the app's next request would be due at its rate, in nanoseconds of the monotonic clock.
    due: AtomicU64,
    at_once: AtomicU32,
    entities: Mutex<Entities>,
    hasher: RandomState,
}

/// The same for each entity that was asked for lately, by hash.
#[derive(Default)]
struct Entities {
    due: HashMap<u64, u64>,
    /// How many there may be before those that are past are looked for.
    room: usize,
}

/// A request's place among those under way.
#[must_use]
pub struct Ticket(Option<Arc<Quota>>);

/// An app or an entity has used what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{whose} is over its quota of {max} {what}; try again later")]
pub struct OverQuota {
    /// The app or the entity.
    pub whose: &'static str,
    /// Of what, with its unit.
    pub what: &'static str,
    /// Which one it is.
    pub quota: QuotaKind,
    /// The quota.
    pub max: u32,
    /// When a request may be taken again.
    pub retry_after: Duration,
}

impl Quota {
    /// Takes one request for `entity` at `now` of the monotonic clock.
    ///
    /// # Errors
    /// [`OverQuota`].
    pub fn admit(
        self: &Arc<Self>,
        quotas: &Quotas,
        entity: &EntityRef,
        now: Duration,
    ) -> Result<Ticket, OverQuota> {
        let ticket = self.enter(quotas)?;
        let now = now.as_nanos() as u64;
        if let Some(rate) = quotas.entity_requests_per_s {
            let over = |wait| OverQuota {
                whose: "the entity",
                what: "requests a second",
                quota: QuotaKind::EntityRequestsPerS,
                max: rate,
                retry_after: Duration::from_nanos(wait),
            };
            self.entity(entity, rate, now).map_err(over)?;
        }
        if let Some(rate) = quotas.requests_per_s {
            let over = |wait| OverQuota {
                whose: "the app",
                what: "requests a second",
                quota: QuotaKind::RequestsPerS,
                max: rate,
                retry_after: Duration::from_nanos(wait),
            };
            self.pass(rate, quotas.burst(), now).map_err(over)?;
        }
        Ok(ticket)
    }

    fn enter(self: &Arc<Self>, quotas: &Quotas) -> Result<Ticket, OverQuota> {
        let Some(max) = quotas.requests_at_once_max else { return Ok(Ticket(None)) };
        let one_more = |at_once: u32| (at_once < max).then_some(at_once + 1);
        match self.at_once.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Ticket(Some(self.clone()))),
            Err(_) => Err(OverQuota {
                whose: "the app",
                what: "requests at once",
                quota: QuotaKind::RequestsAtOnce,
                max,
                retry_after: limits::RETRY_AFTER,
            }),
        }
    }

    fn pass(&self, rate: u32, burst: u32, now: u64) -> Result<(), u64> {
        let mut wait = 0;
        let moved = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            next_due(due, rate, burst, now).map_err(|longer| wait = longer).ok()
        });
        moved.map(|_| ()).map_err(|_| wait)
    }

    fn entity(&self, entity: &EntityRef, rate: u32, now: u64) -> Result<(), u64> {
        let hash = self.hasher.hash_one(entity);
        let mut entities = self.entities.lock().unwrap_or_else(PoisonError::into_inner);
        let due = entities.due.get(&hash).copied().unwrap_or_default();
        let next = next_due(due, rate, rate, now)?;
        if due == 0 && entities.due.len() >= entities.room.max(limits::QUOTA_ENTITIES) {
            entities.due.retain(|_, due| *due > now);
            // Those that are left had a request within the last second, so the app's own quota bounds them.
            entities.room = 2 * entities.due.len();
        }
        entities.due.insert(hash, next);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(quota) = &self.0 {
            quota.at_once.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The cell rate: when the next one after this is due; or how long this one is early beyond what a burst allows.
///
/// # Errors
/// The time that it is early, in nanoseconds as all of these are.
pub fn next_due(due: u64, rate: u32, burst: u32, now: u64) -> Result<u64, u64> {
    let pace = 1_000_000_000 / u64::from(rate.max(1));
    let next = due.max(now) + pace;
    let latest = now + pace * u64::from(burst.max(1));
    if next <= latest { Ok(next) } else { Err(next - latest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(key: &str) -> EntityRef {
        EntityRef::new("bank", "account", key).expect("valid")
    }

    fn taken(quota: &Arc<Quota>, quotas: &Quotas, key: &str, ms: u64, asked: usize) -> usize {
        let now = Duration::from_secs(9) + Duration::from_millis(ms);
        (0..asked).filter(|_| quota.admit(quotas, &entity(key), now).is_ok()).count()
    }

    #[test]
    fn a_rate_lets_a_burst_through_and_then_its_pace() {
        let quota = Arc::new(Quota::default());
        let rate = |burst| Quotas {
            requests_per_s: Some(100),
            requests_burst: Some(burst),
            ..Quotas::default()
        };
        assert_eq!(taken(&quota, &rate(20), "a", 0, 1_000), 20);
        assert_eq!(taken(&quota, &rate(20), "b", 0, 10), 0, "the app's, not the entity's");
        assert_eq!(taken(&quota, &rate(20), "a", 50, 1_000), 5);
        assert_eq!(taken(&quota, &rate(20), "a", 60_000, 1_000), 20, "a pause is not saved up");
        let over = quota.admit(&rate(20), &entity("a"), Duration::from_secs(69));
        let over = over.map(|_| ()).expect_err("over");
        assert_eq!(over.retry_after, Duration::from_millis(10));
        assert_eq!(
            taken(&quota, &Quotas::default(), "a", 60_000, 1_000),
            1_000,
            "none, none refused"
        );
    }

    #[test]
    fn each_entity_has_its_own_rate_and_the_table_stays_small() {
        let quota = Arc::new(Quota::default());
        let quotas = Quotas { entity_requests_per_s: Some(3), ..Quotas::default() };
        assert_eq!(taken(&quota, &quotas, "hot", 0, 100), 3);
        assert_eq!(taken(&quota, &quotas, "cold", 0, 1), 1);
        for key in 0..3 * limits::QUOTA_ENTITIES {
            let ms = key as u64;
            assert_eq!(taken(&quota, &quotas, &key.to_string(), ms, 1), 1);
        }
        let kept = quota.entities.lock().expect("sound").due.len();
        assert!(kept <= limits::QUOTA_ENTITIES, "{kept}");
    }

    #[test]
    fn places_are_given_back_also_by_those_that_are_refused_for_their_rate() {
        let quota = Arc::new(Quota::default());
        let quotas =
            Quotas { requests_at_once_max: Some(2), requests_per_s: Some(3), ..Quotas::default() };
        let admit = || quota.admit(&quotas, &entity("a"), Duration::from_secs(9));
        let (first, second) = (admit(), admit());
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(admit().map(|_| ()).expect_err("two are under way").what, "requests at once");
        drop((first, second));
        assert!(admit().is_ok(), "a place is free");
        assert_eq!(admit().map(|_| ()).expect_err("three came").what, "requests a second");
        assert_eq!(quota.at_once.load(Ordering::Relaxed), 0);
    }
}

//! Promises with an end: a field of the type [`Reservations`]. Not a lock: nobody waits for one, and none
//! outlives its time. Invariant: every reservation that is stored has a message on its way that ends it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::state::{KeyBytes, OrderedKey, Pages, decode, put, read};
use crate::{Ctx, Error, Message, MessageId, Result, Timestamp, host};

/// What is promised to others until they confirm it, give it back, or let it expire.
///
/// Entities agree without a transaction across them in two steps: one promises, the other takes the promise or
/// lets it go. In between the promising side has to live with not knowing: the room is neither free nor sold.
/// A reservation holds that uncertainty as business data, with a limit on how long it may last, so whoever
/// promised can decide alone when the other side never comes back. That decision is a command of the entity
/// itself, which a message calls when the time is over, no matter what crashed meanwhile.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// #[entity]
/// pub struct Stock { free: u64, holds: Reservations<u64> }
///
/// #[handlers]
/// impl Stock {
///     pub fn fill(&mut self, count: u64) { self.free += count; }
///
///     pub fn reserve(&mut self, ctx: &Ctx, order: String, count: u64) -> Result<()> {
///         ensure!(count <= self.free, code = "sold_out", "only {} left", self.free);
///         let release = Stock::at(ctx.key()).release(&*order);
///         self.holds.tentative(ctx, &order, count, Duration::from_secs(900), release)?;
///         self.free -= count;
///         Ok(())
///     }
///
///     /// The order was paid: what it reserved leaves the house.
///     pub fn ship(&mut self, ctx: &Ctx, order: String) -> Result<u64> {
///         self.holds.confirm(ctx, &order)
///     }
///
///     /// Called by whoever changed their mind, and by the platform when the time is over.
///     pub fn release(&mut self, ctx: &Ctx, order: String) {
///         self.free += self.holds.cancel(ctx, &order).unwrap_or_default();
///     }
///
///     pub fn free(&self) -> u64 { self.free }
/// }
///
/// use keystead_sdk::testing::{World, json};
///
/// let mut world = World::new().with::<Stock>();
/// world.call_typed(Stock::at("pear").fill(10)).unwrap();
/// world.call_typed(Stock::at("pear").reserve("o1", 4)).unwrap();
/// world.call_typed(Stock::at("pear").reserve("o2", 5)).unwrap();
/// assert_eq!(world.call_typed(Stock::at("pear").ship("o1")).unwrap(), 4);
/// world.advance(Duration::from_secs(900));
/// assert_eq!(world.read::<u64>("stock", "pear", "free", json!({})).unwrap(), 6);
/// let late = world.call_typed(Stock::at("pear").ship("o2")).unwrap_err();
/// assert_eq!(late.code(), "reservation_gone");
/// ```
pub struct Reservations<T> {
    /// `r/FIELD/`, before each id.
    prefix: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T> Reservations<T> {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { prefix: format!("r/{name}/").into_bytes(), of: PhantomData }
    }

    fn key(&self, id: &str) -> Vec<u8> {
        let mut key = self.prefix.clone();
        id.write(&mut key);
        key
    }
}

impl<T: Serialize + DeserializeOwned> Reservations<T> {
    /// Reserves `what` under `id` for as long as `lasts`. Unless it is confirmed or cancelled before,
    /// `expired` is then delivered: a message to this very entity, whose command calls
    /// [`cancel`](Self::cancel) and takes back what it gives.
    ///
    /// # Errors
    /// The rejection `reservation_exists` when `id` is taken, even if it has expired and waits for its end.
    ///
    /// # Panics
    /// When `expired` is for another entity: nobody else can end the reservation.
    pub fn tentative<R>(
        &mut self,
        ctx: &Ctx,
        id: impl AsRef<str>,
        what: T,
        lasts: Duration,
        expired: Message<R>,
    ) -> Result<()> {
        let (id, own) = (id.as_ref(), ctx.entity());
        let to = (expired.kind, expired.key.as_str());
        let text = "a reservation ends at the entity that made it";
        assert!(
            to == (own.kind.as_str(), own.key.as_str()),
            "{text}: {own}, not {}/{}",
            to.0,
            to.1
        );
        let key = self.key(id);
        if host::get(&key).is_some() {
            let text = format!("there is a reservation `{id}` already");
            return Err(Error::rejected(text).with_code("reservation_exists"));
        }
        let message = expired.after(lasts).send(ctx);
        put(&key, &Record { what, expires: ctx.now() + lasts, message });
        Ok(())
    }

    /// Makes a reservation final and gives back what was reserved: from now on it is nobody's to return.
    ///
    /// # Errors
    /// The rejection `reservation_gone` when there is none, or its time is over.
    pub fn confirm(&mut self, ctx: &Ctx, id: impl AsRef<str>) -> Result<T> {
        let id = id.as_ref();
        match self.take(ctx, id, |record| record.is_alive()) {
            Some(what) => Ok(what),
            None => {
                let text = format!("there is no reservation `{id}`; it may have expired");
                Err(Error::rejected(text).with_code("reservation_gone"))
            }
        }
    }

    /// Ends a reservation, whether its time is over or not, and gives back what was reserved; none when it
    /// ended before, and so has been given back already.
    pub fn cancel(&mut self, ctx: &Ctx, id: impl AsRef<str>) -> Option<T> {
        self.take(ctx, id.as_ref(), |_| true)
    }

    /// What is reserved under `id`; none when its time is over.
    #[must_use]
    pub fn get(&self, id: impl AsRef<str>) -> Option<T> {
        let record = read::<Record<T>>(&self.key(id.as_ref()))?;
        record.is_alive().then_some(record.what)
    }

    /// When the reservation `id` expires; none when it has.
    #[must_use]
    pub fn expires(&self, id: impl AsRef<str>) -> Option<Timestamp> {
        let record = read::<Record<T>>(&self.key(id.as_ref()))?;
        record.is_alive().then_some(record.expires)
    }

    /// All reservations whose time is not over, in order of their ids.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (String, T)> {
        let prefix = self.prefix.len();
        Pages::under(self.prefix.clone()).filter_map(move |(key, value)| {
            let record: Record<T> = decode(&key, &value);
            let Some(id) = String::read(&key[prefix..]) else {
                panic!("{} is no reservation", key.escape_ascii())
            };
            record.is_alive().then_some((id, record.what))
        })
    }

    fn take(&mut self, ctx: &Ctx, id: &str, fits: impl FnOnce(&Record<T>) -> bool) -> Option<T> {
        let key = self.key(id);
        let record: Record<T> = read(&key)?;
        if !fits(&record) {
            return None;
        }
        host::delete(&key);
        ctx.cancel(&record.message);
        Some(record.what)
    }
}

impl<T> fmt::Debug for Reservations<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservations({})", self.prefix.escape_ascii())
    }
}

/// A reservation as it is stored.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    what: T,
    expires: Timestamp,
    /// What ends it.
    message: MessageId,
}

impl<T> Record<T> {
    fn is_alive(&self) -> bool {
        host::now_ms() < self.expires.as_ms()
    }
}

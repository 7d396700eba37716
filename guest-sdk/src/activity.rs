//! What an entity knows of each one it deals with: a field of the type [`Activities`]. Not messages: those are
//! sent as always, with the numbers that come from here if they leave the platform. Invariant: a number that
//! was accepted is a duplicate ever after, whenever it comes again.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};

use crate::state::{KeyBytes, OrderedKey, Pages, decode, put, read};
use crate::{EntityRef, Schema, Timestamp, host};

/// One state for each partner, beside the entity's own: who is a member and what they have seen, how far the
/// deliveries of a supplier have come.
///
/// No transaction spans two entities, so none can say at one moment what both of them believe. What is left is
/// each side's own view of the relationship: what I told you, what I heard from you, what I still owe you.
/// Kept apart for each partner, that view grows with the partners of one entity and never with the data as a
/// whole, and a call reads and writes the one of the partner that it is about. It is also the place for what
/// makes a repeated message harmless. Between entities of an app the platform does that by itself; a partner
/// outside, who repeats what got no answer, needs the numbers that are kept here.
///
/// ```
/// use keystead_sdk::prelude::*;
/// use keystead_sdk::Arrival;
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// pub struct Supplier { crates: u64 }
///
/// #[entity]
/// pub struct Depot { suppliers: Activities<Supplier> }
///
/// #[handlers]
/// impl Depot {
///     /// A supplier numbers its deliveries 1, 2, 3, and reports each one until it gets an answer.
///     pub fn delivered(&mut self, by: String, number: u64, crates: u64) -> Result<u64> {
///         let mut supplier = self.suppliers.with(by);
///         match supplier.accept(number) {
///             Arrival::New => supplier.update(|known| known.crates += crates),
///             Arrival::Duplicate => {}
///             Arrival::Gap { expected } => reject!(code = "gap", "number {expected} comes first"),
///         }
///         Ok(supplier.get().crates)
///     }
///
///     pub fn suppliers(&self) -> Vec<(Partner, u64)> {
///         self.suppliers.iter().map(|known| (known.partner, known.state.crates)).collect()
///     }
/// }
///
/// use keystead_sdk::testing::World;
///
/// let mut world = World::new().with::<Depot>();
/// for (number, crates, total) in [(1, 10, 10), (1, 10, 10), (2, 5, 15)] {
///     let known = world.call_typed(Depot::at("d").delivered("farm", number, crates));
///     assert_eq!(known.unwrap(), total);
/// }
/// let gap = world.call_typed(Depot::at("d").delivered("farm", 4, 1)).unwrap_err();
/// assert_eq!(gap.message(), "number 3 comes first");
/// ```
pub struct Activities<T> {
    /// `a/FIELD/`, before each partner.
    prefix: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T> Activities<T> {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { prefix: format!("a/{name}/").into_bytes(), of: PhantomData }
    }

    fn key(&self, partner: &Partner) -> Vec<u8> {
        let mut key = self.prefix.clone();
        partner.write(&mut key);
        key
    }
}

impl<T: Serialize + DeserializeOwned> Activities<T> {
    /// The activity with this partner: an entity or the name of somebody outside. A new one starts with the
    /// default state, and is stored with its first change.
    pub fn with(&mut self, partner: impl Into<Partner>) -> Activity<'_, T>
    where
        T: Default,
    {
        let key = self.key(&partner.into());
        let stored: Option<Record<T>> = read(&key);
        let is_new = stored.as_ref().is_none_or(|record| record.state.is_none());
        let Record { seen, sent, accepted, state } = stored.unwrap_or_default();
        let state = state.unwrap_or_default();
        Activity { key, is_new, seen, sent, accepted, state, of: PhantomData }
    }

    /// What is known of this partner; none without an open activity.
    #[must_use]
    pub fn get(&self, partner: impl Into<Partner>) -> Option<T> {
        read::<Record<T>>(&self.key(&partner.into()))?.state
    }

    /// All open activities, in order of the partners.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Contact<T>> {
        let prefix = self.prefix.len();
        Pages::under(self.prefix.clone()).filter_map(move |(key, value)| {
            let Record { seen, sent, accepted, state } = decode(&key, &value);
            let state = state?;
            let Some(partner) = Partner::read(&key[prefix..]) else {
                panic!("{} names no partner", key.escape_ascii())
            };
            Some(Contact { partner, state, last_seen: seen, sent, accepted })
        })
    }
}

impl<T> fmt::Debug for Activities<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Activities({})", self.prefix.escape_ascii())
    }
}

/// The activity with one partner, made by [`Activities::with`]. What changes it is stored at once.
pub struct Activity<'a, T> {
    key: Vec<u8>,
    is_new: bool,
    seen: Option<Timestamp>,
    sent: u64,
    accepted: u64,
    state: T,
    of: PhantomData<&'a mut Activities<T>>,
}

impl<T: Serialize> Activity<'_, T> {
    /// Whether there was no open activity with this partner before this call.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// What is known of the partner.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.state
    }

    /// When the partner was last heard of: at the last [`accept`](Self::accept) of something new,
    /// [`update`](Self::update) or [`touch`](Self::touch).
    #[must_use]
    pub const fn last_seen(&self) -> Option<Timestamp> {
        self.seen
    }

    /// The number of the last message to the partner; 0 before the first.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The number of the last message from the partner that was accepted; 0 before the first.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Changes what is known of the partner, and notes that it was heard of.
    pub fn update(&mut self, change: impl FnOnce(&mut T)) {
        change(&mut self.state);
        self.touch();
    }

    /// Notes that the partner was heard of.
    pub fn touch(&mut self) {
        self.seen = Some(Timestamp::from_ms(host::now_ms()));
        self.store();
    }

    /// The number of the next message to the partner: 1, 2, 3 and so on, each one once. If the call fails,
    /// the number was not given out.
    #[allow(clippy::should_implement_trait, reason = "numbers never end, and nobody iterates")]
    pub fn next(&mut self) -> u64 {
        self.sent += 1;
        self.store();
        self.sent
    }

    /// Notes the arrival of the partner's message `number`, counted from 1. Only what is new changes anything,
    /// and it does so once, however late it is repeated: all that has to be remembered is the last number.
    pub fn accept(&mut self, number: u64) -> Arrival {
        if number <= self.accepted {
            return Arrival::Duplicate;
        }
        let expected = self.accepted + 1;
        if number > expected {
            return Arrival::Gap { expected };
        }
        self.accepted = number;
        self.touch();
        Arrival::New
    }

    /// Ends the activity and gives back what was known. The numbers stay, so what the partner repeats is a
    /// duplicate still; the next contact opens a new activity.
    pub fn close(self) -> T {
        if self.sent > 0 || self.accepted > 0 {
            let Self { seen, sent, accepted, .. } = self;
            put(&self.key, &Record::<&T> { seen, sent, accepted, state: None });
        } else {
            host::delete(&self.key);
        }
        self.state
    }

    /// Ends the activity and forgets the numbers, too: for a partner that is gone for good. Should it send
    /// anything again, its message 1 would be new.
    pub fn forget(self) -> T {
        host::delete(&self.key);
        self.state
    }

    fn store(&self) {
        let Self { seen, sent, accepted, .. } = *self;
        put(&self.key, &Record { seen, sent, accepted, state: Some(&self.state) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Activity<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii();
        write!(
            f,
            "Activity({key}, sent {}, accepted {}, {:?})",
            self.sent, self.accepted, self.state
        )
    }
}

/// What a message's number says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a duplicate must not take effect again"]
pub enum Arrival {
    /// The next one. It counts as accepted if this call succeeds.
    New,
    /// One that was accepted before.
    Duplicate,
    /// Others come first; nothing was noted.
    Gap {
        /// The number that comes next.
        expected: u64,
    },
}

/// An open activity, as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Contact<T> {
    /// With whom.
    pub partner: Partner,
    /// What is known of the partner.
    pub state: T,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// The number of the last message to it.
    pub sent: u64,
    /// The number of the last message from it that was accepted.
    pub accepted: u64,
}

/// Whom an activity is with. Made of an [`EntityRef`] or of any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Schema)]
#[serde(rename_all = "snake_case")]
pub enum Partner {
    /// An entity of the same app.
    Entity(EntityRef),
    /// Somebody else, by name.
    Outside(String),
}

impl fmt::Display for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(entity) => entity.fmt(f),
            Self::Outside(name) => f.write_str(name),
        }
    }
}

impl From<EntityRef> for Partner {
    fn from(entity: EntityRef) -> Self {
        Self::Entity(entity)
    }
}

impl From<&EntityRef> for Partner {
    fn from(entity: &EntityRef) -> Self {
        Self::Entity(entity.clone())
    }
}

impl From<String> for Partner {
    fn from(name: String) -> Self {
        Self::Outside(name)
    }
}

impl From<&String> for Partner {
    fn from(name: &String) -> Self {
        Self::Outside(name.clone())
    }
}

impl From<&str> for Partner {
    fn from(name: &str) -> Self {
        Self::Outside(name.to_owned())
    }
}

impl From<&Self> for Partner {
    fn from(partner: &Self) -> Self {
        partner.clone()
    }
}

/// What stands before an entity in a key, and before a name.
const ENTITY: u8 = b'e';
const OUTSIDE: u8 = b'o';

impl KeyBytes for Partner {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entity(entity) => {
                out.push(ENTITY);
                entity.write(out);
            }
            Self::Outside(name) => {
                out.push(OUTSIDE);
                name.write(out);
            }
        }
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entity(entity) => {
                out.push(ENTITY);
                entity.write_part(out);
            }
            Self::Outside(name) => {
                out.push(OUTSIDE);
                name.write_part(out);
            }
        }
    }
}

impl OrderedKey for Partner {
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ENTITY, entity) => EntityRef::read(entity).map(Self::Entity),
            (&OUTSIDE, name) => String::read(name).map(Self::Outside),
            _ => None,
        }
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        *bytes = rest;
        match *kind {
            ENTITY => EntityRef::read_part(bytes).map(Self::Entity),
            OUTSIDE => String::read_part(bytes).map(Self::Outside),
            _ => None,
        }
    }
}

/// An activity as it is stored; a closed one has no state.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    seen: Option<Timestamp>,
    sent: u64,
    accepted: u64,
    #[serde(default = "none", skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    state: Option<T>,
}

// By hand, because a derive would ask the same of `T`.
impl<T> Default for Record<T> {
    fn default() -> Self {
        Self { seen: None, sent: 0, accepted: 0, state: None }
    }
}

fn none<T>() -> Option<T> {
    None
}

/// A state that is there is one, `null` too.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<Option<T>, D::Error> {
    T::deserialize(json).map(Some)
}

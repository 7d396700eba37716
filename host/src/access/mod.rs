//! Who may do what: tokens with roles for apps, and what a request that brings one may touch. Knows no HTTP: the
//! edge asks, and decides the status. Invariant: a decision is made from the tokens of that moment, for each request
//! anew, so a revoked token opens nothing from then on.

pub mod audit;
mod token;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::limits;
use crate::storage::{self, StorageError, sealed};

pub use token::{Apps, BadToken, NewToken, Secret, Token};

/// What a route asks of who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls handlers, sends messages, asks for their outcome.
    Invoke,
    /// Looks at apps, entities, messages and logs.
    Read,
    /// Changes what is in flight and what entities hold: pauses, retries, cancels, edits.
    Operate,
    /// Deploys, and says who may do what.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Invoke, Self::Read, Self::Operate, Self::Admin];

    /// Whether who has this role has `other` with it. Whoever deploys code can have it do anything, so an admin
    /// may call; an operator may change what is there and need not be able to start anything new.
    #[must_use]
    pub fn implies(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Operate => matches!(other, Self::Operate | Self::Read),
            Self::Read | Self::Invoke => self == other,
        }
    }

    /// Its name, as in tokens and routes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// What a request is about, as far as access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// One app.
    App(&'a str),
    /// The host as a whole: only tokens for all apps reach it.
    Host,
    /// Several apps, or a message that must be looked up first: whoever answers shows what the caller may see.
    Shown,
}

/// Who sends a request.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody was asked.
    Anyone,
    /// Who has this token.
    Token(Arc<Token>),
}

impl Caller {
    /// Whether it may touch `app` and see that it exists.
    #[must_use]
    pub fn sees(&self, app: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Token(token) => token.apps.contains(app),
        }
    }

    /// The apps that it sees; `None` when it sees all.
    #[must_use]
    pub fn apps(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Anyone => None,
            Self::Token(token) => match &token.apps {
                Apps::All => None,
                Apps::These(apps) => Some(apps),
            },
        }
    }

    /// Whether it sees all apps, deployed or not.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        match self {
            Self::Anyone => true,
            Self::Token(token) => token.apps == Apps::All,
        }
    }
}

/// Why a request is refused. Says nothing of what exists, and nothing of the token but what its holder knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It brought no token.
    #[error("this host asks for a token: Authorization: Bearer ks_…")]
    Missing,
    /// It brought something else.
    #[error("the Authorization header does not have the form: Bearer ks_…")]
    Malformed,
    /// Its token is unknown.
    #[error("the token is not known to this host: it is mistyped, of another host, or was revoked")]
    Unknown,
    /// Its token has expired.
    #[error("the token {0} has expired")]
    Expired(String),
    /// Its token lacks a role.
    #[error("this needs the role {}; the token has {}", names(.needs, " or "), names(.has, ", "))]
    Role {
        /// Any of these would do.
        needs: Vec<Role>,
        /// What the token has.
        has: Vec<Role>,
    },
    /// Its token is for other apps.
    #[error("the token is not for app {0:?}")]
    App(String),
    /// Its token is for some apps, and this is about the host.
    #[error("this is about the whole host; the token is for some of its apps only")]
    Host,
}

/// Why tokens could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was asked for makes no sense.
    #[error(transparent)]
    Bad(#[from] BadToken),
    /// It would be the first token, and nobody could make another.
    #[error(
        "the first token must have the role admin for all apps: from then on every request needs a token, and \
         nobody could make another one"
    )]
    First,
    /// There are as many as there may be.
    #[error("there are {max} tokens, the most a host has; revoke some", max = limits::TOKENS_MAX)]
    TooMany,
    /// They could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The tokens of a host.
pub struct Access {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    /// Whether requests need a token; never goes back to false while a host runs.
    asks: AtomicBool,
    tokens: RwLock<Tokens>,
    /// One change at a time.
    changing: Mutex<()>,
}

/// Found by the hash of their secrets. Comparing takes the same time however much of a wrong hash is right
/// (`blake3::Hash` says so), and nobody can choose the hash of what they present.
#[derive(Default)]
struct Tokens {
    by_hash: HashMap<blake3::Hash, Arc<Token>>,
}

/// What `access/tokens.json` says.
#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    tokens: Vec<Token>,
}

const FORMAT: u32 = 1;

impl Access {
    /// Reads the tokens in `folder`, which is made when it is missing. Requests need one when there ever was one,
    /// and when `always` says so.
    ///
    /// # Errors
    /// [`StorageError`] when they cannot be read: damage opens nothing.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>, always: bool) -> Result<Self, StorageError> {
        storage::make_folder(folder).map_err(|error| StorageError::new("access", error))?;
        let file = folder.join("tokens.json");
        let record: Option<Record> = sealed::read(&file)?;
        if let Some(Record { format, .. }) = &record
            && *format != FORMAT
        {
            let problem = format!("has format {format}; this host reads {FORMAT}");
            return Err(StorageError::new("tokens.json", problem));
        }
        let asks = AtomicBool::new(always || record.is_some());
        let tokens = record.map(|record| record.tokens).unwrap_or_default();
        let by_hash = tokens.into_iter().map(|token| (token.hash, Arc::new(token))).collect();
        let tokens = RwLock::new(Tokens { by_hash });
        Ok(Self { file, clock, asks, tokens, changing: Mutex::default() })
    }

    /// Whether requests need a token. They do once there was one, also when it was revoked: taking the last one
    /// away must not open the door.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks.load(Ordering::Acquire)
    }

    /// Who brings `presented`, the text of a token.
    ///
    /// # Errors
    /// [`Denied`] when it opens nothing.
    pub fn identify(&self, presented: &Secret) -> Result<Arc<Token>, Denied> {
        let token = self.read(|tokens| tokens.by_hash.get(&presented.hash()).cloned());
        let token = token.ok_or(Denied::Unknown)?;
        if token.expires_ms.is_some_and(|expires_ms| expires_ms <= self.clock.now_ms()) {
            return Err(Denied::Expired(token.id.clone()));
        }
        Ok(token)
    }

    /// Whether `caller`, who was let in before, would still be: answers to long waits ask again.
    ///
    /// # Errors
    /// [`Denied`] when its token was revoked or has expired meanwhile.
    pub fn still(&self, caller: &Caller) -> Result<(), Denied> {
        let Caller::Token(token) = caller else { return Ok(()) };
        let there = self.read(|tokens| tokens.by_hash.contains_key(&token.hash));
        match token.expires_ms {
            _ if !there => Err(Denied::Unknown),
            Some(expires_ms) if expires_ms <= self.clock.now_ms() => {
                Err(Denied::Expired(token.id.clone()))
            }
            _ => Ok(()),
        }
    }

    /// All tokens, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Token>> {
        let mut list: Vec<_> = self.read(|tokens| tokens.by_hash.values().cloned().collect());
        list.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        list
    }

    /// Makes a token. Its secret is given here and kept nowhere.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed then, unless storage failed after it took the new list.
    pub fn create(&self, new: NewToken) -> Result<(Secret, Arc<Token>), ChangeError> {
        let (secret, token) = new.make(&*self.clock)?;
        let _changing = self.change();
        let mut list = self.list();
        if list.is_empty() && !token.rules() {
            return Err(ChangeError::First);
        }
        if list.len() >= limits::TOKENS_MAX {
            return Err(ChangeError::TooMany);
        }
        let token = Arc::new(token);
        list.push(Arc::clone(&token));
        self.store(&list)?;
        Ok((secret, token))
    }

    /// Takes a token away, from the next request on. `None` when there is none of this id.
    ///
    /// # Errors
    /// [`StorageError`]; the token still opens what it did then.
    pub fn revoke(&self, id: &str) -> Result<Option<Arc<Token>>, StorageError> {
        let _changing = self.change();
        let mut list = self.list();
        let Some(at) = list.iter().position(|token| token.id == id) else { return Ok(None) };
        let token = list.remove(at);
        self.store(&list)?;
        Ok(Some(token))
    }

    /// Makes `list` what holds: on disk, then in memory.
    fn store(&self, list: &[Arc<Token>]) -> Result<(), StorageError> {
        let tokens = list.iter().map(|token| Token::clone(token)).collect();
        sealed::write(&self.file, &Record { format: FORMAT, tokens })?;
        let by_hash = list.iter().map(|token| (token.hash, Arc::clone(token))).collect();
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Tokens { by_hash };
        self.asks.store(true, Ordering::Release);
        Ok(())
    }

    fn read<T>(&self, look: impl FnOnce(&Tokens) -> T) -> T {
        look(&self.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener's way in.
#[derive(Clone)]
pub struct Door {
    access: Arc<Access>,
    open: bool,
}

impl Door {
    /// Asks for tokens as `access` says, or nobody for anything when it is `open`.
    #[must_use]
    pub fn new(access: Arc<Access>, open: bool) -> Self {
        Self { access, open }
    }

    /// Whether it asks for tokens now.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.open && self.access.asks()
    }

    /// Lets in who has one of `roles` for `scope`. `presented` is what the request brought as its token.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn admit(
        &self,
        presented: Option<&Result<Secret, BadToken>>,
        roles: &[Role],
        scope: Scope<'_>,
    ) -> Result<Caller, Denied> {
        if !self.asks() {
            return Ok(Caller::Anyone);
        }
        let secret = presented.ok_or(Denied::Missing)?.as_ref().map_err(|_| Denied::Malformed)?;
        let token = self.access.identify(secret)?;
        if !roles.iter().any(|role| token.has(*role)) {
            let has = token.roles.iter().copied().collect();
            return Err(Denied::Role { needs: roles.to_vec(), has });
        }
        match scope {
            Scope::App(app) if !token.apps.contains(app) => Err(Denied::App(app.to_owned())),
            Scope::Host if token.apps != Apps::All => Err(Denied::Host),
            _ => Ok(Caller::Token(token)),
        }
    }

    /// As [`Access::still`].
    ///
    /// # Errors
    /// [`Denied`].
    pub fn still(&self, caller: &Caller) -> Result<(), Denied> {
        self.access.still(caller)
    }
}

fn names(roles: &[Role], between: &str) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests;

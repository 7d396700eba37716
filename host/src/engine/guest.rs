//! From a component's bytes to something that runs: inspect, compile or take from the cache, compare with the
//! world, link, describe. Invariant: a [`Guest`] has answered `describe` under this very engine.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::component::{Component, Linker};

use super::bindings::{App, AppPre};
use super::cache::Cache;
use super::host::Host;
use super::instance::Instance;
use super::settings::{Space, running_engine};
use super::ticker::Ticker;
use super::{
    Call, Continuation, Due, EngineConfig, EntityIo, Fault, Isolation, LogLevel, PrepareError,
    TimerInfo, compile, inspect, wasi, world,
};
use crate::clock::Clock;
use crate::ids::{EntityRef, MessageId, VersionId};
use crate::limits;
use crate::metrics;

/// The wasmtime engine with its settings, linker, deadline ticker and cache. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    wasmtime: wasmtime::Engine,
    space: Space,
    ticker: Ticker,
    linker: Linker<Host>,
    cache: Cache,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
    /// One at a time: a compiler may use gigabytes, and the pool holds one place for `describe`.
    preparing: Mutex<()>,
}

/// A component that is ready to run. Cheap to clone.
#[derive(Clone)]
pub struct Guest(Arc<Prepared>);

struct Prepared {
    version: VersionId,
    describe: Vec<u8>,
    pre: AppPre<Host>,
}

impl Engine {
    /// Builds it.
    ///
    /// # Errors
    /// When wasmtime refuses the settings or the cache folder cannot be made.
    pub fn new(config: EngineConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (wasmtime, space) = running_engine(config.workers).map_err(into_anyhow)?;
        let ticker = Ticker::start(&wasmtime)?;
        let mut linker = Linker::new(&wasmtime);
        App::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |host| host)
            .map_err(into_anyhow)?;
        let cache = Cache::open(&config.cache_dir, &wasmtime, clock.as_ref())?;
        let preparing = Mutex::new(());
        let shared = Shared { wasmtime, space, ticker, linker, cache, config, clock, preparing };
        Ok(Self(Arc::new(shared)))
    }

    /// Validates, compiles (or takes from the cache), links and describes a component. Blocks.
    ///
    /// # Errors
    /// [`PrepareError`].
    pub fn prepare(&self, component: &[u8]) -> Result<Guest, PrepareError> {
        inspect::inspect(component)?;
        let version = VersionId::of(component);
        let _one_at_a_time = self.0.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = self.0.cache.load(&self.0.wasmtime, version);
        metrics::compiled_code_asked(cached.is_some());
        let compiled = match cached {
            Some(compiled) => compiled,
            None => self.compile(component, version)?,
        };
        let pre = self.link(&compiled)?;
        let describe = self.describe(&pre)?;
        Ok(Guest(Arc::new(Prepared { version, describe, pre })))
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock)
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }

    fn compile(&self, component: &[u8], version: VersionId) -> Result<Component, PrepareError> {
        let (space, began) = (self.0.space, self.0.clock.monotonic());
        let code = match &self.0.config.compiler {
            Some(program) => {
                compile::compile_by(program, component, space, limits::COMPILE_WAIT_MAX)?
            }
            None => compile::compile_here(component, space)?,
        };
        metrics::compiled(self.0.clock.monotonic().saturating_sub(began));
        self.0.cache.store(&self.0.wasmtime, version, &code).map_err(|error| {
            let text = error.root_cause().to_string();
            // What the pool has no room for is refused when it loads. There is no type for it.
            if text.contains("exceeds the ") {
                PrepareError::TooLarge(text)
            } else {
                PrepareError::Host(format!("{error:#}"))
            }
        })
    }

    fn link(&self, component: &Component) -> Result<AppPre<Host>, PrepareError> {
        let engine = &self.0.wasmtime;
        let ty = component.component_type();
        let problems = world::problems(engine, &ty);
        if !problems.is_empty() {
            return Err(PrepareError::WrongWorld(problems));
        }
        let wrong = |error: wasmtime::Error| PrepareError::WrongWorld(vec![format!("- {error:#}")]);
        let mut linker = self.0.linker.clone();
        wasi::define(&mut linker, engine, &ty).map_err(wrong)?;
        AppPre::new(linker.instantiate_pre(component).map_err(wrong)?).map_err(wrong)
    }

    fn describe(&self, pre: &AppPre<Host>) -> Result<Vec<u8>, PrepareError> {
        let call = Call {
            handler: "describe",
            input: &[],
            deadline: limits::HANDLER_DEADLINE,
            memory_bytes_max: limits::GUEST_MEMORY_BYTES_MAX,
            isolation: Isolation::Invocation,
        };
        let io = Nobody::new(Arc::clone(&self.0.clock))
            .map_err(|error| PrepareError::Host(error.to_string()))?;
        let mut instance =
            Instance::new(&self.0.wasmtime, Arc::clone(&self.0.clock), call.memory_bytes_max);
        let (result, _io) = instance.describe(pre, &self.0.ticker, &call, Box::new(io));
        let document = result.map_err(|trap| PrepareError::Describe(trap.to_string()))?;
        if document.len() > limits::DESCRIBE_BYTES_MAX {
            let (len, max) = (document.len(), limits::DESCRIBE_BYTES_MAX);
            let text = format!("its document has {len} bytes; at most {max} are accepted");
            return Err(PrepareError::Describe(text));
        }
        Ok(document)
    }
}

impl Guest {
    /// The hash of the component's bytes.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.0.version
    }

    /// What its `describe` returned.
    #[must_use]
    pub fn describe(&self) -> &[u8] {
        &self.0.describe
    }

    pub(super) fn pre(&self) -> &AppPre<Host> {
        &self.0.pre
    }
}

fn into_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into_boxed_dyn_error())
}

/// The `EntityIo` of `describe`: no entity, no message, no state. Lines go to the host's own log.
struct Nobody {
    entity: EntityRef,
    clock: Arc<dyn Clock>,
}

impl Nobody {
    fn new(clock: Arc<dyn Clock>) -> Result<Self, crate::ids::BadId> {
        Ok(Self { entity: EntityRef::new("none", "none", "describe")?, clock })
    }
}

impl EntityIo for Nobody {
    fn entity(&self) -> &EntityRef {
        &self.entity
    }

    fn sender(&self) -> Option<&EntityRef> {
        None
    }

    fn message_id(&self) -> MessageId {
        MessageId(0)
    }

    fn attempt(&self) -> u32 {
        1
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.clock.fill(bytes);
    }

    fn content_type(&self) -> Option<&str> {
        None
    }

    fn config(&self, _name: &str) -> Option<String> {
        None
    }

    fn get(&mut self, _key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Err(Fault::NoEntity)
    }

    fn set(&mut self, _key: Vec<u8>, _value: Vec<u8>) -> Result<(), Fault> {
        Err(Fault::NoEntity)
    }

    fn delete(&mut self, _key: &[u8]) -> Result<(), Fault> {
        Err(Fault::NoEntity)
    }

    fn scan(
        &mut self,
        _start: &[u8],
        _end: Option<&[u8]>,
        _limit: u32,
        _descending: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        Err(Fault::NoEntity)
    }

    fn send(
        &mut self,
        _kind: &str,
        _key: &str,
        _handler: &str,
        _input: Vec<u8>,
        _due: Due,
        _then: Option<Continuation>,
    ) -> Result<MessageId, Fault> {
        Err(Fault::NoEntity)
    }

    fn cancel(&mut self, _id: &str) -> Result<bool, Fault> {
        Err(Fault::NoEntity)
    }

    fn timer_set(
        &mut self,
        _name: &str,
        _handler: &str,
        _input: Vec<u8>,
        _due: Due,
    ) -> Result<(), Fault> {
        Err(Fault::NoEntity)
    }

    fn timer_cancel(&mut self, _name: &str) -> Result<bool, Fault> {
        Err(Fault::NoEntity)
    }

    fn timer_list(&mut self) -> Result<Vec<TimerInfo>, Fault> {
        Err(Fault::NoEntity)
    }

    fn callback_create(&mut self, _then: Continuation, _expires: Due) -> Result<String, Fault> {
        Err(Fault::NoEntity)
    }

    fn callback_cancel(&mut self, _token: &str) -> Result<bool, Fault> {
        Err(Fault::NoEntity)
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        tracing::debug!(?level, line, "describe");
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

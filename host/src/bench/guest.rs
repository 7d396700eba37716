//! What a guest call costs by itself: the engine runs the bench guest on one thread against one entity in memory,
//! without mailbox, journal or HTTP. Invariant: a call that does not answer fails the measurement.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;

use super::now;
use super::workload::APP;
use crate::clock::SystemClock;
use crate::engine::{
    Call, Continuation, Due, Engine, EngineConfig, EntityIo, Fault, Guest, Isolation, LogLevel,
    Outcome, TimerInfo, Worker,
};
use crate::ids::{EntityRef, MessageId};
use crate::limits;

/// Calls between two looks at the clock.
const CALLS_PER_LOOK: u64 = 64;
/// What is measured, one third of the time each.
const PARTS: u32 = 3;

/// Guest calls in a second on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GuestCalls {
    /// A handler that does nothing, in a warm instance.
    pub empty_per_s: f64,
    /// One read and one write, in a warm instance.
    pub add_per_s: f64,
    /// One read and one write, each call in a fresh instance.
    pub fresh_add_per_s: f64,
}

/// Runs `component` for `time`, with `folder` for its compiled code.
pub(super) fn measure(
    program: &Path,
    component: &[u8],
    folder: &Path,
    time: Duration,
) -> anyhow::Result<GuestCalls> {
    let rate = |kind, handler, input, isolation| {
        let mut guest = OneGuest::prepare(program, component, folder, (kind, isolation))?;
        let (start, mut calls) = (now(), 0u64);
        while start.elapsed() < time / PARTS {
            for _ in 0..CALLS_PER_LOOK {
                guest.call(handler, input)?;
            }
            calls += CALLS_PER_LOOK;
        }
        anyhow::Ok(calls as f64 / start.elapsed().as_secs_f64())
    };
    let add: &[u8] = super::workload::ADD_BY_ONE;
    Ok(GuestCalls {
        empty_per_s: rate("page", "nothing", b"", Isolation::App)?,
        add_per_s: rate("counter", "add", add, Isolation::App)?,
        fresh_add_per_s: rate("counter", "add", add, Isolation::Invocation)?,
    })
}

/// A guest over one entity in memory, called from one thread.
pub struct OneGuest {
    guest: Guest,
    worker: Worker,
    isolation: Isolation,
    /// Always there between calls.
    io: Option<Box<dyn EntityIo>>,
}

impl OneGuest {
    /// Prepares `component`, compiled by `program` into `folder`, for calls to an entity of type `kind`.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn prepare(
        program: &Path,
        component: &[u8],
        folder: &Path,
        (kind, isolation): (&str, Isolation),
    ) -> anyhow::Result<Self> {
        let compiler: Option<PathBuf> = Some(program.into());
        let config = EngineConfig { cache_dir: folder.join("cache"), workers: 1, compiler };
        let engine = Engine::new(config, Arc::new(SystemClock::new()))?;
        let guest = engine.prepare(component)?;
        let io: Box<dyn EntityIo> = Box::new(MemoryIo::new(EntityRef::new(APP, kind, "k")?));
        Ok(Self { guest, worker: Worker::new(&engine), isolation, io: Some(io) })
    }

    /// Makes one call.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn call(&mut self, handler: &str, input: &[u8]) -> anyhow::Result<()> {
        let io = self.io.take().context("a call before this one panicked")?;
        let call = call(handler, input, self.isolation);
        let (outcome, io) = self.worker.run(&self.guest, call, io);
        self.io = Some(io);
        ensure!(matches!(outcome, Outcome::Reply(_)), "{handler} came to {outcome:?}");
        Ok(())
    }
}

fn call<'a>(handler: &'a str, input: &'a [u8], isolation: Isolation) -> Call<'a> {
    Call {
        handler,
        input,
        deadline: limits::HANDLER_DEADLINE,
        memory_bytes_max: limits::GUEST_MEMORY_BYTES_MAX,
        isolation,
    }
}

/// One entity in memory. What the measured handlers do not use is refused, so that nothing is measured by mistake.
struct MemoryIo {
    entity: EntityRef,
    state: BTreeMap<Vec<u8>, Bytes>,
}

impl MemoryIo {
    fn new(entity: EntityRef) -> Self {
        Self { entity, state: BTreeMap::new() }
    }
}

fn unused<T>() -> Result<T, Fault> {
    Err(Fault::BadArgument("a measured call reads and writes state only".into()))
}

impl EntityIo for MemoryIo {
    fn entity(&self) -> &EntityRef {
        &self.entity
    }

    fn sender(&self) -> Option<&EntityRef> {
        None
    }

    fn message_id(&self) -> MessageId {
        MessageId(1)
    }

    fn attempt(&self) -> u32 {
        1
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn content_type(&self) -> Option<&str> {
        None
    }

    fn config(&self, _name: &str) -> Option<String> {
        None
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.state.get(key).cloned())
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        self.state.insert(key, value.into());
        Ok(())
    }

    fn delete(&mut self, _key: &[u8]) -> Result<(), Fault> {
        unused()
    }

    fn scan(
        &mut self,
        _start: &[u8],
        _end: Option<&[u8]>,
        _limit: u32,
        _descending: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        unused()
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
        unused()
    }

    fn cancel(&mut self, _id: &str) -> Result<bool, Fault> {
        unused()
    }

    fn timer_set(
        &mut self,
        _name: &str,
        _handler: &str,
        _input: Vec<u8>,
        _due: Due,
    ) -> Result<(), Fault> {
        unused()
    }

    fn timer_cancel(&mut self, _name: &str) -> Result<bool, Fault> {
        unused()
    }

    fn timer_list(&mut self) -> Result<Vec<TimerInfo>, Fault> {
        unused()
    }

    fn callback_create(&mut self, _then: Continuation, _expires: Due) -> Result<String, Fault> {
        unused()
    }

    fn callback_cancel(&mut self, _token: &str) -> Result<bool, Fault> {
        unused()
    }

    fn log(&mut self, _level: LogLevel, _line: &str) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_in_memory_keeps_what_is_written_and_refuses_the_rest() {
        let entity = EntityRef::new(APP, "counter", "k").expect("valid");
        let mut io = MemoryIo::new(entity);
        assert_eq!(io.get(b"count"), Ok(None));
        io.set(b"count".to_vec(), b"1".to_vec()).expect("written");
        assert_eq!(io.get(b"count"), Ok(Some(Bytes::from_static(b"1"))));
        assert!(io.delete(b"count").is_err() && io.scan(b"", None, 1, false).is_err());
        assert!(io.send("counter", "k", "add", vec![], Due::Now, None).is_err());
    }
}

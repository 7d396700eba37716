//! For tests of the engine and of what stands on it: a guest written by hand in the text format, made into a
//! component as `keystead build` does, and an [`EntityIo`] over a map.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wit_component::{ComponentEncoder, StringEncoding};

use super::{
    Call, Continuation, Due, Engine, EngineConfig, EntityIo, Fault, Isolation, LogLevel, Outcome,
    TimerInfo,
};
use crate::clock::ManualClock;
use crate::ids::{EntityRef, MessageId};

/// The guest of `tests/guest.wat` as a core module whose `describe` returns `document`.
pub(crate) fn core_module(document: &str) -> Vec<u8> {
    let escaped: String = document.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = include_str!("tests/guest.wat")
        .replace("DOCUMENT_LEN", &document.len().to_string())
        .replace("DOCUMENT", &escaped);
    module_of_world(&text, include_str!("../../../wit/keystead.wit"), "app")
}

/// A core module in the text format with the interface `world` of `wit` in a custom section.
pub(crate) fn module_of_world(wat: &str, wit: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).expect("the text is right");
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("test.wit", wit).expect("the WIT is right");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the interface fits");
    module
}

/// The same as a component.
pub(crate) fn component(document: &str) -> Vec<u8> {
    encode(&core_module(document))
}

/// Wraps without any check of ours.
pub(crate) fn encode(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder.and_then(|mut e| e.encode()).expect("the module fits")
}

/// An engine that compiles in this process.
pub(crate) fn engine(cache_dir: &Path) -> Engine {
    let config = EngineConfig { cache_dir: cache_dir.into(), workers: 1, compiler: None };
    Engine::new(config, Arc::new(ManualClock::new(1_000, 7))).expect("engine")
}

/// An engine that can use what was compiled before, and nothing else.
pub(crate) fn engine_without_compiler(cache_dir: &Path) -> Engine {
    let compiler = Some(cache_dir.join("no-compiler"));
    let config = EngineConfig { cache_dir: cache_dir.into(), workers: 1, compiler };
    Engine::new(config, Arc::new(ManualClock::new(1_000, 7))).expect("engine")
}

/// A call with generous limits.
pub(crate) fn call<'a>(handler: &'a str, input: &'a [u8]) -> Call<'a> {
    Call {
        handler,
        input,
        deadline: Duration::from_secs(30),
        memory_bytes_max: crate::limits::GUEST_MEMORY_BYTES_MAX,
        isolation: Isolation::App,
    }
}

/// One entity in memory.
pub(crate) struct MapIo {
    pub(crate) entity: EntityRef,
    pub(crate) state: BTreeMap<Vec<u8>, Bytes>,
    pub(crate) sent: Vec<(String, Due, Option<Continuation>)>,
    /// Tokens that were made, and what they call.
    pub(crate) callbacks: Vec<(Continuation, Due)>,
    pub(crate) lines: Vec<(LogLevel, String)>,
    pub(crate) read_only: bool,
    pub(crate) panics: bool,
}

impl MapIo {
    pub(crate) fn new(app: &str, key: &str) -> Self {
        Self {
            entity: EntityRef::new(app, "thing", key).expect("valid"),
            state: BTreeMap::new(),
            sent: Vec::new(),
            callbacks: Vec::new(),
            lines: Vec::new(),
            read_only: false,
            panics: false,
        }
    }

    /// Takes itself out of what [`super::Worker::run`] gives back.
    pub(crate) fn back(result: (Outcome, Box<dyn EntityIo>)) -> (Outcome, Self) {
        let io = result.1.into_any().downcast::<Self>().expect("the same io comes back");
        (result.0, *io)
    }

    fn writable(&self, what: &'static str) -> Result<(), Fault> {
        if self.read_only { Err(Fault::ReadOnly { what }) } else { Ok(()) }
    }
}

impl EntityIo for MapIo {
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
        assert!(!self.panics, "on purpose");
        1
    }

    fn now_ms(&self) -> u64 {
        1_700_000_000_123
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
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
        self.writable("write state")?;
        self.state.insert(key, value.into());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.writable("write state")?;
        self.state.remove(key);
        Ok(())
    }

    fn scan(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: u32,
        descending: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let range = self.state.range(start.to_vec()..);
        let mut found: Vec<_> = range
            .filter(|(key, _)| end.is_none_or(|end| key.as_slice() < end))
            .map(|(key, value)| (key.clone().into(), value.clone()))
            .collect();
        if descending {
            found.reverse();
        }
        found.truncate(limit as usize);
        Ok(found)
    }

    fn send(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        _input: Vec<u8>,
        due: Due,
        then: Option<Continuation>,
    ) -> Result<MessageId, Fault> {
        self.writable("send")?;
        self.sent.push((format!("{kind}/{key}/{handler}"), due, then));
        Ok(MessageId(self.sent.len() as u128))
    }

    fn cancel(&mut self, _id: &str) -> Result<bool, Fault> {
        Ok(false)
    }

    fn timer_set(
        &mut self,
        _name: &str,
        _handler: &str,
        _input: Vec<u8>,
        _due: Due,
    ) -> Result<(), Fault> {
        self.writable("set a timer")
    }

    fn timer_cancel(&mut self, _name: &str) -> Result<bool, Fault> {
        Ok(false)
    }

    fn timer_list(&mut self) -> Result<Vec<TimerInfo>, Fault> {
        Ok(Vec::new())
    }

    fn callback_create(&mut self, then: Continuation, expires: Due) -> Result<String, Fault> {
        self.writable("make a callback")?;
        self.callbacks.push((then, expires));
        Ok(format!("token-{}", self.callbacks.len()))
    }

    fn callback_cancel(&mut self, token: &str) -> Result<bool, Fault> {
        Ok(token == "token-1" && self.callbacks.len() == 1)
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        self.lines.push((level, line.into()));
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

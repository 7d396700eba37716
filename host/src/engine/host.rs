//! What guests import: each function checks the boundary (how often, how many, how large) and asks the call's
//! [`EntityIo`]. Knows nothing of what an entity is stored in. Invariant: whatever a guest passes, a host
//! call ends in a bounded time and amount of memory, or in a [`Fault`].

use bytes::Bytes;

use super::bindings::keystead::entity::{callbacks, context, log, outbox, state, timers, types};
use super::limiter::Limiter;
use super::ticker::Deadline;
use super::{Continuation, Due, EntityIo, Fault, LogLevel};
use crate::limits;

/// A store's data: one instance's limits, and the call it is making.
pub(super) struct Host {
    pub(super) limiter: Limiter,
    pub(super) deadline: Deadline,
    /// The call's reason for a panic, once the guest has given it.
    pub(super) panic: Option<String>,
    pub(super) wasi: super::wasi::State,
    io: Option<Box<dyn EntityIo>>,
    describing: bool,
    calls_left: u64,
    log_lines: usize,
    log_lines_dropped: usize,
}

impl Host {
    /// A store's data before its first call.
    pub(super) fn new(deadline: Deadline, memory_bytes_max: usize) -> Self {
        Self {
            deadline,
            limiter: Limiter::new(memory_bytes_max),
            panic: None,
            wasi: super::wasi::State::default(),
            io: None,
            describing: false,
            calls_left: 0,
            log_lines: 0,
            log_lines_dropped: 0,
        }
    }

    /// Begins a call.
    pub(super) fn enter(&mut self, io: Box<dyn EntityIo>, memory_bytes_max: usize) {
        self.limiter.max = memory_bytes_max;
        self.panic = None;
        self.io = Some(io);
        self.describing = false;
        self.calls_left = limits::HOST_CALLS_MAX;
        self.log_lines = 0;
        self.log_lines_dropped = 0;
    }

    /// Refuses the call all imports but `log` until the next [`Host::enter`].
    pub(super) fn describe_only(&mut self) {
        self.describing = true;
    }

    /// Ends a call and gives its `EntityIo` back.
    ///
    /// # Panics
    /// Without an [`Host::enter`] before it.
    pub(super) fn leave(&mut self) -> Box<dyn EntityIo> {
        for (level, line) in self.wasi.take_partial_lines() {
            // At the host-call limit there is nobody left to tell.
            let _ = self.log_line(level, &line);
        }
        let Some(mut io) = self.io.take() else { panic!("a call that ends has begun") };
        if self.log_lines_dropped > 0 {
            let (dropped, max) = (self.log_lines_dropped, limits::LOG_LINES_PER_CALL_MAX);
            io.log(LogLevel::Warn, &format!("{dropped} more lines dropped: a call may log {max}"));
        }
        io
    }

    /// Counts a host call and lends the call's `EntityIo`.
    fn io(&mut self) -> Result<&mut dyn EntityIo, Fault> {
        if self.describing {
            return Err(Fault::NoEntity);
        }
        self.ambient_io()
    }

    /// The same for what `describe` may use too: the log, and the time and chance that a standard library
    /// asks for before the first line of a guest's own.
    pub(super) fn ambient_io(&mut self) -> Result<&mut dyn EntityIo, Fault> {
        self.calls_left = self
            .calls_left
            .checked_sub(1)
            .ok_or(Fault::Limit { what: "number of host calls", max: limits::HOST_CALLS_MAX })?;
        match &mut self.io {
            Some(io) => Ok(io.as_mut()),
            None => Err(Fault::NoEntity),
        }
    }

    /// Logs one line, cut to its limit and counted.
    pub(super) fn log_line(&mut self, level: LogLevel, line: &str) -> Result<(), Fault> {
        self.ambient_io()?;
        if self.log_lines == limits::LOG_LINES_PER_CALL_MAX {
            self.log_lines_dropped += 1;
            return Ok(());
        }
        self.log_lines += 1;
        if let Some(io) = &mut self.io {
            io.log(level, cut(line));
        }
        Ok(())
    }
}

/// Cuts a text to [`limits::LOG_LINE_BYTES_MAX`] bytes at a character.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::LOG_LINE_BYTES_MAX)]
}

/// Turns the guest's `due` into a time: relative ones count from the transaction's time.
fn due(due: types::Due, now_ms: u64) -> Due {
    let delay_max = limits::DELAY_MAX.as_millis() as u64;
    match due {
        types::Due::Now | types::Due::InMs(0) => Due::Now,
        types::Due::InMs(ms) => Due::AtMs(now_ms.saturating_add(ms.min(delay_max))),
        types::Due::AtMs(at) if at <= now_ms => Due::Now,
        types::Due::AtMs(at) => Due::AtMs(at.min(now_ms.saturating_add(delay_max))),
    }
}

fn continuation(then: types::Continuation) -> Continuation {
    let types::Continuation { handler, context, patient } = then;
    Continuation { handler, context: context.into(), patient }
}

fn page_too_large() -> Fault {
    Fault::Limit { what: "bytes read by one get-many", max: limits::SCAN_BYTES_MAX as u64 }
}

impl types::Host for Host {}

impl context::Host for Host {
    fn self_ref(&mut self) -> wasmtime::Result<types::EntityRef> {
        let entity = self.io()?.entity();
        Ok(types::EntityRef { kind: entity.kind().into(), key: entity.key().into() })
    }

    fn app(&mut self) -> wasmtime::Result<String> {
        Ok(self.io()?.entity().app().into())
    }

    fn sender(&mut self) -> wasmtime::Result<Option<types::EntityRef>> {
        let sender = self.io()?.sender();
        Ok(sender.map(|s| types::EntityRef { kind: s.kind().into(), key: s.key().into() }))
    }

    fn message_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.io()?.message_id().to_string())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.io()?.attempt())
    }

    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.io()?.now_ms())
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        let max = limits::RANDOM_BYTES_MAX;
        if len > max {
            Err(Fault::Limit { what: "number of random bytes", max: max.into() })?;
        }
        let mut bytes = vec![0; len as usize];
        self.io()?.random(&mut bytes);
        Ok(bytes)
    }

    fn content_type(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.io()?.content_type().map(Into::into))
    }

    fn config(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.io()?.config(&name))
    }
}

impl state::Host for Host {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.io()?.get(&key)?.map(Vec::from))
    }

    fn get_many(&mut self, keys: Vec<Vec<u8>>) -> wasmtime::Result<Vec<Option<Vec<u8>>>> {
        let max = limits::SCAN_ENTRIES_MAX;
        if keys.len() > max {
            Err(Fault::Limit { what: "number of keys of one get-many", max: max as u64 })?;
        }
        let mut bytes_left = limits::SCAN_BYTES_MAX;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.io()?.get(&key)?;
            let len = value.as_ref().map_or(0, Bytes::len);
            bytes_left = bytes_left.checked_sub(len).ok_or_else(page_too_large)?;
            values.push(value.map(Vec::from));
        }
        Ok(values)
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<()> {
        Ok(self.io()?.set(key, value)?)
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<()> {
        Ok(self.io()?.delete(&key)?)
    }

    fn scan(
        &mut self,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        limit: u32,
        direction: state::Direction,
    ) -> wasmtime::Result<Vec<state::Entry>> {
        let limit = limit.min(limits::SCAN_ENTRIES_MAX as u32);
        let descending = matches!(direction, state::Direction::Descending);
        let found = self.io()?.scan(&start, end.as_deref(), limit, descending)?;
        let mut bytes = 0;
        let mut page = Vec::with_capacity(found.len());
        for (key, value) in found.into_iter().take(limit as usize) {
            bytes += key.len() + value.len();
            // The first entry always goes: a page that is empty would mean that there is nothing.
            if bytes > limits::SCAN_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push(state::Entry { key: key.into(), value: value.into() });
        }
        Ok(page)
    }
}

impl outbox::Host for Host {
    fn send(
        &mut self,
        target: types::EntityRef,
        handler: String,
        input: Vec<u8>,
        due_at: types::Due,
    ) -> wasmtime::Result<String> {
        let io = self.io()?;
        let due_at = due(due_at, io.now_ms());
        Ok(io.send(&target.kind, &target.key, &handler, input, due_at, None)?.to_string())
    }

    fn call_then(
        &mut self,
        target: types::EntityRef,
        handler: String,
        input: Vec<u8>,
        due_at: types::Due,
        then: types::Continuation,
    ) -> wasmtime::Result<String> {
        let io = self.io()?;
        let due_at = due(due_at, io.now_ms());
        let then = Some(continuation(then));
        Ok(io.send(&target.kind, &target.key, &handler, input, due_at, then)?.to_string())
    }

    fn cancel(&mut self, message_id: String) -> wasmtime::Result<bool> {
        Ok(self.io()?.cancel(&message_id)?)
    }
}

impl timers::Host for Host {
    fn set(
        &mut self,
        name: String,
        handler: String,
        input: Vec<u8>,
        due_at: types::Due,
    ) -> wasmtime::Result<()> {
        let io = self.io()?;
        let due_at = due(due_at, io.now_ms());
        Ok(io.timer_set(&name, &handler, input, due_at)?)
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<bool> {
        Ok(self.io()?.timer_cancel(&name)?)
    }

    fn pending(&mut self) -> wasmtime::Result<Vec<timers::Timer>> {
        let timers = self.io()?.timer_list()?;
        let timer = |t: super::TimerInfo| timers::Timer {
            name: t.name,
            handler: t.handler,
            due_ms: t.due_ms,
        };
        Ok(timers.into_iter().map(timer).collect())
    }
}

impl callbacks::Host for Host {
    fn create(
        &mut self,
        then: types::Continuation,
        expires: types::Due,
    ) -> wasmtime::Result<String> {
        let io = self.io()?;
        let expires = due(expires, io.now_ms());
        Ok(io.callback_create(continuation(then), expires)?)
    }

    fn cancel(&mut self, token: String) -> wasmtime::Result<bool> {
        Ok(self.io()?.callback_cancel(&token)?)
    }
}

impl log::Host for Host {
    fn emit(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        Ok(self.log_line(level, &message)?)
    }

    fn panicked(&mut self, message: String) -> wasmtime::Result<()> {
        self.ambient_io()?;
        self.panic = Some(cut(&message).into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_is_relative_to_the_transaction_and_capped() {
        let day = 24 * 3_600 * 1_000;
        let farthest = 1_000 + limits::DELAY_MAX.as_millis() as u64;
        assert_eq!(due(types::Due::Now, 1_000), Due::Now);
        assert_eq!(due(types::Due::InMs(0), 1_000), Due::Now);
        assert_eq!(due(types::Due::InMs(day), 1_000), Due::AtMs(1_000 + day));
        assert_eq!(due(types::Due::InMs(u64::MAX), 1_000), Due::AtMs(farthest));
        assert_eq!(due(types::Due::AtMs(1_000), 1_000), Due::Now);
        assert_eq!(due(types::Due::AtMs(1_001), 1_000), Due::AtMs(1_001));
        assert_eq!(due(types::Due::AtMs(u64::MAX), 1_000), Due::AtMs(farthest));
    }

    #[test]
    fn lines_are_cut_at_a_character() {
        let line = "\u{e9}".repeat(limits::LOG_LINE_BYTES_MAX);
        assert!(cut(&format!("x{line}")).len() < limits::LOG_LINE_BYTES_MAX);
        assert_eq!(cut("short"), "short");
    }
}

//! One invocation's reads and writes. Implements what a guest may touch, buffers everything it does, and seals
//! it into a [`Draft`]; dropping it leaves no trace. Invariant: nothing outside changes while a guest runs.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tracing::Level;

use super::callback;
use super::ledger::Pending;
use super::reply;
use super::rows::Rows;
use super::spans;
use super::view::{EntityView, ReadError, ScanBounds};
use crate::clock::Clock;
use crate::engine::{Continuation, Due, EntityIo, Fault, LogLevel, TimerInfo};
use crate::ids::{CallbackToken, EntityRef, MessageId, check_name};
use crate::limits;
use crate::logging;
use crate::metrics::QuotaKind;
use crate::record::keys;
use crate::record::message::{Message, Origin};
use crate::registry::App;
use crate::trace::Context;

/// What a command did, ready to be sealed.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) writes: Rows,
    pub(crate) sends: Vec<(Arc<Message>, Due)>,
    pub(crate) cancels: BTreeSet<MessageId>,
    /// Named timers: set to a message and its time, or cancelled.
    pub(crate) timers: BTreeMap<String, Option<(Arc<Message>, u64)>>,
    /// The handler's result is bytes, not JSON; said only of a message with a continuation.
    pub(crate) replies_bytes: bool,
    /// Bytes of the entity's state as it would be now; known once somebody had to.
    pub(crate) state_bytes: Option<u64>,
}

impl Draft {
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
            && self.sends.is_empty()
            && self.cancels.is_empty()
            && self.timers.is_empty()
    }
}

/// What a transaction is made from.
pub(crate) struct Start {
    pub(crate) app: Arc<App>,
    pub(crate) message: Arc<Message>,
    pub(crate) attempt: u32,
    /// Where it stands in its trace, if that is recorded.
    pub(crate) span: Option<Context>,
    pub(crate) now_ms: u64,
    pub(crate) read_only: bool,
    pub(crate) view: EntityView,
    pub(crate) pending: Option<Arc<Pending>>,
}

/// One invocation in progress.
pub(crate) struct Transaction {
    start: Start,
    clock: Arc<dyn Clock>,
    prefix: Vec<u8>,
    draft: Draft,
    written_bytes: usize,
    /// Log lines of a call that may yet start over on another thread; others leave at once.
    held: Option<Vec<(LogLevel, String)>>,
    /// The first read that failed: whatever the guest makes of it, the call came to nothing.
    unreadable: Option<ReadError>,
}

impl Transaction {
    /// Begins one; `trial` says that it may be taken back by [`Transaction::start_over`].
    pub(crate) fn new(start: Start, clock: Arc<dyn Clock>, trial: bool) -> Self {
        let prefix = keys::entity_prefix(&start.message.target);
        let held = trial.then(Vec::new);
        let draft = Draft::default();
        let (written_bytes, unreadable) = (0, None);
        Self { start, clock, prefix, draft, written_bytes, held, unreadable }
    }

    /// Takes it back: nothing of it happened.
    pub(crate) fn start_over(self) -> Start {
        self.start
    }

    /// Ends it: what it did, and the entity's version before it. Fails when any of its reads did.
    pub(crate) fn seal(mut self) -> Result<(Draft, u64), ReadError> {
        for (level, line) in self.held.take().unwrap_or_default() {
            self.log(level, &line);
        }
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        let version = self.start.view.version(&self.prefix)?;
        Ok((self.draft, version))
    }

    fn readable<T>(&mut self, read: Result<T, ReadError>) -> Result<T, Fault> {
        read.map_err(|error| {
            let fault = Fault::Host(error.to_string());
            self.unreadable.get_or_insert(error);
            fault
        })
    }

    fn writing(&self, what: &'static str) -> Result<(), Fault> {
        if self.start.read_only { Err(Fault::ReadOnly { what }) } else { Ok(()) }
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.written_bytes += bytes;
        limit("transaction bytes", self.written_bytes, limits::TRANSACTION_BYTES_MAX)
    }

    /// Holds the entity's size, with `bytes` at `key`, against its app's quota. What makes it no larger is allowed.
    fn count_state(&mut self, key: &[u8], bytes: usize) -> Result<(), Fault> {
        let Some(max) = self.start.app.config.quotas.state_bytes_max else { return Ok(()) };
        let all = match self.draft.state_bytes {
            Some(all) => all,
            None => self.measure_state()?,
        };
        let before = self.get(key)?.map_or(0, |value| (key.len() + value.len()) as u64);
        let after = all.saturating_sub(before) + bytes as u64;
        if after > max && after > all {
            self.start.app.metrics.over_quota(QuotaKind::StateBytes);
            return Err(Fault::Limit { what: "bytes of the entity's state", max });
        }
        self.draft.state_bytes = Some(after);
        Ok(())
    }

    /// Before the first write.
    fn measure_state(&mut self) -> Result<u64, Fault> {
        let size = self.start.view.size(&self.prefix);
        self.readable(size)
    }

    fn count_send(&self) -> Result<(), Fault> {
        let sends = self.draft.sends.len() + self.draft.timers.len() + self.draft.cancels.len();
        limit("messages and timers of one transaction", sends + 1, limits::TRANSACTION_SENDS_MAX)
    }

    /// A message to a command of this app; refuses what could never be handled.
    fn compose(
        &mut self,
        target: EntityRef,
        handler: &str,
        input: Vec<u8>,
        origin: Origin,
        then: Option<Continuation>,
    ) -> Result<Arc<Message>, Fault> {
        let bytes_max = self.start.app.config.quotas.message_bytes_max;
        limit("message body bytes", input.len(), bytes_max)
            .inspect_err(|_| self.start.app.metrics.over_quota(QuotaKind::MessageBytes))?;
        self.check_handler(target.kind(), handler)?;
        self.count_send()?;
        self.count_bytes(input.len())?;
        let then = then.map(|then| self.check_then(then)).transpose()?.map(Box::new);
        let id = MessageId::new(self.start.now_ms, &target, self.clock.chance());
        let (content_type, trace) = (None, spans::carried(self.start.span, &self.start.message));
        let (handler, input) = (handler.to_owned(), input.into());
        Ok(Arc::new(Message { id, target, handler, input, content_type, trace, origin, then }))
    }

    /// Refuses a handler that no message could call.
    fn check_handler(&self, kind: &str, handler: &str) -> Result<(), Fault> {
        let problem = match self.start.app.contract.handler(kind, handler) {
            Some(found) if found.kind.takes_messages() => return Ok(()),
            Some(_) => format!("{kind}.{handler} is a query; messages go to commands"),
            None => format!("the app has no command {handler:?} on type {kind:?}"),
        };
        Err(Fault::BadArgument(problem))
    }

    /// Refuses what could never be told of an end, and counts it.
    fn check_then(&mut self, then: Continuation) -> Result<Continuation, Fault> {
        self.check_handler(self.start.message.target.kind(), &then.handler)?;
        limit("continuation context bytes", then.context.len(), limits::CONTEXT_BYTES_MAX)?;
        let context = reply::context(&then.context);
        let context = context.map_err(|problem| Fault::BadArgument(problem.into()))?;
        let context = then.context.slice_ref(context);
        self.count_bytes(then.handler.len() + context.len())?;
        Ok(Continuation { context, ..then })
    }
}

impl EntityIo for Transaction {
    fn entity(&self) -> &EntityRef {
        &self.start.message.target
    }

    fn sender(&self) -> Option<&EntityRef> {
        self.start.message.sender()
    }

    fn message_id(&self) -> MessageId {
        self.start.message.id
    }

    fn attempt(&self) -> u32 {
        self.start.attempt
    }

    fn now_ms(&self) -> u64 {
        self.start.now_ms
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.clock.fill(bytes);
    }

    fn content_type(&self) -> Option<&str> {
        self.start.message.content_type.as_deref()
    }

    fn config(&self, name: &str) -> Option<String> {
        let App { config, secrets, .. } = &*self.start.app;
        let secret = || secrets.get(name).map(|secret| secret.reveal().to_owned());
        config.values.get(name).cloned().or_else(secret)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        if let Some(written) = self.draft.writes.get(key) {
            return Ok(written.clone());
        }
        let read = self.start.view.get(&self.prefix, key);
        self.readable(read)
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        self.writing("write")?;
        check_state_key(&key)?;
        limit("state value bytes", value.len(), limits::STATE_VALUE_BYTES_MAX)?;
        self.count_bytes(key.len() + value.len())?;
        self.count_state(&key, key.len() + value.len())?;
        self.draft.writes.insert(key.into(), Some(value.into()));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.writing("delete")?;
        check_state_key(key)?;
        self.count_bytes(key.len())?;
        self.count_state(key, 0)?;
        self.draft.writes.insert(Bytes::copy_from_slice(key), None);
        Ok(())
    }

    fn scan(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: u32,
        descending: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let bounds = ScanBounds {
            start,
            end,
            entries_max: (limit as usize).min(limits::SCAN_ENTRIES_MAX),
            bytes_max: limits::SCAN_BYTES_MAX,
            descending,
        };
        let read = self.start.view.scan(&self.prefix, &self.draft.writes, bounds);
        self.readable(read)
    }

    fn send(
        &mut self,
        kind: &str,
        key: &str,
        handler: &str,
        input: Vec<u8>,
        due: Due,
        then: Option<Continuation>,
    ) -> Result<MessageId, Fault> {
        self.writing("send")?;
        let sender = self.start.message.target.clone();
        let target = EntityRef::new(sender.app(), kind, key)
            .map_err(|error| Fault::BadArgument(error.to_string()))?;
        let message = self.compose(target, handler, input, Origin::Entity(sender), then)?;
        let id = message.id;
        self.draft.sends.push((message, due));
        Ok(id)
    }

    fn cancel(&mut self, id: &str) -> Result<bool, Fault> {
        self.writing("cancel a message")?;
        let id: MessageId =
            id.parse().map_err(|error: crate::ids::BadId| Fault::BadArgument(error.to_string()))?;
        let unsent = self.draft.sends.iter().position(|(message, due)| {
            let later = matches!(due, Due::AtMs(at) if *at > self.start.now_ms);
            message.id == id && later && message.callback().is_none()
        });
        if let Some(unsent) = unsent {
            self.draft.sends.remove(unsent);
            return Ok(true);
        }
        let pending = self.start.pending.as_ref();
        let found = pending.is_some_and(|pending| pending.delayed.contains_key(&id));
        if found {
            self.count_send()?;
        }
        Ok(found && self.draft.cancels.insert(id))
    }

    fn timer_set(
        &mut self,
        name: &str,
        handler: &str,
        input: Vec<u8>,
        due: Due,
    ) -> Result<(), Fault> {
        self.writing("set a timer")?;
        check_name("timer", name).map_err(|error| Fault::BadArgument(error.to_string()))?;
        let target = self.start.message.target.clone();
        let message = self.compose(target, handler, input, Origin::Timer(name.into()), None)?;
        let due_ms = match due {
            Due::Now => self.start.now_ms,
            Due::AtMs(at) => at.max(self.start.now_ms),
        };
        self.draft.timers.insert(name.into(), Some((message, due_ms)));
        limit("timers of one entity", self.timer_list()?.len(), limits::TIMERS_PER_ENTITY_MAX)
    }

    fn timer_cancel(&mut self, name: &str) -> Result<bool, Fault> {
        self.writing("cancel a timer")?;
        let committed = self.start.pending.as_ref().is_some_and(|p| p.timers.contains_key(name));
        let before = self.draft.timers.remove(name);
        if committed {
            self.count_send()?;
            self.draft.timers.insert(name.into(), None);
        }
        // Cancelling twice in one transaction: the second time there is nothing any more.
        Ok(before.map_or(committed, |before| before.is_some()))
    }

    fn timer_list(&mut self) -> Result<Vec<TimerInfo>, Fault> {
        let mut timers = BTreeMap::new();
        for (name, set) in self.start.pending.iter().flat_map(|pending| &pending.timers) {
            timers.extend(set.last().map(|timer| (name, (&timer.message.handler, timer.due_ms))));
        }
        for (name, change) in &self.draft.timers {
            match change {
                Some((message, due_ms)) => timers.insert(name, (&message.handler, *due_ms)),
                None => timers.remove(name),
            };
        }
        let infos = timers.into_iter().map(|(name, (handler, due_ms))| TimerInfo {
            name: name.clone(),
            handler: handler.clone(),
            due_ms,
        });
        Ok(infos.collect())
    }

    fn callback_create(&mut self, then: Continuation, expires: Due) -> Result<String, Fault> {
        self.writing("make a callback")?;
        let now_ms = self.start.now_ms;
        let wait_ms = match expires {
            Due::Now => 0,
            Due::AtMs(due_ms) => due_ms.saturating_sub(now_ms),
        };
        if u128::from(wait_ms) > limits::CALLBACK_TIME_MAX.as_millis() {
            let max = limits::CALLBACK_TIME_MAX.as_secs() / (24 * 3_600);
            return Err(Fault::Limit { what: "days until a callback expires", max });
        }
        let Continuation { handler, context, .. } = self.check_then(then)?;
        self.count_send()?;
        let target = self.start.message.target.clone();
        let mut secret = [0; 16];
        self.clock.fill(&mut secret);
        let id = MessageId::new(now_ms, &target, self.clock.chance());
        let token = CallbackToken::new(id, secret);
        let trace = spans::carried(self.start.span, &self.start.message);
        let message = callback::expiry(&token, target, (handler, &context), trace);
        self.draft.sends.push((Arc::new(message), expires));
        Ok(token.to_string())
    }

    fn callback_cancel(&mut self, token: &str) -> Result<bool, Fault> {
        self.writing("withdraw a callback")?;
        let token: CallbackToken = token
            .parse()
            .map_err(|error: crate::ids::BadId| Fault::BadArgument(error.to_string()))?;
        let id = token.id();
        let ours = |proof: &[u8; 32]| token.proves(proof);
        let unsent = self
            .draft
            .sends
            .iter()
            .position(|(message, _)| message.id == id && message.callback().is_some_and(ours));
        if let Some(unsent) = unsent {
            self.draft.sends.remove(unsent);
            return Ok(true);
        }
        let pending = self.start.pending.as_ref();
        let found = pending.and_then(|pending| pending.callbacks.get(&id)).is_some_and(ours);
        if found {
            self.count_send()?;
        }
        Ok(found && self.draft.cancels.insert(id))
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        if let Some(held) = &mut self.held {
            return held.push((level, line.to_owned()));
        }
        let message = &self.start.message;
        let (app, at_ms) = (&self.start.app, self.start.now_ms);
        app.logs.push(at_ms, level, &message.target, message.id, line);
        to_host_log(app, at_ms, level, line);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Passes a guest's line on to the host's own log, within bounds.
fn to_host_log(app: &App, at_ms: u64, level: LogLevel, line: &str) {
    let level = match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    if !logging::writes(level) {
        return;
    }
    let Some(left_out) = app.logs.shows(at_ms) else { return app.metrics.line_left_out() };
    if left_out > 0 {
        tracing::warn!(left_out, "lines of this app were left out here; `keystead logs` has them");
    }
    let bytes_max = limits::HOST_LOG_GUEST_LINE_BYTES_MAX;
    logging::guest_line(level, &line[..line.floor_char_boundary(bytes_max)]);
}

fn check_state_key(key: &[u8]) -> Result<(), Fault> {
    if key.is_empty() {
        return Err(Fault::BadArgument("a state key has at least 1 byte".into()));
    }
    limit("state key bytes", key.len(), limits::STATE_KEY_BYTES_MAX)
}

fn limit(what: &'static str, size: usize, max: usize) -> Result<(), Fault> {
    if size > max { Err(Fault::Limit { what, max: max as u64 }) } else { Ok(()) }
}

//! The host as a guest sees it: thin calls of the generated bindings.

use super::{Continuation, Due, Entry};
use crate::bindings::keystead::entity::{
    callbacks, context, log as logs, outbox, state, timers, types,
};
use crate::context::{EntityRef, PendingTimer};
use crate::log::Level;

pub(crate) fn self_ref() -> EntityRef {
    entity_ref(context::self_ref())
}

pub(crate) fn app() -> String {
    context::app()
}

pub(crate) fn sender() -> Option<EntityRef> {
    context::sender().map(entity_ref)
}

pub(crate) fn message_id() -> String {
    context::message_id()
}

pub(crate) fn attempt() -> u32 {
    context::attempt()
}

pub(crate) fn now_ms() -> u64 {
    context::now_ms()
}

pub(crate) fn random(len: u32) -> Vec<u8> {
    context::random(len)
}

pub(crate) fn content_type() -> Option<String> {
    context::content_type()
}

pub(crate) fn config(name: &str) -> Option<String> {
    context::config(name)
}

pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
    state::get(key)
}

pub(crate) fn set(key: &[u8], value: &[u8]) {
    state::set(key, value);
}

pub(crate) fn delete(key: &[u8]) {
    state::delete(key);
}

pub(crate) fn scan(start: &[u8], end: Option<&[u8]>, limit: u32, descending: bool) -> Vec<Entry> {
    let direction =
        if descending { state::Direction::Descending } else { state::Direction::Ascending };
    let page = state::scan(start, end, limit, direction);
    page.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

pub(crate) fn send(kind: &str, key: &str, handler: &str, input: &[u8], due: Due) -> String {
    let target = types::EntityRef { kind: kind.to_owned(), key: key.to_owned() };
    outbox::send(&target, handler, input, wit_due(due))
}

pub(crate) fn call_then(
    kind: &str,
    key: &str,
    handler: &str,
    input: &[u8],
    due: Due,
    then: &Continuation,
) -> String {
    let target = types::EntityRef { kind: kind.to_owned(), key: key.to_owned() };
    outbox::call_then(&target, handler, input, wit_due(due), &wit_continuation(then))
}

pub(crate) fn cancel(message_id: &str) -> bool {
    outbox::cancel(message_id)
}

pub(crate) fn callback_create(then: &Continuation, expires: Due) -> String {
    callbacks::create(&wit_continuation(then), wit_due(expires))
}

pub(crate) fn callback_cancel(token: &str) -> bool {
    callbacks::cancel(token)
}

pub(crate) fn timer_set(name: &str, handler: &str, input: &[u8], due: Due) {
    timers::set(name, handler, input, wit_due(due));
}

pub(crate) fn timer_cancel(name: &str) -> bool {
    timers::cancel(name)
}

pub(crate) fn timers() -> Vec<PendingTimer> {
    let row = |timer: timers::Timer| PendingTimer {
        name: timer.name,
        handler: timer.handler,
        due: crate::Timestamp::from_ms(timer.due_ms),
    };
    timers::pending().into_iter().map(row).collect()
}

pub(crate) fn log(level: Level, line: &str) {
    let level = match level {
        Level::Debug => logs::Level::Debug,
        Level::Info => logs::Level::Info,
        Level::Warn => logs::Level::Warn,
        Level::Error => logs::Level::Error,
    };
    logs::emit(level, line);
}

pub(crate) fn panicked(message: &str) {
    logs::panicked(message);
}

fn entity_ref(wit: types::EntityRef) -> EntityRef {
    EntityRef { kind: wit.kind, key: wit.key }
}

fn wit_continuation(then: &Continuation) -> types::Continuation {
    types::Continuation {
        handler: then.handler.to_owned(),
        context: then.context.clone(),
        patient: then.patient,
    }
}

fn wit_due(due: Due) -> types::Due {
    match due {
        Due::Now => types::Due::Now,
        Due::InMs(ms) => types::Due::InMs(ms),
        Due::AtMs(ms) => types::Due::AtMs(ms),
    }
}

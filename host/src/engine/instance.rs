//! One instance of a guest in a store of its own: made lazily inside the guarded part of a call, called, and
//! asked whether it may be used again. Invariant: whatever happens in a call, its `EntityIo` comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wasmtime::{Engine, Store, UpdateDeadline};

use super::bindings::{App, AppPre, keystead::entity::types};
use super::host::{Host, cut};
use super::ticker::{Deadline, Ticker};
use super::{Call, EntityIo, Failure, Fault, LogLevel, Outcome, Trap, outcome};
use crate::clock::Clock;
use crate::limits;

/// A store and what is in it.
pub(super) struct Instance {
    store: Store<Host>,
    exports: Option<App>,
    calls: u32,
    trapped: bool,
}

impl Instance {
    /// An empty store; the first call instantiates.
    pub(super) fn new(engine: &Engine, clock: Arc<dyn Clock>, memory_bytes_max: usize) -> Self {
        let mut store = Store::new(engine, Host::new(Deadline::new(clock), memory_bytes_max));
        store.limiter(|host| &mut host.limiter);
        store.epoch_deadline_callback(|mut store| {
            let over = store.data_mut().deadline.is_over();
            Ok(if over { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
        });
        store.set_hostcall_fuel(limits::HOST_CALL_BYTES_MAX);
        store.set_max_component_handles(limits::GUEST_HANDLES_MAX);
        Self { store, exports: None, calls: 0, trapped: false }
    }

    /// Whether a further call may use it.
    pub(super) fn is_reusable(&self) -> bool {
        !self.trapped
            && self.calls < limits::WARM_CALLS_MAX
            && self.memory_bytes() <= limits::WARM_MEMORY_BYTES_MAX
    }

    /// Bytes of its memories and tables.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.used
    }

    /// Runs a handler.
    pub(super) fn handle(
        &mut self,
        guest: &AppPre<Host>,
        ticker: &Ticker,
        call: &Call<'_>,
        io: Box<dyn EntityIo>,
    ) -> (Outcome, Box<dyn EntityIo>) {
        let begin = |host: &mut Host| host.enter(io, call.memory_bytes_max);
        let (result, io) = self.guarded(guest, ticker, call, begin, |exports, store| {
            exports.keystead_entity_handler().call_handle(store, call.handler, call.input)
        });
        let outcome = result.and_then(checked).unwrap_or_else(Outcome::Trapped);
        (outcome, io)
    }

    /// Asks the guest what it offers.
    pub(super) fn describe(
        &mut self,
        guest: &AppPre<Host>,
        ticker: &Ticker,
        call: &Call<'_>,
        io: Box<dyn EntityIo>,
    ) -> (Result<Vec<u8>, Trap>, Box<dyn EntityIo>) {
        let begin = |host: &mut Host| {
            host.enter(io, call.memory_bytes_max);
            host.describe_only();
        };
        self.guarded(guest, ticker, call, begin, |exports, store| {
            exports.keystead_entity_handler().call_describe(store)
        })
    }

    /// The one way into a guest: under a deadline, and with a panic of the host caught, for a mistake in a
    /// host call must not end the thread that runs other entities.
    fn guarded<R>(
        &mut self,
        guest: &AppPre<Host>,
        ticker: &Ticker,
        call: &Call<'_>,
        begin: impl FnOnce(&mut Host),
        run: impl FnOnce(&App, &mut Store<Host>) -> wasmtime::Result<R>,
    ) -> (Result<R, Trap>, Box<dyn EntityIo>) {
        begin(self.store.data_mut());
        self.store.data_mut().deadline.begin(call.deadline);
        self.store.set_epoch_deadline(1);
        self.calls += 1;
        let (store, exports) = (&mut self.store, &mut self.exports);
        let running = ticker.run();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let exports = match exports {
                Some(exports) => exports,
                None => exports.insert(guest.instantiate(&mut *store)?),
            };
            run(exports, store)
        }));
        drop(running);

        let host = self.store.data_mut();
        let panic = host.panic.take();
        let mut io = host.leave();
        let trap = match result {
            Ok(Ok(value)) => return (Ok(value), io),
            Ok(Err(error)) => {
                if let Some(backtrace) = outcome::backtrace(&error) {
                    io.log(LogLevel::Error, cut(&backtrace));
                }
                outcome::trap(&error, call, panic)
            }
            Err(panic) => {
                let what = panic_text(panic.as_ref());
                tracing::error!(what, "a host call panicked");
                Trap::Other(format!("the host panicked: {what}"))
            }
        };
        self.trapped = true;
        (Err(trap), io)
    }
}

/// Holds what the guest returned to the limits of a reply.
fn checked(result: Result<Vec<u8>, types::Failure>) -> Result<Outcome, Trap> {
    let over =
        |what| Trap::Misuse(Fault::Limit { what, max: limits::BODY_BYTES_MAX as u64 }.to_string());
    match result {
        Ok(reply) if reply.len() > limits::BODY_BYTES_MAX => Err(over("bytes of the reply")),
        Ok(reply) => Ok(Outcome::Reply(reply.into())),
        Err(failure) => {
            if failure.details.as_ref().is_some_and(|d| d.len() > limits::BODY_BYTES_MAX) {
                return Err(over("bytes of the failure's details"));
            }
            let code = &failure.code[..failure.code.floor_char_boundary(limits::NAME_BYTES_MAX)];
            Ok(Outcome::Failed(Failure {
                code: code.into(),
                message: cut(&failure.message).into(),
                details: failure.details.map(Into::into),
                retryable: failure.retryable,
            }))
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

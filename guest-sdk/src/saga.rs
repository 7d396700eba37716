//! Work across entities that is done as a whole or undone: a field of the type [`Saga`]. Not a transaction:
//! others see each step when it is done. Invariant: a saga that has not ended waits for exactly one reply, and
//! what it waits for is stored in the transaction that asked for it.

mod record;

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::entity::{Handlers, command};
use crate::host::{self, Continuation, Due};
use crate::input::{self, Json};
use crate::state::{put, read};
use crate::{Ctx, Error, Failure, FailureKind, Message, Reply, Result, Schema, Then};

use record::{Call, End, EndHandler, Failed, Input, Phase, Record, Step, shortened, with_reply};

/// The internal handler that hears of the steps.
pub(crate) const SAGA: &str = "keystead-saga";

/// Largest record of a saga: all messages of its steps with their inputs. It is written anew for each step.
pub const SAGA_BYTES_MAX: usize = 256 * 1024;

/// Steps at other entities, one after the other, of which either all are done or none remains.
///
/// Without a transaction across entities there is no way to take several decisions at once, but there is one to
/// take them one by one and to take them back: each step names the message that undoes it. When a step is
/// rejected, or parked because its attempts are used up, nothing of it is kept, and what was done before it is
/// undone in reverse. In between others see some steps done and others not, so an undo is new business, a
/// refund and not an erased payment, and a step that others must not build on yet is best a
/// [reservation](crate::Reservations).
///
/// The steps are stored with the entity, and the saga goes on from what is stored: nothing of it is in memory
/// between two steps. One runs in a field at a time; give each order an entity of its own.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// #[entity]
/// pub struct Account { balance: u64 }
///
/// #[handlers]
/// impl Account {
///     pub fn pay(&mut self, amount: u64) -> Result<()> {
///         ensure!(amount <= self.balance, code = "short", "only {} left", self.balance);
///         self.balance -= amount;
///         Ok(())
///     }
///     pub fn refund(&mut self, amount: u64) { self.balance += amount; }
///     pub fn balance(&self) -> u64 { self.balance }
/// }
///
/// #[entity]
/// pub struct Trip { state: String, booking: Saga }
///
/// #[handlers]
/// impl Trip {
///     pub fn book(&mut self, ctx: &Ctx) -> Result<()> {
///         self.booking.start(ctx)
///             .step("flight", Account::at("flights").pay(300)).undo(Account::at("flights").refund(300))
///             .step("hotel", Account::at("hotels").pay(200))
///             .end(Trip::reply().booked())
///     }
///
///     pub fn booked(&mut self, reply: Reply<()>) {
///         self.state = match reply {
///             Reply::Ok(()) => "booked".to_owned(),
///             Reply::Rejected(no) | Reply::Failed(no) => no.code,
///         };
///     }
///
///     pub fn state(&self) -> (String, SagaStatus) { (self.state.clone(), self.booking.status()) }
/// }
///
/// use keystead_sdk::testing::{World, json};
///
/// let mut world = World::new().with::<Account>().with::<Trip>();
/// world.call_typed(Account::at("flights").refund(1000)).unwrap();
/// world.call_typed(Trip::at("t1").book()).unwrap();
/// world.settle();
/// let (state, saga): (String, SagaStatus) = world.read("trip", "t1", "state", json!({})).unwrap();
/// assert_eq!(state, "short");
/// assert!(matches!(saga, SagaStatus::Undone { failed, .. } if failed == "hotel"));
/// assert_eq!(world.read::<u64>("account", "flights", "balance", json!({})).unwrap(), 1000);
/// ```
///
/// # What gets stuck
/// Everything that holds a saga up is a dead letter. An undo whose attempts are used up is one, and when it is
/// retried with success the saga goes on; when it is dropped, the saga goes on without it and says so in
/// [`SagaStatus::Undone`]. An undo that is rejected leaves nothing that could be retried: the saga sends a message
/// to its own entity, to the internal handler `keystead-saga`, which fails with the code `saga_stuck` as long as
/// the saga is [`SagaStatus::Stuck`] and so becomes a dead letter that names saga and step. Make the undo
/// possible, let a command of yours call [`undo_again`](Self::undo_again), and retry or drop the dead letter.
pub struct Saga {
    field: &'static str,
    /// `s/FIELD`
    key: Vec<u8>,
}

impl Saga {
    #[doc(hidden)]
    #[must_use]
    pub fn field(name: &'static str) -> Self {
        Self { field: name, key: format!("s/{name}").into_bytes() }
    }

    /// Begins a saga: name its steps, then [`end`](SagaSteps::end), which sends the first one.
    pub fn start<'s>(&'s mut self, ctx: &'s Ctx) -> SagaSteps<'s> {
        SagaSteps { saga: self, ctx, steps: Vec::new() }
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> SagaStatus {
        let Some(record) = self.record() else { return SagaStatus::Idle };
        let step = record.steps.get(record.at).map(|step| step.name.clone()).unwrap_or_default();
        match (record.phase, record.failed) {
            (Phase::Running, _) => SagaStatus::Running { step },
            (Phase::Undoing, Some(Failed { step: failed, failure })) => {
                SagaStatus::Undoing { step, failed, failure }
            }
            (Phase::Stuck(undo), Some(Failed { step: failed, failure })) => {
                SagaStatus::Stuck { step, undo, failed, failure }
            }
            (Phase::Undone, Some(Failed { step: failed, failure })) => {
                SagaStatus::Undone { failed, failure, given_up: record.given_up }
            }
            _ => SagaStatus::Done,
        }
    }

    /// Sends the undo that was rejected once more, after it was made possible; false when the saga is not
    /// [stuck](SagaStatus::Stuck).
    pub fn undo_again(&mut self, _ctx: &Ctx) -> bool {
        let Some(mut record) = self.record() else { return false };
        let is_stuck = matches!(record.phase, Phase::Stuck(_));
        if is_stuck {
            record.phase = Phase::Undoing;
            self.send(&mut record);
            put(&self.key, &record);
        }
        is_stuck
    }

    fn record(&self) -> Option<Record> {
        read(&self.key)
    }

    /// Takes the reply to a step or an undo, and goes on; gives the end when this was the last.
    fn hear(&mut self, ctx: &Ctx, heard: Heard<'_>) -> Result<Option<End>> {
        let record = self.record().filter(|record| record.asked == heard.asked);
        // Another one is a stuck saga's message, and the saga has gone on since.
        let Some(mut record) = record else { return Ok(None) };
        match (&record.phase, heard.reply.result()) {
            (Phase::Running, Ok(_)) => record.step_on(),
            (Phase::Running, Err(failure)) => {
                let step = record.name();
                record.failed = Some(Failed { step, failure: shortened(failure) });
                record.step_back();
            }
            (Phase::Undoing, Err(failure)) if failure.kind == FailureKind::Rejected => {
                record.phase = Phase::Stuck(shortened(failure));
                self.complain(ctx, &record);
            }
            (Phase::Undoing, undone) => {
                if undone.is_err() {
                    record.given_up.push(record.name());
                }
                record.step_back();
            }
            (Phase::Stuck(undo), _) => return Err(self.stuck(ctx, &record, undo)),
            (Phase::Done | Phase::Undone, _) => return Ok(None),
        }
        let end = record.take_end();
        if matches!(record.phase, Phase::Running | Phase::Undoing) {
            self.send(&mut record);
        }
        put(&self.key, &record);
        Ok(end)
    }

    /// Sends the step, or the undo, that the record says is next.
    fn send(&self, record: &mut Record) {
        record.asked += 1;
        let undo = record.phase == Phase::Undoing;
        let step = &record.steps[record.at];
        let Some(call) = (if undo { &step.undo } else { &step.call }) else { return };
        let then = Continuation {
            handler: SAGA,
            context: self.context(record),
            patient: undo || call.patient,
        };
        let (to, input) = (&call.to, call.input.bytes());
        host::call_then(&to.kind, &to.key, &call.handler, input, call.when.due(), &then);
    }

    /// Sends this entity what becomes a dead letter.
    fn complain(&self, ctx: &Ctx, record: &Record) {
        let Phase::Stuck(undo) = &record.phase else { return };
        let input = with_reply(&self.context(record), &Reply::Rejected(undo.clone()));
        let own = ctx.entity();
        host::send(&own.kind, &own.key, SAGA, &input, Due::Now);
    }

    fn stuck(&self, ctx: &Ctx, record: &Record, undo: &Failure) -> Error {
        let (saga, entity, step) = (self.field, ctx.entity(), record.name());
        let text =
            format!("saga `{saga}` of {entity}: undoing its step `{step}` was rejected: {undo}");
        Error::retryable(text).with_code("saga_stuck")
    }

    fn context(&self, record: &Record) -> Vec<u8> {
        let step: &dyn Json = &record.steps[record.at].name;
        input::object(&[("saga", &self.field), ("step", step), ("asked", &record.asked)])
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Saga({})", self.key.escape_ascii())
    }
}

/// How far a saga is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Schema)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum SagaStatus {
    /// None was started.
    Idle,
    /// It waits for this step to be done.
    Running {
        /// The step's name.
        step: String,
    },
    /// A step was not done, and it waits for the undo of another one.
    Undoing {
        /// The step that is being undone.
        step: String,
        /// The step that was not done.
        failed: String,
        /// Why.
        failure: Failure,
    },
    /// An undo was rejected, and it waits for [`Saga::undo_again`].
    Stuck {
        /// The step that could not be undone.
        step: String,
        /// Why.
        undo: Failure,
        /// The step that was not done.
        failed: String,
        /// Why.
        failure: Failure,
    },
    /// All steps are done.
    Done,
    /// A step was not done, and all that were are undone.
    Undone {
        /// The step that was not done.
        failed: String,
        /// Why.
        failure: Failure,
        /// Steps whose undo an operator dropped or cancelled: those are not undone.
        given_up: Vec<String>,
    },
}

/// A saga that is being put together: what is not ended has not begun.
#[derive(Debug)]
#[must_use = "a saga begins with .end(reply handler)"]
pub struct SagaSteps<'s> {
    saga: &'s mut Saga,
    ctx: &'s Ctx,
    steps: Vec<Step>,
}

impl<'s> SagaSteps<'s> {
    /// Adds a step: a message that is sent when the steps before it are done, and how it is
    /// [undone](SagaStep::undo). The name is for people. A [patient](Message::patient) message holds the saga up
    /// as a dead letter instead of failing it; [`after`](Message::after) counts from when it is sent.
    pub fn step<R>(mut self, name: impl Into<String>, message: Message<R>) -> SagaStep<'s> {
        let (name, call) = (name.into(), Some(Call::new(message)));
        self.steps.push(Step { name, call, undo: None });
        SagaStep(self)
    }

    /// Sends the first step with this transaction. When the saga has ended, `then`, a reply handler of this
    /// entity, is called in the transaction that ends it: with [`Reply::Ok`] when all steps are done, with the
    /// failure of the step that was not when all that were are undone.
    ///
    /// # Errors
    /// The rejections `saga_running` when one has not ended yet, `saga_empty` when it has no step, and
    /// `saga_too_large` when its record is larger than [`SAGA_BYTES_MAX`].
    ///
    /// # Panics
    /// When `then` belongs to another entity type.
    pub fn end(self, then: Then<()>) -> Result<()> {
        let Self { saga, ctx, steps } = self;
        let rejected = |code, text: &str| {
            let text = format!("saga `{}` of {} {text}", saga.field, ctx.entity());
            Err(Error::rejected(text).with_code(code))
        };
        let before = saga.record();
        if before.as_ref().is_some_and(|record| record.then.is_some()) {
            return rejected("saga_running", "has not ended yet");
        }
        if steps.is_empty() {
            return rejected("saga_empty", "has no step");
        }
        let Continuation { handler, context, .. } = then.of(&ctx.entity().kind, false);
        let mut record = Record {
            asked: before.map_or(0, |record| record.asked),
            phase: Phase::Running,
            at: 0,
            steps,
            then: Some(EndHandler { handler: handler.to_owned(), context: Input::new(context) }),
            failed: None,
            given_up: Vec::new(),
        };
        let bytes = serde_json::to_vec(&record)?.len();
        if bytes > SAGA_BYTES_MAX {
            let text = format!("has {bytes} bytes; at most {SAGA_BYTES_MAX} are stored");
            return rejected("saga_too_large", &text);
        }
        saga.send(&mut record);
        put(&saga.key, &record);
        Ok(())
    }
}

/// The last step of a saga that is being put together, and what undoes it. Every step but the saga's last one
/// says that, because one that comes later may not be done:
///
/// ```compile_fail,E0599
/// # use keystead_sdk::prelude::*;
/// # #[entity] pub struct Trip { booking: Saga }
/// # #[handlers] impl Trip {
/// # pub fn pay(&mut self) {}
/// # pub fn booked(&mut self, reply: Reply<()>) {}
/// pub fn book(&mut self, ctx: &Ctx) -> Result<()> {
///     self.booking.start(ctx)
///         .step("flight", Trip::at("flights").pay())
///         .step("hotel", Trip::at("hotels").pay())      // and if this one is rejected?
///         .end(Trip::reply().booked())
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "say how the step is undone: .undo(message) or .no_undo(); or .end(reply handler) the saga"]
pub struct SagaStep<'s>(SagaSteps<'s>);

impl<'s> SagaStep<'s> {
    /// The message that undoes the step. It has to succeed in the end: one that is rejected leaves the saga
    /// [stuck](Saga#what-gets-stuck).
    pub fn undo<R>(self, message: Message<R>) -> SagaSteps<'s> {
        let mut steps = self.0;
        if let Some(step) = steps.steps.last_mut() {
            step.undo = Some(Call::new(message));
        }
        steps
    }

    /// The step stays when a later one is not done.
    pub fn no_undo(self) -> SagaSteps<'s> {
        self.0
    }

    /// The same as [`SagaSteps::end`]: after the last step there is nothing that could fail.
    ///
    /// # Errors
    /// As there.
    pub fn end(self, then: Then<()>) -> Result<()> {
        self.0.end(then)
    }
}

/// The handler [`SAGA`]: a step or an undo has ended. Whatever it fails with is worth another attempt, because a
/// reply comes once.
pub(crate) fn advance<E: Handlers>(entity: &mut E, ctx: &Ctx, input: &[u8]) -> Result<Vec<u8>> {
    let stuck = |text: String| Error::retryable(text).with_code("saga_stuck");
    let heard: Heard<'_> = serde_json::from_slice(input)
        .map_err(|error| stuck(format!("this is no reply to a saga's step: {error}")))?;
    let name = heard.saga;
    let place = || format!("saga `{name}` of {}", ctx.entity());
    let Some(saga) = entity.saga(name) else {
        return Err(stuck(format!("{}: there is no such field any more", place())));
    };
    if let Some(end) = saga.hear(ctx, heard)? {
        let handler = &end.handler;
        let Some(run) = command::<E>(handler) else {
            return Err(stuck(format!("{}: there is no handler `{handler}` any more", place())));
        };
        run(entity, ctx, &end.input).map_err(|error| {
            let text = format!("{}: its end `{handler}` failed: {}", place(), error.message());
            Error::retryable(text).with_code(error.code().to_owned())
        })?;
    }
    Ok(b"null".to_vec())
}

/// Which message has ended, and how.
#[derive(Deserialize)]
struct Heard<'a> {
    saga: &'a str,
    asked: u64,
    reply: Reply<IgnoredAny>,
}

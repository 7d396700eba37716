//! A saga as it is stored with its entity: one JSON value, which people can read. What it decides is where the
//! saga goes next; it sends nothing. Invariant: one that has ended keeps neither steps nor end.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::host::Due;
use crate::{Bytes, EntityRef, Failure, FailureKind, Message, Reply};

/// Largest details of a failure that are kept; larger ones are left out.
const DETAILS_BYTES_MAX: usize = 16 * 1024;
/// Longest text of a failure that is kept; the rest is cut.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// What is left to do in the transaction that ends a saga.
pub(super) struct End {
    pub(super) handler: String,
    pub(super) input: Vec<u8>,
}

/// A saga as it is stored; an ended one has no steps.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// Counts the messages of this field's sagas; the last one is waited for.
    pub(super) asked: u64,
    pub(super) phase: Phase,
    /// The position of its step.
    pub(super) at: usize,
    pub(super) steps: Vec<Step>,
    /// What is called at the end; none when it was.
    pub(super) then: Option<EndHandler>,
    pub(super) failed: Option<Failed>,
    pub(super) given_up: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Running,
    Undoing,
    /// Why the undo was rejected.
    Stuck(Failure),
    Done,
    Undone,
}

impl Record {
    /// The name of the step that is waited for.
    pub(super) fn name(&self) -> String {
        self.steps[self.at].name.clone()
    }

    pub(super) fn step_on(&mut self) {
        self.at += 1;
        if self.at == self.steps.len() {
            self.phase = Phase::Done;
        }
    }

    /// To the undo of the last step before this one that has any.
    pub(super) fn step_back(&mut self) {
        let undo = self.steps[..self.at].iter().rposition(|step| step.undo.is_some());
        self.phase = if undo.is_some() { Phase::Undoing } else { Phase::Undone };
        self.at = undo.unwrap_or_default();
    }

    /// The end, when it has come: its input, and the steps forgotten.
    pub(super) fn take_end(&mut self) -> Option<End> {
        if !matches!(self.phase, Phase::Done | Phase::Undone) {
            return None;
        }
        self.steps = Vec::new();
        let EndHandler { handler, context } = self.then.take()?;
        let reply = match &self.failed {
            None => Reply::Ok(()),
            Some(Failed { failure, .. }) if failure.kind == FailureKind::Rejected => {
                Reply::Rejected(failure.clone())
            }
            Some(Failed { failure, .. }) => Reply::Failed(failure.clone()),
        };
        Some(End { handler, input: with_reply(context.bytes(), &reply) })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) call: Option<Call>,
    pub(super) undo: Option<Call>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EndHandler {
    pub(super) handler: String,
    pub(super) context: Input,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) step: String,
    pub(super) failure: Failure,
}

/// A message as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) to: EntityRef,
    pub(super) handler: String,
    pub(super) input: Input,
    pub(super) when: When,
    pub(super) patient: bool,
}

impl Call {
    pub(super) fn new<R>(message: Message<R>) -> Self {
        let Message { kind, key, handler, input, due, patient, .. } = message;
        let to = EntityRef { kind: kind.to_owned(), key };
        let (handler, input) = (handler.to_owned(), Input::new(input));
        Self { to, handler, input, when: When::new(due), patient }
    }
}

/// A message's input: JSON, so that people can read what is stored, or other bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Input {
    Json(Box<RawValue>),
    Bytes(Bytes),
}

impl Input {
    pub(super) fn new(input: Vec<u8>) -> Self {
        let json: Option<&RawValue> = serde_json::from_slice(&input).ok();
        match json {
            // Spaces around a value are part of a body, and not of the JSON.
            Some(json) if json.get().len() == input.len() => Self::Json(json.to_owned()),
            _ => Self::Bytes(Bytes(input)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Json(json) => json.get().as_bytes(),
            Self::Bytes(bytes) => &bytes.0,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    Now,
    AfterMs(u64),
    AtMs(u64),
}

impl When {
    pub(super) fn new(due: Due) -> Self {
        match due {
            Due::Now => Self::Now,
            Due::InMs(ms) => Self::AfterMs(ms),
            Due::AtMs(ms) => Self::AtMs(ms),
        }
    }

    pub(super) fn due(self) -> Due {
        match self {
            Self::Now => Due::Now,
            Self::AfterMs(ms) => Due::InMs(ms),
            Self::AtMs(ms) => Due::AtMs(ms),
        }
    }
}

/// A failure of a size that can be stored.
pub(super) fn shortened(mut failure: Failure) -> Failure {
    failure.details = failure.details.filter(|details| details.len() <= DETAILS_BYTES_MAX);
    for text in [&mut failure.code, &mut failure.message] {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    failure
}

/// The input of a reply handler: its context with the reply.
pub(super) fn with_reply(context: &[u8], reply: &Reply<()>) -> Vec<u8> {
    let members = context.strip_suffix(b"}").unwrap_or(b"{");
    let comma: &[u8] = if members == b"{" { b"" } else { b"," };
    let reply = serde_json::to_vec(reply);
    let reply = reply.unwrap_or_else(|error| panic!("a reply has no JSON form: {error}"));
    [members, comma, br#""reply":"#, &reply, b"}"].concat()
}

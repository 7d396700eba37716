//! The spans of turns: where a handler's call stands in the chain that led to it, and what is told of it when it has
//! ended. Looks and never decides; without a collector it costs a look at the message.

use std::time::Duration;

use super::core::Work;
use super::executor::Verdict;
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::logging::Subject;
use crate::metrics::GuestEnd;
use crate::record::message::{Message, Origin};
use crate::trace::{self, Context, Span, What};

/// The span of an attempt.
pub(crate) fn of(work: &Work, message: &Message, attempt: u32) -> Option<Context> {
    let seq = match work {
        Work::Command(entry) => entry.seq,
        Work::Query(_) => 0,
    };
    attempted(message, seq, attempt)
}

/// The span of an attempt at the message that stands at `seq` in its mailbox.
pub(crate) fn attempted(message: &Message, seq: u64, attempt: u32) -> Option<Context> {
    let traceparent = message.trace.as_deref()?;
    trace::turn(Some(traceparent), message.id, seq, attempt)
}

/// What a message carries that is sent from this span, while `handled` is handled.
pub(crate) fn carried(span: Option<Context>, handled: &Message) -> Option<String> {
    span.map(|span| span.to_string()).or_else(|| handled.trace.clone())
}

/// A turn has ended.
pub(crate) fn ended(
    span: Option<Context>,
    message: &Message,
    attempt: u32,
    verdict: &Verdict,
    (began, ended): (Duration, Duration),
) {
    let Some(context) = span else { return };
    if matches!(verdict, Verdict::Outdated(..) | Verdict::Unreadable(_)) {
        // It runs again, as if it never had.
        return;
    }
    let origin = match &message.origin {
        Origin::Ingress { .. } => "ingress",
        Origin::Entity(_) => "entity",
        Origin::Timer(_) => "timer",
        Origin::Callback { .. } => "callback",
    };
    let outcome = match verdict.end() {
        GuestEnd::Done => "done",
        GuestEnd::Rejected => "rejected",
        GuestEnd::Failed => "failed",
        GuestEnd::Trapped => "trapped",
    };
    let error = if let Verdict::Failed(failure) = verdict {
        let mut text = failure.to_string();
        text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES_MAX));
        Some(text)
    } else {
        None
    };
    let parent = message.trace.as_deref().and_then(|text| text.parse::<Context>().ok());
    trace::ended(Span {
        context,
        parent: parent.map(|parent| parent.span),
        began,
        ended,
        entity: message.target.clone(),
        handler: message.handler.clone(),
        what: What::Turn { message: message.id, attempt, origin, outcome, error },
    });
}

impl Subject for Message {
    fn entity(&self) -> &EntityRef {
        &self.target
    }

    fn message(&self) -> MessageId {
        self.id
    }

    fn traceparent(&self) -> Option<&str> {
        self.trace.as_deref()
    }
}

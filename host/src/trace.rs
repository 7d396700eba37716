//! One causal chain through any number of entities is one trace: what a span is, how its place in the chain travels
//! (W3C Trace Context), and the bounded queue that finished ones wait in. Knows nothing of who collects them.
//! Invariant: a message carries the span of the turn that sent it, so what a crash undid left nobody behind.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::metrics::{self, SpanEnd};

/// A place in a trace, as `traceparent` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// Whether whoever began it wants it recorded.
    pub sampled: bool,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for Context {
    type Err = ();

    /// Reads `VERSION-TRACE-SPAN-FLAGS`; what a later version adds is ignored, as the standard asks.
    fn from_str(text: &str) -> Result<Self, ()> {
        let part = |at| text.get(at).ok_or(());
        let hex = |at| u64::from_str_radix(part(at)?, 16).map_err(|_| ());
        let trace = u128::from_str_radix(part(3..35)?, 16).map_err(|_| ())?;
        let (span, flags) = (hex(36..52)?, hex(53..55)?);
        let whole = trace != 0 && span != 0;
        whole.then_some(Self { trace, span, sampled: flags & 1 == 1 }).ok_or(())
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its own place.
    pub context: Context,
    /// The span that caused it, of the same trace; none for the first of all.
    pub parent: Option<u64>,
    /// When it began, in monotonic time.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// Whom it was about.
    pub entity: EntityRef,
    /// The handler's name.
    pub handler: String,
    /// What it was.
    pub what: What,
}

/// What took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A request from outside.
    Request {
        /// `call`, `send` or `read`.
        verb: &'static str,
        /// HTTP's method.
        method: &'static str,
        /// HTTP's status.
        status: u16,
    },
    /// One call of a handler.
    Turn {
        /// The message that it handled.
        message: MessageId,
        /// 1 for the first.
        attempt: u32,
        /// Where the message came from: `ingress`, `entity`, `timer` or `callback`.
        origin: &'static str,
        /// How it ended: `done`, `rejected`, `failed` or `trapped`.
        outcome: &'static str,
        /// Why, when it failed.
        error: Option<String>,
    },
}

/// Whether spans are collected.
#[must_use]
pub fn on() -> bool {
    QUEUE.get().is_some()
}

/// Collects spans from now on, and of chains that begin here this share, from 0 to 1. `None` when that was said
/// before: spans are the process's, like its log.
#[must_use]
pub fn collect(ratio: f64) -> Option<mpsc::Receiver<Span>> {
    let (spans, collected) = mpsc::channel(limits::TRACE_QUEUE_MAX);
    QUEUE.set(Queue { spans, ratio }).ok().map(|()| collected)
}

/// The span of a request that came with this `traceparent`, and its parent: none unless it is to be recorded. Who
/// began the chain decides that for all of it.
#[must_use]
pub fn begin(traceparent: Option<&str>, clock: &dyn Clock) -> Option<(Context, Option<u64>)> {
    let queue = QUEUE.get()?;
    if let Some(caller) = traceparent.and_then(|text| text.parse::<Context>().ok()) {
        let context = Context { span: not_zero(clock.chance()), ..caller };
        return caller.sampled.then_some((context, Some(caller.span)));
    }
    let low = clock.chance();
    if !is_sampled(low, queue.ratio) {
        return None;
    }
    let trace = u128::from(not_zero(clock.chance())) << 64 | u128::from(low);
    Some((Context { trace, span: not_zero(clock.chance()), sampled: true }, None))
}

/// The span of one attempt at a message that carries `traceparent`: none unless it is to be recorded. `seq` is the
/// message's place in its mailbox, which is another one when an operator sends it again. The same attempt has the
/// same span also after a crash.
#[must_use]
pub fn turn(
    traceparent: Option<&str>,
    message: MessageId,
    seq: u64,
    attempt: u32,
) -> Option<Context> {
    let caller = traceparent.filter(|_| on())?.parse::<Context>().ok()?;
    let mut which = [0; 28];
    which[..16].copy_from_slice(&message.0.to_be_bytes());
    which[16..24].copy_from_slice(&seq.to_be_bytes());
    which[24..].copy_from_slice(&attempt.to_be_bytes());
    let mut span = [0; 8];
    blake3::Hasher::new().update(&which).finalize_xof().fill(&mut span);
    let span = not_zero(u64::from_be_bytes(span));
    caller.sampled.then_some(Context { span, ..caller })
}

/// A span has ended. Never waits: without room it is dropped and counted.
pub fn ended(span: Span) {
    let Some(queue) = QUEUE.get() else { return };
    if queue.spans.try_send(span).is_err() {
        metrics::spans(SpanEnd::Dropped, 1);
    }
}

struct Queue {
    spans: mpsc::Sender<Span>,
    ratio: f64,
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// As other implementations decide by a trace's id, so that hosts agree about one.
fn is_sampled(low: u64, ratio: f64) -> bool {
    let below = (ratio.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64;
    low >> 1 < below
}

/// An id that is zero means none.
fn not_zero(id: u64) -> u64 {
    id.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_place_is_read_and_written() {
        let context: Context = TEXT.parse().expect("valid");
        assert_eq!(context.to_string(), TEXT);
        assert!(context.sampled);
        let later = format!("cc{}-more", TEXT[2..].replace("-01", "-02"));
        assert_eq!(later.parse(), Ok(Context { sampled: false, ..context }));
        for bad in ["", "00", &TEXT[..54], &TEXT.replace("00f067aa0ba902b7", &"0".repeat(16))] {
            assert_eq!(bad.parse::<Context>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn the_share_of_new_chains_is_about_the_ratio() {
        let clock = ManualClock::new(0, 7);
        for ratio in [0.0, 0.1, 0.5, 1.0] {
            let sampled = (0..10_000).filter(|_| is_sampled(clock.chance(), ratio)).count() as f64;
            assert!((sampled / 10_000.0 - ratio).abs() < 0.02, "{sampled} at {ratio}");
        }
    }

    /// The only test that collects: that is the process's.
    #[test]
    fn spans_follow_who_began_the_chain_and_what_has_no_room_is_dropped() {
        let clock = ManualClock::new(0, 1);
        assert_eq!((begin(Some(TEXT), &clock), turn(Some(TEXT), MessageId(1), 2, 3)), (None, None));
        let mut collected = collect(0.0).expect("the first");
        assert!(collect(1.0).is_none());
        let caller: Context = TEXT.parse().expect("valid");
        let (request, parent) = begin(Some(TEXT), &clock).expect("sampled");
        assert_eq!((request.trace, parent), (caller.trace, Some(caller.span)));
        assert_ne!(request.span, caller.span);
        let unsampled = TEXT.replace("-01", "-00");
        assert_eq!(begin(Some(&unsampled), &clock), None);
        assert_eq!(begin(None, &clock), None, "the ratio is 0");
        assert_eq!(turn(Some(&unsampled), MessageId(1), 2, 3), None);
        assert_eq!(turn(None, MessageId(1), 2, 3), None);
        let first = turn(Some(TEXT), MessageId(1), 2, 3).expect("sampled");
        assert_eq!(turn(Some(TEXT), MessageId(1), 2, 3), Some(first));
        for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            let other = turn(Some(TEXT), MessageId(other.0), other.1, other.2).expect("sampled");
            assert!(other.trace == first.trace && other.span != first.span);
        }
        let entity = EntityRef::new("app", "type", "key").expect("valid");
        let what = What::Request { verb: "call", method: "POST", status: 200 };
        let (began, ended_at) = (Duration::ZERO, Duration::ZERO);
        let handler = "h".to_owned();
        let span = Span { context: first, parent, began, ended: ended_at, entity, handler, what };
        for _ in 0..limits::TRACE_QUEUE_MAX + 5 {
            ended(span.clone());
        }
        assert_eq!(collected.len(), limits::TRACE_QUEUE_MAX);
        assert_eq!(collected.try_recv(), Ok(span));
    }
}

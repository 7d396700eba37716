//! The host's own log: one line for each event, as text for people or JSON for programs. A line that is written while
//! a handler runs, whoever writes it, says for which app, entity and message. Invariant: one event is one line, whatever
//! a guest or a client put into it.

use std::cell::RefCell;
use std::fmt;
use std::io::IsTerminal;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::ids::{EntityRef, MessageId};
use crate::trace::Context;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What lines of guests have for a target.
pub const GUEST: &str = "guest";

/// Writes lines to standard error from now on: the host's and its guests' up to `level`; of libraries warnings only,
/// but for `trace`, which is everything.
pub fn start(level: LevelFilter, format: Format) {
    let libraries = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let filter = Targets::new()
        .with_default(libraries)
        .with_target("keystead", level)
        .with_target(GUEST, level);
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines(format))
        .with_ansi(format == Format::Text && std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// Whether lines of this level are written.
#[must_use]
pub fn writes(level: Level) -> bool {
    level <= LevelFilter::current()
}

/// Writes a line of a guest.
pub fn guest_line(level: Level, line: &str) {
    match level {
        Level::ERROR => tracing::error!(target: GUEST, "{line}"),
        Level::WARN => tracing::warn!(target: GUEST, "{line}"),
        Level::INFO => tracing::info!(target: GUEST, "{line}"),
        _ => tracing::debug!(target: GUEST, "{line}"),
    }
}

/// What a turn is about.
pub trait Subject: Send + Sync {
    /// Whose turn it is.
    fn entity(&self) -> &EntityRef;
    /// The message that is handled.
    fn message(&self) -> MessageId;
    /// Its `traceparent`.
    fn traceparent(&self) -> Option<&str>;
}

/// Lines of this thread are about this turn as long as the answer lives.
#[must_use]
pub fn turn(subject: Arc<dyn Subject>, attempt: u32) -> Entered {
    Entered(TURN.replace(Some((subject, attempt))), PhantomData)
}

/// A turn that lines of this thread are about, and the one they were about before.
pub struct Entered(Option<Turn>, PhantomData<*const ()>);

impl Drop for Entered {
    fn drop(&mut self) {
        TURN.set(self.0.take());
    }
}

type Turn = (Arc<dyn Subject>, u32);

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.turn();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let meta = event.metadata();
        let line = match self.0 {
            Format::Json => json(&time, *meta.level(), meta.target(), fields),
            Format::Text => {
                let colours = writer.has_ansi_escapes();
                text(&time, *meta.level(), meta.target() == GUEST, &fields, colours)
            }
        };
        writeln!(writer, "{line}")
    }
}

/// What an event says, its sentence apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds whose turn it is.
    fn turn(&mut self) {
        let turn = TURN.with_borrow(Clone::clone);
        let Some((subject, attempt)) = turn else { return };
        let entity = subject.entity();
        self.others.push(("app", entity.app().into()));
        self.others.push(("entity", entity.to_string().into()));
        self.others.push(("message_id", subject.message().to_string().into()));
        self.others.push(("attempt", attempt.into()));
        let context = subject.traceparent().and_then(|text| text.parse::<Context>().ok());
        if let Some(context) = context {
            self.others.push(("trace_id", format!("{:032x}", context.trace).into()));
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

fn json(time: &str, level: Level, target: &str, fields: Fields) -> String {
    let mut line = Map::new();
    line.insert("timestamp".into(), time.into());
    line.insert("level".into(), level.as_str().into());
    line.insert("target".into(), target.into());
    line.insert("message".into(), fields.message.into());
    for (name, value) in fields.others {
        line.insert(name.into(), value);
    }
    Value::Object(line).to_string()
}

fn text(time: &str, level: Level, guest: bool, fields: &Fields, colours: bool) -> String {
    let colour = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    let mut line = if colours {
        format!("\x1b[2m{time}\x1b[0m \x1b[{colour}m{level:>5}\x1b[0m ")
    } else {
        format!("{time} {level:>5} ")
    };
    line.push_str(if guest { "guest: " } else { "" });
    plain(&mut line, &fields.message);
    for (name, value) in &fields.others {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) => plain(&mut line, text),
            other => plain(&mut line, &other.to_string()),
        }
    }
    line
}

/// Adds a text with what would break a line or command a terminal escaped.
fn plain(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Told(EntityRef);

    impl Subject for Told {
        fn entity(&self) -> &EntityRef {
            &self.0
        }

        fn message(&self) -> MessageId {
            MessageId(7)
        }

        fn traceparent(&self) -> Option<&str> {
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        }
    }

    /// What a thread writes while `log` runs.
    fn written(format: Format, log: impl FnOnce()) -> Vec<String> {
        let bytes = Arc::new(Mutex::new(vec![]));
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Lines(format))
            .with_ansi(false)
            .with_writer(Arc::new(Sink(bytes.clone())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        let text = String::from_utf8(bytes.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for &Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn events() {
        let key = "a\nb\u{1b}[2J";
        let subject = Arc::new(Told(EntityRef::new("bank", "account", key).expect("valid")));
        tracing::info!(n = 1, "before");
        let outer = turn(subject.clone(), 3);
        drop(turn(subject, 4));
        tracing::warn!(target: GUEST, why = %"x\ny", "it \"said\"\r\nthis");
        drop(outer);
        tracing::error!("after");
    }

    #[test]
    fn a_turns_lines_say_whose_they_are_and_stay_lines() {
        let lines = written(Format::Text, events);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].ends_with("  INFO before n=1"), "{}", lines[0]);
        let expected = "  WARN guest: it \"said\"\\r\\nthis why=x\\ny app=bank entity=bank/account/a\\nb\\u{1b}[2J \
                        message_id=msg_00000000000000000000000000000007 attempt=3 \
                        trace_id=4bf92f3577b34da6a3ce929d0e0e4736";
        assert!(lines[1].ends_with(expected), "{}", lines[1]);
        assert!(lines[2].ends_with(" ERROR after"), "{}", lines[2]);
    }

    #[test]
    fn json_lines_have_the_same_as_members() {
        let lines = written(Format::Json, events);
        let lines: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0]["message"], &lines[0]["n"]), (&"before".into(), &1.into()));
        let told = &lines[1];
        assert_eq!(told["message"], "it \"said\"\r\nthis");
        assert_eq!((&told["level"], &told["target"]), (&"WARN".into(), &"guest".into()));
        assert_eq!(told["entity"], "bank/account/a\nb\u{1b}[2J");
        assert_eq!((&told["app"], &told["attempt"]), (&"bank".into(), &3.into()));
        assert_eq!(told["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(lines[2].get("app").is_none() && lines.len() == 3);
    }
}

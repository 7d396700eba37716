//! What verbs print: tables and sentences for people, JSON for programs. It decides no wording of answers.
//! Invariant: text that came from elsewhere reaches a terminal without control characters.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::limits;

/// Where answers go, and in which form.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    /// Where stdout's bytes go instead, so that tests can look at them.
    captured: Option<Mutex<Vec<u8>>>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, captured: None }
    }

    /// True when a person reads it.
    pub(super) fn is_for_people(&self) -> bool {
        !self.json
    }

    /// The document for programs, or what `people` makes of it.
    pub(super) fn document(
        &self,
        document: &Value,
        people: impl FnOnce(&Value) -> String,
    ) -> io::Result<()> {
        if self.json { self.line(&document.to_string()) } else { self.line(&people(document)) }
    }

    /// One line or block on stdout, flushed.
    pub(super) fn line(&self, text: &str) -> io::Result<()> {
        self.body(text.as_bytes(), true)
    }

    /// A body as it came; text gets a newline at its end.
    pub(super) fn body(&self, body: &[u8], is_text: bool) -> io::Result<()> {
        let end: &[u8] = if is_text && !body.ends_with(b"\n") { b"\n" } else { b"" };
        if let Some(captured) = &self.captured {
            let mut captured = captured.lock().unwrap_or_else(PoisonError::into_inner);
            captured.extend([body, end].concat());
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(body)?;
        stdout.write_all(end)?;
        stdout.flush()
    }

    /// A remark for people, on stderr; programs do not get it.
    pub(super) fn note(&self, text: &str) {
        if !self.json && self.captured.is_none() {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Why the verb failed, on stderr: a sentence, or the problem document for programs.
    pub(super) fn error(&self, error: &anyhow::Error, problem: Option<&Value>) {
        let text = if self.json {
            let own = || json!({"code": "failed", "detail": format!("{error:#}")});
            problem.cloned().unwrap_or_else(own).to_string()
        } else {
            format!("error: {}", plain_lines(&format!("{error:#}")))
        };
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// A spinner for a long step; silent unless a person looks at a terminal.
    pub(super) fn spinner(&self, step: &str) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner().with_message(step.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(limits::SPINNER_TICK);
        bar
    }
}

#[cfg(test)]
impl Output {
    pub(super) fn captured(json: bool) -> Self {
        Self { json, captured: Some(Mutex::default()) }
    }

    pub(super) fn text(self) -> String {
        let bytes = self.captured.expect("captured").into_inner().expect("unpoisoned");
        String::from_utf8(bytes).expect("UTF-8")
    }
}

/// True when the error is that nobody reads stdout any more (`keystead logs | head`).
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(io)
}

/// A table without lines: bold nothing, colour nothing, so that it can be cut and pasted.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Name and value pairs, one a line, values aligned.
pub(super) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let _ = writeln!(text, "{name:width$}  {}", plain(value));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The text of a member: strings bare, nothing for null, anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The members of an array; none for anything else.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `text` as one word of a shell's command line.
pub(super) fn shell(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Milliseconds since 1970 as RFC 3339.
pub(super) fn time(ms: &Value) -> String {
    ms.as_i64()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| text(ms), |at| at.to_string())
}

/// A size for people.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// How long something took.
pub(super) fn took(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `text` with control characters spelled out, so that it cannot drive a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_plain() {
        let rows = vec![
            vec!["bank".into(), "1".into()],
            vec!["a\u{1b}[31m".into(), "22".into()],
            vec!["line\nbreak".into(), "é".into()],
        ];
        let expected = "APP          N\n\
                        bank         1\n\
                        a\\u{1b}[31m  22\n\
                        line\\nbreak  é";
        assert_eq!(table(&["app", "n"], &rows), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(table(&["app", "version"], &[]), "APP  VERSION");
    }

    #[test]
    fn fields_are_aligned() {
        let pairs = [("id", "7".to_owned()), ("reason", "no\tway".to_owned())];
        assert_eq!(fields(&pairs), "id      7\nreason  no\\tway");
    }

    #[test]
    fn members_read_well() {
        assert_eq!(text(&json!("x")), "x");
        assert_eq!(text(&json!(null)), "-");
        assert_eq!(text(&json!({"a": 1})), r#"{"a":1}"#);
        assert_eq!(time(&json!(1_700_000_000_123_u64)), "2023-11-14T22:13:20.123Z");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(83_637), "81.7 KiB");
        assert_eq!(size(3 << 20), "3.0 MiB");
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell("a-b/c"), "a-b/c");
        assert_eq!(shell(r#"{"a":1}"#), r#"'{"a":1}'"#);
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn a_closed_pipe_is_seen_through_context() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("row");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("else")));
    }
}

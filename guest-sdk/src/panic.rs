//! The panic hook of a guest: hands message and place to the host before the trap. It formats into a
//! fixed buffer, because a panic may come from running out of memory.

use std::fmt::{self, Write};

/// Longest report; the rest is cut.
const REPORT_BYTES_MAX: usize = 1024;

/// Makes this the process's panic hook.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install() {
    // A closure without captures is a box without memory.
    std::panic::set_hook(Box::new(|info| {
        let mut report = Report::new();
        write_info(&mut report, info);
        crate::host::panicked(report.as_str());
    }));
}

/// `message, at file:line:column`.
fn write_info(report: &mut Report, info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked");
    let _ = report.write_str(message);
    if let Some(place) = info.location() {
        let _ = write!(report, ", at {place}");
    }
}

/// Text in a fixed buffer; what is too long is cut at a character.
struct Report {
    bytes: [u8; REPORT_BYTES_MAX],
    len: usize,
}

impl Report {
    fn new() -> Self {
        Self { bytes: [0; REPORT_BYTES_MAX], len: 0 }
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(REPORT_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + room].copy_from_slice(&text.as_bytes()[..room]);
        self.len += room;
        if room == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reports_are_cut_at_a_character() {
        let mut report = Report::new();
        assert!(report.write_str(&"x".repeat(REPORT_BYTES_MAX - 3)).is_ok());
        assert!(report.write_str("é").is_ok());
        assert!(report.write_str("é").is_err());
        assert!(report.write_str("").is_ok());
        assert_eq!(report.as_str().len(), REPORT_BYTES_MAX - 1);
        assert!(report.as_str().ends_with("xé"));
    }

    #[test]
    fn reports_have_message_and_place() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let mut report = Report::new();
            write_info(&mut report, info);
            let _ = sender.send(report.as_str().to_owned());
        }));
        let panicked = std::thread::spawn(|| panic!("balance of {}", "alice")).join();
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let reports: Vec<_> = receiver.try_iter().collect();
        let own = reports.iter().find(|report| report.starts_with("balance of alice, at "));
        assert!(own.is_some_and(|report| report.contains("panic.rs:")), "{reports:?}");
    }
}

//! The least of HTTP/1.1 that a load generator needs: requests as bytes, and the head of an answer. It is not
//! a client for anything else: answers must say their length. Invariant: an answer is taken as whole only when
//! its status line, its `content-length` and that many bytes are there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail, ensure};

use crate::limits;

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Bytes of the head, with its empty line.
    pub(super) head_bytes: usize,
    pub(super) body_bytes: usize,
    /// The server closes the connection after this answer.
    pub(super) closes: bool,
}

impl Head {
    /// Bytes of the whole answer.
    pub(super) fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("its status line is not HTTP/1.1's: {0:?}")]
    StatusLine(String),
    #[error("its header line {0:?} cannot be read")]
    Header(String),
    #[error("it has no content-length, or one that says two things")]
    Length,
    #[error("its head has more than {} bytes", limits::BENCH_HEAD_BYTES_MAX)]
    TooLong,
}

/// Reads the head of an answer at the start of `buffer`; `None` when it is not whole yet.
pub(super) fn head(buffer: &[u8]) -> Result<Option<Head>, BadAnswer> {
    let mut at = 0;
    let mut status = None;
    let mut length = None;
    let mut closes = false;
    while let Some(end) = buffer[at..].iter().position(|&byte| byte == b'\n') {
        let line = &buffer[at..at + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += end + 1;
        let Some(status) = status else {
            status = Some(status_line(line)?);
            continue;
        };
        if line.is_empty() {
            let body_bytes = match (status, length) {
                (204 | 304, _) => 0,
                (_, Some(length)) => length,
                (_, None) => return Err(BadAnswer::Length),
            };
            return Ok(Some(Head { status, head_bytes: at, body_bytes, closes }));
        }
        let (name, value) = header(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let said = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            if said.is_none() || length.is_some_and(|length| Some(length) != said) {
                return Err(BadAnswer::Length);
            }
            length = said;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(BadAnswer::Length);
        } else if name.eq_ignore_ascii_case(b"connection") {
            closes |= value.eq_ignore_ascii_case(b"close");
        }
    }
    if buffer.len() > limits::BENCH_HEAD_BYTES_MAX { Err(BadAnswer::TooLong) } else { Ok(None) }
}

fn status_line(line: &[u8]) -> Result<u16, BadAnswer> {
    let digits = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let ends = matches!(line.get(12), None | Some(b' '));
    let status = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match status {
        // An interim answer (1xx) was not asked for.
        Some(status @ 200..600) if ends => Ok(status),
        _ => Err(BadAnswer::StatusLine(shown(line))),
    }
}

fn header(line: &[u8]) -> Result<(&[u8], &[u8]), BadAnswer> {
    let colon = line.iter().position(|&byte| byte == b':').filter(|&colon| colon > 0);
    let colon = colon.ok_or_else(|| BadAnswer::Header(shown(line)))?;
    Ok((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(limits::FOREIGN_BODY_BYTES_SHOWN)]).into_owned()
}

/// Appends a request with a body to `out`.
pub(super) fn request(out: &mut Vec<u8>, method: &str, path: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}");
    if length > 0 || method != "GET" {
        let _ = write!(out, "content-length: {length}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// One request on a connection of its own; the body of a successful answer.
pub(super) fn exchange(addr: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, limits::CLIENT_TIME_MAX)
        .with_context(|| format!("{addr} does not answer"))?;
    stream.set_read_timeout(Some(limits::CLIENT_TIME_MAX))?;
    stream.write_all(request)?;
    let mut buffer = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        if let Some(head) = head(&buffer)?
            && buffer.len() >= head.bytes()
        {
            let body = buffer[head.head_bytes..head.bytes()].to_vec();
            if !head.is_success() {
                bail!("{addr} answered {}: {}", head.status, shown(&body));
            }
            return Ok(body);
        }
        let read = stream.read(&mut part)?;
        ensure!(read > 0, "{addr} closed the connection before its answer was whole");
        ensure!(buffer.len() < limits::CLIENT_BODY_BYTES_MAX, "the answer of {addr} has no end");
        buffer.extend_from_slice(&part[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nCONTENT-LENGTH:  5 \r\n\r\nhelloHTTP/1.1";

    #[test]
    fn a_head_is_read_when_it_is_whole_and_not_before() {
        let whole = head(ANSWER).expect("good").expect("whole");
        assert_eq!((whole.status, whole.body_bytes, whole.closes), (200, 5, false));
        assert_eq!(&ANSWER[whole.head_bytes..whole.bytes()], b"hello");
        for cut in 0..whole.head_bytes {
            assert_eq!(head(&ANSWER[..cut]), Ok(None), "at {cut}");
        }
    }

    #[test]
    fn statuses_without_a_body_need_no_length() {
        let found = head(b"HTTP/1.1 304 Not Modified\r\nConnection: Close\r\n\r\n").expect("good");
        let found = found.expect("whole");
        assert_eq!((found.status, found.body_bytes, found.closes), (304, 0, true));
        assert!(!found.is_success());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let error = |text: &str| head(text.as_bytes()).expect_err(text);
        assert!(matches!(error("HTTP/1.0 200 OK\r\n"), BadAnswer::StatusLine(_)));
        assert!(matches!(error("HTTP/1.1 2000 OK\r\n"), BadAnswer::StatusLine(_)));
        assert!(matches!(error("HTTP/1.1 100 Continue\r\n"), BadAnswer::StatusLine(_)));
        assert!(matches!(error("HTTP/1.1 200 OK\r\nnothing\r\n"), BadAnswer::Header(_)));
        assert_eq!(error("HTTP/1.1 200 OK\r\n\r\n"), BadAnswer::Length);
        assert_eq!(error("HTTP/1.1 200 OK\r\ncontent-length: x\r\n"), BadAnswer::Length);
        let twice = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n";
        assert_eq!(error(twice), BadAnswer::Length);
        assert_eq!(error("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"), BadAnswer::Length);
        assert_eq!(error(&"x".repeat(limits::BENCH_HEAD_BYTES_MAX + 1)), BadAnswer::TooLong);
    }

    #[test]
    fn requests_say_their_length() {
        let mut out = vec![];
        request(&mut out, "POST", "/a", "x: y\r\n", b"{}");
        let expected = "POST /a HTTP/1.1\r\nhost: localhost\r\nx: y\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        request(&mut out, "GET", "/a", "", b"");
        assert_eq!(out, b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
}

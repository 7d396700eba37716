//! How a message ended, as the entity that asked is told: by a message of its own, in the same Delta as the end,
//! so exactly once. Makes inputs and operations and decides nothing else. Invariant: a reply is never larger than
//! [`limits::REPLY_BYTES_MAX`], whatever a handler returned, so it never makes its own cause fail.

use std::sync::Arc;

use data_encoding::BASE64;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::core::{Core, Entry};
use super::spans;
use crate::engine::{Continuation, Failure};
use crate::ids::MessageId;
use crate::limits;
use crate::record::delta::Op;
use crate::record::message::{Message, Origin};
use crate::trace::Context;

/// How a message ended, or a callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'e> {
    /// The handler returned JSON.
    Value(&'e [u8]),
    /// The handler returned bytes.
    Bytes(&'e [u8]),
    /// The handler rejected.
    Rejected(&'e Failure),
    /// It will never return: a code of the platform's, and why.
    Failed(&'static str, &'e str),
}

impl Core {
    /// What a message's sender asked to be told; nothing any more when the sender was removed meanwhile. The
    /// message is still where it waits.
    pub(crate) fn continuation(&self, message: &Message) -> Option<Box<Continuation>> {
        message.then.as_ref()?;
        self.ledger.message(message.id)?.then.clone()
    }

    /// The operation that tells a message's sender how it ended in a turn of its own.
    pub(crate) fn turn_reply_op(&mut self, entry: &Entry, end: End<'_>) -> Option<Op> {
        let span = spans::attempted(&entry.message, entry.seq, entry.attempts + 1);
        self.reply_from(&entry.message, end, span)
    }

    /// The operation that tells a message's sender how it ended; none when the sender did not ask.
    pub(crate) fn reply_op(&mut self, message: &Message, end: End<'_>) -> Option<Op> {
        self.reply_from(message, end, None)
    }

    fn reply_from(&mut self, message: &Message, end: End<'_>, span: Option<Context>) -> Option<Op> {
        let then = self.continuation(message)?;
        let asker = message.sender()?.clone();
        let reply = Message {
            id: MessageId::new(self.clock.now_ms(), &asker, self.clock.chance()),
            target: asker,
            handler: then.handler.clone(),
            input: input(&then.context, &of(end)).into(),
            content_type: None,
            trace: spans::carried(span, message),
            // From the callee, so that it keeps its place among what the callee sends.
            origin: Origin::Entity(message.target.clone()),
            then: None,
        };
        Some(Op::Enqueue { seq: self.ledger.next_seq(), message: Arc::new(reply) })
    }
}

/// Checks the context of a continuation, and drops the space around it.
pub(crate) fn context(context: &[u8]) -> Result<&[u8], &'static str> {
    struct Members;

    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut taken = false;
            while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                taken |= name == "reply";
            }
            Ok(taken)
        }
    }

    let mut parser = serde_json::Deserializer::from_slice(context);
    let taken = serde::Deserializer::deserialize_map(&mut parser, Members);
    match taken.and_then(|taken| parser.end().map(|()| taken)) {
        Ok(false) => Ok(context.trim_ascii()),
        Ok(true) => Err("the context of a continuation has a member `reply`; the reply goes there"),
        Err(_) => Err("the context of a continuation is one JSON object"),
    }
}

/// A handler's input: the checked `context` with one more member, the reply.
pub(crate) fn input(context: &[u8], reply: &[u8]) -> Vec<u8> {
    let mut input = head(context, reply.len());
    input.extend_from_slice(reply);
    input.push(b'}');
    input
}

/// The same without the reply and what follows it.
pub(crate) fn head(context: &[u8], room: usize) -> Vec<u8> {
    let members = context.strip_suffix(b"}").unwrap_or(context).trim_ascii_end();
    let name: &[u8] = if members == b"{" { b"\"reply\":" } else { b",\"reply\":" };
    let mut head = Vec::with_capacity(members.len() + name.len() + room + 1);
    head.extend_from_slice(members);
    head.extend_from_slice(name);
    head
}

/// The reply as JSON.
pub(crate) fn of(end: End<'_>) -> Vec<u8> {
    match end {
        End::Value([]) => b"{\"ok\":null}".to_vec(),
        End::Value(value) if is_json(value) => [b"{\"ok\":", value, b"}"].concat(),
        End::Value(bytes) | End::Bytes(bytes) => {
            format!("{{\"ok\":\"{}\"}}", BASE64.encode(bytes)).into_bytes()
        }
        End::Rejected(failure) => rejected(failure),
        End::Failed(code, message) => {
            let failed = Failed { code, message: cut(message) };
            [b"{\"failed\":", &json(&failed)[..], b"}"].concat()
        }
    }
}

#[derive(Serialize)]
struct Failed<'t> {
    code: &'t str,
    message: &'t str,
}

fn rejected(failure: &Failure) -> Vec<u8> {
    let code = &failure.code[..failure.code.floor_char_boundary(limits::NAME_BYTES_MAX)];
    let details = failure.details.as_deref().unwrap_or(b"null");
    let details = match details {
        json if json.len() <= limits::BODY_BYTES_MAX && is_json(json) => json.to_vec(),
        other => json(&cut(&String::from_utf8_lossy(
            &other[..other.len().min(limits::REPLY_MESSAGE_BYTES_MAX)],
        ))),
    };
    let message = json(&cut(&failure.message));
    [
        b"{\"rejected\":{\"code\":",
        &json(&code)[..],
        b",\"message\":",
        &message,
        b",\"details\":",
        &details,
        b"}}",
    ]
    .concat()
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn json<T: Serialize>(text: &T) -> Vec<u8> {
    serde_json::to_vec(text).unwrap_or_else(|error| unreachable!("texts are JSON: {error}"))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::REPLY_MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failure(message: &str, details: Option<&'static [u8]>) -> Failure {
        let details = details.map(bytes::Bytes::from_static);
        Failure { code: "no".into(), message: message.into(), details, retryable: false }
    }

    fn told(about: &str, end: End<'_>) -> Value {
        let checked = context(about.as_bytes()).expect("a context");
        serde_json::from_slice(&input(checked, &of(end))).expect("JSON")
    }

    #[test]
    fn a_reply_is_one_more_member() {
        assert_eq!(told("{}", End::Value(b"1")), json!({"reply": {"ok": 1}}));
        assert_eq!(told(" { \n} ", End::Value(b"")), json!({"reply": {"ok": null}}));
        let context = r#"{"order": {"reply": "{"}, "n": [1] } "#;
        let told = told(context, End::Value(br#"{"a":"}"}"#));
        assert_eq!(told["order"]["reply"], "{");
        assert_eq!(told["reply"], json!({"ok": {"a": "}"}}));
    }

    #[test]
    fn each_end_has_its_shape() {
        for bytes in [End::Bytes(b"17"), End::Value(b"\x00\xff"), End::Value(b"{} {}")] {
            assert!(told("{}", bytes)["reply"]["ok"].is_string(), "{bytes:?}");
        }
        assert_eq!(told("{}", End::Bytes(b"17"))["reply"]["ok"], "MTc=");
        let rejected = told("{}", End::Rejected(&failure("only \"5\"", Some(b"{\"have\":5}"))));
        let expected = json!({"code": "no", "message": "only \"5\"", "details": {"have": 5}});
        assert_eq!(rejected["reply"], json!({ "rejected": expected }));
        let rejected = told("{}", End::Rejected(&failure("", None)));
        assert_eq!(rejected["reply"]["rejected"]["details"], Value::Null);
        let rejected = told("{}", End::Rejected(&failure("", Some(b"\xff"))));
        assert_eq!(rejected["reply"]["rejected"]["details"], "\u{fffd}");
        let failed = told("{}", End::Failed("parked", "it\nbroke"));
        assert_eq!(failed["reply"], json!({"failed": {"code": "parked", "message": "it\nbroke"}}));
    }

    #[test]
    fn a_context_is_one_object_without_a_reply() {
        for bad in ["", "[]", "1", "{\"a\":1", "{} {}", "\u{1}{}", "{\"a\":\"\u{1}\"}", "\"{}\""] {
            assert!(context(bad.as_bytes()).expect_err(bad).contains("one JSON object"), "{bad}");
        }
        for taken in [r#"{"reply":1}"#, r#"{"a":1,"\u0072eply":null}"#] {
            assert!(context(taken.as_bytes()).expect_err(taken).contains("`reply`"), "{taken}");
        }
    }

    #[test]
    fn the_largest_reply_of_each_kind_fits() {
        let room = format!("{{\"a\":\"{}\"}}", "x".repeat(limits::CONTEXT_BYTES_MAX - 8));
        let body = vec![0xff; limits::BODY_BYTES_MAX];
        let text = "\u{1}".repeat(limits::REPLY_MESSAGE_BYTES_MAX * 2);
        let details = format!("\"{}\"", "d".repeat(limits::BODY_BYTES_MAX - 2));
        let whole = Failure { details: Some(details.into()), ..failure(&text, None) };
        let wild = Failure { details: Some(vec![1; 8 << 20].into()), ..whole.clone() };
        for end in [
            End::Bytes(&body),
            End::Value(&body),
            End::Rejected(&whole),
            End::Rejected(&wild),
            End::Failed("parked", &text),
        ] {
            let input = input(room.as_bytes(), &of(end));
            assert!(input.len() <= limits::REPLY_BYTES_MAX, "{} bytes", input.len());
            serde_json::from_slice::<IgnoredAny>(&input).expect("JSON");
        }
    }
}

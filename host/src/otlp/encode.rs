//! Spans as OTLP's JSON has them: ids in hex, times as decimal strings of nanoseconds since 1970.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::trace::{Span, What};

/// Writes batches. Knows how monotonic time stands to the wall's.
pub(super) struct Encoder {
    resource: Value,
    /// The wall's time when monotonic time began, in nanoseconds.
    epoch_ns: u64,
}

/// The wall's clock was set when it is this far from where it should be.
const CLOCK_SET: Duration = Duration::from_millis(100);

const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CONSUMER: u8 = 5;
const ERROR: u8 = 2;

impl Encoder {
    pub(super) fn new(service: &str, clock: &dyn Clock) -> Self {
        let instance = format!("{:016x}", clock.chance());
        let attributes = [
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", &instance),
        ];
        Self { resource: json!({ "attributes": attributes }), epoch_ns: epoch_ns(clock) }
    }

    /// The body of one export.
    pub(super) fn encode(&mut self, spans: &[Span], clock: &dyn Clock) -> Vec<u8> {
        let now = epoch_ns(clock);
        // Not for every millisecond that the two clocks differ by: within a process times keep their order.
        if now.abs_diff(self.epoch_ns) > nanos(CLOCK_SET) {
            self.epoch_ns = now;
        }
        let spans: Vec<Value> = spans.iter().map(|span| self.span(span)).collect();
        let scope = json!({"name": "keystead", "version": env!("CARGO_PKG_VERSION")});
        let scope = json!({"scope": scope, "spans": spans});
        let body = json!({"resourceSpans": [{"resource": self.resource, "scopeSpans": [scope]}]});
        body.to_string().into_bytes()
    }

    fn span(&self, span: &Span) -> Value {
        let at = |time: Duration| (self.epoch_ns + nanos(time)).to_string();
        let (kind, handler) = (span.entity.kind(), &span.handler);
        let mut attributes = vec![
            text("keystead.app", span.entity.app()),
            text("keystead.entity", &span.entity.to_string()),
            text("keystead.handler", handler),
        ];
        let mut shown = json!({
            "traceId": format!("{:032x}", span.context.trace),
            "spanId": format!("{:016x}", span.context.span),
            "flags": u8::from(span.context.sampled),
            "startTimeUnixNano": at(span.began),
            "endTimeUnixNano": at(span.ended),
        });
        if let Some(parent) = span.parent {
            shown["parentSpanId"] = format!("{parent:016x}").into();
        }
        match &span.what {
            What::Request { verb, method, status } => {
                shown["name"] = format!("{verb} {kind}.{handler}").into();
                shown["kind"] = SERVER.into();
                let route = format!("/v1/{verb}/{{app}}/{{type}}/{{key}}/{{handler}}");
                attributes.push(text("http.route", &route));
                attributes.push(text("http.request.method", method));
                attributes.push(number("http.response.status_code", u64::from(*status)));
                if *status >= 500 {
                    shown["status"] = json!({ "code": ERROR });
                }
            }
            What::Turn { message, attempt, origin, outcome, error } => {
                shown["name"] = format!("{kind}.{handler}").into();
                shown["kind"] = if *origin == "ingress" { INTERNAL } else { CONSUMER }.into();
                attributes.push(text("keystead.message_id", &message.to_string()));
                attributes.push(number("keystead.attempt", u64::from(*attempt)));
                attributes.push(text("keystead.origin", origin));
                attributes.push(text("keystead.outcome", outcome));
                if let Some(error) = error {
                    shown["status"] = json!({"code": ERROR, "message": error});
                }
            }
        }
        shown["attributes"] = attributes.into();
        shown
    }
}

/// How many spans the collector says that it did not want.
pub(super) fn rejected(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    // Numbers of 64 bits are strings in this JSON; not every collector minds that.
    let count = &answer["partialSuccess"]["rejectedSpans"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or_default();
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn epoch_ns(clock: &dyn Clock) -> u64 {
    (clock.now_ms() * 1_000_000).saturating_sub(nanos(clock.monotonic()))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::ids::{EntityRef, MessageId};
    use crate::trace::Context;

    #[test]
    fn a_span_is_written_as_the_specification_has_it() {
        let clock = ManualClock::new(5_000, 1);
        let mut encoder = Encoder::new("shop", &clock);
        let error = Some("error: no".into());
        let (message, outcome, origin) = (MessageId(9), "failed", "entity");
        let what = What::Turn { message, attempt: 2, origin, outcome, error };
        let began = Duration::from_millis(5_001);
        let span = Span {
            context: Context { trace: 0xab, span: 0xcd, sampled: true },
            parent: Some(0xef),
            began,
            ended: began + Duration::from_micros(3),
            entity: EntityRef::new("app", "order", "a/b").expect("valid"),
            handler: "place".into(),
            what,
        };
        let request = What::Request { verb: "send", method: "POST", status: 503 };
        let first = Span { parent: None, what: request, ..span.clone() };
        let body: Value =
            serde_json::from_slice(&encoder.encode(&[span, first], &clock)).expect("JSON");
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0], text("service.name", "shop"));
        let [turn, request] = &resource["scopeSpans"][0]["spans"].as_array().expect("spans")[..]
        else {
            panic!("{body}")
        };
        assert_eq!(turn["traceId"], format!("{:0>32}", "ab"));
        assert_eq!(
            (&turn["spanId"], &turn["parentSpanId"]),
            (&json!("00000000000000cd"), &json!("00000000000000ef"))
        );
        assert_eq!(turn["startTimeUnixNano"], "5001000000");
        assert_eq!(turn["endTimeUnixNano"], "5001003000");
        assert_eq!((&turn["name"], &turn["kind"]), (&json!("order.place"), &json!(5)));
        assert_eq!(turn["status"], json!({"code": 2, "message": "error: no"}));
        let attributes = turn["attributes"].as_array().expect("attributes");
        assert!(attributes.contains(&text("keystead.entity", "app/order/a/b")));
        assert!(attributes.contains(&number("keystead.attempt", 2)));
        assert_eq!((&request["name"], &request["kind"]), (&json!("send order.place"), &json!(2)));
        assert!(request.get("parentSpanId").is_none());
    }

    #[test]
    fn times_keep_their_order_until_the_clock_is_set() {
        let clock = ManualClock::new(5_000, 1);
        let mut encoder = Encoder::new("k", &clock);
        let before = encoder.epoch_ns;
        clock.set(5_050);
        encoder.encode(&[], &clock);
        assert_eq!(encoder.epoch_ns, before);
        clock.set(65_000);
        encoder.encode(&[], &clock);
        assert_eq!(encoder.epoch_ns, before + 60_000_000_000);
    }

    #[test]
    fn partial_success_is_read_in_both_forms() {
        assert_eq!(rejected(b"{}"), 0);
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":3}}"#), 3);
    }
}

//! Two runs of one attempt, compared: what a handler does may depend on its entity's state, its input and
//! its context, and on nothing that a restart takes away. Invariant: JSON is compared by meaning, and the
//! order of sends within a pair only, because nothing else can be seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Result;
use crate::context::EntityRef;
use crate::host::native::Call;

/// What one run did, and how it ended.
pub(super) type Ran = (Result<Vec<u8>>, Call);

/// What the second run did otherwise; none when it did the same.
pub(super) fn difference(first: &Ran, second: &Ran) -> Option<String> {
    let ((first, one), (second, two)) = (first, second);
    match (first, second) {
        (Ok(first), Ok(second)) if same(first, second) => {}
        (Ok(first), Ok(second)) => {
            let (first, second) = (first.escape_ascii(), second.escape_ascii());
            return Some(format!("it returned {first}, then {second}"));
        }
        // Nothing of either is kept.
        (Err(first), Err(second)) if first.code() == second.code() => return None,
        _ => return Some(format!("it ended with {first:?}, then with {second:?}")),
    }
    of_state(one, two)
        .or_else(|| of_sends(one, two))
        .or_else(|| of_timers(one, two))
        .or_else(|| of_callbacks(one, two))
}

fn of_state(one: &Call, two: &Call) -> Option<String> {
    let keys: BTreeSet<_> = one.state.keys().chain(two.state.keys()).collect();
    keys.into_iter().find_map(|key| {
        let (first, second) = (one.state.get(key), two.state.get(key));
        let is_same = match (first, second) {
            (Some(first), Some(second)) => same(first, second),
            (first, second) => first == second,
        };
        let shown = |value: Option<&Vec<u8>>| {
            value.map_or("nothing".to_owned(), |value| value.escape_ascii().to_string())
        };
        (!is_same).then(|| {
            let (key, first, second) = (key.escape_ascii(), shown(first), shown(second));
            format!("it left {first} at the state key {key}, then {second}")
        })
    })
}

fn of_sends(one: &Call, two: &Call) -> Option<String> {
    let (first, second) = (sends(one), sends(two));
    let targets: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    let target = targets.into_iter().find(|target| first.get(*target) != second.get(*target))?;
    let shown = |sends: Option<&Vec<Value>>| {
        sends.map_or("nothing".to_owned(), |sends| Value::from(sends.clone()).to_string())
    };
    let (first, second) = (shown(first.get(target)), shown(second.get(target)));
    Some(format!("it sent {first} to {target}, then {second}"))
}

/// What was sent to each entity, in order.
fn sends(call: &Call) -> BTreeMap<&EntityRef, Vec<Value>> {
    let mut sends = BTreeMap::<_, Vec<Value>>::new();
    for sent in &call.sent {
        let then = sent.then.as_ref().map(|then| {
            json!({"handler": then.handler, "with": value(&then.context), "patient": then.patient})
        });
        let (handler, input, due_ms) = (&sent.handler, value(&sent.input), sent.due_ms);
        let sent_one = json!({"handler": handler, "with": input, "due_ms": due_ms, "then": then});
        sends.entry(&sent.target).or_default().push(sent_one);
    }
    sends
}

fn of_timers(one: &Call, two: &Call) -> Option<String> {
    let timers = |call: &Call| -> Value {
        let rows = call.timers.iter().map(|(name, row)| {
            let (handler, input) = (&row.handler, value(&row.input));
            json!({"name": name, "handler": handler, "with": input, "due_ms": row.due_ms})
        });
        rows.collect()
    };
    let (first, second) = (timers(one), timers(two));
    if first != second {
        return Some(format!("it left the timers {first}, then {second}"));
    }
    let cancelled = |call: &Call| call.cancelled.iter().cloned().collect::<BTreeSet<_>>();
    let (first, second) = (cancelled(one), cancelled(two));
    (first != second).then(|| format!("it cancelled the messages {first:?}, then {second:?}"))
}

fn of_callbacks(one: &Call, two: &Call) -> Option<String> {
    let made = |call: &Call| -> Value {
        let callbacks = call.callbacks.iter().map(|made| {
            let (handler, context) = (made.then.handler, value(&made.then.context));
            json!({"then": handler, "with": context, "expires_ms": made.expires_ms})
        });
        callbacks.collect()
    };
    let (first, second) = (made(one), made(two));
    if first != second {
        return Some(format!("it made the callbacks {first}, then {second}"));
    }
    let withdrawn = |call: &Call| call.withdrawn.iter().cloned().collect::<BTreeSet<_>>();
    let (first, second) = (withdrawn(one), withdrawn(two));
    (first != second).then(|| format!("it withdrew the callbacks {first:?}, then {second:?}"))
}

fn same(first: &[u8], second: &[u8]) -> bool {
    first == second || value(first) == value(second)
}

/// JSON by its meaning; what is no JSON as text.
fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|_| json.escape_ascii().to_string().into())
}

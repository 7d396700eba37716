//! How much work a JSON Schema can make of one input. A schema comes from a guest: a few lines of references can
//! stand for more steps than there is time. Invariant: what is accepted here is checked in bounded time, and is
//! explained only where that is bounded too.

use std::collections::HashMap;

use serde_json::Value;

use crate::limits;

/// What a schema weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Schemas within it when every reference is replaced by what it refers to, but for those into themselves.
    steps: u64,
    /// References into themselves.
    loops: u64,
}

impl Weight {
    const MOST: Self = Self { steps: u64::MAX, loops: u64::MAX };

    /// Weighs `schema`.
    ///
    /// # Errors
    /// When it weighs more than [`limits::SCHEMA_STEPS_MAX`].
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let mut resources = Vec::new();
        resources_of(schema, &mut resources);
        let mut scales = Scales { resources, known: HashMap::new(), open: Vec::new() };
        let weight = scales.weigh(schema);
        let max = limits::SCHEMA_STEPS_MAX;
        if weight.steps <= max {
            return Ok(weight);
        }
        Err(format!(
            "the schema stands for more than {max} schemas once its references are followed"
        ))
    }

    /// Whether `input`, which is `text`, fits or not can be found: each of its values may meet each schema, and what
    /// met once is remembered.
    pub(super) fn is_bearable_for(self, input: &Value, text: &[u8]) -> bool {
        // A value takes two bytes at least, but for the last one.
        let most = text.len() as u64 / 2 + 1;
        let bearable = |values: u64| self.steps.saturating_mul(values) <= limits::CHECK_STEPS_MAX;
        bearable(most) || bearable(values(input))
    }

    /// Whether it can be found why `input` does not fit: there nothing is remembered, so references into themselves
    /// multiply at each level.
    pub(super) fn is_light_for(self, input: &Value) -> bool {
        let depth = if self.loops > 1 { depth(input) } else { 0 };
        let rounds = self.loops.max(1).checked_pow(depth);
        let steps = rounds.and_then(|rounds| rounds.checked_mul(self.steps));
        steps.is_some_and(|steps| steps <= limits::CHECK_STEPS_MAX)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            loops: self.loops.saturating_add(other.loops),
        }
    }
}

fn values(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

/// All that a reference may start from: the whole, and what has an id of its own or a name.
fn resources_of<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
    let named = |name: &str| schema.get(name).is_some_and(Value::is_string);
    if found.is_empty() || NAMES.iter().any(|name| named(name)) {
        found.push(schema);
    }
    match schema {
        Value::Array(items) => items.iter().for_each(|item| resources_of(item, found)),
        Value::Object(members) => members.values().for_each(|member| resources_of(member, found)),
        _ => {}
    }
}

const NAMES: [&str; 5] = ["$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor"];

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

struct Scales<'a> {
    resources: Vec<&'a Value>,
    /// By their addresses, which stay while the schema is borrowed.
    known: HashMap<*const Value, Weight>,
    open: Vec<*const Value>,
}

impl<'a> Scales<'a> {
    fn weigh(&mut self, schema: &'a Value) -> Weight {
        let here = std::ptr::from_ref(schema);
        if let Some(known) = self.known.get(&here) {
            return *known;
        }
        if self.open.contains(&here) {
            return Weight { steps: 1, loops: 1 };
        }
        if self.open.len() == limits::SCHEMA_DEPTH_MAX {
            return Weight::MOST;
        }
        self.open.push(here);
        let mut weight = Weight { steps: 1, loops: 0 };
        match schema {
            Value::Object(members) => {
                for (name, member) in members {
                    // Definitions weigh where they are referred to. What only looks like a schema weighs too: too
                    // much is safe.
                    if !matches!(name.as_str(), "$defs" | "definitions") {
                        weight = weight.plus(self.weigh(member));
                    }
                    if matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") {
                        weight = weight.plus(self.referred(member));
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    weight = weight.plus(self.weigh(item));
                }
            }
            _ => {}
        }
        self.open.pop();
        self.known.insert(here, weight);
        weight
    }

    /// Everything that the reference may mean, whichever resource it is read in: too much is safe.
    fn referred(&mut self, reference: &Value) -> Weight {
        let Some(reference) = reference.as_str() else { return Weight::MOST };
        let (_, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = percent_encoding::percent_decode_str(fragment).decode_utf8_lossy();
        let named = |schema: &&Value| {
            NAMES[2..].iter().any(|name| schema.get(name).is_some_and(|name| *name == *fragment))
        };
        let targets: Vec<&'a Value> = if fragment.is_empty() || fragment.starts_with('/') {
            self.resources.iter().filter_map(|schema| schema.pointer(&fragment)).collect()
        } else {
            self.resources.iter().copied().filter(named).collect()
        };
        if targets.is_empty() {
            return Weight::MOST;
        }
        let weights = targets.into_iter().map(|target| self.weigh(target));
        weights.fold(Weight::default(), Weight::plus)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weight(schema: &Value) -> Weight {
        Weight::of(schema).expect("bearable")
    }

    #[test]
    fn what_people_write_is_light() {
        let order = json!({"type": "object", "required": ["lines"], "properties": {
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "note": {"$ref": "#text"}},
            "$defs": {"line": {"properties": {"text": {"$ref": "#/$defs/te%78t"}}},
                "text": {"$anchor": "text", "type": "string"}}});
        assert_eq!(weight(&order).loops, 0);
        assert!(weight(&order).is_light_for(&json!({"lines": [{"text": "x"}]})));
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        assert_eq!(weight(&tree).loops, 2);
        assert!(weight(&tree).is_light_for(&json!({"left": {"right": {"left": 1}}})));
        let list = json!({"properties": {"next": {"$ref": "#"}}});
        let mut long = json!(1);
        for _ in 0..100 {
            long = json!({"next": long});
        }
        assert!(weight(&list).is_light_for(&long), "one way to go is no choice");
        assert!(!weight(&tree).is_light_for(&long));
        assert!(weight(&tree).is_bearable_for(&long, long.to_string().as_bytes()));
    }

    /// Definitions `d0` to `dN`, each of which is `of` the next.
    fn steps(count: usize, of: fn(Value) -> Value) -> Value {
        let one = |n: usize| (format!("d{n}"), of(json!({"$ref": format!("#/$defs/d{}", n + 1)})));
        let mut defs: serde_json::Map<String, Value> = (0..count).map(one).collect();
        defs.insert(format!("d{count}"), json!({}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn what_doubles_or_has_no_end_is_refused() {
        let doubling = steps(90, |next| json!({"allOf": [next, next]}));
        assert!(Weight::of(&doubling).expect_err("refused").contains("stands for more than"));
        assert!(Weight::of(&steps(90, |next| json!({"not": next}))).is_ok());
        assert!(Weight::of(&steps(50_000, |next| next)).is_err(), "a long chain");
        for reference in ["#here", "#/$defs/none"] {
            assert!(Weight::of(&json!({"$ref": reference})).is_err(), "{reference}");
        }
    }

    #[test]
    fn many_values_and_many_schemas_are_too_much_together() {
        let wide = steps(12, |next| json!({"allOf": [next, next]}));
        let wide = weight(
            &json!({"items": wide["$defs"]["d12"], "allOf": [wide["$ref"], wide["$defs"]["d11"]],
            "$defs": wide["$defs"], "not": {"$ref": "#/$defs/d0"}}),
        );
        let input = |count: usize| Value::Array(vec![json!(1); count]);
        let bearable = |count: usize| wide.is_bearable_for(&input(count), &vec![b' '; 2 * count]);
        assert!(bearable(100));
        assert!(!bearable(400_000));
    }
}

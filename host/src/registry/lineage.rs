//! What state entities of an app may be in: the versions that its types' state ever had, and what was in them. A
//! deploy is held against that, because an entity keeps the state of an old version until its next command.
//! Invariant: what a component that was live may have written is in its app's lineage for good.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::Contract;
use super::fits::fits;
use crate::limits;

/// The state of one entity type as a component describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The version that it writes.
    #[serde(default = "first")]
    pub version: u32,
    /// The oldest version that it reads; its own when there is none.
    pub migrates_from: Option<u32>,
    /// Its fields by name.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
}

/// One field of an entity's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// How it is stored: `plain`, `map`, `list`, `value`, …
    pub kind: String,
    /// A map's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    /// Its value, or its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

fn first() -> u32 {
    1
}

impl Default for State {
    fn default() -> Self {
        Self { version: first(), migrates_from: None, fields: BTreeMap::new() }
    }
}

impl State {
    /// The oldest version that it reads.
    #[must_use]
    pub fn oldest(&self) -> u32 {
        self.migrates_from.unwrap_or(self.version)
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { version, migrates_from, .. } = self;
        match migrates_from {
            _ if *version == 0 => Some("version is 0; the first one is 1".into()),
            Some(from) if *from == 0 || from > version => {
                Some(format!("migrates_from is {from}; it is from 1 to its version {version}"))
            }
            _ => None,
        }
    }
}

/// The states that entities of an app may be in, by type.
pub(super) type Lineage = BTreeMap<String, Line>;

/// The states that entities of one type may be in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The lowest version that was ever live.
    lowest: u32,
    /// The highest.
    highest: u32,
    /// What was in the last versions, at most [`limits::STATE_VERSIONS_KEPT`].
    fields: BTreeMap<u32, BTreeMap<String, Field>>,
}

/// Adds what entities may be in once `contract` has been live.
pub(super) fn extend(lineage: &mut Lineage, contract: &Contract) {
    for (kind, entity) in &contract.entities {
        let State { version, fields, .. } = &entity.state;
        let fresh = Line { lowest: *version, highest: *version, fields: BTreeMap::new() };
        let line = lineage.entry(kind.clone()).or_insert(fresh);
        line.lowest = line.lowest.min(*version);
        line.highest = line.highest.max(*version);
        let known = line.fields.entry(*version).or_default();
        known.extend(fields.iter().map(|(name, field)| (name.clone(), field.clone())));
        while line.fields.len() > limits::STATE_VERSIONS_KEPT {
            line.fields.pop_first();
        }
    }
}

/// What of `lineage` a component would not read, and what to do; empty when it reads all of it.
pub(super) fn unreadable(lineage: &Lineage, contract: &Contract) -> Vec<String> {
    let mut problems = Vec::new();
    for (kind, line) in lineage {
        let Some(entity) = contract.entities.get(kind) else { continue };
        let State { version, fields, .. } = &entity.state;
        let oldest = entity.state.oldest();
        if *version < line.highest {
            problems.push(format!(
                "- {kind}: its state may be of version {}, and this component knows versions up to {version}; give \
                 it version {} or more (#[entity(version = {})])",
                line.highest, line.highest, line.highest
            ));
        }
        if oldest > line.lowest {
            let lowest = line.lowest;
            problems.push(format!(
                "- {kind}: its state may be of version {lowest}, and this component reads version {oldest} and \
                 later; add a migration from {lowest} (#[migrate(from = {lowest})])"
            ));
        }
        let known = line.fields.get(version).into_iter().flatten();
        for (name, old) in known {
            let Some(new) = fields.get(name) else { continue };
            if let Some(problem) = retyped(old, new) {
                problems.push(format!(
                    "- {kind}.{name}: {problem}, and the state's version is still {version}; make it version {} \
                     (#[entity(version = {})]) and migrate from {version} (#[migrate(from = {version})]), or give \
                     the field another name",
                    version + 1,
                    version + 1
                ));
            }
        }
    }
    problems
}

fn retyped(old: &Field, new: &Field) -> Option<String> {
    if old.kind != new.kind {
        return Some(format!("it was a {} field and is a {} field", old.kind, new.kind));
    }
    if old.key != new.key {
        return Some("its keys have another type".into());
    }
    match (&old.schema, &new.schema) {
        (Some(old), Some(new)) if !fits(old, new) => {
            Some("what was stored in it does not fit its type any more".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contract(state: &Value) -> Contract {
        let entity = json!({"type": "account", "handlers": [], "state": state});
        let document = json!({ "entities": [entity] }).to_string();
        Contract::parse(document.as_bytes()).expect("right")
    }

    fn plain(schema: &Value) -> Value {
        json!({"kind": "plain", "schema": schema})
    }

    /// What is wrong with the last of these states when the others were live before.
    fn check(states: &[Value]) -> Vec<String> {
        let mut lineage = Lineage::new();
        let (last, before) = states.split_last().expect("one at least");
        for state in before {
            extend(&mut lineage, &contract(state));
        }
        // As it comes from the disk.
        let text = serde_json::to_string(&lineage).expect("JSON");
        unreadable(&serde_json::from_str(&text).expect("reads back"), &contract(last))
    }

    #[test]
    fn every_version_that_was_live_is_read() {
        let state = |version: u32, from: Option<u32>| match from {
            Some(from) => json!({"version": version, "migrates_from": from}),
            None => json!({"version": version}),
        };
        assert!(check(&[state(1, None), state(1, None)]).is_empty());
        assert!(check(&[json!({}), state(2, Some(1))]).is_empty());
        assert!(check(&[state(1, None), state(2, Some(1)), state(3, Some(1))]).is_empty());
        let [problem] = &check(&[state(1, None), state(2, None)])[..] else {
            panic!("one problem")
        };
        assert!(
            problem.starts_with("- account:") && problem.contains("#[migrate(from = 1)]"),
            "{problem}"
        );
        let three = [state(1, None), state(2, Some(1)), state(3, Some(2))];
        let [problem] = &check(&three)[..] else { panic!("one problem") };
        assert!(problem.contains("version 1,") && problem.contains("reads version 2"), "{problem}");
        let [problem] = &check(&[state(2, Some(1)), state(1, None)])[..] else {
            panic!("one problem")
        };
        assert!(problem.contains("#[entity(version = 2)]"), "{problem}");
        // What was live long ago counts, and so does what was there before a type went for a while.
        assert_eq!(check(&[state(1, None), state(3, Some(1)), state(2, Some(1))]).len(), 1);
    }

    #[test]
    fn a_field_keeps_its_type_within_a_version() {
        let with = |field: Value| json!({"fields": {"balance": field, "name": plain(&json!({"type": "string"}))}});
        let int = |max: u64| json!({"type": "integer", "maximum": max});
        let map = |key: &str| json!({"kind": "map", "key": {"type": key}, "schema": int(9)});
        assert!(check(&[with(plain(&int(9))), with(plain(&int(99)))]).is_empty());
        assert!(check(&[with(map("string")), with(map("string"))]).is_empty());
        assert!(check(&[with(plain(&int(9))), json!({"fields": {}})]).is_empty(), "it may go");
        for (old, new, says) in [
            (plain(&int(9)), map("string"), "it was a plain field and is a map field"),
            (plain(&int(99)), plain(&int(9)), "does not fit"),
            (map("string"), map("integer"), "its keys have another type"),
        ] {
            let [problem] = &check(&[with(old), with(new)])[..] else { panic!("one problem") };
            assert!(
                problem.starts_with("- account.balance:") && problem.contains(says),
                "{problem}"
            );
            assert!(problem.contains("#[entity(version = 2)]"), "{problem}");
        }
        // A field that went and comes back is what it was.
        let back = [with(plain(&int(9))), json!({"fields": {}}), with(map("string"))];
        assert_eq!(check(&back).len(), 1);
        let next = json!({"version": 2, "migrates_from": 1, "fields": {"balance": map("string")}});
        assert!(
            check(&[with(plain(&int(9))), next]).is_empty(),
            "a new version may do as it likes"
        );
    }

    #[test]
    fn versions_count_from_one() {
        for state in [
            json!({"version": 0}),
            json!({"version": 2, "migrates_from": 3}),
            json!({"version": 2, "migrates_from": 0}),
            json!({"version": -1}),
        ] {
            let entity = json!({"type": "account", "handlers": [], "state": state});
            let document = json!({ "entities": [entity] }).to_string();
            assert!(Contract::parse(document.as_bytes()).is_err(), "{state}");
        }
    }
}

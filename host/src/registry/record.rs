//! What is written of one app: its kept versions, which of them were live in turn, the ramp, the configuration, and
//! what state its entities may be in. Its text, and every change to it as a plain function; files are `store`'s.
//! Invariant: the live version, the one before it and the ramped one are among the kept.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::contract::Contract;
use super::lineage::{self, Lineage};
use crate::config::AppConfig;
use crate::ids::VersionId;
use crate::limits;

/// 2: what state entities may be in. 3: the app's name and a checksum. 4: versions apart from what was live in turn,
/// one configuration for all of them, the ramp.
pub(super) const FORMAT: u32 = 4;
/// The oldest that is read.
pub(super) const FORMAT_MIN: u32 = 2;
/// The first that has the app's name and a checksum.
const FORMAT_CHECKED: u32 = 3;
/// The last that listed deploys, each with a configuration.
const FORMAT_DEPLOYS: u32 = 3;
/// A record begins with the hash of what follows its first line.
const CHECK: (&[u8], &[u8]) = (b"{\"check\":\"", b"\",");

/// What an app's file says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Of this text; older and newer hosts can tell.
    pub(super) format: u32,
    /// The app's name.
    pub(super) app: String,
    /// Kept versions, the last deployed last; each one once.
    pub(super) versions: Vec<Deployment>,
    /// The versions that were live, in turn; the last one is. Going back takes it off.
    #[serde(with = "hex::all")]
    pub(super) lives: Vec<VersionId>,
    /// The version that a share of the entities is on.
    pub(super) ramp: Option<Ramp>,
    /// The last ramp that was halted.
    pub(super) halted: Option<Halted>,
    /// The app's configuration, whichever version runs.
    pub(super) config: AppConfig,
    /// What state entities may be in.
    pub(super) states: Lineage,
}

/// A kept version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployment {
    /// The component's hash in hex.
    #[serde(with = "hex")]
    pub(super) version: VersionId,
    /// When it was deployed last, in milliseconds since 1970.
    pub(super) deployed_at_ms: u64,
    /// What it offers, a type each; empty when an older host wrote this.
    #[serde(default)]
    pub(super) types: Vec<Offer>,
}

/// One entity type of a version, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The type's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many handlers it has.
    pub handlers: usize,
    /// The version of the state that it writes.
    pub state: u32,
}

/// A version that a share of the entities is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ramp {
    /// Which.
    #[serde(with = "hex")]
    pub(super) version: VersionId,
    /// The share.
    pub(super) percent: u8,
    /// Since when it is this share, in milliseconds since 1970.
    pub(super) since_ms: u64,
}

/// A ramp that ended itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// The version that was ramped, as all of its hash.
    #[serde(with = "hex")]
    pub version: VersionId,
    /// The share that it had.
    pub percent: u8,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why.
    pub reason: String,
}

impl Record {
    /// The live version.
    pub(super) fn live(&self) -> Option<VersionId> {
        self.lives.last().copied()
    }

    /// The version that was live before the live one, if it is kept.
    pub(super) fn previous(&self) -> Option<VersionId> {
        self.lives.iter().rev().nth(1).copied()
    }

    /// The kept version `version`.
    pub(super) fn deployment(&self, version: VersionId) -> Option<&Deployment> {
        self.versions.iter().find(|kept| kept.version == version)
    }

    /// Adds a version, or moves it to the end, and forgets the oldest beyond the limit that nothing needs.
    pub(super) fn keep(&mut self, version: VersionId, contract: &Contract, now_ms: u64) {
        self.versions.retain(|kept| kept.version != version);
        let types = contract.entities.values().map(|entity| Offer {
            kind: entity.kind.clone(),
            handlers: entity.handlers.len(),
            state: entity.state.version,
        });
        let types = types.collect();
        self.versions.push(Deployment { version, deployed_at_ms: now_ms, types });
        let needed =
            [self.live(), self.previous(), self.ramp.map(|ramp| ramp.version), Some(version)];
        while self.versions.len() > limits::APP_VERSIONS_KEPT {
            let of_no_use = |kept: &Deployment| !needed.contains(&Some(kept.version));
            let Some(oldest) = self.versions.iter().position(of_no_use) else { break };
            let forgotten = self.versions.remove(oldest).version;
            self.lives.retain(|version| *version != forgotten);
            self.lives.dedup();
        }
    }

    /// Makes a kept version the live one, which ends a ramp.
    pub(super) fn activate(&mut self, version: VersionId, contract: &Contract) {
        self.ramp = None;
        if self.live() != Some(version) {
            self.lives.push(version);
        }
        let surplus = self.lives.len().saturating_sub(limits::APP_LIVES_KEPT);
        self.lives.drain(..surplus);
        lineage::extend(&mut self.states, contract);
    }

    /// Makes the version before the live one live again, which ends a ramp.
    pub(super) fn roll_back(&mut self, contract: &Contract) {
        self.ramp = None;
        self.lives.pop();
        lineage::extend(&mut self.states, contract);
    }

    /// Puts a share of the entities on a kept version; 0 ends the ramp.
    pub(super) fn ramp(&mut self, ramp: Ramp, contract: &Contract) {
        self.ramp = (ramp.percent > 0).then_some(ramp);
        if self.ramp.is_some() {
            self.halted = None;
            lineage::extend(&mut self.states, contract);
        }
    }
}

/// The text of a record: JSON whose first line is the hash of the others.
pub(super) fn print(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(record)?;
    let rest = text.strip_prefix(b"{\n").unwrap_or(&text);
    let hash = blake3::hash(rest).to_hex();
    Ok([CHECK.0, hash.as_bytes(), CHECK.1, b"\n", rest].concat())
}

/// Reads the text of `app`'s record.
pub(super) fn parse(app: &str, text: &[u8]) -> anyhow::Result<Record> {
    let checked = is_checked(text)?;
    let Head { format, app: whose } = serde_json::from_slice(text).context("it is not a record")?;
    anyhow::ensure!(
        (FORMAT_MIN..=FORMAT).contains(&format),
        "it has format {format}; this host reads {FORMAT_MIN} to {FORMAT}"
    );
    anyhow::ensure!(checked || format < FORMAT_CHECKED, "its checksum is gone");
    anyhow::ensure!(whose == app || format < FORMAT_CHECKED, "it is the record of app {whose}");
    if format > FORMAT_DEPLOYS {
        return serde_json::from_slice(text).context("it is not a record");
    }
    let older: Deploys = serde_json::from_slice(text).context("it is not a record")?;
    Ok(older.into_record(format, app))
}

/// Whether a text begins with its hash; an error when the hash is another's.
pub(super) fn is_checked(text: &[u8]) -> anyhow::Result<bool> {
    let checked = text.strip_prefix(CHECK.0).and_then(|text| {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        Some((text[..end].strip_suffix(CHECK.1)?, &text[end + 1..]))
    });
    let Some((hash, rest)) = checked else { return Ok(false) };
    let right = blake3::hash(rest).to_hex().as_bytes() == hash;
    anyhow::ensure!(right, "its text is not what was written");
    Ok(true)
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    #[serde(default)]
    app: String,
}

/// Formats 2 and 3: deploys, each with the configuration of its time; the last one is live.
#[derive(Deserialize)]
struct Deploys {
    versions: Vec<Deploy>,
    #[serde(default)]
    states: Lineage,
}

#[derive(Deserialize)]
struct Deploy {
    #[serde(with = "hex")]
    version: VersionId,
    deployed_at_ms: u64,
    config: AppConfig,
}

impl Deploys {
    fn into_record(self, format: u32, app: &str) -> Record {
        let mut record = Record {
            format,
            app: app.into(),
            states: self.states,
            config: self.versions.last().map(|last| last.config.clone()).unwrap_or_default(),
            ..Record::default()
        };
        for Deploy { version, deployed_at_ms, .. } in self.versions {
            record.versions.retain(|kept| kept.version != version);
            record.versions.push(Deployment { version, deployed_at_ms, types: vec![] });
            record.lives.push(version);
        }
        record.lives.dedup();
        record
    }
}

/// A version as all of its hash, for `Display` shortens it.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::VersionId;

    pub(super) fn serialize<S: Serializer>(
        v: &VersionId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&v.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<VersionId, D::Error> {
        let text = String::deserialize(d)?;
        let hash = blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)?;
        Ok(VersionId(*hash.as_bytes()))
    }

    /// A list of them.
    pub(super) mod all {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::super::VersionId;

        pub(in super::super) fn serialize<S: Serializer>(
            all: &[VersionId],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(all.iter().map(VersionId::hex))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            d: D,
        ) -> Result<Vec<VersionId>, D::Error> {
            #[derive(Deserialize)]
            struct One(#[serde(with = "super")] VersionId);
            let all = Vec::<One>::deserialize(d)?;
            Ok(all.into_iter().map(|One(version)| version).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        let document = br#"{"entities":[{"type":"a","handlers":[]}]}"#;
        Contract::parse(document).expect("right")
    }

    fn id(n: u8) -> VersionId {
        VersionId::of(&[n])
    }

    /// Versions 1 to `n`, each made live in turn.
    fn record(n: u8) -> Record {
        let mut record = Record { format: FORMAT, app: "bank".into(), ..Record::default() };
        for n in 1..=n {
            record.keep(id(n), &contract(), u64::from(n));
            record.activate(id(n), &contract());
        }
        record
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut record = record(3);
        record.ramp(Ramp { version: id(2), percent: 5, since_ms: 9 }, &contract());
        record.halted =
            Some(Halted { version: id(1), percent: 1, at_ms: 2, reason: "it failed".into() });
        let text = print(&record).expect("prints");
        assert_eq!(parse("bank", &text).expect("sound"), record);
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A flip that only makes the hash's field another one leaves what it says.
            let read = parse("bank", &flipped);
            assert!(read.is_err() || read.is_ok_and(|read| read == record), "bit {bit}");
        }
        let other = parse("shop", &text).expect_err("another's").to_string();
        assert!(other.contains("app bank"), "{other}");
    }

    #[test]
    fn lists_of_deploys_are_read() {
        let deploy = |n: u8, deadline_ms: u64| {
            serde_json::json!({"version": id(n).hex(), "deployed_at_ms": n,
                               "config": {"deadline_ms": deadline_ms}})
        };
        let deploys = [deploy(1, 10), deploy(2, 20), deploy(2, 30), deploy(1, 40)];
        let older = serde_json::json!({"format": 2, "versions": deploys}).to_string();
        let read = parse("bank", older.as_bytes()).expect("older");
        assert_eq!(read.lives, [id(1), id(2), id(1)]);
        let kept: Vec<_> = read.versions.iter().map(|kept| kept.version).collect();
        assert_eq!(kept, [id(2), id(1)]);
        assert_eq!((read.config.deadline_ms, read.app.as_str()), (40, "bank"));
        let unchecked = serde_json::json!({"format": 3, "app": "bank", "versions": []});
        let error = parse("bank", unchecked.to_string().as_bytes()).expect_err("no checksum");
        assert!(error.to_string().contains("checksum"), "{error}");
        let newer = serde_json::json!({"format": FORMAT + 1, "app": "bank"}).to_string();
        assert!(parse("bank", newer.as_bytes()).expect_err("newer").to_string().contains("format"));
    }

    #[test]
    fn going_back_retraces_what_was_live() {
        let mut record = record(3);
        assert_eq!((record.live(), record.previous()), (Some(id(3)), Some(id(2))));
        record.roll_back(&contract());
        assert_eq!((record.live(), record.previous()), (Some(id(2)), Some(id(1))));
        record.activate(id(3), &contract());
        assert_eq!((record.live(), record.previous()), (Some(id(3)), Some(id(2))));
        record.activate(id(3), &contract());
        assert_eq!(record.previous(), Some(id(2)), "it was live already");
        record.roll_back(&contract());
        record.roll_back(&contract());
        assert_eq!((record.live(), record.previous()), (Some(id(1)), None));
    }

    #[test]
    fn what_is_needed_is_kept_and_the_oldest_others_go() {
        let mut record = record(2);
        record.ramp(Ramp { version: id(1), percent: 5, since_ms: 9 }, &contract());
        for n in 3..=100 {
            record.keep(id(n), &contract(), u64::from(n));
        }
        assert_eq!(record.versions.len(), limits::APP_VERSIONS_KEPT);
        for needed in [id(1), id(2), id(100)] {
            assert!(record.deployment(needed).is_some());
        }
        assert!(record.deployment(id(3)).is_none() && record.deployment(id(99)).is_some());
        for n in 101..=200 {
            record.keep(id(n), &contract(), u64::from(n));
            record.activate(id(n), &contract());
            assert!(record.lives.iter().all(|live| record.deployment(*live).is_some()), "{n}");
        }
        assert_eq!((record.live(), record.previous()), (Some(id(200)), Some(id(199))));
    }

    #[test]
    fn a_ramp_ends_at_nothing_and_with_what_is_live() {
        let mut record = record(2);
        let ramp = |percent| Ramp { version: id(1), percent, since_ms: 9 };
        record.ramp(ramp(5), &contract());
        record.ramp(ramp(0), &contract());
        assert_eq!(record.ramp, None);
        record.ramp(ramp(5), &contract());
        record.activate(id(1), &contract());
        assert_eq!(record.ramp, None);
    }
}

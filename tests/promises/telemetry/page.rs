//! The text format of Prometheus, version 0.0.4, read strictly: what a lenient scraper would guess is a failure here.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) families: BTreeMap<String, Family>,
}

/// All series of one metric.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) help: String,
    pub(super) kind: String,
    /// By name and labels.
    pub(super) samples: BTreeMap<(String, Labels), f64>,
}

pub(super) type Labels = BTreeMap<String, String>;

impl Page {
    /// Reads it; panics at whatever the format does not allow.
    pub(super) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut page = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) =
                    help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                let family = Family { help: help.into(), ..Family::default() };
                assert!(!help.trim().is_empty(), "no help: {line}");
                assert!(page.families.insert(name.into(), family).is_none(), "twice: {name}");
                name.clone_into(&mut current);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert_eq!(name, current, "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                page.family(&current).kind = kind.into();
            } else {
                assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
                let (name, labels, value) = sample(line);
                let family = page.family(&current);
                let base = match family.kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|part| name.strip_suffix(part))
                        .unwrap_or_else(|| panic!("{line}")),
                    "" => panic!("no TYPE before {line}"),
                    _ => &name,
                };
                assert_eq!(base, current, "{line}");
                let before = family.samples.insert((name, labels), value);
                assert!(before.is_none(), "two values: {line}");
            }
        }
        page.families.iter().for_each(|(name, family)| family.check(name));
        page
    }

    /// The sum of a counter or gauge over the series that have these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let base = ["_count", "_sum"].iter().find_map(|part| name.strip_suffix(part));
        let family = self.families.get(name).or_else(|| self.families.get(base?));
        let family = family.unwrap_or_else(|| panic!("no metric {name}"));
        let has = |found: &Labels| {
            labels.iter().all(|(label, value)| found.get(*label).is_some_and(|v| v == value))
        };
        let wanted = family.samples.iter().filter(|((n, found), _)| n == name && has(found));
        wanted.map(|(_, value)| value).sum()
    }

    /// Every series, without its value.
    pub(super) fn series(&self) -> BTreeSet<(String, Labels)> {
        self.families.values().flat_map(|family| family.samples.keys().cloned()).collect()
    }

    fn family(&mut self, name: &str) -> &mut Family {
        self.families.get_mut(name).unwrap_or_else(|| panic!("no HELP before {name:?}"))
    }
}

impl Family {
    /// What must hold over all samples.
    fn check(&self, name: &str) {
        assert!(!self.samples.is_empty(), "{name} has no sample");
        match self.kind.as_str() {
            "counter" => {
                assert!(name.ends_with("_total"), "{name} is a counter");
                assert!(self.samples.values().all(|value| *value >= 0.0), "{name}");
            }
            "histogram" => self.check_histogram(name),
            _ => assert!(!name.ends_with("_total"), "{name} is a gauge"),
        }
    }

    fn check_histogram(&self, name: &str) {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((part, labels), value) in &self.samples {
            if part.ends_with("_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").unwrap_or_else(|| panic!("{name}: no le"));
                let bound = bound.replace("+Inf", "inf").parse().expect("a bound");
                buckets.entry(labels).or_default().push((bound, *value));
            }
        }
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name}: {buckets:?}");
            let (last, all) = *buckets.last().expect("a bucket");
            let part = |part: &str| self.samples.get(&(format!("{name}{part}"), labels.clone()));
            assert!(last.is_infinite() && part("_count") == Some(&all), "{name}: {buckets:?}");
            assert!(part("_sum").is_some_and(|sum| *sum >= 0.0), "{name}");
        }
    }
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    assert!(value.is_finite(), "{line}");
    let Some((name, rest)) = series.split_once('{') else {
        return (checked_name(series), Labels::new(), value);
    };
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {line}"));
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let end = after.find('"').unwrap_or_else(|| panic!("no end of a label: {line}"));
        let (text, after) = after.split_at(end);
        // Nothing that has to be escaped is a label of ours.
        assert!(!text.contains('\\'), "{line}");
        assert!(labels.insert(checked_name(label), text.into()).is_none(), "{line}");
        rest = after[1..].strip_prefix(',').unwrap_or(&after[1..]);
    }
    (checked_name(name), labels, value)
}

fn checked_name(name: &str) -> String {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    assert!(!name.is_empty() && name.bytes().all(good), "not a name: {name:?}");
    name.to_owned()
}

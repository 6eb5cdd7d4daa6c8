//! The noticeboard: metrics by name, as a table and as JSON, and against the recipe's promise.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::recipe::Expectation;
use crate::train::atomic_file;

/// The twelve numbers of a COCO evaluation, in pycocotools' order.
pub const COCO_STATS: [&str; 12] = [
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
];

/// What an evaluation may judge: the prefix of its metrics' names.
pub const COCO_PREFIXES: [&str; 2] = ["box", "mask"];

/// Numbers by name (`box/ap`), in the order they were added; -1 where there was nothing to judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    entries: Vec<(String, f64)>,
}

impl Metrics {
    /// Appends named numbers.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = (String, f64)>) {
        self.entries.extend(entries);
    }

    /// The number called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|(entry, _)| entry == name).map(|(_, value)| *value)
    }

    /// Names and numbers, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// For the run's record: by name, undefined numbers as NaN.
    pub fn defined(&self) -> BTreeMap<String, f64> {
        let defined = |value: f64| if value == UNDEFINED { f64::NAN } else { value };
        self.iter().map(|(name, value)| (name.to_owned(), defined(value))).collect()
    }

    /// One JSON object, name to number; `null` where there was nothing to judge.
    pub fn to_json(&self) -> Value {
        Value::Object(self.iter().map(|(name, value)| (name.to_owned(), number(value))).collect())
    }
}

/// What evaluators say, after pycocotools, where there was nothing to judge. Other negative numbers are measured: the share
/// explained by an autoencoder that is worse than the mean, for example.
const UNDEFINED: f64 = -1.0;

/// A metric for JSON: `null` where there was nothing to judge.
pub fn number(value: f64) -> Value {
    if value == UNDEFINED { Value::Null } else { json!(value) }
}

impl FromIterator<(String, f64)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

/// Refuses a name that no evaluation produces, listing those that exist.
pub fn known_metric(key: &str, name: &str) -> Result<()> {
    let known = COCO_PREFIXES
        .iter()
        .flat_map(|prefix| COCO_STATS.iter().map(move |stat| format!("{prefix}/{stat}")))
        .collect::<Vec<_>>();
    ensure!(
        known.iter().any(|known| known == name),
        "{key}: unknown metric `{name}`, expected one of `{}`",
        known.join("`, `")
    );
    Ok(())
}

/// Writes the metrics as JSON with `extra` entries beside them, whole or not at all.
pub fn write_json(path: &Path, metrics: &Metrics, extra: Map<String, Value>) -> Result<()> {
    let mut object = match metrics.to_json() {
        Value::Object(object) => object,
        other => Map::from_iter([("metrics".to_owned(), other)]),
    };
    object.extend(extra);
    let text = serde_json::to_string_pretty(&Value::Object(object))?;
    atomic_file::replace(path, |file| Ok(writeln!(file, "{text}")?))
}

/// One line for each expectation; whether all are met.
pub fn write_verdict(
    out: &mut dyn Write,
    expect: &BTreeMap<String, Expectation>,
    metrics: &Metrics,
) -> Result<bool> {
    let mut all_met = true;
    for (name, expectation) in expect {
        let value = metrics.get(name).unwrap_or(-1.0);
        let met = expectation.is_met_by(value);
        all_met &= met;
        let mark = if met { "as expected" } else { "OUTSIDE expectations" };
        writeln!(out, "{name} = {value:.4}  {mark}: {expectation}")?;
    }
    Ok(all_met)
}

impl Expectation {
    /// Whether `value` is what was promised; both ends are inclusive.
    pub fn is_met_by(&self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= *least,
            Self::Within { value: expected, tolerance } => (value - expected).abs() <= *tolerance,
        }
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Within { value, tolerance } => write!(f, "{value} +- {tolerance}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_number_is_measured_and_minus_one_is_not() {
        let metrics = Metrics::from_iter([("explained".to_owned(), -0.5), ("box/ap".to_owned(), -1.0)]);
        let defined = metrics.defined();
        assert_eq!(defined["explained"], -0.5);
        assert!(defined["box/ap"].is_nan());
        assert_eq!(metrics.to_json(), json!({ "explained": -0.5, "box/ap": null }));
    }

    #[test]
    fn both_ends_of_an_expectation_count() {
        assert!(Expectation::AtLeast(0.5).is_met_by(0.5));
        assert!(!Expectation::AtLeast(0.5).is_met_by(0.499));
        let within = Expectation::Within { value: 0.5, tolerance: 0.25 };
        assert!(within.is_met_by(0.25) && within.is_met_by(0.75) && !within.is_met_by(0.76));
    }

    #[test]
    fn an_unknown_metric_is_answered_with_the_known_ones() {
        let error = known_metric("expect", "box/map").unwrap_err().to_string();
        assert!(error.contains("`box/map`") && error.contains("`mask/ar_large`"), "{error}");
    }

    #[test]
    fn a_missing_metric_is_outside_expectations() {
        let expect = BTreeMap::from([("box/ap".to_owned(), Expectation::AtLeast(0.0))]);
        let mut out = Vec::new();
        assert!(!write_verdict(&mut out, &expect, &Metrics::default()).expect("in memory"));
    }
}

//! `metrics.json`: every evaluation of a run, and the best.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::train::atomic_file;
use crate::train::checkpoint::Best;

/// The metrics of one evaluation, by name: `box/ap`, `mask/ap`.
pub type Metrics = BTreeMap<String, f64>;

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Updates done before it.
    pub step: usize,
    /// Epochs finished before it.
    pub epoch: usize,
    /// What it measured; a metric that is not defined (no objects of that size) is `null`.
    pub metrics: BTreeMap<String, Option<f64>>,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsFile {
    /// The evaluation whose checkpoint was kept.
    pub best: Option<Best>,
    /// In the order of steps.
    pub evaluations: Vec<Evaluation>,
}

impl MetricsFile {
    /// Reads the file, or starts an empty one; evaluations after `step` are left out.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn open_until(path: &Path, step: usize, best: Option<Best>) -> Result<Self> {
        if !path.exists() {
            return Ok(Self { best, evaluations: Vec::new() });
        }
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut file: Self = serde_json::from_str(&text)
            .map_err(|e| anyhow!("{}: not a run's metrics: {e}", path.display()))?;
        file.evaluations.retain(|evaluation| evaluation.step <= step);
        file.best = best;
        Ok(file)
    }

    /// Adds an evaluation; one of the same step replaces the older.
    pub fn add(&mut self, step: usize, epoch: usize, metrics: &Metrics) {
        self.evaluations.retain(|evaluation| evaluation.step < step);
        let defined = |(name, &value): (&String, &f64)| (name.clone(), value.is_finite().then_some(value));
        self.evaluations.push(Evaluation { step, epoch, metrics: metrics.iter().map(defined).collect() });
    }

    /// The evaluation with the highest value of `metric`, the first of equals; none where it was never defined.
    pub fn best_by(&self, metric: &str) -> Option<(&Evaluation, Best)> {
        let values = self.evaluations.iter().filter_map(|evaluation| {
            let value = (*evaluation.metrics.get(metric)?)?;
            Some((evaluation, Best { metric: metric.to_owned(), value, step: evaluation.step }))
        });
        values.reduce(|best, next| if next.1.value > best.1.value { next } else { best })
    }

    /// Whether an evaluation of the model after `step` updates is noted.
    pub fn has(&self, step: usize) -> bool {
        self.evaluations.iter().any(|evaluation| evaluation.step == step)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// If the disk is full, for example.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        atomic_file::replace(path, |file| Ok(file.write_all(&text)?))
    }
}

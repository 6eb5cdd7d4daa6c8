//! When a run is evaluated, what is noted of it, and when it has not become better for too long.

use anyhow::{Result, anyhow};
use burn::module::Module;

use super::{Every, Trainer};
use crate::train::checkpoint::{Best, Position};
use crate::train::metrics_file::{Evaluation, Metrics};

/// How long to go on without a better evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// So many in a row end the run.
    pub evaluations: usize,
    /// A better one is more than this above the best before.
    pub min_delta: f64,
}

impl Patience {
    /// Whether it is at its end after these evaluations. It depends on them alone, so a resumed run ends where an
    /// uninterrupted one does.
    fn is_over(self, metric: &str, evaluations: &[Evaluation]) -> bool {
        let (mut best, mut without) = (f64::NEG_INFINITY, 0);
        for evaluation in evaluations {
            match evaluation.metrics.get(metric).copied().flatten() {
                Some(value) if value > best + self.min_delta => (best, without) = (value, 0),
                _ => without += 1,
            }
        }
        without >= self.evaluations
    }
}

impl<M: Module> Trainer<M> {
    /// Whether to evaluate now.
    pub fn evaluation_due(&self) -> bool {
        self.last_evaluated != Some(self.position.step) && self.is_due(self.parts.config.evaluate)
    }

    /// Notes an evaluation of [`Trainer::judged`]; the best one's model is kept, and until the metric that decides is
    /// defined, the last one's. Returns whether this is the best.
    ///
    /// # Errors
    /// If the metric that decides is not among them. What cannot be written is told, and written with the next
    /// checkpoint.
    pub fn record_evaluation(&mut self, metrics: &Metrics) -> Result<bool> {
        let Position { step, epoch, .. } = self.position;
        let metric = &self.parts.config.best_metric;
        let value = *metrics.get(metric).ok_or_else(|| {
            let possible: Vec<&str> = metrics.keys().map(String::as_str).collect();
            anyhow!(
                "the best model is chosen by `{metric}`, which is not measured; possible: {}",
                possible.join(", ")
            )
        })?;
        let is_best = value.is_finite() && self.position.best.as_ref().is_none_or(|best| value > best.value);
        if is_best {
            self.position.best = Some(Best { metric: metric.clone(), value, step });
        }
        if is_best || self.position.best.is_none() {
            self.saving.best = Some((self.judged(), self.position.clone()));
        }
        self.metrics.add(step, epoch, metrics);
        self.metrics.best = self.position.best.clone();
        self.saving.is_metrics_due = true;
        if let Err(error) = self.save_results() {
            self.warn_of_refusal(&format!("the evaluation after step {step} is NOT saved: {error:#}"));
        }
        let defined = metrics.iter().filter(|(_, value)| value.is_finite());
        self.add_events(step, defined.map(|(name, &value)| (name.clone(), value)).collect());
        self.last_evaluated = Some(step);
        self.draw_curves();
        self.restart_clock();
        Ok(is_best)
    }

    /// Whether the run has not become better for too long.
    pub fn is_out_of_patience(&self) -> bool {
        let is_over =
            |patience: Patience| patience.is_over(&self.parts.config.best_metric, &self.metrics.evaluations);
        self.parts.config.patience.is_some_and(is_over)
    }

    pub(super) fn is_due(&self, every: Every) -> bool {
        let Position { step, epoch, batches_in_epoch, .. } = self.position;
        if self.pending.batches > 0 || step == 0 {
            return false;
        }
        let regular = match every {
            Every::Epochs(epochs) => batches_in_epoch == 0 && epoch.is_multiple_of(epochs),
            Every::Steps(steps) => step.is_multiple_of(steps),
        };
        regular || self.is_finished()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[track_caller]
    fn case(values: &[f64], min_delta: f64, expected: bool) {
        let evaluation = |(step, &value): (usize, &f64)| {
            let metrics = BTreeMap::from([("ap".to_owned(), value.is_finite().then_some(value))]);
            Evaluation { step, epoch: step, metrics }
        };
        let evaluations: Vec<Evaluation> = values.iter().enumerate().map(evaluation).collect();
        let patience = Patience { evaluations: 2, min_delta };
        assert_eq!(patience.is_over("ap", &evaluations), expected, "{values:?}");
    }

    #[test]
    fn patience_ends_after_so_many_evaluations_without_a_better_one() {
        case(&[], 0.0, false);
        case(&[0.5, 0.5], 0.0, false);
        case(&[0.5, 0.4, 0.5], 0.0, true);
        case(&[0.5, 0.4, 0.6], 0.0, false);
        case(&[0.5, 0.52, 0.54], 0.05, true);
        case(&[0.5, 0.52, 0.56], 0.05, false);
        case(&[f64::NAN, f64::NAN], 0.0, true);
    }
}

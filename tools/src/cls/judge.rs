//! A classifier against the images it is judged by: how often the truth is its first, and among its first five choices.

use std::sync::Arc;

use anyhow::{Result, ensure};
use burn::prelude::*;
use cvx_backbone::Classifier;
use cvx_data::{BatchSampler, Dataset as _, ImageFolder, Loader};
use serde_json::{Map, Value, json};

use crate::classify::Preprocessing;
use crate::report::Metrics;

/// Figures over all images.
const OVERALL: [&str; 2] = [TOP1, "top5"];

/// The metric whose highest value decides which checkpoint is the best.
pub(super) const TOP1: &str = "top1";

/// Before the name of a class: how often its images are told for what they are.
const CLASS_PREFIX: &str = "accuracy/";

/// How many choices the second figure looks at.
const CHOICES: usize = 5;

/// Refuses a name that no evaluation produces, listing those that exist.
pub(super) fn known_metric(key: &str, name: &str) -> Result<()> {
    let is_known =
        OVERALL.contains(&name) || name.strip_prefix(CLASS_PREFIX).is_some_and(|class| !class.is_empty());
    ensure!(
        is_known,
        "{key}: unknown metric `{name}`, expected one of `{}`, `{CLASS_PREFIX}<class>`",
        OVERALL.join("`, `")
    );
    Ok(())
}

/// What is needed to judge.
pub(super) struct Judge<'a> {
    pub(super) classifier: &'a Classifier,
    pub(super) preprocessing: &'a Preprocessing,
    pub(super) device: &'a Device,
}

/// How a class fared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    images: usize,
    first: usize,
    among_first: usize,
}

/// What an image was taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    /// Position of the image.
    pub(super) index: usize,
    /// What it is.
    pub(super) class: usize,
    /// What it was taken for.
    pub(super) first: usize,
    /// The probability of that.
    pub(super) of_first: f32,
    /// The probability of what it is.
    pub(super) of_truth: f32,
}

/// How every class fared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    tallies: Vec<Tally>,
    choices: Vec<Choice>,
    names: Vec<String>,
}

impl Judge<'_> {
    /// Judges all images.
    pub(super) fn run(
        &self,
        set: &Arc<ImageFolder>,
        batch_size: usize,
        workers: usize,
        count: &mut dyn FnMut(usize),
    ) -> Result<Judgement> {
        let sampler = BatchSampler::sequential(set.len(), batch_size);
        let pipeline = Arc::new(self.preprocessing.pipeline());
        let loader = Loader::new(Arc::<ImageFolder>::clone(set), pipeline, sampler, workers);
        let names = set.class_names().to_vec();
        let tallies = vec![Tally::default(); names.len()];
        let mut judgement = Judgement { tallies, choices: Vec::with_capacity(set.len()), names };
        for samples in loader.epoch(0, 0) {
            let samples = samples?;
            let logits = self.classifier.forward(self.preprocessing.images(&samples, self.device));
            let [_, num_classes] = logits.dims();
            let logits: Vec<f32> = logits.try_into_vec_as()?;
            for (sample, logits) in samples.iter().zip(logits.chunks_exact(num_classes)) {
                judgement.add(sample.index, set.class(sample.index), logits);
            }
            count(samples.len());
        }
        Ok(judgement)
    }
}

impl Judgement {
    /// What the images were taken for, in the order in which they were judged.
    pub(super) fn choices(&self) -> &[Choice] {
        &self.choices
    }

    fn add(&mut self, index: usize, class: usize, logits: &[f32]) {
        // The first of equals.
        let is_more = |a: usize, b: usize| logits[a].total_cmp(&logits[b]).is_gt();
        let first = (0..logits.len()).reduce(|best, next| if is_more(next, best) { next } else { best });
        let first = first.unwrap_or_default();
        let sum: f32 = logits.iter().map(|logit| (logit - logits[first]).exp()).sum();
        let of_truth = (logits[class] - logits[first]).exp() / sum;
        self.choices.push(Choice { index, class, first, of_first: 1.0 / sum, of_truth });

        // Of equals the first is chosen first, as by a stable sort.
        let before = logits
            .iter()
            .enumerate()
            .filter(|&(other, &logit)| logit > logits[class] || (logit == logits[class] && other < class))
            .count();
        let tally = &mut self.tallies[class];
        tally.images += 1;
        tally.first += usize::from(before == 0);
        tally.among_first += usize::from(before < CHOICES);
    }

    /// Numbers by name.
    pub(super) fn metrics(&self) -> Metrics {
        let sum = |of: fn(&Tally) -> usize| self.tallies.iter().map(of).sum::<usize>() as f64;
        let images = sum(|tally| tally.images);
        let overall = [sum(|tally| tally.first), sum(|tally| tally.among_first)];
        let overall = OVERALL.iter().zip(overall).map(|(&name, count)| (name.to_owned(), count / images));
        let classes =
            self.names.iter().zip(&self.tallies).map(|(name, tally)| {
                (format!("{CLASS_PREFIX}{name}"), tally.first as f64 / tally.images as f64)
            });
        overall.chain(classes).collect()
    }

    /// A line for each class.
    pub(super) fn class_table(&self) -> String {
        let width = self.names.iter().map(String::len).max().unwrap_or(0).max(5);
        let row = |[name, images, first]: [&str; 3]| format!("{name:width$}  {images:>6}  {first:>5}\n");
        let rows = self.class_rows();
        let rows = rows.iter().map(|cells| row([&cells[0], &cells[1], &cells[2]]));
        std::iter::once(row(["class", "images", "top1"])).chain(rows).collect()
    }

    /// Name, images and share of those that were named rightly, of each class.
    pub(super) fn class_rows(&self) -> Vec<Vec<String>> {
        let row = |(name, tally): (&String, &Tally)| {
            let share = tally.first as f64 / tally.images as f64;
            vec![name.clone(), tally.images.to_string(), format!("{share:.3}")]
        };
        self.names.iter().zip(&self.tallies).map(row).collect()
    }

    /// Everything that is known of each class, for a file of numbers.
    pub(super) fn classes_entry(&self) -> Map<String, Value> {
        let classes = self.names.iter().zip(&self.tallies).map(|(name, tally)| {
            let Tally { images, first, among_first } = tally;
            (name.clone(), json!({ "images": images, "top1": first, "top5": among_first }))
        });
        Map::from_iter([("classes".to_owned(), Value::Object(classes.collect()))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_counts_when_it_is_first_and_when_it_is_among_five() {
        let names: Vec<String> = (0..7).map(|class| class.to_string()).collect();
        let mut judgement = Judgement { tallies: vec![Tally::default(); 7], choices: Vec::new(), names };
        let logits = [3.0, 9.0, 1.0, 9.0, 0.0, 2.0, -1.0];
        // In order: 1, 3, 0, 5, 2, 4, 6.
        for class in 0..7 {
            judgement.add(class, class, &logits);
        }
        assert!(judgement.choices().iter().all(|choice| choice.first == 1));
        let shares: f32 = judgement.choices().iter().map(|choice| choice.of_truth).sum();
        assert!((shares - 1.0).abs() < 1e-5, "{shares}");
        let metrics = judgement.metrics();
        assert_eq!((metrics.get("top1"), metrics.get("top5")), (Some(1.0 / 7.0), Some(5.0 / 7.0)));
        assert_eq!((metrics.get("accuracy/1"), metrics.get("accuracy/3")), (Some(1.0), Some(0.0)));
        assert!(judgement.class_table().contains("1           1  1.000"), "{}", judgement.class_table());
    }
}

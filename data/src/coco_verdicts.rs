//! Hits and false alarms at one IoU threshold, and what they say of the scores: thresholds and calibration.
//!
//! These are extensions: pycocotools has no such numbers. The verdicts themselves are its, at all areas and the last
//! detection limit.

use rayon::prelude::*;

use crate::coco_ap::{CocoEvaluator, Params};
use crate::coco_ap_curve::by_falling_score;
use crate::coco_ap_match::match_group;
use crate::coco_error::CocoError;

/// What became of the detections of one category at one IoU threshold; those that are ignored are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdicts {
    /// Objects that count.
    pub num_truths: usize,
    /// Score, and whether it found an object, by falling score.
    pub ranked: Vec<(f64, bool)>,
}

/// The score from which a category's detections are best kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingPoint {
    /// Detections of this score and above are kept.
    pub score: f64,
    /// 2 hits / (detections + objects), the largest of all scores; of equal ones, that of the highest score.
    pub f1: f64,
    /// Hits of the detections that are kept.
    pub precision: f64,
    /// Objects that are found.
    pub recall: f64,
}

/// Detections whose scores lie in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// How many.
    pub count: usize,
    /// Their mean score.
    pub confidence: f64,
    /// The share of hits.
    pub accuracy: f64,
}

/// How far scores are from the share of hits.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Expected calibration error (Naeini et al. 2015): the mean over detections of |accuracy - confidence| of their bin;
    /// `None` without detections, or where a score is not a probability.
    pub ece: Option<f64>,
    /// Equal ranges of score from 0 to 1; the last holds 1.
    pub bins: Vec<CalibrationBin>,
}

impl CocoEvaluator<'_> {
    /// Verdicts by category, in the order of their ids.
    ///
    /// # Errors
    /// Those of [`CocoEvaluator::finish`].
    pub fn verdicts(&self, iou_threshold: f64) -> Result<Vec<Verdicts>, CocoError> {
        self.check_ids()?;
        let params = Params { iou_thresholds: vec![iou_threshold], ..self.params.clone() };
        let of_group = |group| {
            let matched = match_group(group, self, &params)?;
            let ranked = by_falling_score(&matched.outcomes).into_iter();
            let counted = ranked.filter(|outcome| outcome.ignored[0] & 1 == 0);
            Ok(Verdicts {
                num_truths: matched.num_truths[0],
                ranked: counted.map(|outcome| (outcome.score, outcome.matched[0] & 1 != 0)).collect(),
            })
        };
        let verdicts: Vec<Result<Verdicts, CocoError>> =
            self.by_category().par_iter().map(of_group).collect();
        verdicts.into_iter().collect()
    }
}

impl Verdicts {
    /// The score with the largest F1; `None` without objects or hits. Detections of one score are kept or dropped
    /// together.
    pub fn operating_point(&self) -> Option<OperatingPoint> {
        let mut best: Option<OperatingPoint> = None;
        let (mut kept, mut hits) = (0, 0);
        for ties in self.ranked.chunk_by(|a, b| a.0 == b.0) {
            kept += ties.len();
            hits += ties.iter().filter(|(_, is_hit)| *is_hit).count();
            let f1 = 2.0 * hits as f64 / (kept + self.num_truths) as f64;
            if hits > 0 && best.is_none_or(|best| f1 > best.f1) {
                best = Some(OperatingPoint {
                    score: ties[0].0,
                    f1,
                    precision: hits as f64 / kept as f64,
                    recall: hits as f64 / self.num_truths as f64,
                });
            }
        }
        best
    }

    /// Scores against the share of hits, in `num_bins` ranges.
    ///
    /// # Panics
    /// If `num_bins` is 0.
    pub fn calibration(&self, num_bins: usize) -> Calibration {
        assert!(num_bins > 0, "there is no calibration without bins");
        let mut bins = vec![CalibrationBin::default(); num_bins];
        for &(score, is_hit) in &self.ranked {
            let bin = &mut bins[((score * num_bins as f64) as usize).min(num_bins - 1)];
            bin.count += 1;
            bin.confidence += score;
            bin.accuracy += f64::from(u8::from(is_hit));
        }
        for bin in bins.iter_mut().filter(|bin| bin.count > 0) {
            bin.confidence /= bin.count as f64;
            bin.accuracy /= bin.count as f64;
        }
        let total = self.ranked.len() as f64;
        let gap = |bin: &CalibrationBin| bin.count as f64 / total * (bin.accuracy - bin.confidence).abs();
        let is_defined =
            !self.ranked.is_empty() && self.ranked.iter().all(|(score, _)| (0.0..=1.0).contains(score));
        let ece = is_defined.then(|| bins.iter().filter(|bin| bin.count > 0).map(gap).sum());
        Calibration { ece, bins }
    }

    /// The verdicts of all categories as if they were one.
    pub fn together(all: &[Self]) -> Self {
        let mut ranked: Vec<(f64, bool)> =
            all.iter().flat_map(|verdicts| verdicts.ranked.iter().copied()).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { num_truths: all.iter().map(|verdicts| verdicts.num_truths).sum(), ranked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Verdicts {
        let ranked = vec![(0.9, true), (0.9, false), (0.6, true), (0.5, false), (0.5, false), (0.25, true)];
        Verdicts { num_truths: 4, ranked }
    }

    #[test]
    fn the_best_score_keeps_its_ties() {
        // F1: 2/6 at 0.9, 4/7 at 0.6, 4/9 at 0.5, 6/10 at 0.25.
        let point = verdicts().operating_point().unwrap();
        assert_eq!(point, OperatingPoint { score: 0.25, f1: 0.6, precision: 0.5, recall: 0.75 });
        let none = Verdicts { num_truths: 4, ranked: vec![(0.5, false)] };
        assert_eq!(none.operating_point(), None);
    }

    #[test]
    fn calibration_is_the_mean_gap_of_the_bins() {
        let Calibration { ece, bins } = verdicts().calibration(2);
        assert_eq!(bins[0], CalibrationBin { count: 1, confidence: 0.25, accuracy: 1.0 });
        assert_eq!(bins[1].count, 5);
        // 1/6 * |1 - 0.25| + 5/6 * |2/5 - 3.4/5|
        assert!((ece.unwrap() - (0.75 + 1.4) / 6.0).abs() < 1e-15);
        let outside = Verdicts { num_truths: 1, ranked: vec![(1.5, true)] };
        assert_eq!(outside.calibration(10).ece, None);
        assert_eq!(Verdicts { num_truths: 1, ranked: Vec::new() }.calibration(10).ece, None);
    }
}

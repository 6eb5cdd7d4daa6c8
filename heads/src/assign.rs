//! Which prior (anchor or proposal) answers for which true box, by overlap.
//!
//! Semantics of mmdet 3.3, `max_iou_assigner.py` with `gt_max_assign_all`.

use burn::prelude::*;

/// What a prior is asked to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Nothing: it overlaps too much for background and too little for an object.
    Ignored,
    /// That there is no object.
    Background,
    /// The true box of this index.
    Truth(u32),
}

/// Whether a true box that no prior overlaps well still gets its best ones.
#[derive(Config, Debug, Copy, PartialEq)]
pub enum LowQualityMatch {
    /// It does not.
    Off,
    /// Every prior that overlaps it as much as the best one, even when another true box has a
    /// greater claim, provided that the overlap reaches `min_iou`.
    AllTied {
        /// Smallest overlap, inclusive.
        min_iou: f32,
    },
}

/// Assigns each prior by the largest of its overlaps.
#[derive(Config, Debug)]
pub struct MaxIouAssigner {
    /// A prior is positive from this overlap on, inclusive.
    pub positive_iou: f32,
    /// A prior is background below this overlap, exclusive.
    pub negative_iou: f32,
    /// Rescue of true boxes that would get no prior.
    pub low_quality: LowQualityMatch,
}

impl MaxIouAssigner {
    /// For anchors: .7 and .3, and true boxes with a best overlap of at least .3 are rescued.
    pub fn rpn() -> Self {
        Self::new(0.7, 0.3, LowQualityMatch::AllTied { min_iou: 0.3 })
    }

    /// For proposals: .5 and .5, with the rescue that Mask R-CNN's configuration in mmdet has and
    /// Faster R-CNN's has not.
    pub fn roi() -> Self {
        Self::new(0.5, 0.5, LowQualityMatch::AllTied { min_iou: 0.5 })
    }

    /// One answer a prior. Without truths everything is background.
    pub fn assign(&self, priors: &[[f32; 4]], truths: &[[f32; 4]]) -> Vec<Assigned> {
        let mut best_iou = vec![0.0_f32; priors.len()];
        let mut best_truth = vec![0_u32; priors.len()];
        let mut overlaps = vec![0.0_f32; priors.len()];
        let mut rescues: Vec<(u32, Vec<usize>)> = Vec::new();
        for (truth_index, &truth) in (0_u32..).zip(truths) {
            for (overlap, &prior) in overlaps.iter_mut().zip(priors) {
                *overlap = iou(truth, prior);
            }
            for ((&overlap, best_iou), best_truth) in overlaps.iter().zip(&mut best_iou).zip(&mut best_truth)
            {
                if overlap > *best_iou {
                    *best_iou = overlap;
                    *best_truth = truth_index;
                }
            }
            if let LowQualityMatch::AllTied { min_iou } = self.low_quality {
                let largest = overlaps.iter().copied().fold(0.0, f32::max);
                if largest >= min_iou {
                    let tied = (0..priors.len()).filter(|&prior| overlaps[prior] == largest);
                    rescues.push((truth_index, tied.collect()));
                }
            }
        }
        let mut assigned: Vec<Assigned> = best_iou
            .iter()
            .zip(&best_truth)
            .map(|(&overlap, &truth)| {
                if !truths.is_empty() && overlap >= self.positive_iou {
                    Assigned::Truth(truth)
                } else if truths.is_empty() || overlap < self.negative_iou {
                    Assigned::Background
                } else {
                    Assigned::Ignored
                }
            })
            .collect();
        for (truth, priors) in rescues {
            for prior in priors {
                assigned[prior] = Assigned::Truth(truth);
            }
        }
        assigned
    }
}

/// Intersection over union; a union below `1e-6` counts as that.
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0) * (y1 - y0);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let intersection = width * height;
    intersection / (area(a) + area(b) - intersection).max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Assigned::{Background, Ignored, Truth};

    #[test]
    fn without_truths_everything_is_background() {
        let assigned = MaxIouAssigner::rpn().assign(&[[0.0, 0.0, 1.0, 1.0]; 2], &[]);
        assert_eq!(assigned, [Background, Background]);
    }

    #[test]
    fn without_priors_nothing_is_assigned() {
        assert_eq!(MaxIouAssigner::rpn().assign(&[], &[[0.0, 0.0, 1.0, 1.0]]), []);
    }

    #[test]
    fn all_tied_best_priors_rescue_a_truth_and_one_between_the_thresholds_is_ignored() {
        let truth = [0.0, 0.0, 10.0, 10.0];
        // Overlaps .6 from either side, then .4, then none.
        let priors =
            [[0.0, 0.0, 6.0, 10.0], [4.0, 0.0, 10.0, 10.0], [0.0, 0.0, 4.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
        let mut assigner = MaxIouAssigner::rpn();
        assert_eq!(assigner.assign(&priors, &[truth]), [Truth(0), Truth(0), Ignored, Background]);
        assigner.low_quality = LowQualityMatch::Off;
        assert_eq!(assigner.assign(&priors, &[truth]), [Ignored, Ignored, Ignored, Background]);
    }

    #[test]
    fn a_rescue_overrules_a_better_claim() {
        let truths = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0]];
        let priors = [[0.0, 0.0, 10.0, 10.0]];
        assert_eq!(MaxIouAssigner::rpn().assign(&priors, &truths), [Truth(1)]);
    }
}

//! From what the RPN says about anchors to the boxes that the heads look at.
//!
//! Semantics of mmdet 3.3, `RPNHead._predict_by_feat_single`: the best of every level, decoded and
//! clipped, then non-maximum suppression within each level, then the best of all levels together.

use burn::prelude::*;

use crate::box_coder::{BoxCoder, clip};
use crate::nms::batched_nms;
use crate::rpn::AnchorPredictions;
use crate::target::ImageSize;

/// How many proposals are made.
#[derive(Config, Debug)]
pub struct ProposalConfig {
    /// How many anchors of each level are decoded.
    pub num_per_level: usize,
    /// How many proposals an image keeps over all levels.
    #[config(default = 1000)]
    pub max_per_image: usize,
    /// A proposal is dropped when a better one of its level overlaps it by more.
    #[config(default = 0.7)]
    pub nms_iou: f32,
    /// Width and height must exceed this many input pixels.
    #[config(default = 0.0)]
    pub min_size: f32,
}

/// A box that may hold an object, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Corners.
    pub bbox: [f32; 4],
    /// Probability of there being an object.
    pub score: f32,
}

impl ProposalConfig {
    /// 2000 anchors of each level.
    pub fn train() -> Self {
        Self::new(2000)
    }

    /// 1000 anchors of each level.
    pub fn test() -> Self {
        Self::new(1000)
    }

    /// The proposals of one image, best first. `counts` are the numbers of anchors of the levels.
    ///
    /// Candidates are ranked by logit, which orders as the probability does but keeps apart what
    /// it rounds to one. Predictions that are not numbers make no proposals.
    pub fn propose(
        &self,
        predictions: &AnchorPredictions,
        anchors: &[[f32; 4]],
        counts: &[usize],
        coder: &BoxCoder,
        size: &ImageSize,
    ) -> Vec<Proposal> {
        assert_eq!(predictions.objectness.len(), anchors.len(), "one logit an anchor");
        let mut boxes = Vec::new();
        let mut logits = Vec::new();
        let mut levels = Vec::new();
        let mut first = 0;
        for (level, &count) in counts.iter().enumerate() {
            for anchor in self.best_of_level(&predictions.objectness, first, count) {
                let decoded = coder.decode(anchors[anchor], predictions.deltas[anchor]);
                let [x0, y0, x1, y1] = clip(decoded, size);
                if x1 - x0 > self.min_size && y1 - y0 > self.min_size {
                    boxes.push([x0, y0, x1, y1]);
                    logits.push(predictions.objectness[anchor]);
                    levels.push(level);
                }
            }
            first += count;
        }
        let mut kept = batched_nms(&boxes, &logits, &levels, self.nms_iou);
        kept.truncate(self.max_per_image);
        let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        kept.into_iter()
            .map(|index| Proposal { bbox: boxes[index], score: probability(logits[index]) })
            .collect()
    }

    /// Indices of the largest logits among `count` from `first` on, largest first, equal ones in
    /// their order.
    fn best_of_level(&self, logits: &[f32], first: usize, count: usize) -> Vec<usize> {
        let mut ranked: Vec<usize> =
            (first..first + count).filter(|&anchor| !logits[anchor].is_nan()).collect();
        let order = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        if ranked.len() > self.num_per_level {
            ranked.select_nth_unstable_by(self.num_per_level, order);
            ranked.truncate(self.num_per_level);
        }
        ranked.sort_unstable_by(order);
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODER: BoxCoder = BoxCoder { stds: [1.0; 4] };
    const SIZE: ImageSize = ImageSize { height: 100, width: 100, padded_height: 128, padded_width: 128 };

    fn propose(config: &ProposalConfig, logits: &[f32], boxes: &[[f32; 4]]) -> Vec<Proposal> {
        let predictions =
            AnchorPredictions { objectness: logits.to_vec(), deltas: vec![[0.0; 4]; boxes.len()] };
        config.propose(&predictions, boxes, &[boxes.len()], &CODER, &SIZE)
    }

    #[test]
    fn the_best_come_first_and_only_so_many_of_a_level_are_looked_at() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0], [40.0, 0.0, 50.0, 10.0]];
        let proposals = propose(&ProposalConfig::new(2), &[0.0, 2.0, 1.0], &boxes);
        let found: Vec<_> = proposals.iter().map(|proposal| proposal.bbox).collect();
        assert_eq!(found, [boxes[1], boxes[2]]);
    }

    #[test]
    fn what_is_not_a_number_or_outside_the_image_makes_no_proposal() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [100.0, 0.0, 120.0, 10.0]];
        assert_eq!(propose(&ProposalConfig::test(), &[f32::NAN, 1.0], &boxes), []);
        let predictions = AnchorPredictions { objectness: vec![1.0; 2], deltas: vec![[f32::NAN; 4]; 2] };
        let config = ProposalConfig::test();
        assert_eq!(config.propose(&predictions, &boxes, &[2], &CODER, &SIZE), []);
    }
}

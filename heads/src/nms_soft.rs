//! Soft non-maximum suppression: an overlapping box is not dropped, its score is lowered.
//!
//! Paper: Bodla et al. 2017, <https://arxiv.org/abs/1704.04503>. Semantics of mmcv (`ops/nms.py`): the best
//! box is chosen, the scores of the others fall with their overlap, and so on with what is left.

use crate::nms::{Columns, by_class, by_falling_score, moved_apart, overlaps_with_all};

/// How soft-NMS lowers the score of a box that overlaps a kept one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SoftNms {
    /// `score * (1 - iou)`, where the overlap reaches the threshold (inclusive).
    Linear,
    /// `score * exp(-iou^2 / sigma)`, whatever the threshold.
    Gaussian {
        /// Width of the bell; mmdet uses 0.5.
        sigma: f32,
    },
}

/// A candidate that survived, with the score it leaves with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Which of the boxes given.
    pub index: usize,
    /// Its score, lowered if the suppression was soft.
    pub score: f32,
}

/// Soft-NMS: the boxes kept and their lowered scores, in the order in which they were chosen.
///
/// # Panics
/// If the lengths differ.
pub fn soft_nms(boxes: &[[f32; 4]], scores: &[f32], iou: f32, method: SoftNms, min_score: f32) -> Vec<Kept> {
    batched_soft_nms(boxes, scores, &vec![0; boxes.len()], iou, method, min_score)
}

/// Soft-NMS within each class: the boxes kept and their lowered scores, best first over all classes.
///
/// As in mmcv, the best box of all stays even below `min_score`.
///
/// # Panics
/// If the lengths differ.
pub fn batched_soft_nms(
    boxes: &[[f32; 4]],
    scores: &[f32],
    classes: &[usize],
    iou: f32,
    method: SoftNms,
    min_score: f32,
) -> Vec<Kept> {
    assert_eq!(boxes.len(), scores.len(), "one score a box");
    assert_eq!(boxes.len(), classes.len(), "one class a box");
    let all = by_falling_score(scores, (0..boxes.len()).collect());
    let Some(&best) = all.first() else {
        return Vec::new();
    };
    let moved = moved_apart(boxes, classes);
    let mut kept: Vec<Kept> = by_class(classes)
        .into_iter()
        .flat_map(|mut members| {
            members.retain(|&index| scores[index] >= min_score || index == best);
            decay(&moved, scores, members, iou, method, min_score)
        })
        .collect();
    kept.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    kept
}

/// Soft suppression within one class: takes the best box, lowers the others, until none is left.
fn decay(
    boxes: &[[f32; 4]],
    scores: &[f32],
    mut members: Vec<usize>,
    iou: f32,
    method: SoftNms,
    min_score: f32,
) -> Vec<Kept> {
    let mut columns = Columns::new(boxes, &members);
    let mut scores: Vec<f32> = members.iter().map(|&index| scores[index]).collect();
    let mut overlaps = vec![0.0; members.len()];
    let mut kept = Vec::with_capacity(members.len());
    while !members.is_empty() {
        let mut best = 0;
        for i in 1..members.len() {
            if scores[i] > scores[best] || scores[i] == scores[best] && members[i] < members[best] {
                best = i;
            }
        }
        kept.push(Kept { index: members[best], score: scores[best] });
        let overlaps = &mut overlaps[..members.len()];
        overlaps_with_all(&columns, best, overlaps);
        for (score, &overlap) in scores.iter_mut().zip(&*overlaps) {
            *score *= match method {
                SoftNms::Linear if overlap >= iou => 1.0 - overlap,
                SoftNms::Linear => 1.0,
                SoftNms::Gaussian { .. } if overlap.is_nan() => 1.0,
                SoftNms::Gaussian { sigma } => (-(overlap * overlap) / sigma).exp(),
            };
        }
        // Backwards, so that what is swapped in has been looked at.
        for i in (0..members.len()).rev() {
            if i == best || scores[i] < min_score {
                members.swap_remove(i);
                scores.swap_remove(i);
                columns.swap_remove(i);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second shares 8 of 12 with the first (iou 2/3), the third nothing with either.
    const BOXES: [[f32; 4]; 3] = [[0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 12.0, 1.0], [20.0, 0.0, 30.0, 1.0]];

    #[test]
    fn no_boxes_survive_nothing() {
        assert!(soft_nms(&[], &[], 0.5, SoftNms::Linear, 0.0).is_empty());
    }

    #[test]
    fn boxes_without_area_lower_no_score() {
        let point = [[3.0, 3.0, 3.0, 3.0]; 2];
        let sigma = SoftNms::Gaussian { sigma: 0.5 };
        assert_eq!(soft_nms(&point, &[0.9, 0.8], 0.5, sigma, 0.0)[1].score, 0.8);
    }

    #[test]
    fn soft_suppression_lowers_scores_by_the_overlap() {
        let kept = soft_nms(&BOXES, &[0.9, 0.6, 0.3], 0.5, SoftNms::Linear, 0.1);
        // 0.6 * (1 - 2/3) = 0.2 falls behind the box that nothing touches.
        let order: Vec<_> = kept.iter().map(|one| one.index).collect();
        assert_eq!(order, [0, 2, 1]);
        assert!((kept[2].score - 0.2).abs() < 1e-6);
        let kept = soft_nms(&BOXES, &[0.9, 0.6, 0.3], 0.5, SoftNms::Linear, 0.25);
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn the_best_box_stays_below_the_smallest_score() {
        let kept = soft_nms(&BOXES, &[1e-4, 2e-4, 1e-5], 0.5, SoftNms::Linear, 1e-3);
        assert_eq!(kept, [Kept { index: 1, score: 2e-4 }]);
    }

    #[test]
    fn classes_lower_no_scores_of_each_other() {
        let scores = [0.9, 0.6, 0.3];
        let kept = batched_soft_nms(&BOXES, &scores, &[0, 1, 0], 0.5, SoftNms::Linear, 0.1);
        assert_eq!(kept.iter().map(|one| one.score).collect::<Vec<_>>(), scores);
    }
}

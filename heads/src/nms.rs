//! Which boxes survive: non-maximum suppression (NMS), one class at a time.
//!
//! Semantics of torchvision (`ops/boxes.py`) and mmcv (`ops/nms.py`): the score order decides, a box
//! overlapping a kept one by more than the threshold goes, and what is returned is sorted by score.
//!
//! Both libraries keep classes apart by moving each to its own corner of a huge plane. We sort into
//! classes instead, which compares fewer pairs, but measure overlaps between the moved boxes all the
//! same: the bits that the move costs decide some suppressions and show in lowered scores. Equal
//! scores keep their input order.

use cvx_backbone::ops::cpu::dispatch::vectorised;

use crate::nms_soft::{Kept, SoftNms, batched_soft_nms};

/// The suppression a detector ends with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Suppression {
    /// A box overlapping a better one of its class by more than `iou` (exclusive) is dropped.
    Hard {
        /// Threshold on intersection over union.
        iou: f32,
    },
    /// Its score is lowered instead; it is dropped once its score is below `min_score`.
    Soft {
        /// Threshold on intersection over union.
        iou: f32,
        /// The decay.
        method: SoftNms,
        /// Smallest score that stays (inclusive); mmdet uses 1e-3.
        min_score: f32,
    },
}

/// One survivor of [`multiclass_nms`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassifiedBox {
    /// The RoI it was predicted from.
    pub roi_index: usize,
    /// Class, 0-based; the background has none.
    pub label: usize,
    /// Its score, lowered if the suppression was soft.
    pub score: f32,
    /// Corners, in the frame of the boxes given.
    pub bbox: [f32; 4],
}

/// Hard NMS: the indices of the boxes kept, best score first.
///
/// # Panics
/// If the lengths differ.
pub fn nms(boxes: &[[f32; 4]], scores: &[f32], iou: f32) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "one score a box");
    let order = by_falling_score(scores, (0..boxes.len()).collect());
    suppress(boxes, order, iou)
}

/// Hard NMS within each class (or pyramid level): the indices kept, best score first over all classes.
///
/// # Panics
/// If the lengths differ.
pub fn batched_nms(boxes: &[[f32; 4]], scores: &[f32], classes: &[usize], iou: f32) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "one score a box");
    let moved = moved_apart(boxes, classes);
    let kept = by_class(classes)
        .into_iter()
        .flat_map(|members| suppress(&moved, by_falling_score(scores, members), iou))
        .collect();
    by_falling_score(scores, kept)
}

/// The end of a box head: every class of every RoI above `score_threshold` (exclusive) is a candidate, NMS
/// runs within each class, and the best `max_per_image` stay, best first.
///
/// `scores` holds one row a RoI: `num_classes` probabilities, then the background's, which is not a
/// candidate. `boxes` holds one row a RoI: a box for each class, or one for all (class-agnostic).
///
/// # Panics
/// If the lengths do not fit one of the two layouts.
pub fn multiclass_nms(
    boxes: &[[f32; 4]],
    scores: &[f32],
    num_classes: usize,
    score_threshold: f32,
    suppression: Suppression,
    max_per_image: usize,
) -> Vec<ClassifiedBox> {
    assert_eq!(scores.len() % (num_classes + 1), 0, "whole rows of scores");
    let num_rois = scores.len() / (num_classes + 1);
    let per_class = boxes.len() == num_rois * num_classes;
    assert!(
        per_class || boxes.len() == num_rois,
        "{} boxes are neither one nor {num_classes} for each of {num_rois} RoIs",
        boxes.len()
    );
    let mut candidates = Vec::new();
    for (roi_index, row) in scores.chunks_exact(num_classes + 1).enumerate() {
        for (label, &score) in row[..num_classes].iter().enumerate() {
            if score > score_threshold {
                let bbox = boxes[if per_class { roi_index * num_classes + label } else { roi_index }];
                candidates.push(ClassifiedBox { roi_index, label, score, bbox });
            }
        }
    }
    let boxes: Vec<_> = candidates.iter().map(|one| one.bbox).collect();
    let scores: Vec<_> = candidates.iter().map(|one| one.score).collect();
    let labels: Vec<_> = candidates.iter().map(|one| one.label).collect();
    let kept = match suppression {
        Suppression::Hard { iou } => batched_nms(&boxes, &scores, &labels, iou)
            .into_iter()
            .map(|index| Kept { index, score: scores[index] })
            .collect(),
        Suppression::Soft { iou, method, min_score } => {
            batched_soft_nms(&boxes, &scores, &labels, iou, method, min_score)
        }
    };
    kept.into_iter()
        .take(max_per_image)
        .map(|Kept { index, score }| ClassifiedBox { score, ..candidates[index] })
        .collect()
}

/// Sorts indices by score, highest first; equal scores keep the order given.
pub(crate) fn by_falling_score(scores: &[f32], mut indices: Vec<usize>) -> Vec<usize> {
    indices.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    indices
}

/// The boxes, each class moved away from the one before by more than the largest coordinate
/// (mmcv `ops/nms.py`, `batched_nms`).
pub(crate) fn moved_apart(boxes: &[[f32; 4]], classes: &[usize]) -> Vec<[f32; 4]> {
    let largest = boxes.as_flattened().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = largest + 1.0;
    let moved = |(bbox, &class): (&[f32; 4], &usize)| bbox.map(|side| side + class as f32 * step);
    boxes.iter().zip(classes).map(moved).collect()
}

/// The indices of each class, ascending.
pub(crate) fn by_class(classes: &[usize]) -> Vec<Vec<usize>> {
    let mut indices: Vec<usize> = (0..classes.len()).collect();
    indices.sort_by_key(|&index| classes[index]);
    indices.chunk_by(|&a, &b| classes[a] == classes[b]).map(<[usize]>::to_vec).collect()
}

/// Boxes as columns, so that one box is compared with sixteen others at a time.
#[derive(Default)]
pub(crate) struct Columns {
    x0: Vec<f32>,
    y0: Vec<f32>,
    x1: Vec<f32>,
    y1: Vec<f32>,
    area: Vec<f32>,
}

impl Columns {
    pub(crate) fn new(boxes: &[[f32; 4]], order: &[usize]) -> Self {
        let column = |side: usize| order.iter().map(|&index| boxes[index][side]).collect();
        let (x0, y0, x1, y1): (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) =
            (column(0), column(1), column(2), column(3));
        let area = (0..order.len()).map(|i| (x1[i] - x0[i]) * (y1[i] - y0[i])).collect();
        Self { x0, y0, x1, y1, area }
    }

    /// Writes the overlap (intersection over union) of box `one` with the boxes from `first` on.
    ///
    /// Two boxes without area overlap by NaN, as in torchvision: no threshold is exceeded.
    #[inline(always)]
    fn overlaps(&self, one: usize, first: usize, overlaps: &mut [f32]) {
        let (x0, y0, x1, y1) = (self.x0[one], self.y0[one], self.x1[one], self.y1[one]);
        let area = self.area[one];
        let count = overlaps.len();
        let (left, top) = (&self.x0[first..][..count], &self.y0[first..][..count]);
        let (right, bottom) = (&self.x1[first..][..count], &self.y1[first..][..count]);
        let areas = &self.area[first..][..count];
        for i in 0..count {
            let width = (x1.min(right[i]) - x0.max(left[i])).max(0.0);
            let height = (y1.min(bottom[i]) - y0.max(top[i])).max(0.0);
            let shared = width * height;
            overlaps[i] = shared / (area + areas[i] - shared);
        }
    }

    /// Takes a box out and puts the last one in its place.
    pub(crate) fn swap_remove(&mut self, index: usize) {
        let Self { x0, y0, x1, y1, area } = self;
        for column in [x0, y0, x1, y1, area] {
            column.swap_remove(index);
        }
    }
}

/// Greedy suppression of boxes sorted best first; returns those kept, in that order.
fn suppress(boxes: &[[f32; 4]], order: Vec<usize>, iou: f32) -> Vec<usize> {
    let columns = Columns::new(boxes, &order);
    let mut dropped = vec![false; order.len()];
    let mut overlaps = vec![0.0; order.len()];
    drop_overlapping(&columns, iou, &mut dropped, &mut overlaps);
    order.into_iter().zip(dropped).filter(|&(_, dropped)| !dropped).map(|(index, _)| index).collect()
}

vectorised! {
    /// Marks every box that a better one, not dropped itself, overlaps by more than `iou`.
    fn drop_overlapping(columns: &Columns, iou: f32, dropped: &mut [bool], overlaps: &mut [f32]) {
        for one in 0..dropped.len() {
            if dropped[one] {
                continue;
            }
            let overlaps = &mut overlaps[one + 1..];
            columns.overlaps(one, one + 1, overlaps);
            for (dropped, &overlap) in dropped[one + 1..].iter_mut().zip(&*overlaps) {
                *dropped |= overlap > iou;
            }
        }
    }
}

vectorised! {
    /// Writes the overlap of box `one` with all of them.
    pub(crate) fn overlaps_with_all(columns: &Columns, one: usize, overlaps: &mut [f32]) {
        columns.overlaps(one, 0, overlaps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second shares 8 of 12 with the first (iou 2/3), the third nothing with either.
    const BOXES: [[f32; 4]; 3] = [[0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 12.0, 1.0], [20.0, 0.0, 30.0, 1.0]];

    #[track_caller]
    fn case(iou: f32, scores: [f32; 3], expected: &[usize]) {
        assert_eq!(nms(&BOXES, &scores, iou), expected);
    }

    #[test]
    fn a_box_overlapping_a_better_one_goes() {
        case(0.5, [0.9, 0.8, 0.7], &[0, 2]);
        case(0.5, [0.8, 0.9, 0.7], &[1, 2]);
        case(0.5, [0.7, 0.8, 0.9], &[2, 1]);
        case(0.7, [0.9, 0.8, 0.7], &[0, 1, 2]);
    }

    #[test]
    fn the_threshold_itself_suppresses_nothing() {
        case(8.0 / 12.0, [0.9, 0.8, 0.7], &[0, 1, 2]);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        case(0.5, [0.5, 0.5, 0.5], &[0, 2]);
    }

    #[test]
    fn no_boxes_survive_nothing() {
        assert!(nms(&[], &[], 0.5).is_empty());
        assert!(batched_nms(&[], &[], &[], 0.5).is_empty());
        let hard = Suppression::Hard { iou: 0.5 };
        assert!(multiclass_nms(&[], &[], 3, 0.05, hard, 100).is_empty());
    }

    #[test]
    fn boxes_without_area_suppress_nothing() {
        let point = [[3.0, 3.0, 3.0, 3.0]; 2];
        assert_eq!(nms(&point, &[0.9, 0.8], 0.5), [0, 1]);
    }

    #[test]
    fn classes_do_not_see_each_other() {
        let scores = [0.7, 0.8, 0.9];
        assert_eq!(batched_nms(&BOXES, &scores, &[0, 1, 0], 0.5), [2, 1, 0]);
        assert_eq!(batched_nms(&BOXES, &scores, &[4, 4, 0], 0.5), [2, 1]);
    }

    #[test]
    fn a_suppressed_box_suppresses_no_other() {
        // The first drops the second; the third overlaps only the second.
        let chain = [[0.0, 0.0, 10.0, 1.0], [2.0, 0.0, 12.0, 1.0], [4.5, 0.0, 14.5, 1.0]];
        assert_eq!(nms(&chain, &[0.9, 0.8, 0.7], 0.5), [0, 2]);
    }

    #[test]
    fn the_background_is_no_candidate() {
        // Two RoIs, two classes and the background; class-agnostic boxes.
        let scores = [0.6, 0.1, 0.3, 0.05, 0.05, 0.9];
        let boxes = [BOXES[0], BOXES[2]];
        let hard = Suppression::Hard { iou: 0.5 };
        let found = multiclass_nms(&boxes, &scores, 2, 0.05, hard, 100);
        let found: Vec<_> = found.iter().map(|one| (one.roi_index, one.label)).collect();
        assert_eq!(found, [(0, 0), (0, 1)]);
        assert_eq!(multiclass_nms(&boxes, &scores, 2, 0.05, hard, 1).len(), 1);
    }

    #[test]
    fn each_class_has_its_own_box() {
        let scores = [0.6, 0.5, 0.0];
        let boxes = [BOXES[0], BOXES[1]];
        let hard = Suppression::Hard { iou: 0.5 };
        let found = multiclass_nms(&boxes, &scores, 2, 0.05, hard, 100);
        assert_eq!((found[1].label, found[1].bbox), (1, BOXES[1]));
    }
}

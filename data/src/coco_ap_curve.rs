//! Precision over recall of one category.

use crate::coco_ap::{Params, falling};
use crate::coco_ap_match::{Matched, Outcome};

/// The arrays of one category; -1 where nothing counts.
pub(crate) struct CategoryCurves {
    /// Per IoU threshold, recall threshold, area range and detection limit, the last fastest.
    pub(crate) precision: Vec<f64>,
    /// The score from which that recall is reached, in the same layout.
    pub(crate) scores: Vec<f64>,
    /// Per IoU threshold, area range and detection limit.
    pub(crate) recall: Vec<f64>,
}

/// numpy's `spacing(1)`, which keeps pycocotools from dividing by zero and makes a lone hit 0.9999999999999998.
const SPACING: f64 = f64::EPSILON;

/// pycocotools' `accumulate` for one category.
pub(crate) fn curves(matched: &Matched, params: &Params) -> CategoryCurves {
    let num_ious = params.iou_thresholds.len();
    let num_recalls = params.recall_thresholds.len();
    let mut curves = CategoryCurves {
        precision: vec![-1.0; num_ious * num_recalls * 12],
        scores: vec![-1.0; num_ious * num_recalls * 12],
        recall: vec![-1.0; num_ious * 12],
    };
    // One sort serves all: the detections under a smaller limit are a subsequence, in the same order.
    let mut ranked: Vec<&Outcome> = matched.outcomes.iter().collect();
    ranked.sort_by(|a, b| falling(a.score, b.score));
    let mut hits = Vec::new();
    for (limit, &max_detections) in params.max_detections.iter().enumerate() {
        let seen: Vec<&Outcome> =
            ranked.iter().copied().filter(|outcome| outcome.rank < max_detections).collect();
        for area in 0..4 {
            if matched.num_truths[area] == 0 {
                continue;
            }
            let num_truths = matched.num_truths[area] as f64;
            for iou in 0..num_ious {
                find_hits(&seen, area, 1 << iou, &mut hits);
                curves.recall[(iou * 4 + area) * 3 + limit] = hits.len() as f64 / num_truths;
                let mut hit = 0;
                for (index, &wanted) in params.recall_thresholds.iter().enumerate() {
                    // The first detection at which the recall is reached; a recall of 0 is reached by the very first.
                    let (precision, score) = if wanted <= 0.0 {
                        let best = hits.first().map_or(0.0, |hit| hit.0);
                        (best, seen.first().map_or(0.0, |outcome| outcome.score))
                    } else {
                        while hit < hits.len() && ((hit + 1) as f64 / num_truths) < wanted {
                            hit += 1;
                        }
                        hits.get(hit).copied().unwrap_or((0.0, 0.0))
                    };
                    let at = ((iou * num_recalls + index) * 4 + area) * 3 + limit;
                    curves.precision[at] = precision;
                    curves.scores[at] = score;
                }
            }
        }
    }
    curves
}

/// Precision and score at every hit; precision is the largest at this or any later one.
fn find_hits(seen: &[&Outcome], area: usize, flag: u64, hits: &mut Vec<(f64, f64)>) {
    hits.clear();
    let (mut true_positives, mut false_positives) = (0.0, 0.0);
    for outcome in seen {
        if outcome.ignored[area] & flag != 0 {
            continue;
        }
        if outcome.matched[area] & flag == 0 {
            false_positives += 1.0;
        } else {
            true_positives += 1.0;
            hits.push((true_positives / (false_positives + true_positives + SPACING), outcome.score));
        }
    }
    let mut best = 0.0;
    for hit in hits.iter_mut().rev() {
        best = hit.0.max(best);
        hit.0 = best;
    }
}

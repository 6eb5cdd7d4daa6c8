//! Precision over recall of one category.

use rayon::prelude::*;

use crate::coco_ap::Params;
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

/// Counts of one area range and threshold, and precision and score at every hit.
#[derive(Clone, Default)]
struct Sweep {
    true_positives: u32,
    /// Besides the false alarms of all thresholds.
    false_positives: u32,
    hits: Vec<(f64, f64)>,
}

/// pycocotools' `accumulate` for one category.
pub(crate) fn curves(matched: &Matched, params: &Params) -> CategoryCurves {
    let num_ious = params.iou_thresholds.len();
    let num_recalls = params.recall_thresholds.len();
    let mut curves = CategoryCurves {
        precision: vec![-1.0; num_ious * num_recalls * 12],
        scores: vec![-1.0; num_ious * num_recalls * 12],
        recall: vec![-1.0; num_ious * 12],
    };
    if matched.num_truths == [0; 4] {
        return curves;
    }
    // One sort serves all: the detections under a smaller limit are a subsequence, in the same order.
    let ranked = by_falling_score(&matched.outcomes);
    let mut sweeps = vec![Sweep::default(); 4 * num_ious];
    for (limit, &max_detections) in params.max_detections.iter().enumerate() {
        let mut seen = ranked.iter().filter(|outcome| (outcome.rank as usize) < max_detections).peekable();
        let first_score = seen.peek().map_or(0.0, |outcome| outcome.score);
        sweep(seen, num_ious, &mut sweeps);
        for (area, &count) in matched.num_truths.iter().enumerate().filter(|(_, count)| **count > 0) {
            let num_truths = count as f64;
            for (iou, Sweep { hits, .. }) in sweeps[area * num_ious..][..num_ious].iter().enumerate() {
                curves.recall[(iou * 4 + area) * 3 + limit] = hits.len() as f64 / num_truths;
                let mut hit = 0;
                for (index, &wanted) in params.recall_thresholds.iter().enumerate() {
                    // The first detection at which the recall is reached; a recall of 0 is reached by the very first.
                    let (precision, score) = if wanted <= 0.0 {
                        (hits.first().map_or(0.0, |hit| hit.0), first_score)
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

/// Ties keep their order.
pub(crate) fn by_falling_score(outcomes: &[Outcome]) -> Vec<Outcome> {
    let mut keys: Vec<(u64, u32)> =
        outcomes.iter().zip(0..).map(|(outcome, index)| (falling_key(outcome.score), index)).collect();
    keys.par_sort_unstable();
    keys.into_iter().map(|(_, index)| outcomes[index as usize]).collect()
}

/// Smaller for larger scores, as whole numbers compare; one for both zeros.
pub(crate) fn falling_key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { !bits ^ (1 << 63) } else { bits }
}

/// Counts hits and false alarms from the best detection on; precision is the largest at a hit or any later one.
fn sweep<'a>(seen: impl Iterator<Item = &'a Outcome>, num_ious: usize, sweeps: &mut [Sweep]) {
    for sweep in sweeps.iter_mut() {
        (sweep.true_positives, sweep.false_positives) = (0, 0);
        sweep.hits.clear();
    }
    let all = if num_ious == 32 { u32::MAX } else { (1 << num_ious) - 1 };
    // False alarms at every threshold, per area range; most detections are that.
    let mut common = [0u32; 4];
    for outcome in seen {
        for (area, common) in common.iter_mut().enumerate() {
            let counted = !outcome.ignored[area] & all;
            let mut hits = outcome.matched[area] & counted;
            let mut false_alarms = counted & !hits;
            if false_alarms == all {
                *common += 1;
                continue;
            }
            while false_alarms != 0 {
                sweeps[area * num_ious + false_alarms.trailing_zeros() as usize].false_positives += 1;
                false_alarms &= false_alarms - 1;
            }
            while hits != 0 {
                let sweep = &mut sweeps[area * num_ious + hits.trailing_zeros() as usize];
                hits &= hits - 1;
                sweep.true_positives += 1;
                let true_positives = f64::from(sweep.true_positives);
                let false_positives = f64::from(sweep.false_positives + *common);
                sweep
                    .hits
                    .push((true_positives / (false_positives + true_positives + SPACING), outcome.score));
            }
        }
    }
    for sweep in sweeps {
        let mut best = 0.0;
        for hit in sweep.hits.iter_mut().rev() {
            best = hit.0.max(best);
            hit.0 = best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_as_scores_rise() {
        let rising = [f64::MIN, -2.0, -1.0, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 0.5, 1.0, f64::MAX];
        assert!(rising.windows(2).all(|pair| falling_key(pair[0]) > falling_key(pair[1])));
        assert_eq!(falling_key(-0.0), falling_key(0.0));
    }
}

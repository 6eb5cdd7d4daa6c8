//! Whether one set of detections is better than another, by AP under resampling of the images.

use rayon::prelude::*;

use crate::bootstrap::{Comparison, Resampling, compare_figures, mean_figures};
use crate::coco_ap::{CocoEvaluator, Params};
use crate::coco_ap_curve::falling_key;
use crate::coco_ap_match::{Outcome, match_group};
use crate::coco_error::CocoError;

/// The detections of one category with the images they lie in.
struct Resampled {
    /// The image of every object that counts.
    truths: Vec<u32>,
    /// By falling score, ties in the order of images.
    ranked: Vec<(u32, Outcome)>,
}

const NAMES: [&str; 4] = ["ap", "ap50", "ap75", "ar"];

/// Compares two results, each of one run or the mean of several, over resampled images.
///
/// # Errors
/// Those of [`CocoEvaluator::finish`].
///
/// # Panics
/// If a result has no run, or two evaluators compare with different truths, overlaps or parameters.
pub fn compare(
    first: &[&CocoEvaluator<'_>],
    second: &[&CocoEvaluator<'_>],
    resampling: Resampling,
) -> Result<[Comparison; 4], CocoError> {
    assert!(!first.is_empty() && !second.is_empty(), "a result is that of at least one run");
    let reference = first[0];
    for evaluator in first.iter().chain(second) {
        assert!(
            std::ptr::eq(reference.truth, evaluator.truth),
            "evaluators of different truths cannot be compared"
        );
        assert!(
            reference.iou_type == evaluator.iou_type && reference.params == evaluator.params,
            "evaluators of different kinds cannot be compared"
        );
    }
    let point = |evaluator: &&CocoEvaluator<'_>| {
        let [ap, ap50, ap75, .., ar, _, _, _] = evaluator.metrics()?.stats;
        Ok([ap, ap50, ap75, ar])
    };
    let points = |runs: &[&CocoEvaluator<'_>]| -> Result<[f64; 4], CocoError> {
        Ok(mean_figures(runs.iter().map(point).collect::<Result<Vec<_>, CocoError>>()?.into_iter()))
    };
    let ranked = |runs: &[&CocoEvaluator<'_>]| -> Result<Vec<Vec<Resampled>>, CocoError> {
        runs.iter().map(|evaluator| resampled(evaluator)).collect()
    };
    let points = [points(first)?, points(second)?];
    let [first, second] = [ranked(first)?, ranked(second)?];
    let params = &reference.params;
    let mean = |runs: &[Vec<Resampled>], weights: &[u32]| {
        mean_figures(runs.iter().map(|categories| figures(categories, params, weights)))
    };
    Ok(compare_figures(
        NAMES,
        points,
        [&|weights| mean(&first, weights), &|weights| mean(&second, weights)],
        reference.image_ranks.len(),
        resampling,
    ))
}

fn resampled(evaluator: &CocoEvaluator<'_>) -> Result<Vec<Resampled>, CocoError> {
    let params = &evaluator.params;
    let [low, high] = params.area_ranges[0];
    let groups = evaluator.by_category();
    let of_group = |group: &crate::coco_cells::Group<'_>| {
        let outcomes = match_group(group, evaluator, params)?.outcomes;
        let limit = params.max_detections[2];
        let images = group
            .cells()
            .into_iter()
            .flat_map(|cell| std::iter::repeat_n(cell.image, cell.found.len().min(limit)));
        let mut ranked: Vec<(u32, Outcome)> = images.zip(outcomes).collect();
        ranked.sort_by_key(|(_, outcome)| falling_key(outcome.score));
        let counts = group
            .truths
            .iter()
            .filter(|truth| !truth.is_crowd && (low..=high).contains(&truth.annotation.area));
        Ok(Resampled { truths: counts.map(|truth| truth.image).collect(), ranked })
    };
    let categories: Vec<Result<Resampled, CocoError>> = groups.par_iter().map(of_group).collect();
    categories.into_iter().collect()
}

/// AP, AP50, AP75 and AR where every image counts as often as its weight says; -1 where nothing counts.
fn figures(categories: &[Resampled], params: &Params, weights: &[u32]) -> [f64; 4] {
    let num_ious = params.iou_thresholds.len();
    let mut precision = vec![0.0; num_ious];
    let mut recall = 0.0;
    let mut num_categories = 0.0;
    let mut hits: Vec<Vec<f64>> = vec![Vec::new(); num_ious];
    for Resampled { truths, ranked } in categories {
        let num_truths: u64 = truths.iter().map(|&image| u64::from(weights[image as usize])).sum();
        if num_truths == 0 {
            continue;
        }
        num_categories += 1.0;
        hits.iter_mut().for_each(Vec::clear);
        let mut false_positives = vec![0u64; num_ious];
        // Of equal scores, one copy of an image comes after the other, each in its order.
        for of_image in ranked.chunk_by(|a, b| a.0 == b.0 && a.1.score == b.1.score) {
            let copies = weights[of_image[0].0 as usize];
            for (_, outcome) in (0..copies).flat_map(|_| of_image) {
                let counted = !outcome.ignored[0];
                for iou in (0..num_ious).filter(|iou| counted >> iou & 1 == 1) {
                    if outcome.matched[0] >> iou & 1 == 0 {
                        false_positives[iou] += 1;
                        continue;
                    }
                    let true_positives = hits[iou].len() as f64 + 1.0;
                    let all = false_positives[iou] as f64 + true_positives + f64::EPSILON;
                    hits[iou].push(true_positives / all);
                }
            }
        }
        for (hits, precision) in hits.iter_mut().zip(&mut precision) {
            recall += hits.len() as f64 / num_truths as f64;
            let mut best = 0.0;
            for hit in hits.iter_mut().rev() {
                best = hit.max(best);
                *hit = best;
            }
            let mut hit = 0;
            for &wanted in &params.recall_thresholds {
                while hit < hits.len() && ((hit + 1) as f64 / num_truths as f64) < wanted {
                    hit += 1;
                }
                *precision += hits.get(hit).copied().unwrap_or(0.0);
            }
        }
    }
    if num_categories == 0.0 {
        return [-1.0; 4];
    }
    let per_threshold = num_categories * params.recall_thresholds.len() as f64;
    let at = |wanted: f64| {
        let index = params.iou_thresholds.iter().position(|&threshold| threshold == wanted);
        index.map_or(-1.0, |index| precision[index] / per_threshold)
    };
    let ap = precision.iter().sum::<f64>() / (per_threshold * num_ious as f64);
    [ap, at(0.5), at(0.75), recall / (num_categories * num_ious as f64)]
}

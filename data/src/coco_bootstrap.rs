//! Whether one result file is better than another: differences of AP under resampling of the images.
//!
//! Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: images are drawn with replacement, as many as
//! there are, both results are evaluated on the same draw, and the interval holds the middle of the differences. An image
//! that is drawn twice counts twice, as if the data set listed it twice. An extension; pycocotools has no such numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::coco_ap::{CocoEvaluator, Params};
use crate::coco_ap_curve::falling_key;
use crate::coco_ap_match::{Outcome, match_group};
use crate::coco_error::CocoError;

/// One figure of two results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// `ap`, `ap50`, `ap75` or `ar`.
    pub name: &'static str,
    /// Of the first, on all images; -1 where nothing counts.
    pub first: f64,
    /// Of the second.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// Where 95 of 100 resampled differences lie: from the 2.5th percentile to the 97.5th.
    pub interval: [f64; 2],
    /// The share of resamplings in which the second was better; half of those without a difference count.
    pub second_is_better: f64,
}

/// The detections of one category with the images they lie in.
struct Resampled {
    /// The image of every object that counts.
    truths: Vec<u32>,
    /// By falling score, ties in the order of images.
    ranked: Vec<(u32, Outcome)>,
}

const NAMES: [&str; 4] = ["ap", "ap50", "ap75", "ar"];

/// Compares two evaluators of one truth over `resamples` draws; `seed` decides every draw.
///
/// # Errors
/// Those of [`CocoEvaluator::finish`].
///
/// # Panics
/// If the two compare with different truths, overlaps or parameters.
pub fn compare(
    first: &CocoEvaluator<'_>,
    second: &CocoEvaluator<'_>,
    resamples: usize,
    seed: u64,
) -> Result<[Comparison; 4], CocoError> {
    assert!(std::ptr::eq(first.truth, second.truth), "evaluators of different truths cannot be compared");
    assert!(
        first.iou_type == second.iou_type && first.params == second.params,
        "evaluators of different kinds cannot be compared"
    );
    let points = [first.metrics()?, second.metrics()?].map(|metrics| {
        let [ap, ap50, ap75, .., ar, _, _, _] = metrics.stats;
        [ap, ap50, ap75, ar]
    });
    let categories = [resampled(first)?, resampled(second)?];
    let num_images = first.image_ranks.len();
    let draw = |index: usize| {
        let weights = draw(num_images, seed, index as u64);
        let [first, second] =
            categories.each_ref().map(|categories| figures(categories, &first.params, &weights));
        [0, 1, 2, 3].map(|figure| second[figure] - first[figure])
    };
    let differences: Vec<[f64; 4]> = (0..resamples).into_par_iter().map(draw).collect();
    Ok([0, 1, 2, 3].map(|figure| {
        let mut sorted: Vec<f64> = differences.iter().map(|differences| differences[figure]).collect();
        sorted.sort_by(f64::total_cmp);
        let share = |which: fn(&f64) -> bool| {
            sorted.iter().copied().filter(&which).count() as f64 / sorted.len().max(1) as f64
        };
        let [first, second] = [points[0][figure], points[1][figure]];
        Comparison {
            name: NAMES[figure],
            first,
            second,
            difference: second - first,
            interval: [0.025, 0.975].map(|share| percentile(&sorted, share)),
            second_is_better: share(|value| *value > 0.0) + share(|value| *value == 0.0) / 2.0,
        }
    }))
}

/// How often each image is drawn.
fn draw(num_images: usize, seed: u64, index: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let mut weights = vec![0; num_images];
    for _ in 0..num_images {
        weights[rng.random_range(0..num_images)] += 1;
    }
    weights
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

/// numpy's default: between the two nearest, in proportion. NaN for nothing.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(below), Some(above)) => below + (above - below) * (at - low as f64),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| percentile(&sorted, share)),
            [1.0, 1.5, 2.0, 3.0, 4.0]
        );
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn every_draw_has_as_many_images_and_its_own() {
        let draws: Vec<Vec<u32>> = (0..5).map(|index| draw(50, 7, index)).collect();
        assert!(draws.iter().all(|weights| weights.iter().sum::<u32>() == 50));
        assert!(draws.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(draw(50, 7, 3), draws[3]);
    }
}

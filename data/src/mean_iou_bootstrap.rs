//! Whether one segmentor or classifier is better than another, under resampling of the images.

use crate::bootstrap::{Comparison, Resampling, compare_figures, mean_figures};
use crate::mean_iou::{ClassPixels, Convention, SegmentationMetrics};

/// One run: the pixels of each class in each image.
type Images = Vec<Vec<ClassPixels>>;

/// mIoU, mAcc and aAcc of two results, each of one run or the mean of several, over resampled images. Pixels are counted by
/// `convention`; the images of all runs are the same in the same order.
///
/// # Panics
/// If a result has no run, or runs have not the same number of images and classes.
pub fn compare_segmentations(
    first: &[Images],
    second: &[Images],
    convention: Convention,
    resampling: Resampling,
) -> [Comparison; 3] {
    let num_images = common_length(first, second);
    let num_classes = |run: &Images| run.first().map_or(0, Vec::len);
    let mean = |runs: &[Images], weights: &[u32]| {
        mean_figures(runs.iter().map(|images| {
            let mut sums = vec![ClassPixels::default(); num_classes(images)];
            for (classes, &weight) in images.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
                assert_eq!(classes.len(), sums.len(), "all images are of the same classes");
                let weight = u64::from(weight);
                for (sum, class) in sums.iter_mut().zip(classes) {
                    sum.hits += weight * class.hits;
                    sum.truth += weight * class.truth;
                    sum.prediction += weight * class.prediction;
                }
            }
            let metrics = SegmentationMetrics::of_classes(&sums, convention);
            [metrics.mean_iou, metrics.mean_accuracy, metrics.pixel_accuracy]
                .map(|figure| figure.unwrap_or(-1.0))
        }))
    };
    let all = vec![1; num_images];
    compare_figures(
        ["miou", "macc", "aacc"],
        [mean(first, &all), mean(second, &all)],
        [&|weights| mean(first, weights), &|weights| mean(second, weights)],
        num_images,
        resampling,
    )
}

/// The share of hits of two results, each of one run or the mean of several, over resampled images. A run tells of each
/// image whether it was hit.
///
/// # Panics
/// If a result has no run, or runs have not the same number of images.
pub fn compare_accuracies(
    first: &[Vec<bool>],
    second: &[Vec<bool>],
    resampling: Resampling,
) -> [Comparison; 1] {
    let num_images = common_length(first, second);
    let mean = |runs: &[Vec<bool>], weights: &[u32]| {
        mean_figures(runs.iter().map(|hits| {
            let hits: u32 = hits.iter().zip(weights).filter(|(hit, _)| **hit).map(|(_, weight)| weight).sum();
            [f64::from(hits) / num_images as f64]
        }))
    };
    let all = vec![1; num_images];
    compare_figures(
        ["top1"],
        [mean(first, &all), mean(second, &all)],
        [&|weights| mean(first, weights), &|weights| mean(second, weights)],
        num_images,
        resampling,
    )
}

/// Images of each run.
fn common_length<I>(first: &[Vec<I>], second: &[Vec<I>]) -> usize {
    assert!(!first.is_empty() && !second.is_empty(), "a result is that of at least one run");
    let num_images = first[0].len();
    let is_common = first.iter().chain(second).all(|run| run.len() == num_images);
    assert!(is_common, "all runs judge the same images");
    num_images
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESAMPLING: Resampling = Resampling { draws: 500, seed: 0 };

    fn image(hits: u64) -> Vec<ClassPixels> {
        vec![
            ClassPixels { hits, truth: 100, prediction: 100 },
            ClassPixels { hits, truth: 100, prediction: 100 },
        ]
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let runs = [(0..20).map(|index| image(index * 5)).collect::<Vec<_>>()];
        for figure in compare_segmentations(&runs, &runs, Convention::Mmseg, RESAMPLING) {
            assert_eq!((figure.difference, figure.interval, figure.second_is_better), (0.0, [0.0; 2], 0.5));
        }
    }

    #[test]
    fn what_is_better_in_every_image_is_better_in_every_draw() {
        let worse = [(0..20).map(|index| image(index * 4)).collect::<Vec<_>>()];
        let better = [(0..20).map(|index| image(index * 4 + 5)).collect::<Vec<_>>()];
        for figure in compare_segmentations(&worse, &better, Convention::Mmseg, RESAMPLING) {
            let [low, high] = figure.interval;
            assert!(0.0 < low && low <= figure.difference && figure.difference <= high, "{figure:?}");
            assert_eq!(figure.second_is_better, 1.0, "{figure:?}");
        }
    }

    #[test]
    fn the_figures_of_all_images_are_those_of_their_sum() {
        let run = vec![image(10), image(70)];
        let [miou, _, aacc] = compare_segmentations(
            std::slice::from_ref(&run),
            std::slice::from_ref(&run),
            Convention::Mmseg,
            RESAMPLING,
        );
        assert_eq!((miou.first, aacc.first), (80.0 / 320.0, 0.4));
    }

    #[test]
    fn several_runs_count_by_their_mean() {
        let hits = |period: usize| (0..100).map(|index| index % period == 0).collect::<Vec<bool>>();
        let [found] = compare_accuracies(&[hits(2), hits(4)], &[hits(1)], RESAMPLING);
        assert_eq!((found.first, found.second, found.difference), (0.375, 1.0, 0.625));
        let [low, high] = found.interval;
        assert!(low > 0.5 && high < 0.75, "{low} to {high}");
    }
}

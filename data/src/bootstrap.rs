//! Whether one result is better than another: differences of figures under resampling of the images.
//!
//! Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: images are drawn with replacement, as many as
//! there are, both results are evaluated on the same draw, and the interval holds the middle of the differences. An image
//! that is drawn twice counts twice, as if the data set listed it twice. An extension; no official evaluator has such
//! numbers. Where a result is that of several runs (of several seeds), its figure is the mean of theirs on each draw: the
//! interval then tells of the choice of images, not of that of seeds.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// One figure of two results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// `ap`, `ap50`, `ap75` or `ar`; `miou`, `macc` or `aacc`; `top1`.
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

/// How often and by which seed images are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resampling {
    /// Draws.
    pub draws: usize,
    /// Decides every draw.
    pub seed: u64,
}

/// The figures of a result where every image counts as often as its weight says.
pub(crate) type Figures<'a, const N: usize> = dyn Fn(&[u32]) -> [f64; N] + Sync + 'a;

/// Figures of two results, and how far their differences vary with the images. `points` are those of all images.
pub(crate) fn compare_figures<const N: usize>(
    names: [&'static str; N],
    points: [[f64; N]; 2],
    figures: [&Figures<'_, N>; 2],
    num_images: usize,
    resampling: Resampling,
) -> [Comparison; N] {
    let differences: Vec<[f64; N]> = (0..resampling.draws)
        .into_par_iter()
        .map(|index| {
            let weights = draw(num_images, resampling.seed, index as u64);
            let [first, second] = figures.map(|figures| figures(&weights));
            std::array::from_fn(|figure| second[figure] - first[figure])
        })
        .collect();
    std::array::from_fn(|figure| {
        let mut sorted: Vec<f64> = differences.iter().map(|differences| differences[figure]).collect();
        sorted.sort_by(f64::total_cmp);
        let share = |which: fn(&f64) -> bool| {
            sorted.iter().copied().filter(&which).count() as f64 / sorted.len().max(1) as f64
        };
        let [first, second] = points.map(|figures| figures[figure]);
        Comparison {
            name: names[figure],
            first,
            second,
            difference: second - first,
            interval: [0.025, 0.975].map(|share| percentile(&sorted, share)),
            second_is_better: share(|value| *value > 0.0) + share(|value| *value == 0.0) / 2.0,
        }
    })
}

/// The mean of the figures of several runs, figure by figure.
pub(crate) fn mean_figures<const N: usize>(runs: impl Iterator<Item = [f64; N]>) -> [f64; N] {
    let mut sums = [0.0; N];
    let mut count = 0.0;
    for figures in runs {
        count += 1.0;
        sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    sums.map(|sum| sum / count)
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

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        // The difference of the two is -1 or 1 with equal frequency, so its mean over 400 images deviates by 1/20.
        let sign = |image: usize| if image.is_multiple_of(2) { 1.0 } else { -1.0 };
        let mean = |weights: &[u32]| {
            let sum: f64 =
                weights.iter().enumerate().map(|(image, &weight)| sign(image) * f64::from(weight)).sum();
            [sum / 400.0]
        };
        let resampling = Resampling { draws: 4000, seed: 3 };
        let [found] = compare_figures(["mean"], [[0.0], [0.0]], [&|_| [0.0], &mean], 400, resampling);
        let [low, high] = found.interval;
        let expected = 1.96 / 20.0;
        assert!((low + expected).abs() < 0.01 && (high - expected).abs() < 0.01, "{low} to {high}");
        assert!((found.second_is_better - 0.5).abs() < 0.03, "{}", found.second_is_better);
    }
}

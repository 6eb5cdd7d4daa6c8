//! Two images as one, and the truth of the mixture: mixup and cutmix.
//!
//! Papers: mixup, Zhang et al. 2017, <https://arxiv.org/abs/1710.09412>; CutMix, Yun et al. 2019,
//! <https://arxiv.org/abs/1905.04899>. As timm's `Mixup` in its mode `batch`: a batch is mixed with itself turned round.

use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::activation::log_softmax;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};

use super::recipe::Mix;

/// Chance of cutmix where mixup is on, too (timm, `switch_prob`).
const CUTMIX: f64 = 0.5;

/// A batch to learn from.
pub(super) struct Mixed {
    /// `[batch, 3, height, width]`
    pub(super) images: Tensor<4>,
    /// The share of each class in each image: `[batch, classes]`.
    pub(super) truth: Tensor<2>,
}

/// Mixes a batch with itself turned round, or not at all where both ways are off.
pub(super) fn mix(
    images: Tensor<4>,
    classes: &[usize],
    num_classes: usize,
    smoothing: f64,
    by: Mix,
    seed: u64,
) -> Mixed {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let Mix { mixup, cutmix } = by;
    let is_cut = cutmix > 0.0 && (mixup <= 0.0 || rng.random::<f64>() < CUTMIX);
    let parameter = if is_cut { cutmix } else { mixup };
    let mut weight = 1.0;
    let mut images = images;
    if let Ok(beta) = Beta::new(parameter, parameter) {
        weight = beta.sample(&mut rng);
        let turned = images.clone().flip([0]);
        if is_cut {
            let [_, _, height, width] = images.dims();
            let [rows, columns] = rectangle([height, width], weight, &mut rng);
            weight = 1.0 - (rows.len() * columns.len()) as f64 / (height * width) as f64;
            if !rows.is_empty() && !columns.is_empty() {
                let [batch, channels, _, _] = images.dims();
                let place = [0..batch, 0..channels, rows, columns];
                images = images.slice_assign(place.clone(), turned.slice(place));
            }
        } else {
            images = images * weight + turned * (1.0 - weight);
        }
    }
    let truth = truth(classes, num_classes, smoothing, weight);
    let truth = Tensor::from_data(TensorData::new(truth, [classes.len(), num_classes]), &images.device());
    Mixed { images, truth }
}

/// Rows and columns of a rectangle of the share `1 - weight` around any pixel, what lies outside cut off.
fn rectangle([height, width]: [usize; 2], weight: f64, rng: &mut ChaCha8Rng) -> [core::ops::Range<usize>; 2] {
    let ratio = (1.0 - weight).sqrt();
    [height, width].map(|side| {
        let half = (side as f64 * ratio) as usize / 2;
        let centre = rng.random_range(0..side);
        centre.saturating_sub(half)..(centre + half).min(side)
    })
}

/// The share of each class in each image, `weight` its own and the rest its partner's.
fn truth(classes: &[usize], num_classes: usize, smoothing: f64, weight: f64) -> Vec<f32> {
    let everywhere = smoothing / num_classes as f64;
    let mut truth = vec![everywhere as f32; classes.len() * num_classes];
    let pairs = classes.iter().zip(classes.iter().rev());
    for (row, (&own, &other)) in truth.chunks_exact_mut(num_classes).zip(pairs) {
        row[own] += ((1.0 - smoothing) * weight) as f32;
        row[other] += ((1.0 - smoothing) * (1.0 - weight)) as f32;
    }
    truth
}

/// Cross-entropy with shares as truth, mean over images.
///
/// # Shapes
/// - `logits`, `truth`: `[batch, classes]`
/// - output: `[1]`
pub(super) fn cross_entropy(logits: Tensor<2>, truth: Tensor<2>) -> Tensor<1> {
    let [batch, _] = logits.dims();
    (log_softmax(logits, 1) * truth).sum().neg() / batch as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Tensor<4> {
        let values: Vec<f32> = (0..3).flat_map(|image| vec![image as f32; 3 * 8 * 8]).collect();
        Tensor::from_data(TensorData::new(values, [3, 3, 8, 8]), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("f32")
    }

    #[test]
    fn shares_of_classes_are_those_of_pixels() {
        for by in [Mix { mixup: 0.8, cutmix: 0.0 }, Mix { mixup: 0.0, cutmix: 1.0 }] {
            for seed in 0..20 {
                let Mixed { images, truth } = mix(batch(), &[0, 1, 2], 3, 0.0, by, seed);
                let (images, truth) = (values(images), values(truth));
                // Image 0 is black and its partner is 2 everywhere: the mean tells the share.
                let mean = images[..192].iter().sum::<f32>() / 192.0;
                assert!((mean - 2.0 * truth[2]).abs() < 1e-5, "{mean} and {truth:?}");
                assert!((truth[0] + truth[2] - 1.0).abs() < 1e-6);
                // The one in the middle is its own partner.
                assert!((truth[4] - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn without_mixing_images_stay_and_smoothing_spreads_its_share() {
        let Mixed { images, truth } = mix(batch(), &[0, 1, 2], 4, 0.2, Mix { mixup: 0.0, cutmix: 0.0 }, 1);
        assert_eq!(values(images), values(batch()));
        let truth = values(truth);
        assert!((truth[0] - 0.85).abs() < 1e-6 && (truth[3] - 0.05).abs() < 1e-6, "{truth:?}");
    }

    #[test]
    fn the_loss_of_one_class_is_minus_the_logarithm_of_its_probability() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[0.0f32, 0.0], [0.0, 3.0f32.ln()]], &device);
        let truth = Tensor::<2>::from_data([[1.0f32, 0.0], [0.0, 1.0]], &device);
        let loss: f32 = cross_entropy(logits, truth).into_scalar();
        let expected = (2.0f32.ln() - 0.75f32.ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss}, expected {expected}");
    }
}

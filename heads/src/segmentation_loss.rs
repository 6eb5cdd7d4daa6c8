//! Losses of a segmentation head: cross-entropy, and optionally Dice and Lovasz-softmax.
//!
//! Semantics of mmseg 1.2.2, `mmseg/models/losses`: logits are stretched to the labels' size first, and
//! cross-entropy is by default the mean over all pixels, those included that are ignored.
//!
//! ```text
//! dice   = mean over images of 1 - 2 sum(p t) / (sum(p p) + sum(t t) + 2e-3)     over classes and pixels
//! lovasz = mean over present classes of the Lovasz extension of 1 - IoU at the errors |t - p|
//! ```
//!
//! p are probabilities (softmax), t the truth as zeros and ones, zero for every class where a pixel is ignored.
//!
//! Papers: V-Net, Milletari et al. 2016, <https://arxiv.org/abs/1606.04797>; Lovasz-Softmax, Berman et al. 2018,
//! <https://arxiv.org/abs/1705.08790>.

use burn::prelude::*;
use burn::tensor::activation::softmax;

use crate::host::{floats, read_floats};
use crate::lovasz::lovasz_slopes;
use crate::pixel_loss::{PixelLoss, PixelMean, PixelWeights, pixel_loss};
use crate::resample::resize_bilinear;
use crate::truth::Truth;

/// Keeps Dice finite; mmseg, `dice_loss.py`.
const DICE_EPSILON: f64 = 1e-3;

/// Configuration of a head's loss.
#[derive(Config, Debug)]
pub struct SegmentationLossConfig {
    /// Pixels with this label are not learnt from.
    #[config(default = 255)]
    pub ignore_label: usize,
    /// What cross-entropy is averaged over.
    #[config(default = "PixelMean::All")]
    pub pixel_mean: PixelMean,
    /// A factor on the cross-entropy and the Lovasz loss of each class. The sum of cross-entropies is then divided
    /// by the sum of the factors of the pixels that are not ignored (mmseg cannot have both ignored pixels and
    /// factors).
    pub class_weights: Option<Vec<f32>>,
    /// The weight of cross-entropy.
    #[config(default = 1.0)]
    pub cross_entropy: f64,
    /// The weight of Dice, where it is used.
    pub dice: Option<f64>,
    /// The weight of Lovasz-softmax, where it is used.
    pub lovasz: Option<f64>,
}

/// The terms of a head's loss, weights multiplied in.
#[derive(Clone, Debug)]
pub struct SegmentationTerms {
    /// Cross-entropy.
    pub cross_entropy: Tensor<1>,
    /// Dice.
    pub dice: Option<Tensor<1>>,
    /// Lovasz-softmax.
    pub lovasz: Option<Tensor<1>>,
    /// Pixels whose most likely class is right, per cent of those not ignored. No loss.
    pub accuracy: Tensor<1>,
}

impl SegmentationTerms {
    /// The sum that is minimised.
    pub fn total(self) -> Tensor<1> {
        let Self { cross_entropy, dice, lovasz, accuracy: _ } = self;
        [dice, lovasz].into_iter().flatten().fold(cross_entropy, |sum, term| sum + term)
    }

    /// The losses multiplied by a weight.
    pub(crate) fn scale(self, weight: f64) -> Self {
        let Self { cross_entropy, dice, lovasz, accuracy } = self;
        Self {
            cross_entropy: cross_entropy * weight,
            dice: dice.map(|term| term * weight),
            lovasz: lovasz.map(|term| term * weight),
            accuracy,
        }
    }
}

impl SegmentationLossConfig {
    /// The terms for the logits of a head, of any size.
    ///
    /// # Shapes
    /// - `logits`: `[batch, classes, height, width]`
    /// - `labels`: `[batch, image height, image width]`
    /// - output: `[1]` each
    pub fn terms(&self, logits: Tensor<4>, labels: Tensor<3, Int>) -> SegmentationTerms {
        let [batch, num_classes, _, _] = logits.dims();
        let [_, height, width] = labels.dims();
        assert_shape!(labels, [batch, height, width]);
        if let Some(weights) = &self.class_weights {
            assert_eq!(weights.len(), num_classes, "one weight a class");
        }
        let weights = PixelWeights {
            ignore_label: self.ignore_label,
            mean: self.pixel_mean,
            by_class: self.class_weights.as_deref(),
        };
        let PixelLoss { cross_entropy, accuracy } = pixel_loss(logits.clone(), labels.clone(), weights);
        // The other two need probabilities of all pixels.
        let all = (self.dice.is_some() || self.lovasz.is_some()).then(|| {
            (softmax(resize_bilinear(logits, [height, width]), 1), Truth::new(labels, self.ignore_label))
        });
        let term = |weight: Option<f64>, term: &dyn Fn(Tensor<4>, &Truth) -> Tensor<1>| {
            let (weight, (probabilities, truth)) = weight.zip(all.as_ref())?;
            Some(term(probabilities.clone(), truth) * weight)
        };
        SegmentationTerms {
            cross_entropy: cross_entropy * self.cross_entropy,
            dice: term(self.dice, &dice),
            lovasz: term(self.lovasz, &|probabilities, truth| self.lovasz(probabilities, truth)),
            accuracy,
        }
    }

    fn lovasz(&self, probabilities: Tensor<4>, truth: &Truth) -> Tensor<1> {
        let [batch, num_classes, height, width] = probabilities.dims();
        let errors = (truth.one_hot(num_classes) - probabilities).abs();
        let Truth { classes, counted } = truth;
        // The extension is linear in the errors once they are sorted: its slopes are constants.
        let slopes = lovasz_slopes(
            &read_floats(errors.clone().detach()),
            &read_floats(classes.clone().float()),
            &read_floats(counted.clone()),
            [batch, num_classes, height * width],
            self.class_weights.as_deref(),
        );
        let slopes = floats(slopes, &errors.device()).reshape([batch, num_classes, height, width]);
        (errors * slopes).sum()
    }
}

/// All classes and pixels of an image are one set; the mean is over images.
fn dice(probabilities: Tensor<4>, truth: &Truth) -> Tensor<1> {
    let [batch, num_classes, _, _] = probabilities.dims();
    let truth = truth.one_hot(num_classes);
    let sum = |values: Tensor<4>| values.reshape([batch as i32, -1]).sum_dim(1);
    let both = sum(probabilities.clone() * truth.clone());
    let sizes = sum(probabilities.square()) + sum(truth.square()) + 2.0 * DICE_EPSILON;
    (both * 2.0 / sizes).neg().add_scalar(1.0).mean()
}

//! FCMAE, a fully convolutional masked autoencoder: learns from images alone by imagining what is hidden of them.
//!
//! Paper: ConvNeXt V2, Woo et al. 2023, <https://arxiv.org/abs/2301.00808>, section 3; code ConvNeXt-V2
//! `models/fcmae.py`.
//!
//! ```text
//! images -> visible patches -> encoder -> proj -> + mask token where hidden -> decoder -> pred -> pixels
//! loss = mean over hidden patches and their values of (pred - target)^2
//! target = (pixels - mean) / sqrt(variance + 1e-6)      of one patch, unbiased variance
//! ```
//!
//! Deviations. GRN pools over the visible positions of each image, as in the network that is fine-tuned later and in the
//! paper's own runs; the published sparse code pools over the whole batch. Weights start as everywhere in ConvNeXt, with
//! a standard deviation of 0.02, where that code draws most of them anew with 1. Decoder blocks are V2 whatever the
//! encoder's, so that encoders alone differ. Layers `proj` and `pred`, 1x1 convolutions there, are linear here.

mod encoder;

use std::sync::Arc;

use burn::config::Config;
use burn::module::{Initializer, Param};
use burn::nn::Linear;
use burn::prelude::*;

use self::encoder::Encoded;
use crate::block::{Block, BlockNorm};
use crate::convnext::{ConvNext, ConvNextConfig, IMAGE_CHANNELS};
use crate::features::FeatureMaps;
use crate::initializer;
use crate::mask::{Mask, PATCH};
use crate::ops::linear_layer;

pub use self::encoder::Masking;

/// Values of a patch: what one position of the last stage has to say.
const PATCH_VALUES: usize = PATCH * PATCH * IMAGE_CHANNELS;

/// Added to a patch's variance (ConvNeXt-V2 `fcmae.py`, `forward_loss`).
const TARGET_EPSILON: f64 = 1e-6;

/// What is to be predicted of a hidden patch.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum PatchTarget {
    /// Its pixels, less their mean, over their deviation.
    Normalised,
    /// Its pixels.
    Raw,
}

/// What an [`Fcmae`] is made of.
#[derive(Config, Debug)]
pub struct FcmaeConfig {
    /// The encoder, which is what remains after pretraining; it has no output norms here.
    pub backbone: ConvNextConfig,
    /// Channels of the decoder.
    #[config(default = 512)]
    pub decoder_channels: usize,
    /// Blocks of the decoder.
    #[config(default = 1)]
    pub decoder_depth: usize,
    /// What is to be predicted.
    #[config(default = "PatchTarget::Normalised")]
    pub target: PatchTarget,
    /// How the encoder is kept from seeing hidden patches.
    #[config(default = "Masking::Sparse")]
    pub masking: Masking,
}

/// Images in, the error of what was imagined out.
#[derive(Module, Debug)]
pub struct Fcmae {
    /// The encoder.
    pub backbone: ConvNext,
    /// From the encoder's channels to the decoder's.
    pub proj: Linear,
    /// What stands for a hidden patch before the decoder: `[decoder_channels]`.
    pub mask_token: Param<Tensor<1>>,
    /// The decoder's blocks.
    pub decoder: Vec<Block>,
    /// From the decoder's channels to the values of a patch: rows, columns, channels.
    pub pred: Linear,
    #[module(skip)]
    target: PatchTarget,
    #[module(skip)]
    masking: Masking,
}

impl FcmaeConfig {
    /// A freshly initialised autoencoder on `device`.
    pub fn init(&self, device: &Device) -> Fcmae {
        let Self { backbone, decoder_channels, decoder_depth, target, masking } = self;
        let [_, _, _, channels] = backbone.dims;
        let token = Initializer::Normal { mean: 0.0, std: initializer::STANDARD_DEVIATION };
        Fcmae {
            backbone: backbone.clone().with_output_norms(false).init(device),
            proj: initializer::linear(channels, *decoder_channels, device),
            mask_token: token.init([*decoder_channels], device),
            decoder: (0..*decoder_depth)
                .map(|_| Block::init(*decoder_channels, &BlockNorm::Grn, 0.0, device))
                .collect(),
            pred: initializer::linear(*decoder_channels, PATCH_VALUES, device),
            target: *target,
            masking: *masking,
        }
    }
}

impl Fcmae {
    /// The error of what is imagined of the hidden patches.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, of the mask's patches
    /// - output: `[1]`
    ///
    /// # Panics
    /// If the mask is of other images, or hides nothing.
    pub fn loss(&self, images: Tensor<4>, mask: &Arc<Mask>) -> Tensor<1> {
        let Imagined { prediction, target } = self.imagine(images, mask);
        let error = prediction - target;
        (error.clone() * error).mean()
    }

    /// Of each image, the loss and the share of what the target varies within hidden patches that is predicted: 1 is
    /// all of it, 0 as much as by the patches' means, which are not visible; less is possible.
    ///
    /// # Shapes
    /// - `images`: as of [`loss`](Self::loss)
    /// - output: `[batch]` each
    ///
    /// # Panics
    /// As [`loss`](Self::loss).
    pub fn judge(&self, images: Tensor<4>, mask: &Arc<Mask>) -> (Tensor<1>, Tensor<1>) {
        let Imagined { prediction, target } = self.imagine(images, mask);
        let centred = target.clone() - target.clone().mean_dim(1);
        let error = prediction - target;
        let of_images = |values: Tensor<2>| {
            let values = (values.clone() * values).reshape([mask.batch(), mask.hidden() * PATCH_VALUES]);
            values.mean_dim(1).reshape([mask.batch()])
        };
        let (loss, spread) = (of_images(error), of_images(centred));
        // A patch of one colour has no spread, and is as well predicted as can be when its loss is nothing, too.
        let explained = (loss.clone() / (spread + TARGET_EPSILON)).neg() + 1.0;
        (loss, explained)
    }

    /// What is predicted of the hidden patches, and what was to be.
    fn imagine(&self, images: Tensor<4>, mask: &Arc<Mask>) -> Imagined {
        assert!(mask.hidden() > 0, "there is nothing to imagine");
        let images_nhwc = images.permute([0, 2, 3, 1]);
        let hidden = mask.batch() * mask.hidden();
        let pixels = mask.hidden_of(images_nhwc.clone()).reshape([hidden, PATCH_VALUES]);
        let target = match self.target {
            PatchTarget::Normalised => Normalised::of(pixels).values,
            PatchTarget::Raw => pixels,
        };
        let decoded = mask.hidden_of(self.decode(images_nhwc, mask));
        let [_, _, _, channels] = decoded.dims();
        Imagined { prediction: linear_layer(decoded.reshape([hidden, channels]), &self.pred), target }
    }

    /// What is imagined of every patch, the visible ones included, as pixels.
    ///
    /// Where the target is normalised a patch has no brightness or contrast of its own; it is given those of the image.
    ///
    /// # Shapes
    /// - `images`, output: `[batch, 3, height, width]`, normalised, of the mask's patches
    ///
    /// # Panics
    /// If the mask is of other images.
    pub fn reconstruct(&self, images: Tensor<4>, mask: &Arc<Mask>) -> Tensor<4> {
        let images_nhwc = images.permute([0, 2, 3, 1]);
        let predicted = self.predict(images_nhwc.clone(), mask);
        let [count, values] = predicted.dims();
        let all = Mask::none(mask.batch(), mask.grid());
        let values = match self.target {
            PatchTarget::Normalised => {
                let pixels = all.visible_of(images_nhwc).reshape([count, values]);
                let Normalised { mean, deviation, values: _ } = Normalised::of(pixels);
                predicted * deviation + mean
            }
            PatchTarget::Raw => predicted,
        };
        let nowhere = Tensor::zeros([IMAGE_CHANNELS], &values.device());
        let patches = values.reshape([count, PATCH, PATCH, IMAGE_CHANNELS]);
        all.place(patches, nowhere).permute([0, 3, 1, 2])
    }

    /// The values predicted of every patch, in the frame of the target.
    ///
    /// # Shapes
    /// - `images_nhwc`: `[batch, height, width, 3]`
    /// - output: `[batch * patches, values of a patch]`, values in the order of rows, columns, channels
    fn predict(&self, images_nhwc: Tensor<4>, mask: &Arc<Mask>) -> Tensor<2> {
        let decoded = self.decode(images_nhwc, mask);
        let [batch, rows, columns, channels] = decoded.dims();
        linear_layer(decoded.reshape([batch * rows * columns, channels]), &self.pred)
    }

    /// What the encoder's stages say, `c2` first: zero where hidden, unless only the input is masked.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, of the mask's patches
    /// - output: as of [`ConvNext::forward`] without output norms
    ///
    /// # Panics
    /// If the mask is of other images.
    pub fn encode(&self, images: Tensor<4>, mask: &Arc<Mask>) -> FeatureMaps {
        let images_nhwc = images.permute([0, 2, 3, 1]);
        let maps = Encoded::new(&self.backbone, images_nhwc, Arc::clone(mask), self.masking).maps();
        match <[Tensor<4>; 4]>::try_from(maps) {
            Ok([c2, c3, c4, c5]) => FeatureMaps { c2, c3, c4, c5 },
            Err(_) => unreachable!("a ConvNeXt has four stages"),
        }
    }

    /// What the decoder makes of the visible patches.
    ///
    /// # Shapes
    /// - `images_nhwc`: `[batch, height, width, 3]`
    /// - output: `[batch, rows, columns, decoder_channels]`
    fn decode(&self, images_nhwc: Tensor<4>, mask: &Arc<Mask>) -> Tensor<4> {
        let visible = Encoded::new(&self.backbone, images_nhwc, Arc::clone(mask), self.masking).visible();
        let tokens = mask.place(linear_layer(visible, &self.proj), self.mask_token.val());
        self.decoder.iter().fold(tokens, |tokens, block| block.forward(tokens))
    }
}

/// Hidden patches, `[batch * hidden, values of a patch]` each.
struct Imagined {
    prediction: Tensor<2>,
    target: Tensor<2>,
}

/// Patches without brightness and contrast, and what these were.
struct Normalised {
    /// `[patches, values]`
    values: Tensor<2>,
    /// `[patches, 1]`
    mean: Tensor<2>,
    /// `[patches, 1]`
    deviation: Tensor<2>,
}

impl Normalised {
    fn of(pixels: Tensor<2>) -> Self {
        let [_, count] = pixels.dims();
        let mean = pixels.clone().mean_dim(1);
        let centred = pixels - mean.clone();
        // Unbiased, as PyTorch's `var` is.
        let variance = (centred.clone() * centred.clone()).sum_dim(1) / (count - 1) as f64;
        let deviation = (variance + TARGET_EPSILON).sqrt();
        Self { values: centred / deviation.clone(), mean, deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Variant;

    /// The layers of ConvNeXt-V2 `models/fcmae.py`, counted.
    #[test]
    fn the_autoencoder_of_atto_has_its_published_number_of_parameters() {
        let fcmae = FcmaeConfig::new(ConvNextConfig::of(Variant::V2Atto)).init(&Device::flex());
        assert_eq!(fcmae.num_params(), 7_257_992);
    }

    #[test]
    fn a_patch_is_normalised_by_its_own_mean_and_unbiased_deviation() {
        let pixels = Tensor::from_data([[1.0f32, 3.0], [5.0, 5.0]], &Device::flex());
        let Normalised { values, mean, deviation } = Normalised::of(pixels);
        let root = core::f32::consts::SQRT_2;
        let expected = Tensor::<2>::from_data([[-1.0 / root, 1.0 / root], [0.0, 0.0]], &Device::flex());
        assert!((values - expected).abs().max().into_scalar::<f32>() < 1e-5);
        assert_eq!(mean.into_data().try_into_vec::<f32>().expect("f32"), [2.0, 5.0]);
        assert!((deviation.slice(s![0..1]).into_scalar::<f32>() - root).abs() < 1e-5);
    }
}

//! ConvNeXt as a dense-prediction backbone: images in, four feature maps out.
//!
//! Papers: ConvNeXt (V1), Liu et al. 2022, <https://arxiv.org/abs/2201.03545>; ConvNeXt V2, Woo et
//! al. 2023, <https://arxiv.org/abs/2301.00808>.
//!
//! ```text
//! images -> 4x4 conv, LN -> stage 0 -> LN, 2x2 conv -> stage 1 -> .. -> stage 3
//!                              |                          |               |
//!                            norm0 -> c2                norm1 -> c3     norm3 -> c5
//! ```
//!
//! Field names, and so parameter paths, are those of the official checkpoints; the output norms
//! `norm0..norm3` are those of the official detection code. They act on what is returned, not on
//! what the next stage reads. Inside, the layout is NHWC.

use burn::config::Config;
use burn::nn::conv::Conv2d;
use burn::prelude::*;

use crate::block::{Block, BlockNorm, EXPANSION, KERNEL};
use crate::channel_norm::ChannelNorm;
use crate::drop_path;
use crate::features::{FeatureMaps, FeatureSpec};
use crate::initializer;
use crate::ops;
use crate::variant::Variant;

/// Layer scale of a V1 block at the start of training (ConvNeXt, `layer_scale_init_value`).
const LAYER_SCALE_INIT: f64 = 1e-6;

/// Side of the stem's patches: the stride of the first map.
const STEM: usize = 4;

/// Channels of an image.
pub(crate) const IMAGE_CHANNELS: usize = 3;

/// What a [`ConvNext`] is made of.
#[derive(Config, Debug)]
pub struct ConvNextConfig {
    /// Number of blocks of each stage.
    pub depths: [usize; 4],
    /// Number of channels of each stage.
    pub dims: [usize; 4],
    /// V1 or V2 blocks.
    pub norm: BlockNorm,
    /// Drop path rate of the last block; the first has none, those between grow linearly.
    #[config(default = 0.0)]
    pub drop_path_rate: f64,
    /// Whether every returned map has its own LayerNorm (`norm0..norm3`).
    #[config(default = true)]
    pub output_norms: bool,
}

impl ConvNextConfig {
    /// The published variant, with output norms and no drop path.
    pub fn of(variant: Variant) -> Self {
        let norm =
            if variant.is_v2() { BlockNorm::Grn } else { BlockNorm::LayerScale { init: LAYER_SCALE_INIT } };
        Self::new(variant.depths(), variant.dims(), norm)
    }

    /// A freshly initialised network on `device`.
    pub fn init(&self, device: &Device) -> ConvNext {
        let dims = self.dims;
        let rates = drop_path::rates(self.drop_path_rate, self.depths.iter().sum());
        let mut rates = rates.into_iter();
        let stages = dims.iter().zip(self.depths).map(|(&channels, depth)| {
            let rates = rates.by_ref().take(depth);
            rates.map(|rate| Block::init(channels, &self.norm, rate, device)).collect()
        });
        let output_norm = |stage: usize| self.output_norms.then(|| ChannelNorm::init(dims[stage], device));
        let downsample = |stage: usize| {
            let channels = [dims[stage - 1], dims[stage]];
            (ChannelNorm::init(channels[0], device), initializer::patch_conv(channels, 2, device))
        };
        let stem = (
            initializer::patch_conv([IMAGE_CHANNELS, dims[0]], STEM, device),
            ChannelNorm::init(dims[0], device),
        );
        ConvNext {
            downsample_layers: (stem, downsample(1), downsample(2), downsample(3)),
            stages: stages.collect(),
            norm0: output_norm(0),
            norm1: output_norm(1),
            norm2: output_norm(2),
            norm3: output_norm(3),
        }
    }

    /// Number of parameters of the network that [`init`](Self::init) makes.
    pub fn num_params(&self) -> usize {
        let [first, ..] = self.dims;
        let stem = first * (IMAGE_CHANNELS * STEM * STEM + 1) + 2 * first;
        let downsample: usize = (1..4)
            .map(|stage| {
                let [inputs, outputs] = [self.dims[stage - 1], self.dims[stage]];
                2 * inputs + outputs * (4 * inputs + 1)
            })
            .sum();
        let blocks: usize = self
            .dims
            .iter()
            .zip(self.depths)
            .map(|(&channels, depth)| {
                let hidden = EXPANSION * channels;
                let mixing = match self.norm {
                    BlockNorm::Grn => 2 * hidden,
                    BlockNorm::LayerScale { .. } => channels,
                };
                let depthwise = channels * (KERNEL * KERNEL + 1);
                let pointwise = 2 * channels * hidden + hidden + channels;
                depth * (depthwise + 2 * channels + pointwise + mixing)
            })
            .sum();
        let output_norms = if self.output_norms { 2 * self.dims.iter().sum::<usize>() } else { 0 };
        stem + downsample + blocks + output_norms
    }

    /// Drop path rate of each block, the first block's first.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        drop_path::rates(self.drop_path_rate, self.depths.iter().sum())
    }

    /// The maps that [`ConvNext::forward`] returns, `c2` first.
    pub fn feature_specs(&self) -> [FeatureSpec; 4] {
        let mut stride = STEM / 2;
        self.dims.map(|channels| {
            stride *= 2;
            FeatureSpec { channels, stride }
        })
    }
}

/// A stem: patches, then their norm.
type Stem = (Conv2d, ChannelNorm);

/// Between two stages: the norm, then patches of two by two.
type Downsample = (ChannelNorm, Conv2d);

/// ConvNeXt V1 or V2 without a classifier.
#[derive(Module, Debug)]
pub struct ConvNext {
    /// The stem and the three reductions between stages.
    pub downsample_layers: (Stem, Downsample, Downsample, Downsample),
    /// The blocks of each of the four stages.
    pub stages: Vec<Vec<Block>>,
    /// Norm of `c2`.
    pub norm0: Option<ChannelNorm>,
    /// Norm of `c3`.
    pub norm1: Option<ChannelNorm>,
    /// Norm of `c4`.
    pub norm2: Option<ChannelNorm>,
    /// Norm of `c5`.
    pub norm3: Option<ChannelNorm>,
}

impl ConvNext {
    /// Feature maps at strides 4, 8, 16 and 32.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, 32 pixels or more in both directions
    /// - output: `[batch, dims[n], floor(height / stride), floor(width / stride)]`
    ///
    /// # Panics
    /// If the images have not three channels.
    pub fn forward(&self, images: Tensor<4>) -> FeatureMaps {
        assert_shape!(images, [_, IMAGE_CHANNELS, _, _]);
        let c2_nhwc = self.stage(0, images.permute([0, 2, 3, 1]));
        let c3_nhwc = self.stage(1, c2_nhwc.clone());
        let c4_nhwc = self.stage(2, c3_nhwc.clone());
        let c5_nhwc = self.stage(3, c4_nhwc.clone());

        FeatureMaps {
            c2: output(c2_nhwc, &self.norm0),
            c3: output(c3_nhwc, &self.norm1),
            c4: output(c4_nhwc, &self.norm2),
            c5: output(c5_nhwc, &self.norm3),
        }
    }

    /// The maps that [`forward`](Self::forward) returns, `c2` first.
    pub fn feature_specs(&self) -> [FeatureSpec; 4] {
        let ((stem, _), (_, second), (_, third), (_, fourth)) = &self.downsample_layers;
        let mut stride = STEM / 2;
        [stem, second, third, fourth].map(|conv| {
            let [channels, _, _, _] = conv.weight.dims();
            stride *= 2;
            FeatureSpec { channels, stride }
        })
    }

    /// The same network, in whose stages of these indices training holds no inner values of blocks, but computes them once
    /// more: see [`ops::Inner`].
    ///
    /// # Panics
    /// If there is no stage of an index.
    #[must_use]
    pub fn recomputing(mut self, stages: &[usize]) -> Self {
        for &stage in stages {
            self.stages[stage].iter_mut().for_each(|block| block.recomputes = true);
        }
        self
    }

    /// Hands the hidden layer of every block to `look`, the first block's first.
    ///
    /// It is where V2 lets channels compete, and where those of V1 collapse when pretrained by masking (ConvNeXt V2,
    /// Woo et al. 2023, section 3).
    ///
    /// # Shapes
    /// - `images`: as of [`forward`](Self::forward)
    /// - hidden layer: `[batch, height * width, 4 * channels]`
    pub fn look_at_hidden(&self, images: Tensor<4>, look: &mut dyn FnMut(Tensor<3>)) {
        let mut x_nhwc = images.permute([0, 2, 3, 1]);
        for (stage, blocks) in self.stages.iter().enumerate() {
            x_nhwc = self.reduce(stage, x_nhwc);
            for block in blocks {
                let (hidden, output) = block.forward_with_hidden(x_nhwc);
                look(hidden);
                x_nhwc = output;
            }
        }
    }

    fn stage(&self, index: usize, x_nhwc: Tensor<4>) -> Tensor<4> {
        let blocks = self.stages[index].iter();
        blocks.fold(self.reduce(index, x_nhwc), |x_nhwc, block| block.forward(x_nhwc))
    }

    /// What stands before the blocks of a stage: the stem, or the reduction from the stage before.
    ///
    /// # Shapes
    /// - `x_nhwc`: `[batch, height, width, channels]` of the images, or of the stage before
    /// - output: `[batch, floor(height / side), floor(width / side), dims[stage]]`, `side` 4 for the stem and else 2
    pub(crate) fn reduce(&self, stage: usize, x_nhwc: Tensor<4>) -> Tensor<4> {
        let ((stem_conv, stem_norm), second, third, fourth) = &self.downsample_layers;
        match stage {
            0 => stem_norm.forward(patch_conv(x_nhwc, stem_conv)),
            1 => downsample(x_nhwc, second),
            2 => downsample(x_nhwc, third),
            _ => downsample(x_nhwc, fourth),
        }
    }
}

fn downsample(x_nhwc: Tensor<4>, (norm, conv): &Downsample) -> Tensor<4> {
    patch_conv(norm.forward(x_nhwc), conv)
}

fn patch_conv(x_nhwc: Tensor<4>, conv: &Conv2d) -> Tensor<4> {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    let bias = bias.unwrap_or_else(|| unreachable!("`initializer` gives every layer a bias"));
    ops::patch_conv(x_nhwc, conv.weight.val(), bias)
}

fn output(x_nhwc: Tensor<4>, norm: &Option<ChannelNorm>) -> Tensor<4> {
    let x_nhwc = match norm {
        Some(norm) => norm.forward(x_nhwc),
        None => x_nhwc,
    };
    x_nhwc.permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Backbone without output norms, and with the classifier's norm and 1000 classes.
    #[track_caller]
    fn case(variant: Variant, backbone: usize, classifier: usize) {
        let config = ConvNextConfig::of(variant).with_output_norms(false);
        let [_, _, _, last] = config.dims;
        assert_eq!(config.num_params(), backbone);
        assert_eq!(config.num_params() + 2 * last + 1000 * (last + 1), classifier);
    }

    // ConvNeXt-V2 `models/convnextv2.py`; V1 from torchvision's and timm's model tables.
    #[test]
    fn published_variants_have_their_published_number_of_parameters() {
        case(Variant::V2Atto, 3_386_760, 3_708_400);
        case(Variant::V2Femto, 4_847_472, 5_233_240);
        case(Variant::V2Pico, 8_552_256, 9_066_280);
        case(Variant::V2Nano, 14_981_520, 15_623_800);
        case(Variant::V2Tiny, 27_864_960, 28_635_496);
        case(Variant::V2Small, 49_547_904, 50_318_440);
        case(Variant::V2Base, 87_690_752, 88_717_800);
        case(Variant::V2Large, 196_416_768, 197_956_840);
        case(Variant::V2Huge, 657_467_008, 660_289_640);
        case(Variant::V1Tiny, 27_818_592, 28_589_128);
        case(Variant::V1Small, 49_453_152, 50_223_688);
        case(Variant::V1Base, 87_564_416, 88_591_464);
        case(Variant::V1Large, 196_227_264, 197_767_336);
    }

    #[test]
    fn the_module_has_as_many_parameters_as_its_config_says() {
        for variant in [Variant::V2Atto, Variant::V1Femto] {
            let config = ConvNextConfig::of(variant);
            assert_eq!(config.init(&Device::flex()).num_params(), config.num_params());
        }
    }

    #[test]
    fn declared_specs_are_the_maps_returned_for_sides_no_stride_divides() {
        let config = ConvNextConfig::new([1, 1, 1, 1], [4, 8, 12, 16], BlockNorm::Grn);
        let model = config.init(&Device::flex());
        assert_eq!(model.feature_specs(), config.feature_specs());
        let maps = model.forward(Tensor::ones([2, 3, 75, 101], &Device::flex()));
        assert_shape!(maps.c2, [2, 4, 18, 25]);
        assert_shape!(maps.c3, [2, 8, 9, 12]);
        assert_shape!(maps.c4, [2, 12, 4, 6]);
        assert_shape!(maps.c5, [2, 16, 2, 3]);
    }
}

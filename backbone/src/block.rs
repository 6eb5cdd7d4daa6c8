//! The ConvNeXt block, V1 and V2.
//!
//! ```text
//! V2: x + drop_path( W2 . GRN(GELU(W1 . LN(depthwise7x7(x)))) )
//! V1: x + drop_path( gamma * (W2 . GELU(W1 . LN(depthwise7x7(x)))) )
//! ```
//!
//! Papers: ConvNeXt, Liu et al. 2022, <https://arxiv.org/abs/2201.03545>; ConvNeXt V2, Woo et al.
//! 2023, <https://arxiv.org/abs/2301.00808>. The GELU is exact (erf), the first product widens four
//! times. Fields carry the names of the official checkpoints.

use std::sync::Arc;

use burn::config::Config;
use burn::module::{Initializer, Param};
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::prelude::*;

use crate::channel_norm::ChannelNorm;
use crate::drop_path;
use crate::grn::Grn;
use crate::initializer;
use crate::mask::Mask;
use crate::ops::{self, BlockWeights, Inner, Mixing};

/// Side of the depthwise kernel.
pub(crate) const KERNEL: usize = 7;

/// How many times wider the hidden layer of a block is.
pub(crate) const EXPANSION: usize = 4;

/// What tells the channels of a block apart in size: the difference between V1 and V2.
#[derive(Config, Debug, PartialEq)]
pub enum BlockNorm {
    /// V2: global response normalization of the hidden layer.
    Grn,
    /// V1: a learnt factor for each channel of the branch.
    LayerScale {
        /// Its value at the start: 1e-6 in the classifiers, 1 in the published detector recipes.
        init: f64,
    },
}

/// One residual block.
#[derive(Module, Debug)]
pub struct Block {
    /// Depthwise 7x7 convolution.
    pub dwconv: Conv2d,
    /// LayerNorm over channels.
    pub norm: ChannelNorm,
    /// First pointwise product, `[channels, 4 * channels]`.
    pub pwconv1: Linear,
    /// V2 only.
    pub grn: Option<Grn>,
    /// Second pointwise product, `[4 * channels, channels]`.
    pub pwconv2: Linear,
    /// V1 only: layer scale, `[channels]`.
    pub gamma: Option<Param<Tensor<1>>>,
    drop_path_rate: f64,
    /// Whether inner values are computed once more in the backward pass.
    pub(crate) recomputes: bool,
}

impl Block {
    pub(crate) fn init(channels: usize, norm: &BlockNorm, drop_path_rate: f64, device: &Device) -> Self {
        let hidden = EXPANSION * channels;
        let (grn, gamma) = match *norm {
            BlockNorm::Grn => (Some(Grn::init(hidden, device)), None),
            BlockNorm::LayerScale { init } => {
                let constant = Initializer::Constant { value: init };
                (None, Some(constant.init([channels], device)))
            }
        };
        Self {
            dwconv: initializer::depthwise_conv(channels, KERNEL, device),
            norm: ChannelNorm::init(channels, device),
            pwconv1: initializer::linear(channels, hidden, device),
            grn,
            pwconv2: initializer::linear(hidden, channels, device),
            gamma,
            drop_path_rate,
            recomputes: false,
        }
    }

    /// The branch added to its input.
    ///
    /// # Shapes
    /// - `x_nhwc`, output: `[batch, height, width, channels]`
    pub fn forward(&self, x_nhwc: Tensor<4>) -> Tensor<4> {
        let [batch, _, _, _] = x_nhwc.dims();
        let scale = drop_path::branch_scale(self.drop_path_rate, batch, &x_nhwc.device());
        ops::block_with(x_nhwc, self.weights(), scale, self.inner())
    }

    /// As [`forward`](Self::forward), of visible positions alone.
    ///
    /// # Shapes
    /// - `x_patches`, output: `[batch * visible, side, side, channels]`, as [`Mask::visible_of`] cuts them
    pub(crate) fn forward_visible(&self, x_patches: Tensor<4>, mask: &Arc<Mask>) -> Tensor<4> {
        let scale = drop_path::branch_scale(self.drop_path_rate, mask.batch(), &x_patches.device());
        ops::block_of_visible_with(x_patches, mask, self.weights(), scale, self.inner())
    }

    /// As [`forward`](Self::forward), with hidden positions set to zero wherever they could be seen.
    ///
    /// # Shapes
    /// - `x_nhwc`, output: `[batch, height, width, channels]`
    /// - `keep`: `[batch, height, width, 1]`, one where a position is visible and zero where not
    pub(crate) fn forward_masked(&self, x_nhwc: Tensor<4>, keep: Tensor<4>) -> Tensor<4> {
        let [batch, _, _, _] = x_nhwc.dims();
        let scale = drop_path::branch_scale(self.drop_path_rate, batch, &x_nhwc.device());
        ops::composed::masked_block(x_nhwc, keep, self.weights(), scale)
    }

    /// As [`forward`](Self::forward), and what the hidden layer says: after GELU, in V2 after GRN too.
    ///
    /// Nothing is dropped here, and plain tensor operations are used: it is for looking at a network.
    ///
    /// # Shapes
    /// - `x_nhwc`, output: `[batch, height, width, channels]`
    /// - hidden: `[batch, height * width, 4 * channels]`
    pub(crate) fn forward_with_hidden(&self, x_nhwc: Tensor<4>) -> (Tensor<3>, Tensor<4>) {
        ops::composed::block_with_hidden(x_nhwc, self.weights())
    }

    fn inner(&self) -> Inner {
        if self.recomputes { Inner::Recomputed } else { Inner::Kept }
    }

    fn weights(&self) -> BlockWeights {
        let mixing = match (&self.grn, &self.gamma) {
            (Some(grn), None) => Mixing::Grn { gamma: grn.gamma.val(), beta: grn.beta.val() },
            (None, Some(gamma)) => Mixing::LayerScale { gamma: gamma.val() },
            _ => unreachable!("`Block::init` gives a block either GRN or layer scale"),
        };
        let bias = |bias: &Option<Param<Tensor<1>>>| match bias {
            Some(bias) => bias.val(),
            None => unreachable!("`Block::init` gives every layer a bias"),
        };
        BlockWeights {
            depthwise_weight: self.dwconv.weight.val(),
            depthwise_bias: bias(&self.dwconv.bias),
            norm_weight: self.norm.weight.val(),
            norm_bias: self.norm.bias.val(),
            expand_weight: self.pwconv1.weight.val(),
            expand_bias: bias(&self.pwconv1.bias),
            contract_weight: self.pwconv2.weight.val(),
            contract_bias: bias(&self.pwconv2.bias),
            mixing,
        }
    }
}

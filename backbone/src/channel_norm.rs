//! LayerNorm over the channels of every position (ConvNeXt's `LayerNorm`, either data format).
//!
//! ```text
//! y = (x - mean) / sqrt(variance + 1e-6) * weight + bias      over channels, biased variance
//! ```
//!
//! The reference has a `channels_first` form; here the body is NHWC, where channels are the last
//! axis and both forms are one. Not Burn's `LayerNorm`, whose default epsilon is 1e-5.

use burn::module::{Initializer, Param};
use burn::prelude::*;

use crate::ops;

/// LayerNorm over the last axis.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    /// Scale of each channel: `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift of each channel: `[channels]`.
    pub bias: Param<Tensor<1>>,
}

impl ChannelNorm {
    /// A norm that starts with scale one and shift zero.
    pub fn init(channels: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
        }
    }

    /// Normalises every position.
    ///
    /// # Shapes
    /// - `x_nhwc`, output: `[batch, height, width, channels]`
    pub fn forward(&self, x_nhwc: Tensor<4>) -> Tensor<4> {
        ops::layer_norm(x_nhwc, self.weight.val(), self.bias.val())
    }
}

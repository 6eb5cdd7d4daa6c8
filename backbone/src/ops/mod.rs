//! The operations that cost time: the ConvNeXt block, LayerNorm and convolutions over patches.
//!
//! Each exists twice. [`composed`] writes it with plain tensor operations, runs on every device and
//! is what the other is tested against; the fused form has its own forward and backward.

pub mod composed;

use burn::prelude::*;

/// Epsilon of every LayerNorm and of GRN in ConvNeXt.
pub const EPSILON: f64 = 1e-6;

/// The parameters of one block.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// `[channels, 1, 7, 7]`
    pub depthwise_weight: Tensor<4>,
    /// `[channels]`
    pub depthwise_bias: Tensor<1>,
    /// `[channels]`
    pub norm_weight: Tensor<1>,
    /// `[channels]`
    pub norm_bias: Tensor<1>,
    /// `[channels, hidden]`
    pub expand_weight: Tensor<2>,
    /// `[hidden]`
    pub expand_bias: Tensor<1>,
    /// `[hidden, channels]`
    pub contract_weight: Tensor<2>,
    /// `[channels]`
    pub contract_bias: Tensor<1>,
    /// What V1 and V2 differ in.
    pub mixing: Mixing,
}

/// The part of a block that V1 and V2 differ in.
#[derive(Clone, Debug)]
pub enum Mixing {
    /// V2: global response normalization between the products.
    Grn {
        /// `[hidden]`
        gamma: Tensor<1>,
        /// `[hidden]`
        beta: Tensor<1>,
    },
    /// V1: a factor for each channel of the branch.
    LayerScale {
        /// `[channels]`
        gamma: Tensor<1>,
    },
}

/// A ConvNeXt block: `x + scale * branch(x)`, `scale` being one factor an image.
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - `scale`: `[batch]`
pub fn block(x_nhwc: Tensor<4>, weights: BlockWeights, scale: Option<Tensor<1>>) -> Tensor<4> {
    composed::block(x_nhwc, weights, scale)
}

/// LayerNorm over the last axis, with epsilon 1e-6.
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - `weight`, `bias`: `[channels]`
pub fn layer_norm(x_nhwc: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<4> {
    composed::layer_norm(x_nhwc, weight, bias)
}

/// A convolution whose stride is its kernel's side; rows and columns left over are not read.
///
/// # Shapes
/// - `x_nhwc`: `[batch, height, width, inputs]`
/// - `weight`: `[outputs, inputs, side, side]`
/// - `bias`: `[outputs]`
/// - output: `[batch, floor(height / side), floor(width / side), outputs]`
pub fn patch_conv(x_nhwc: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    composed::patch_conv(x_nhwc, weight, bias)
}

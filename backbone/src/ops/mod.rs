//! The operations that cost time: the ConvNeXt block, LayerNorm, convolutions over patches and linear layers.
//!
//! Each exists twice. [`composed`] writes it with plain tensor operations, runs on every device and
//! is what the other is tested against; the fused form has its own forward and backward.

mod autodiff;
pub mod composed;
#[doc(hidden)]
pub mod cpu;
mod extension;
mod flex;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::prelude::*;

use self::extension::{FusedOps, is_fused};
use crate::mask::Mask;

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
#[expect(clippy::large_enum_variant, reason = "one lives at a time, for the length of a call")]
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

/// What becomes of a block's inner values, five times as many as its input has, until its backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inner {
    /// They are kept.
    #[default]
    Kept,
    /// They are computed once more, to the same bits: less memory, for the time of another forward pass. On other devices
    /// than Flex they are kept all the same.
    Recomputed,
}

/// A ConvNeXt block: `x + scale * branch(x)`, `scale` being one factor an image. Inner values are kept.
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - `scale`: `[batch]`
pub fn block(x_nhwc: Tensor<4>, weights: BlockWeights, scale: Option<Tensor<1>>) -> Tensor<4> {
    block_with(x_nhwc, weights, scale, Inner::Kept)
}

/// As [`block`], with a choice.
///
/// # Shapes
/// As of [`block`].
pub fn block_with(
    x_nhwc: Tensor<4>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
    inner: Inner,
) -> Tensor<4> {
    if !is_fused(&x_nhwc) {
        return composed::block(x_nhwc, weights, scale);
    }
    fused_block(x_nhwc, weights, scale, None, inner)
}

/// A ConvNeXt block of which only the visible positions are computed, as if hidden ones were zero.
///
/// GRN pools over the visible positions of each image. Inner values are kept.
///
/// # Shapes
/// - `x_patches`, output: `[batch * visible, side, side, channels]`, as [`Mask::visible_of`] cuts them
/// - `scale`: `[batch]`
///
/// # Panics
/// If the patches are not as many as the mask has visible.
pub fn block_of_visible(
    x_patches: Tensor<4>,
    mask: &Arc<Mask>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<4> {
    block_of_visible_with(x_patches, mask, weights, scale, Inner::Kept)
}

/// As [`block_of_visible`], with a choice.
///
/// # Shapes
/// As of [`block_of_visible`].
///
/// # Panics
/// As [`block_of_visible`].
pub fn block_of_visible_with(
    x_patches: Tensor<4>,
    mask: &Arc<Mask>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
    inner: Inner,
) -> Tensor<4> {
    let [count, side, across, _] = x_patches.dims();
    assert_eq!([count, side], [mask.batch() * mask.visible(), across], "patches of another mask");
    if !is_fused(&x_patches) {
        return composed::block_of_visible(x_patches, mask, weights, scale);
    }
    fused_block(x_patches, weights, scale, Some(Arc::clone(mask)), inner)
}

fn fused_block(
    x_nhwc: Tensor<4>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
    mask: Option<Arc<Mask>>,
    inner: Inner,
) -> Tensor<4> {
    let BlockWeights {
        depthwise_weight,
        depthwise_bias,
        norm_weight,
        norm_bias,
        expand_weight,
        expand_bias,
        contract_weight,
        contract_bias,
        mixing,
    } = weights;
    let (is_grn, is_scaled) = (matches!(mixing, Mixing::Grn { .. }), scale.is_some());
    // What is not there is stood in for by a tensor that is; the operation does not read it.
    let (gamma, beta) = match mixing {
        Mixing::Grn { gamma, beta } => (gamma, beta),
        Mixing::LayerScale { gamma } => (gamma, contract_bias.clone()),
    };
    let scale = scale.unwrap_or_else(|| contract_bias.clone());
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_block(
        x_nhwc.into_dispatch(),
        depthwise_weight.into_dispatch(),
        depthwise_bias.into_dispatch(),
        norm_weight.into_dispatch(),
        norm_bias.into_dispatch(),
        expand_weight.into_dispatch(),
        expand_bias.into_dispatch(),
        contract_weight.into_dispatch(),
        contract_bias.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        scale.into_dispatch(),
        is_grn,
        is_scaled,
        inner == Inner::Recomputed,
        mask,
    ))
}

/// LayerNorm over the last axis, with epsilon 1e-6.
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - `weight`, `bias`: `[channels]`
pub fn layer_norm(x_nhwc: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<4> {
    if !is_fused(&x_nhwc) {
        return composed::layer_norm(x_nhwc, weight, bias);
    }
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(
        x_nhwc.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// A convolution whose stride is its kernel's side; rows and columns left over are not read.
///
/// # Shapes
/// - `x_nhwc`: `[batch, height, width, inputs]`
/// - `weight`: `[outputs, inputs, side, side]`
/// - `bias`: `[outputs]`
/// - output: `[batch, floor(height / side), floor(width / side), outputs]`
pub fn patch_conv(x_nhwc: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    if !is_fused(&x_nhwc) {
        return composed::patch_conv(x_nhwc, weight, bias);
    }
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_patch_conv(
        x_nhwc.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// A product with a matrix, and a bias.
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[inputs, outputs]`
/// - `bias`: `[outputs]`
/// - output: `[.., outputs]`
///
/// # Panics
/// If the shapes do not fit together, or the tensors are of several types.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    let [inputs, outputs] = weight.dims();
    let mut shape = x.dims();
    // Burn takes a zero in a shape for an axis that is kept.
    if !is_fused(&x) || outputs == 0 || shape.contains(&0) {
        return composed::linear(x, weight, bias);
    }
    assert_shape!(bias, [outputs]);
    assert_eq!(
        [weight.dtype(), bias.dtype()],
        [x.dtype(); 2],
        "weight and bias are of the type of what they multiply"
    );
    let last = shape.last_mut().expect("a linear layer is given one axis at least");
    assert_eq!(*last, inputs, "a linear layer of {inputs} inputs");
    *last = outputs;
    let rows = shape[..D - 1].iter().product();
    let output = Tensor::<2>::from_dispatch(<Dispatch as FusedOps>::fused_linear(
        x.reshape([rows, inputs]).into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ));
    output.reshape(shape)
}

/// As [`linear`], of Burn's layer.
///
/// # Shapes
/// As of [`linear`].
///
/// # Panics
/// As [`linear`], and if the layer has no bias.
pub fn linear_layer<const D: usize>(x: Tensor<D>, layer: &Linear) -> Tensor<D> {
    let bias = layer.bias.as_ref().expect("every linear layer here has a bias");
    linear(x, layer.weight.val(), bias.val())
}

//! The operations written with plain tensor operations, differentiated by Burn: the reference.

use core::f64::consts::FRAC_1_SQRT_2;

use burn::prelude::*;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use super::{BlockWeights, EPSILON, Mixing};
use crate::mask::Mask;
use crate::precision::{self, dense_conv2d};

/// See [`ops::block`](super::block).
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
pub fn block(x_nhwc: Tensor<4>, weights: BlockWeights, scale: Option<Tensor<1>>) -> Tensor<4> {
    let [batch, _, _, _] = x_nhwc.dims();
    let spread = depthwise(x_nhwc.clone(), &weights);
    x_nhwc + branch(spread, batch, None, weights, scale)
}

/// See [`ops::block_of_visible`](super::block_of_visible).
///
/// # Shapes
/// - `x_patches`, output: `[batch * visible, side, side, channels]`
/// - `scale`: `[batch]`
pub fn block_of_visible(
    x_patches: Tensor<4>,
    mask: &Mask,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<4> {
    let [_, _, _, channels] = x_patches.dims();
    let hidden = Tensor::zeros([channels], &x_patches.device());
    let spread = mask.visible_of(depthwise(mask.place(x_patches.clone(), hidden), &weights));
    x_patches + branch(spread, mask.batch(), None, weights, scale)
}

/// A block of which all positions are computed, and the hidden ones set to zero before the convolution, before GRN and
/// at the end: what [`ops::block_of_visible`](super::block_of_visible) is tested against.
///
/// The paper's own training runs did it so (Woo et al. 2023, appendix).
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - `keep`: `[batch, height, width, 1]`, one where a position is visible and zero where not
/// - `scale`: `[batch]`
pub fn masked_block(
    x_nhwc: Tensor<4>,
    keep: Tensor<4>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<4> {
    let [batch, _, _, _] = x_nhwc.dims();
    let spread = depthwise(x_nhwc.clone() * keep.clone(), &weights);
    (x_nhwc + branch(spread, batch, Some(keep.clone()), weights, scale)) * keep
}

/// What enters the second product of [`block`], and its output.
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
/// - hidden: `[batch, height * width, hidden]`
pub fn block_with_hidden(x_nhwc: Tensor<4>, weights: BlockWeights) -> (Tensor<3>, Tensor<4>) {
    let [batch, _, _, _] = x_nhwc.dims();
    let shape = x_nhwc.dims();
    let hidden = hidden(depthwise(x_nhwc.clone(), &weights), batch, None, &weights);
    (hidden.clone(), x_nhwc + contract(hidden, shape, weights, None))
}

/// What follows the depthwise convolution, up to the residual sum. Its positions are those of `batch` images, as many of
/// each; `keep` leaves only some of them to GRN.
fn branch(
    spread: Tensor<4>,
    batch: usize,
    keep: Option<Tensor<4>>,
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<4> {
    let shape = spread.dims();
    contract(hidden(spread, batch, keep, &weights), shape, weights, scale)
}

/// From the depthwise convolution to what enters the second product: `[batch, positions of an image, hidden]`.
fn hidden(spread: Tensor<4>, batch: usize, keep: Option<Tensor<4>>, weights: &BlockWeights) -> Tensor<3> {
    let [count, height, width, channels] = spread.dims();
    let positions = count * height * width;
    let normed = layer_norm(spread, weights.norm_weight.clone(), weights.norm_bias.clone());
    let normed = normed.reshape([positions, channels]);
    let expanded = linear(normed, weights.expand_weight.clone(), weights.expand_bias.clone());
    let mut hidden = gelu(expanded);
    if let Some(keep) = keep {
        hidden = hidden * keep.reshape([positions, 1]);
    }
    let [_, width_of_hidden] = hidden.dims();
    let hidden = hidden.reshape([batch, positions / batch.max(1), width_of_hidden]);
    match &weights.mixing {
        Mixing::Grn { gamma, beta } => global_response_norm(hidden, gamma.clone(), beta.clone()),
        Mixing::LayerScale { .. } => hidden,
    }
}

/// The second product and what scales it, as `shape`.
fn contract(
    hidden: Tensor<3>,
    shape: [usize; 4],
    weights: BlockWeights,
    scale: Option<Tensor<1>>,
) -> Tensor<4> {
    let [batch, per_image, width_of_hidden] = hidden.dims();
    let hidden = hidden.reshape([batch * per_image, width_of_hidden]);
    let mut branch = linear(hidden, weights.contract_weight, weights.contract_bias);
    if let Mixing::LayerScale { gamma } = weights.mixing {
        branch = branch * gamma.unsqueeze();
    }
    if let Some(scale) = scale {
        let [positions, channels] = branch.dims();
        let images = branch.reshape([batch, per_image, channels]) * scale.reshape([batch, 1, 1]);
        branch = images.reshape([positions, channels]);
    }
    branch.reshape(shape)
}

/// Depthwise convolution that keeps height and width.
fn depthwise(x_nhwc: Tensor<4>, weights: &BlockWeights) -> Tensor<4> {
    let (weight, bias) = (weights.depthwise_weight.clone(), weights.depthwise_bias.clone());
    let [channels, _, side, _] = weight.dims();
    let margin = side / 2;
    let options = ConvOptions::new([1, 1], [margin, margin], [1, 1], channels);
    // Without a bias: with one, CubeCL leaves its depthwise kernel for a slow general one.
    let y_nchw = conv2d(x_nhwc.permute([0, 3, 1, 2]), weight, None, options);
    y_nchw.permute([0, 2, 3, 1]) + bias.unsqueeze()
}

/// See [`ops::layer_norm`](super::layer_norm).
///
/// # Shapes
/// - `x_nhwc`, output: `[batch, height, width, channels]`
pub fn layer_norm(x_nhwc: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<4> {
    let centred = x_nhwc.clone() - x_nhwc.mean_dim(3);
    let variance = (centred.clone() * centred.clone()).mean_dim(3);
    let normalised = centred / (variance + EPSILON).sqrt();
    normalised * weight.unsqueeze() + bias.unsqueeze()
}

/// Exact GELU, from erf: Burn's own has a backward of another function on CubeCL in 0.22.1.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let twice_the_probability = x.clone().mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1.0);
    (x * twice_the_probability).mul_scalar(0.5)
}

/// Global response normalization; see [`Grn`](crate::Grn).
///
/// # Shapes
/// - `x`, output: `[batch, positions, channels]`
/// - `gamma`, `beta`: `[channels]`
pub fn global_response_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<3> {
    let squares = (x.clone() * x.clone()).sum_dim(1);
    // The root has no derivative at zero; a channel that is zero everywhere gets none.
    let silent = squares.clone().equal_elem(0.0);
    let norms = squares.mask_fill(silent.clone(), 1.0).sqrt().mask_fill(silent, 0.0);
    let competition = norms.clone() / (norms.mean_dim(2) + EPSILON);
    x.clone() * competition * gamma.unsqueeze() + beta.unsqueeze() + x
}

/// See [`ops::patch_conv`](super::patch_conv).
///
/// # Shapes
/// - `x_nhwc`: `[batch, height, width, inputs]`
/// - output: `[batch, floor(height / side), floor(width / side), outputs]`
pub fn patch_conv(x_nhwc: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let [_, _, side, _] = weight.dims();
    let options = ConvOptions::new([side, side], [0, 0], [1, 1], 1);
    let y_nchw = dense_conv2d(x_nhwc.permute([0, 3, 1, 2]), weight, bias, options);
    y_nchw.permute([0, 2, 3, 1])
}

/// See [`ops::linear`](super::linear).
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[inputs, outputs]`
/// - `bias`: `[outputs]`
/// - output: `[.., outputs]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    precision::linear(x, weight, bias)
}

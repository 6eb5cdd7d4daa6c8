//! The ConvNeXt block in three passes over memory, V1 and V2.
//!
//! 1. depthwise 7x7, bias and normalisation, one row at a time;
//! 2. first product, GELU and each channel's sum of squares, one tile of positions at a time;
//! 3. second product of the tile, with GRN's factors applied on the way in, and the residual sum.
//!
//! GRN needs its image's sums before the second product, which is why 2 and 3 are two passes. Its
//! `y = h * (gamma * n + 1) + beta` becomes a factor for each channel and image, and `beta . W2` joins
//! the bias. What training keeps is the normalised input of the first product and that product: GELU is
//! cheaper to repeat than to store.

use pulp::Simd;
use rayon::prelude::*;

use super::block_contract::contract;
use super::buffer::{Buffer, Shared, with_scratch};
use super::depthwise::{Direction, FinishRow, Images, depthwise};
use super::dispatch::vectorised;
use super::field::Field;
use super::gelu::gelu;
use super::matmul::{Matrix, Write, multiply};
use super::norm::normalise;
use super::tiles::{by_image, tiles};

/// A block's input and parameters, each contiguous; shapes as in `ops::BlockWeights`.
#[derive(Clone, Copy)]
pub(crate) struct BlockInputs<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) depthwise_weight: &'a [f32],
    pub(crate) depthwise_bias: &'a [f32],
    pub(crate) norm_weight: &'a [f32],
    pub(crate) norm_bias: &'a [f32],
    pub(crate) expand_weight: &'a [f32],
    pub(crate) expand_bias: &'a [f32],
    pub(crate) contract_weight: &'a [f32],
    pub(crate) contract_bias: &'a [f32],
    pub(crate) mixing: MixingInputs<'a>,
    /// Factor of each image's branch.
    pub(crate) scale: Option<&'a [f32]>,
}

/// The parameters that V1 and V2 differ in.
#[derive(Clone, Copy)]
pub(crate) enum MixingInputs<'a> {
    Grn { gamma: &'a [f32], beta: &'a [f32] },
    LayerScale { gamma: &'a [f32] },
}

impl BlockInputs<'_> {
    pub(crate) fn hidden(&self) -> usize {
        self.expand_bias.len()
    }

    pub(crate) fn scale_of(&self, image: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[image])
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// Depthwise output, centred and divided by its deviation: `[positions, channels]`.
    pub(crate) normalised: Buffer,
    /// One over that deviation: `[positions]`.
    pub(crate) inverse: Buffer,
    /// First product before GELU: `[positions, hidden]`.
    pub(crate) hidden: Buffer,
    /// GRN's norm of each channel: `[batch, hidden]`.
    pub(crate) norms: Vec<f32>,
}

/// Whether a backward pass will follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    ForBackward,
}

/// Floats of hidden layer that inference has in use at a time, so that the second product finds them
/// in a cache.
const GROUP_FLOATS: usize = 2 * 1024 * 1024;

/// `x + scale * branch(x)` into `output`; both hold the field's positions.
pub(crate) fn block_forward(
    inputs: BlockInputs<'_>,
    field: Field<'_>,
    keep: Keep,
    output: &mut [f32],
) -> Option<Saved> {
    let (images, hidden) = (field.positions(), inputs.hidden());
    if keep == Keep::ForBackward {
        return Some(forward_group(inputs, field, keep, output));
    }
    let group = (GROUP_FLOATS / (images.positions() * hidden).max(1)).clamp(1, images.batch.max(1));
    let floats = group * images.floats();
    if floats == 0 {
        return None;
    }
    let groups = inputs.x.chunks(floats).zip(output.chunks_mut(floats));
    for (index, (x, output)) in groups.enumerate() {
        let batch = x.len() / images.floats();
        let scale = inputs.scale.map(|scale| &scale[index * group..][..batch]);
        let field = field.part(index * group..index * group + batch);
        forward_group(BlockInputs { x, scale, ..inputs }, field, keep, output);
    }
    None
}

fn forward_group(inputs: BlockInputs<'_>, field: Field<'_>, keep: Keep, output: &mut [f32]) -> Saved {
    let images = field.positions();
    let Images { batch, channels, .. } = images;
    let (positions, hidden) = (batch * images.positions(), inputs.hidden());
    let mut normalised = Buffer::new(positions * channels);
    let mut inverse = Buffer::new(positions);
    depthwise(
        inputs.x,
        field,
        inputs.depthwise_weight,
        Some(inputs.depthwise_bias),
        Direction::Forward,
        &NormaliseRow {
            channels,
            normalised: Shared::new(&mut normalised),
            inverse: Shared::new(&mut inverse),
        },
    );

    let mut products = Buffer::new(positions * hidden);
    let squares = expand(inputs, images, keep, &normalised, &mut products);
    let norms: Vec<f32> = squares.iter().map(|square| square.sqrt()).collect();
    contract(inputs, images, keep, &norms, &mut products, output);
    Saved { normalised, inverse, hidden: products, norms }
}

/// Normalises each position that the depthwise convolution has finished.
struct NormaliseRow {
    channels: usize,
    normalised: Shared,
    inverse: Shared,
}

impl FinishRow for NormaliseRow {
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, position: usize, len: usize, results: &[f32], stride: usize) {
        let channels = self.channels;
        // SAFETY: each position is finished once.
        let normalised = unsafe { self.normalised.part(position * channels, len * channels) };
        // SAFETY: as above.
        let inverse = unsafe { self.inverse.part(position, len) };
        let positions = results.chunks_exact(stride).zip(normalised.chunks_exact_mut(channels));
        for ((x, normalised), inverse) in positions.zip(inverse) {
            *inverse = normalise(simd, &x[..channels], normalised);
        }
    }
}

/// First product. Writes it to `products` if it is kept, else its GELU; returns the sums of squares of
/// that GELU, `[batch, hidden]`, where there is a GRN to use them.
fn expand(
    inputs: BlockInputs<'_>,
    images: Images,
    keep: Keep,
    normalised: &[f32],
    products: &mut [f32],
) -> Vec<f32> {
    let Images { batch, channels, .. } = images;
    let (hidden, per_image) = (inputs.hidden(), images.positions());
    let is_grn = matches!(inputs.mixing, MixingInputs::Grn { .. });
    let shared = Shared::new(products);
    let sums: Vec<Vec<(usize, Vec<f32>)>> = tiles(batch * per_image, hidden)
        .into_par_iter()
        .with_max_len(1)
        .map(|tile| {
            // SAFETY: tiles do not overlap.
            let products = unsafe { shared.part(tile.start * hidden, tile.len() * hidden) };
            let normalised = &normalised[tile.start * channels..tile.end * channels];
            with_scratch([tile.len() * channels], |[x]| {
                affine(normalised, inputs.norm_weight, inputs.norm_bias, x);
                let (x, weight) = (Matrix::rows(x, channels), Matrix::rows(inputs.expand_weight, hidden));
                let sizes = [tile.len(), hidden, channels];
                multiply(sizes, products, hidden, Write::Replace, x, weight);
            });
            let parts = by_image(tile.clone(), per_image);
            parts
                .map(|(image, part)| {
                    let products =
                        &mut products[(part.start - tile.start) * hidden..(part.end - tile.start) * hidden];
                    let mut squares = vec![0.0; if is_grn { hidden } else { 0 }];
                    activate(products, inputs.expand_bias, keep, &mut squares);
                    (image, squares)
                })
                .collect()
        })
        .collect();
    let mut squares = vec![0.0; batch * hidden];
    for (image, sums) in sums.into_iter().flatten() {
        for (total, sum) in squares[image * hidden..].iter_mut().zip(sums) {
            *total += sum;
        }
    }
    squares
}

vectorised! {
    /// `x * weight + bias` for each row.
    fn affine(x: &[f32], weight: &[f32], bias: &[f32], output: &mut [f32]) {
        let rows = x.chunks_exact(weight.len());
        for (x, output) in rows.zip(output.chunks_exact_mut(weight.len())) {
            let channels = x.iter().zip(weight).zip(bias);
            for (((&x, &weight), &bias), output) in channels.zip(output) {
                *output = x * weight + bias;
            }
        }
    }
}

vectorised! {
    /// Adds the bias and GELU to each row of `products`; GELU replaces it unless the product is kept.
    fn activate(products: &mut [f32], bias: &[f32], keep: Keep, squares: &mut [f32]) {
        let rows = products.chunks_exact_mut(bias.len());
        match (keep, squares.is_empty()) {
            (Keep::ForBackward, true) => {
                for row in rows {
                    for (x, &bias) in row.iter_mut().zip(bias) {
                        *x += bias;
                    }
                }
            }
            (Keep::ForBackward, false) => {
                for row in rows {
                    for ((x, &bias), square) in row.iter_mut().zip(bias).zip(&mut *squares) {
                        *x += bias;
                        let y = gelu(*x);
                        *square += y * y;
                    }
                }
            }
            (Keep::Nothing, true) => {
                for row in rows {
                    for (x, &bias) in row.iter_mut().zip(bias) {
                        *x = gelu(*x + bias);
                    }
                }
            }
            (Keep::Nothing, false) => {
                for row in rows {
                    for ((x, &bias), square) in row.iter_mut().zip(bias).zip(&mut *squares) {
                        let y = gelu(*x + bias);
                        *x = y;
                        *square += y * y;
                    }
                }
            }
        }
    }
}

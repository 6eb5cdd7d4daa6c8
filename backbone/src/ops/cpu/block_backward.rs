//! The gradients of a ConvNeXt block, each product done once.
//!
//! With `g` the output's gradient, `h` the GELU and `R = h^T . g` for each image, GRN's sums over
//! positions follow from `R` alone, `sum_p dy[p, c] h[p, c] = W2[c] . R[c]`, and so does the second
//! weight's gradient. Hence `dy` is made, used and forgotten tile by tile:
//!
//! 1. `R`: gradients of `W2`, GRN and layer scale;
//! 2. tiles of positions: `dy`, back through GRN and GELU to the first product's gradient, through
//!    `W1` and the normalisation;
//! 3. the first weight's gradient; those of the norm follow, since scale and shift commute with it;
//! 4. the depthwise gradients.
//!
//! Where weights are small, 3 is part of 2: see `block_sums`.

use core::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::block_contract::{grn_factors, mean};
use super::block_forward::{BlockInputs, MixingInputs, Saved};
use super::block_sums::{Contracted, Expanded, Groups, add_to, contracted, depths, expanded};
use super::buffer::{Buffer, Shared, with_scratch};
use super::depthwise::{Direction, FinishRow, Images, depthwise};
use super::depthwise_weight::depthwise_weight_gradient;
use super::dispatch::{run, vectorised};
use super::field::Field;
use super::gelu::gelu_and_slope;
use super::matmul::{Matrix, Write, multiply};
use super::norm::normalise_backward;
use super::tiles::{by_image, tiles};
use crate::ops::EPSILON;

/// The gradients of a block's input and parameters, shaped as these are.
pub(crate) struct BlockGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) depthwise_weight: Vec<f32>,
    pub(crate) depthwise_bias: Vec<f32>,
    pub(crate) norm_weight: Vec<f32>,
    pub(crate) norm_bias: Vec<f32>,
    pub(crate) expand_weight: Vec<f32>,
    pub(crate) expand_bias: Vec<f32>,
    pub(crate) contract_weight: Vec<f32>,
    pub(crate) contract_bias: Vec<f32>,
    /// GRN's or layer scale's.
    pub(crate) gamma: Vec<f32>,
    /// GRN's; empty for V1.
    pub(crate) beta: Vec<f32>,
}

/// The gradients of everything, from that of the output.
pub(crate) fn block_backward(
    inputs: BlockInputs<'_>,
    field: Field<'_>,
    saved: Saved,
    gradient: &[f32],
) -> BlockGradients {
    let Saved { normalised, inverse, hidden: mut products, norms } = saved;
    let images = field.positions();
    let (batch, hidden) = (images.batch, inputs.hidden());

    let factors = match inputs.mixing {
        MixingInputs::Grn { gamma, .. } => {
            norms.chunks_exact(hidden).flat_map(|norms| grn_factors(norms, gamma)).collect()
        }
        MixingInputs::LayerScale { .. } => vec![1.0; batch * hidden],
    };
    let branch = branch_sums(inputs, images, gradient);
    let Contracted { weight: contract_weight, along, mut mixing } =
        contracted(inputs, images, &factors, &branch, &products, gradient);
    let (feedback, contract_bias, gamma, beta) = match inputs.mixing {
        MixingInputs::Grn { gamma, .. } => {
            let (feedback, gamma) = grn_backward(&norms, &along, gamma);
            (feedback, branch, gamma, mixing)
        }
        MixingInputs::LayerScale { gamma } => {
            for ((total, branch), bias) in mixing.iter_mut().zip(&branch).zip(inputs.contract_bias) {
                *total += branch * bias;
            }
            let bias = branch.iter().zip(gamma).map(|(branch, gamma)| branch * gamma).collect();
            (vec![0.0; batch * hidden], bias, mixing, Vec::new())
        }
    };

    let mut deviations = Buffer::new(batch * images.floats());
    let context = Context {
        inputs,
        images,
        normalised: &normalised,
        inverse: &inverse,
        factors: &factors,
        feedback: &feedback,
    };
    let Passed { expand_bias, own_sums } =
        through_products(context, gradient, &mut products, &mut deviations);
    let own_sums = own_sums.as_deref();
    let Expanded { weight: expand_weight, norm_weight, norm_bias } =
        expanded(inputs, images, own_sums, &normalised, &products, &expand_bias);

    let mut x = vec![0.0; batch * images.floats()];
    let residual = AddRow { channels: images.channels, gradient, output: Shared::new(&mut x) };
    let weight = inputs.depthwise_weight;
    depthwise(&deviations, field, weight, None, Direction::Backward, &residual);
    let (depthwise_weight, depthwise_bias) = depthwise_weight_gradient(inputs.x, &deviations, field);
    BlockGradients {
        x,
        depthwise_weight,
        depthwise_bias,
        norm_weight,
        norm_bias,
        expand_weight,
        expand_bias,
        contract_weight,
        contract_bias,
        gamma,
        beta,
    }
}

/// The branch's gradient summed over all positions, with each image's factor.
fn branch_sums(inputs: BlockInputs<'_>, images: Images, gradient: &[f32]) -> Vec<f32> {
    let channels = images.channels;
    let sums: Vec<Vec<f32>> = (0..images.batch)
        .into_par_iter()
        .with_max_len(1)
        .map(|image| {
            let mut sums = vec![0.0; channels];
            let rows = &gradient[image * images.floats()..(image + 1) * images.floats()];
            sum_rows(rows, inputs.scale_of(image), &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0; channels];
    for sums in sums {
        add_to(&mut total, &sums);
    }
    total
}

vectorised! {
    fn sum_rows(rows: &[f32], scale: f32, sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (&value, sum) in row.iter().zip(&mut *sums) {
                *sum = value.mul_add(scale, *sum);
            }
        }
    }
}

/// Through GRN's norms: what each GELU's gradient receives for each unit of GELU, `[batch, hidden]`,
/// and the gradient of gamma.
///
/// A channel that is zero everywhere receives nothing, as with `torch.norm`.
fn grn_backward(norms: &[f32], along: &[f32], gamma: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let hidden = gamma.len();
    let mut gamma_gradient = vec![0.0; hidden];
    let mut feedback = Vec::with_capacity(norms.len());
    for (norms, along) in norms.chunks_exact(hidden).zip(along.chunks_exact(hidden)) {
        let divisor = mean(norms) + EPSILON as f32;
        let terms = norms.iter().zip(along).zip(gamma);
        let shared: f64 =
            terms.map(|((&norm, &along), &gamma)| f64::from(gamma * along) * f64::from(norm / divisor)).sum();
        let shared = (shared / hidden as f64) as f32;
        let channels = norms.iter().zip(along).zip(gamma).zip(&mut gamma_gradient);
        for (((&norm, &along), &gamma), total) in channels {
            *total += norm / divisor * along;
            feedback.push(if norm > 0.0 { (gamma * along - shared) / divisor / norm } else { 0.0 });
        }
    }
    (feedback, gamma_gradient)
}

/// What pass 2 reads.
#[derive(Clone, Copy)]
struct Context<'a> {
    inputs: BlockInputs<'a>,
    images: Images,
    normalised: &'a [f32],
    inverse: &'a [f32],
    factors: &'a [f32],
    feedback: &'a [f32],
}

/// What pass 2 sums over positions.
struct Passed {
    expand_bias: Vec<f32>,
    /// `normalised^T . gradient` of each group, where weights are small.
    own_sums: Option<Buffer>,
}

/// Pass 2: the gradient of the depthwise output goes to `deviations`, and that of the first product,
/// unless it has been summed already, takes the place of `products`.
fn through_products(
    context: Context<'_>,
    gradient: &[f32],
    products: &mut [f32],
    deviations: &mut [f32],
) -> Passed {
    let Context { inputs, images, .. } = context;
    let (channels, hidden) = (images.channels, inputs.hidden());
    let groups = Groups::new(inputs, images);
    let size = channels * hidden;
    let mut own_sums = groups.as_ref().map(|groups| Buffer::new(groups.ranges.len() * size));
    let shared_sums = own_sums.as_mut().map(|sums| Shared::new(sums));
    let ranges = match groups {
        Some(groups) => groups.ranges,
        None => tiles(images.batch * images.positions(), hidden),
    };
    let (products, deviations) = (Shared::new(products), Shared::new(deviations));
    let sums: Vec<Vec<f32>> = ranges
        .into_par_iter()
        .with_max_len(1)
        .enumerate()
        .map(|(index, range)| {
            // SAFETY: each range has its own part.
            let mut own_sums = shared_sums.map(|sums| unsafe { sums.part(index * size, size) });
            let mut bias = vec![0.0; hidden];
            let mut write = Write::Replace;
            let tiles: Vec<_> = if own_sums.is_some() { depths(range).collect() } else { vec![range] };
            for tile in tiles {
                // SAFETY: ranges, and so their tiles, do not overlap.
                let products = unsafe { products.part(tile.start * hidden, tile.len() * hidden) };
                // SAFETY: as above.
                let deviations = unsafe { deviations.part(tile.start * channels, tile.len() * channels) };
                with_scratch([tile.len() * channels, tile.len() * hidden], |[scaled, mixed]| {
                    let parts = Parts { scaled, mixed, products, deviations, bias: &mut bias };
                    back_through_tile(context, tile.clone(), gradient, parts);
                    if let Some(sums) = &mut own_sums {
                        let normalised = &context.normalised[tile.start * channels..];
                        let left = Matrix::columns(normalised, channels);
                        let right = Matrix::rows(mixed, hidden);
                        multiply([channels, hidden, tile.len()], sums, hidden, write, left, right);
                        write = Write::Add;
                    } else {
                        products.copy_from_slice(mixed);
                    }
                });
            }
            bias
        })
        .collect();
    let mut expand_bias = vec![0.0; hidden];
    for sums in sums {
        add_to(&mut expand_bias, &sums);
    }
    Passed { expand_bias, own_sums }
}

/// The memory of one tile.
struct Parts<'a> {
    scaled: &'a mut [f32],
    mixed: &'a mut [f32],
    products: &'a [f32],
    deviations: &'a mut [f32],
    bias: &'a mut [f32],
}

/// From the output's gradient to those of the first product, left in `mixed`, and of the depthwise
/// output, left in `deviations`.
fn back_through_tile(context: Context<'_>, tile: Range<usize>, gradient: &[f32], parts: Parts<'_>) {
    let Context { inputs, images, normalised, inverse, factors, feedback } = context;
    let Parts { scaled, mixed, products, deviations, bias } = parts;
    let (channels, per_image, hidden) = (images.channels, images.positions(), inputs.hidden());
    let within = |part: &Range<usize>, width: usize| {
        (part.start - tile.start) * width..(part.end - tile.start) * width
    };
    for (image, part) in by_image(tile.clone(), per_image) {
        let scale = inputs.scale_of(image);
        let factors = match inputs.mixing {
            MixingInputs::LayerScale { gamma } => gamma.iter().map(|gamma| scale * gamma).collect(),
            MixingInputs::Grn { .. } => vec![scale; channels],
        };
        let gradient = &gradient[part.start * channels..part.end * channels];
        scale_columns(gradient, &factors, &mut scaled[within(&part, channels)]);
    }
    let (left, right) = (Matrix::rows(scaled, channels), Matrix::columns(inputs.contract_weight, channels));
    multiply([tile.len(), hidden, channels], mixed, hidden, Write::Replace, left, right);
    for (image, part) in by_image(tile.clone(), per_image) {
        let range = within(&part, hidden);
        let factors = &factors[image * hidden..][..hidden];
        let feedback = &feedback[image * hidden..][..hidden];
        deactivate(&products[range.clone()], factors, feedback, &mut mixed[range], bias);
    }
    let (left, right) = (Matrix::rows(mixed, hidden), Matrix::columns(inputs.expand_weight, hidden));
    multiply([tile.len(), channels, hidden], deviations, channels, Write::Replace, left, right);
    run(NormRows {
        weight: inputs.norm_weight,
        normalised: &normalised[tile.start * channels..tile.end * channels],
        inverse: &inverse[tile],
        gradient: deviations,
    });
}

vectorised! {
    /// Multiplies each column by its factor.
    fn scale_columns(rows: &[f32], factors: &[f32], output: &mut [f32]) {
        let rows = rows.chunks_exact(factors.len());
        for (row, output) in rows.zip(output.chunks_exact_mut(factors.len())) {
            for ((&value, &factor), output) in row.iter().zip(factors).zip(output) {
                *output = value * factor;
            }
        }
    }
}

vectorised! {
    /// From the gradient behind GRN to that before GELU, in place; adds its sums to `bias`.
    fn deactivate(
        products: &[f32],
        factors: &[f32],
        feedback: &[f32],
        mixed: &mut [f32],
        bias: &mut [f32],
    ) {
        let rows = products.chunks_exact(bias.len());
        for (products, mixed) in rows.zip(mixed.chunks_exact_mut(bias.len())) {
            let terms = products.iter().zip(factors).zip(feedback);
            for ((((&product, &factor), &feedback), mixed), bias) in terms.zip(mixed).zip(&mut *bias) {
                let (value, slope) = gelu_and_slope(product);
                let gradient = mixed.mul_add(factor, value * feedback) * slope;
                *mixed = gradient;
                *bias += gradient;
            }
        }
    }
}

/// LayerNorm's backward for the rows of a tile, in place.
struct NormRows<'a> {
    weight: &'a [f32],
    normalised: &'a [f32],
    inverse: &'a [f32],
    gradient: &'a mut [f32],
}

impl pulp::WithSimd for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.weight.len();
        let rows = self.gradient.chunks_exact_mut(channels);
        let rows = rows.zip(self.normalised.chunks_exact(channels)).zip(self.inverse);
        for ((gradient, normalised), &inverse) in rows {
            for (gradient, &weight) in gradient.iter_mut().zip(self.weight) {
                *gradient *= weight;
            }
            normalise_backward(simd, gradient, normalised, inverse);
        }
    }
}

/// Adds the residual path's gradient to what is finished of the depthwise one.
struct AddRow<'a> {
    channels: usize,
    gradient: &'a [f32],
    output: Shared,
}

impl FinishRow for AddRow<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, position: usize, len: usize, results: &[f32], stride: usize) {
        let channels = self.channels;
        // SAFETY: each position is finished once.
        let output = unsafe { self.output.part(position * channels, len * channels) };
        let gradient = self.gradient[position * channels..].chunks_exact(channels);
        let rows = output.chunks_exact_mut(channels).zip(gradient);
        for ((output, gradient), result) in rows.zip(results.chunks_exact(stride)) {
            for ((output, &gradient), &result) in output.iter_mut().zip(gradient).zip(result) {
                *output = gradient + result;
            }
        }
    }
}

//! The gradients of a ConvNeXt block, each product done once.
//!
//! With `g` the output's gradient, `h` the GELU and `R = h^T . g` for each image, GRN's sums over
//! positions follow from `R` alone, `sum_p dy[p, c] h[p, c] = W2[c] . R[c]`, and so does the second
//! weight's gradient. Hence `dy` is made, used and forgotten tile by tile:
//!
//! 1. `R`, one range of hidden channels at a time: gradients of `W2`, GRN and layer scale;
//! 2. tiles of positions: `dy`, back through GRN and GELU to the first product's gradient (which takes
//!    that product's place), through `W1` and the normalisation;
//! 3. the first weight's gradient; those of the norm follow, since scale and shift commute with it;
//! 4. the depthwise gradients.

use core::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::block_forward::{BlockInputs, MixingInputs, Saved, grn_factors};
use super::block_parameters::{first_gradients, grn_backward, second_gradients};
use super::buffer::{Buffer, Shared, with_scratch};
use super::depthwise::{Direction, FinishRow, Images, depthwise};
use super::depthwise_weight::depthwise_weight_gradient;
use super::dispatch::{run, vectorised};
use super::gelu::{gelu, gelu_and_slope};
use super::matmul::{Matrix, Write, multiply};
use super::norm::normalise_backward;
use super::tiles::{by_image, chunks, tiles};

/// Hidden channels that a task takes when it works by channels.
pub(crate) const CHUNK: usize = 64;

/// Floats of GELU computed ahead of a product.
const AHEAD_FLOATS: usize = 64 * 1024;

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
    images: Images,
    saved: Saved,
    gradient: &[f32],
) -> BlockGradients {
    let Saved { normalised, inverse, hidden: mut products, norms } = saved;
    let (batch, hidden) = (images.batch, inputs.hidden());

    let factors = match inputs.mixing {
        MixingInputs::Grn { gamma, .. } => {
            norms.chunks_exact(hidden).flat_map(|norms| grn_factors(norms, gamma)).collect()
        }
        MixingInputs::LayerScale { .. } => vec![1.0; batch * hidden],
    };
    let (contract_weight, along) = contracted(inputs, images, &factors, &products, gradient);
    let (feedback, grn_gamma) = match inputs.mixing {
        MixingInputs::Grn { gamma, .. } => grn_backward(&norms, &along, gamma),
        MixingInputs::LayerScale { .. } => (vec![0.0; batch * hidden], Vec::new()),
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
    let (expand_bias, branch) = through_products(context, gradient, &mut products, &mut deviations);
    let second = second_gradients(inputs, contract_weight, &branch, grn_gamma);
    let first = first_gradients(inputs, images, &normalised, &products, &expand_bias);

    let mut x = vec![0.0; batch * images.floats()];
    let residual = AddRow { images, gradient, output: Shared::new(&mut x) };
    let weight = inputs.depthwise_weight;
    depthwise(&deviations, images, weight, None, Direction::Backward, &residual);
    let (depthwise_weight, depthwise_bias) = depthwise_weight_gradient(inputs.x, &deviations, images);
    BlockGradients {
        x,
        depthwise_weight,
        depthwise_bias,
        norm_weight: first.norm_weight,
        norm_bias: first.norm_bias,
        expand_weight: first.expand_weight,
        expand_bias,
        contract_weight: second.weight,
        contract_bias: second.bias,
        gamma: second.gamma,
        beta: second.beta,
    }
}

/// Pass 1: `sum_n factor * R` as `[hidden, channels]`, and `sum_p dy h` as `[batch, hidden]`.
fn contracted(
    inputs: BlockInputs<'_>,
    images: Images,
    factors: &[f32],
    products: &[f32],
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let Images { batch, channels, .. } = images;
    let (hidden, per_image) = (inputs.hidden(), images.positions());
    let mut total = vec![0.0; hidden * channels];
    let shared = Shared::new(&mut total);
    let ranges = chunks(hidden, CHUNK);
    let along: Vec<Vec<f32>> = ranges
        .par_iter()
        .map(|range| {
            // SAFETY: ranges of hidden channels do not overlap.
            let total = unsafe { shared.part(range.start * channels, range.len() * channels) };
            let ahead = (AHEAD_FLOATS / range.len()).min(per_image);
            let sizes = [ahead * range.len(), range.len() * channels];
            let mut along = Vec::with_capacity(batch * range.len());
            with_scratch(sizes, |[activated, sums]| {
                for image in 0..batch {
                    let positions = image * per_image..(image + 1) * per_image;
                    for start in positions.clone().step_by(ahead) {
                        let count = ahead.min(positions.end - start);
                        let products = &products[start * hidden..(start + count) * hidden];
                        let scale = inputs.scale_of(image);
                        activate(products, hidden, range.clone(), scale, activated);
                        let write = if start == positions.start { Write::Replace } else { Write::Add };
                        multiply(
                            [range.len(), channels, count],
                            sums,
                            channels,
                            write,
                            Matrix::columns(activated, range.len()),
                            Matrix::rows(&gradient[start * channels..], channels),
                        );
                    }
                    let factors = &factors[image * hidden..][range.clone()];
                    let weight = &inputs.contract_weight[range.start * channels..];
                    along.extend(accumulate(sums, factors, weight, channels, total));
                }
            });
            along
        })
        .collect();
    let along = (0..batch).flat_map(|image| {
        let parts = along.iter().zip(&ranges);
        parts.flat_map(move |(along, range)| &along[image * range.len()..][..range.len()])
    });
    (total, along.copied().collect())
}

vectorised! {
    /// `scale * GELU` of a range of hidden channels, `[positions, range]`.
    fn activate(
        products: &[f32],
        hidden: usize,
        range: Range<usize>,
        scale: f32,
        output: &mut [f32],
    ) {
        let rows = products.chunks_exact(hidden);
        for (row, output) in rows.zip(output.chunks_exact_mut(range.len())) {
            for (&x, output) in row[range.clone()].iter().zip(output) {
                *output = scale * gelu(x);
            }
        }
    }
}

/// Adds `factor * sums` to `total`, row by row; returns each row's product with that of `weight`.
fn accumulate(sums: &[f32], factors: &[f32], weight: &[f32], channels: usize, total: &mut [f32]) -> Vec<f32> {
    let rows = sums.chunks_exact(channels).zip(factors);
    let rows = rows.zip(weight.chunks_exact(channels)).zip(total.chunks_exact_mut(channels));
    rows.map(|(((sums, &factor), weight), total)| {
        let mut along = 0.0;
        for ((&sum, &weight), total) in sums.iter().zip(weight).zip(total) {
            *total += factor * sum;
            along += f64::from(sum) * f64::from(weight);
        }
        along as f32
    })
    .collect()
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

/// Pass 2: the first product's gradient replaces `products`, the depthwise output's fills
/// `deviations`. Returns the sums over positions of the former and of the branch's gradient.
fn through_products(
    context: Context<'_>,
    gradient: &[f32],
    products: &mut [f32],
    deviations: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let Context { inputs, images, normalised, inverse, .. } = context;
    let (channels, per_image) = (images.channels, images.positions());
    let hidden = inputs.hidden();
    let (products, deviations) = (Shared::new(products), Shared::new(deviations));
    let sums: Vec<(Vec<f32>, Vec<f32>)> = tiles(images.batch * per_image, hidden)
        .into_par_iter()
        .map(|tile| {
            // SAFETY: tiles do not overlap.
            let products = unsafe { products.part(tile.start * hidden, tile.len() * hidden) };
            // SAFETY: as above.
            let deviations = unsafe { deviations.part(tile.start * channels, tile.len() * channels) };
            let (mut bias, mut branch) = (vec![0.0; hidden], vec![0.0; channels]);
            with_scratch([tile.len() * channels, tile.len() * hidden], |[scaled, mixed]| {
                for (image, part) in by_image(tile.clone(), per_image) {
                    let gradient = &gradient[part.start * channels..part.end * channels];
                    let within = (part.start - tile.start) * channels;
                    let scaled = &mut scaled[within..within + gradient.len()];
                    scale_gradient(inputs, image, gradient, scaled, &mut branch);
                }
                let weight = Matrix::columns(inputs.contract_weight, channels);
                let left = Matrix::rows(scaled, channels);
                let sizes = [tile.len(), hidden, channels];
                multiply(sizes, mixed, hidden, Write::Replace, left, weight);
                for (image, part) in by_image(tile.clone(), per_image) {
                    let range = (part.start - tile.start) * hidden..(part.end - tile.start) * hidden;
                    let factors = &context.factors[image * hidden..][..hidden];
                    let feedback = &context.feedback[image * hidden..][..hidden];
                    let products = &mut products[range.clone()];
                    deactivate(&mixed[range], factors, feedback, products, &mut bias);
                }
            });
            let weight = Matrix::columns(inputs.expand_weight, hidden);
            let left = Matrix::rows(products, hidden);
            let sizes = [tile.len(), channels, hidden];
            multiply(sizes, deviations, channels, Write::Replace, left, weight);
            run(NormRows {
                weight: inputs.norm_weight,
                normalised: &normalised[tile.start * channels..tile.end * channels],
                inverse: &inverse[tile.clone()],
                gradient: deviations,
            });
            (bias, branch)
        })
        .collect();
    let (mut bias, mut branch) = (vec![0.0; hidden], vec![0.0; channels]);
    for (tile_bias, tile_branch) in sums {
        add_to(&mut bias, &tile_bias);
        add_to(&mut branch, &tile_branch);
    }
    (bias, branch)
}

/// Adds element by element.
pub(crate) fn add_to(total: &mut [f32], values: &[f32]) {
    for (total, value) in total.iter_mut().zip(values) {
        *total += value;
    }
}

/// The gradient of the second product: with the image's factor and, in V1, layer scale. Its sums
/// over positions, without layer scale, are added to `branch`.
fn scale_gradient(
    inputs: BlockInputs<'_>,
    image: usize,
    gradient: &[f32],
    scaled: &mut [f32],
    branch: &mut [f32],
) {
    let scale = inputs.scale_of(image);
    match inputs.mixing {
        MixingInputs::LayerScale { gamma } => scale_rows(gradient, scale, gamma, scaled, branch),
        MixingInputs::Grn { .. } => {
            scale_rows(gradient, scale, &vec![1.0; branch.len()], scaled, branch);
        }
    }
}

vectorised! {
    fn scale_rows(
        gradient: &[f32],
        scale: f32,
        gamma: &[f32],
        scaled: &mut [f32],
        branch: &mut [f32],
    ) {
        let rows = gradient.chunks_exact(branch.len());
        for (gradient, scaled) in rows.zip(scaled.chunks_exact_mut(branch.len())) {
            let terms = gradient.iter().zip(gamma).zip(scaled).zip(&mut *branch);
            for (((&gradient, &gamma), scaled), branch) in terms {
                let gradient = scale * gradient;
                *branch += gradient;
                *scaled = gradient * gamma;
            }
        }
    }
}

vectorised! {
    /// From the gradient behind GRN to that before GELU, which replaces GELU's input.
    fn deactivate(
        mixed: &[f32],
        factors: &[f32],
        feedback: &[f32],
        products: &mut [f32],
        bias: &mut [f32],
    ) {
        let rows = mixed.chunks_exact(bias.len());
        for (mixed, products) in rows.zip(products.chunks_exact_mut(bias.len())) {
            let terms = mixed.iter().zip(factors).zip(feedback);
            let terms = terms.zip(products).zip(&mut *bias);
            for ((((&mixed, &factor), &feedback), product), bias) in terms {
                let (value, slope) = gelu_and_slope(*product);
                let gradient = mixed.mul_add(factor, value * feedback) * slope;
                *product = gradient;
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

/// Adds the residual path's gradient to a finished row of the depthwise one.
struct AddRow<'a> {
    images: Images,
    gradient: &'a [f32],
    output: Shared,
}

impl FinishRow for AddRow<'_> {
    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, image: usize, row: usize, results: &[f32], stride: usize) {
        let Images { height, width, channels, .. } = self.images;
        let first = (image * height + row) * width * channels;
        // SAFETY: each row of each image is finished once.
        let output = unsafe { self.output.part(first, width * channels) };
        let gradient = self.gradient[first..].chunks_exact(channels);
        let rows = output.chunks_exact_mut(channels).zip(gradient);
        for ((output, gradient), result) in rows.zip(results.chunks_exact(stride)) {
            for ((output, &gradient), &result) in output.iter_mut().zip(gradient).zip(result) {
                *output = gradient + result;
            }
        }
    }
}

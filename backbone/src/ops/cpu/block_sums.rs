//! The sums over positions in a block's backward, `A^T . B`, and the parameters' gradients made of them.
//!
//! Where weights are small and positions many (the early stages), a task takes a group of one image's
//! positions and has sums of its own, which are then added in order. Where weights are large, a task
//! takes a range of channels and all positions.

use core::ops::Range;

use rayon::prelude::*;

use super::block_forward::{BlockInputs, MixingInputs};
use super::buffer::{Buffer, Shared, with_scratch};
use super::depthwise::Images;
use super::dispatch::vectorised;
use super::gelu::gelu;
use super::matmul::{Matrix, Write, multiply};
use super::tiles::chunks;

/// Floats of a weight up to which every group of positions has sums of its own.
const SMALL: usize = 160 * 1024;

/// Groups that a batch is cut into, so that every thread of a large machine has some.
const GROUPS: usize = 16;

/// Channels that a task takes when it works by channels.
const CHUNK: usize = 64;

/// Positions of one product: what they and the weights occupy stays in a cache.
pub(crate) const DEPTH: usize = 256;

/// The groups of positions that have sums of their own, by image; nothing where weights are large.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// Position ranges, image after image.
    pub(crate) ranges: Vec<Range<usize>>,
    per_image: usize,
}

impl Groups {
    pub(crate) fn new(inputs: BlockInputs<'_>, images: Images) -> Option<Self> {
        if inputs.hidden() * images.channels > SMALL {
            return None;
        }
        let positions = images.positions();
        let groups = GROUPS.div_ceil(images.batch.max(1));
        let len = positions.div_ceil(groups).max(DEPTH.min(positions)).max(1);
        let ranges = (0..images.batch).flat_map(|image| {
            let starts = (0..positions).step_by(len);
            starts
                .map(move |start| image * positions + start..image * positions + (start + len).min(positions))
        });
        Some(Self { ranges: ranges.collect(), per_image: positions.div_ceil(len) })
    }

    /// The groups of one image.
    fn of_image(&self, image: usize) -> Range<usize> {
        image * self.per_image..(image + 1) * self.per_image
    }
}

/// The ranges that a range of positions is multiplied in.
pub(crate) fn depths(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(DEPTH).map(move |start| start..(start + DEPTH).min(end))
}

/// What follows from `R = GELU^T . g`.
pub(crate) struct Contracted {
    /// Gradient of the second product's weight.
    pub(crate) weight: Vec<f32>,
    /// `sum_p dy h`, `[batch, hidden]`.
    pub(crate) along: Vec<f32>,
    /// Gradient of GRN's beta, or of layer scale but for what the bias adds.
    pub(crate) mixing: Vec<f32>,
}

/// What a range of hidden channels gives.
#[derive(Default)]
struct Part {
    along: Vec<f32>,
    mixing: Vec<f32>,
}

/// The gradients that follow from the second product's operands.
///
/// `factors` are GRN's, `[batch, hidden]`; `branch` is the sum of the branch's gradient, `[channels]`.
pub(crate) fn contracted(
    inputs: BlockInputs<'_>,
    images: Images,
    factors: &[f32],
    branch: &[f32],
    products: &[f32],
    gradient: &[f32],
) -> Contracted {
    let Images { batch, channels, .. } = images;
    let (hidden, per_image) = (inputs.hidden(), images.positions());
    let groups = Groups::new(inputs, images);
    let size = hidden * channels;
    let own_sums = groups.as_ref().map(|groups| {
        let mut sums = Buffer::new(groups.ranges.len() * size);
        let shared = Shared::new(&mut sums);
        groups.ranges.par_iter().with_max_len(1).enumerate().for_each(|(index, range)| {
            // SAFETY: each group has its own part.
            let sums = unsafe { shared.part(index * size, size) };
            let scale = inputs.scale_of(range.start / per_image);
            sum_products(products, gradient, range.clone(), 0..hidden, [hidden, channels], scale, sums);
        });
        sums
    });

    let mut weight = vec![0.0; size];
    let shared = Shared::new(&mut weight);
    let ranges = chunks(hidden, CHUNK);
    let parts: Vec<Part> = ranges
        .par_iter()
        .with_max_len(1)
        .map(|range| {
            let floats = range.start * channels..range.end * channels;
            // SAFETY: ranges of hidden channels do not overlap.
            let total = unsafe { shared.part(floats.start, floats.len()) };
            let weight = &inputs.contract_weight[floats.clone()];
            let mut part = Part { along: vec![0.0; batch * range.len()], mixing: Vec::new() };
            with_scratch([floats.len()], |[sums]| {
                for image in 0..batch {
                    if let (Some(groups), Some(own)) = (&groups, &own_sums) {
                        let parts = groups.of_image(image);
                        sums.copy_from_slice(&own[parts.start * size..][floats.clone()]);
                        for group in parts.skip(1) {
                            add_to(sums, &own[group * size..][floats.clone()]);
                        }
                    } else {
                        let positions = image * per_image..(image + 1) * per_image;
                        let scale = inputs.scale_of(image);
                        let sizes = [hidden, channels];
                        sum_products(products, gradient, positions, range.clone(), sizes, scale, sums);
                    }
                    let along = &mut part.along[image * range.len()..][..range.len()];
                    dot_rows(sums, weight, channels, along);
                    add_scaled_rows(sums, &factors[image * hidden..][range.clone()], channels, total);
                }
            });
            match inputs.mixing {
                MixingInputs::Grn { beta, .. } => {
                    part.mixing = vec![0.0; range.len()];
                    dot_rows(&branch.repeat(range.len()), weight, channels, &mut part.mixing);
                    add_outer(&beta[range.clone()], branch, total);
                }
                MixingInputs::LayerScale { gamma } => {
                    part.mixing = vec![0.0; channels];
                    scale_columns(gamma, weight, total, &mut part.mixing);
                }
            }
            part
        })
        .collect();

    let along = (0..batch).flat_map(|image| {
        let parts = parts.iter().zip(&ranges);
        parts.flat_map(move |(part, range)| &part.along[image * range.len()..][..range.len()])
    });
    let along = along.copied().collect();
    let mixing = match inputs.mixing {
        MixingInputs::Grn { .. } => parts.into_iter().flat_map(|part| part.mixing).collect(),
        MixingInputs::LayerScale { .. } => {
            let mut total = vec![0.0; channels];
            for part in parts {
                add_to(&mut total, &part.mixing);
            }
            total
        }
    };
    Contracted { weight, along, mixing }
}

/// `sums = scale * GELU(products)^T . gradient` for a range of positions and one of hidden channels.
fn sum_products(
    products: &[f32],
    gradient: &[f32],
    positions: Range<usize>,
    range: Range<usize>,
    [hidden, channels]: [usize; 2],
    scale: f32,
    sums: &mut [f32],
) {
    let mut activated = Buffer::new(DEPTH * range.len());
    let mut write = Write::Replace;
    for depth in depths(positions) {
        let products = &products[depth.start * hidden..depth.end * hidden];
        activate(products, hidden, range.clone(), scale, &mut activated);
        let left = Matrix::columns(&activated, range.len());
        let right = Matrix::rows(&gradient[depth.start * channels..], channels);
        multiply([range.len(), channels, depth.len()], sums, channels, write, left, right);
        write = Write::Add;
    }
    if write == Write::Replace {
        sums.fill(0.0);
    }
}

/// Gradients of the first product's weight and of the norm before it.
pub(crate) struct Expanded {
    pub(crate) weight: Vec<f32>,
    pub(crate) norm_weight: Vec<f32>,
    pub(crate) norm_bias: Vec<f32>,
}

/// With `D = normalised^T . gradient`: `dW1 = scale * D + shift * db1`, `d scale = D . W1`,
/// `d shift = W1 . db1`.
///
/// `own_sums` holds `D` of each group where there are groups, else it is made here.
pub(crate) fn expanded(
    inputs: BlockInputs<'_>,
    images: Images,
    own_sums: Option<&[f32]>,
    normalised: &[f32],
    gradient: &[f32],
    bias: &[f32],
) -> Expanded {
    let channels = images.channels;
    let (positions, hidden) = (images.batch * images.positions(), inputs.hidden());
    let mut weight = vec![0.0; channels * hidden];
    let shared = Shared::new(&mut weight);
    let norms: Vec<(Vec<f32>, Vec<f32>)> = chunks(channels, CHUNK)
        .into_par_iter()
        .with_max_len(1)
        .map(|range| {
            let floats = range.start * hidden..range.end * hidden;
            // SAFETY: ranges of channels do not overlap.
            let sums = unsafe { shared.part(floats.start, floats.len()) };
            if let Some(own) = own_sums {
                for own in own.chunks_exact(channels * hidden) {
                    add_to(sums, &own[floats.clone()]);
                }
            } else {
                for depth in depths(0..positions) {
                    let left = Matrix::columns(&normalised[depth.start * channels + range.start..], channels);
                    let right = Matrix::rows(&gradient[depth.start * hidden..], hidden);
                    multiply([range.len(), hidden, depth.len()], sums, hidden, Write::Add, left, right);
                }
            }
            let weight = &inputs.expand_weight[floats];
            let (mut scales, mut shifts) = (vec![0.0; range.len()], vec![0.0; range.len()]);
            dot_rows(sums, weight, hidden, &mut scales);
            dot_rows(&bias.repeat(range.len()), weight, hidden, &mut shifts);
            scale_rows(&inputs.norm_weight[range.clone()], hidden, sums);
            add_outer(&inputs.norm_bias[range], bias, sums);
            (scales, shifts)
        })
        .collect();
    let (norm_weight, norm_bias): (Vec<_>, Vec<_>) = norms.into_iter().unzip();
    Expanded { weight, norm_weight: norm_weight.concat(), norm_bias: norm_bias.concat() }
}

vectorised! {
    /// `scale * GELU` of a range of hidden channels, `[positions, range]`.
    fn activate(products: &[f32], hidden: usize, range: Range<usize>, scale: f32, output: &mut [f32]) {
        let rows = products.chunks_exact(hidden);
        for (row, output) in rows.zip(output.chunks_exact_mut(range.len())) {
            for (&x, output) in row[range.clone()].iter().zip(output) {
                *output = scale * gelu(x);
            }
        }
    }
}

vectorised! {
    /// Adds element by element.
    pub(crate) fn add_to(total: &mut [f32], values: &[f32]) {
        for (total, value) in total.iter_mut().zip(values) {
            *total += value;
        }
    }
}

vectorised! {
    /// The dot product of each row of `left` with that of `right`.
    fn dot_rows(left: &[f32], right: &[f32], columns: usize, dots: &mut [f32]) {
        const LANES: usize = 16;
        let rows = left.chunks_exact(columns).zip(right.chunks_exact(columns));
        for ((left, right), dot) in rows.zip(dots) {
            let (left, left_rest) = left.as_chunks::<LANES>();
            let (right, right_rest) = right.as_chunks::<LANES>();
            let mut sums = [0.0; LANES];
            for (left, right) in left.iter().zip(right) {
                for ((sum, &left), &right) in sums.iter_mut().zip(left).zip(right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
            let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum();
            *dot = sums.iter().sum::<f32>() + rest;
        }
    }
}

vectorised! {
    /// `total += factor * row` for each row.
    fn add_scaled_rows(rows: &[f32], factors: &[f32], columns: usize, total: &mut [f32]) {
        let rows = rows.chunks_exact(columns).zip(total.chunks_exact_mut(columns));
        for ((row, total), &factor) in rows.zip(factors) {
            for (&value, total) in row.iter().zip(total) {
                *total = value.mul_add(factor, *total);
            }
        }
    }
}

vectorised! {
    /// `total[row, column] += left[row] * right[column]`.
    fn add_outer(left: &[f32], right: &[f32], total: &mut [f32]) {
        for (&left, total) in left.iter().zip(total.chunks_exact_mut(right.len())) {
            for (&right, total) in right.iter().zip(total) {
                *total = left.mul_add(right, *total);
            }
        }
    }
}

vectorised! {
    /// Multiplies each row by its factor.
    fn scale_rows(factors: &[f32], columns: usize, rows: &mut [f32]) {
        for (&factor, row) in factors.iter().zip(rows.chunks_exact_mut(columns)) {
            for value in row {
                *value *= factor;
            }
        }
    }
}

vectorised! {
    /// Multiplies each column by its factor; adds to `sums` what its sum with `weight` was before.
    fn scale_columns(factors: &[f32], weight: &[f32], rows: &mut [f32], sums: &mut [f32]) {
        let rows = rows.chunks_exact_mut(factors.len()).zip(weight.chunks_exact(factors.len()));
        for (row, weight) in rows {
            let terms = row.iter_mut().zip(weight).zip(factors).zip(&mut *sums);
            for (((value, &weight), &factor), sum) in terms {
                *sum = value.mul_add(weight, *sum);
                *value *= factor;
            }
        }
    }
}

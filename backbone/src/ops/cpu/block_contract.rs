//! The second half of a block: GRN's factors, the second product, the residual sum.

use core::ops::Range;

use rayon::prelude::*;

use super::block_forward::{BlockInputs, Keep, MixingInputs};
use super::buffer::{Buffer, Shared, with_scratch};
use super::depthwise::Images;
use super::dispatch::vectorised;
use super::gelu::gelu;
use super::matmul::{Matrix, Write, multiply};
use super::tiles::{by_image, tiles};
use crate::ops::EPSILON;

/// GRN's factor of each hidden channel of one image: `gamma * norm / (mean norm + epsilon) + 1`.
pub(crate) fn grn_factors(norms: &[f32], gamma: &[f32]) -> Vec<f32> {
    let divisor = mean(norms) + EPSILON as f32;
    let channels = norms.iter().zip(gamma);
    channels.map(|(&norm, &gamma)| gamma * (norm / divisor) + 1.0).collect()
}

/// The mean, in double precision so that thousands of channels lose nothing.
pub(crate) fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    (sum / values.len().max(1) as f64) as f32
}

/// Second product and residual sum.
pub(crate) fn contract(
    inputs: BlockInputs<'_>,
    images: Images,
    keep: Keep,
    norms: &[f32],
    products: &mut [f32],
    output: &mut [f32],
) {
    let Images { batch, channels, .. } = images;
    let (hidden, per_image) = (inputs.hidden(), images.positions());
    let (factors, bias) = match inputs.mixing {
        MixingInputs::Grn { gamma, beta } => {
            let norms = norms.chunks_exact(hidden);
            let factors: Vec<_> = norms.map(|norms| grn_factors(norms, gamma)).collect();
            let mut bias = inputs.contract_bias.to_vec();
            let beta = Matrix::rows(beta, hidden);
            let weight = Matrix::rows(inputs.contract_weight, channels);
            multiply([1, channels, hidden], &mut bias, channels, Write::Add, beta, weight);
            (Some(factors), bias)
        }
        MixingInputs::LayerScale { .. } => (None, inputs.contract_bias.to_vec()),
    };
    // GRN's factors go to the weight where that is the smaller matrix, and is used as it is else.
    let own_weights = match &factors {
        Some(factors) if keep == Keep::Nothing && per_image >= 2 * channels => {
            Some(scaled_weights(inputs.contract_weight, factors))
        }
        _ => None,
    };
    let tiles = match own_weights {
        Some(_) => {
            let of_image = tiles(per_image, hidden);
            let images = (0..batch).flat_map(|image| {
                let first = image * per_image;
                of_image.iter().map(move |tile| first + tile.start..first + tile.end)
            });
            images.collect()
        }
        None => tiles(batch * per_image, hidden),
    };
    let (shared, shared_products) = (Shared::new(output), Shared::new(products));
    tiles.into_par_iter().with_max_len(1).for_each(|tile| {
        // SAFETY: tiles do not overlap.
        let output = unsafe { shared.part(tile.start * channels, tile.len() * channels) };
        // SAFETY: as above.
        let products = unsafe { shared_products.part(tile.start * hidden, tile.len() * hidden) };
        let is_kept = keep == Keep::ForBackward;
        let left_len = if is_kept { products.len() } else { 0 };
        with_scratch([left_len, tile.len() * channels], |[left, product]| {
            let within = |part: &Range<usize>, width: usize| {
                (part.start - tile.start) * width..(part.end - tile.start) * width
            };
            let mut weight = inputs.contract_weight;
            for (image, part) in by_image(tile.clone(), per_image) {
                let range = within(&part, hidden);
                let factors = factors.as_ref().map(|factors| &factors[image][..]);
                match (&own_weights, factors) {
                    _ if is_kept => mixed(&products[range.clone()], hidden, factors, &mut left[range]),
                    (Some(own), _) => weight = &own[image * weight.len()..][..weight.len()],
                    (None, Some(factors)) => scale_columns(factors, &mut products[range]),
                    (None, None) => {}
                }
            }
            let left = Matrix::rows(if is_kept { left } else { products }, hidden);
            let right = Matrix::rows(weight, channels);
            multiply([tile.len(), channels, hidden], product, channels, Write::Replace, left, right);
            for (image, part) in by_image(tile.clone(), per_image) {
                let range = within(&part, channels);
                let gamma = match inputs.mixing {
                    MixingInputs::LayerScale { gamma } => Some(gamma),
                    MixingInputs::Grn { .. } => None,
                };
                let x = &inputs.x[part.start * channels..part.end * channels];
                let residual = Residual { x, product: &product[range.clone()], bias: &bias, gamma };
                residual.add(inputs.scale_of(image), &mut output[range]);
            }
        });
    });
}

/// The weight `[hidden, channels]` with each image's factors applied to its rows, image after image.
fn scaled_weights(weight: &[f32], factors: &[Vec<f32>]) -> Buffer {
    let mut scaled = Buffer::new(factors.len() * weight.len());
    let images = scaled.par_chunks_exact_mut(weight.len().max(1)).zip(factors);
    images.for_each(|(scaled, factors)| scale_rows(weight, factors, scaled));
    scaled
}

vectorised! {
    fn scale_rows(rows: &[f32], factors: &[f32], output: &mut [f32]) {
        let columns = rows.len() / factors.len().max(1);
        let rows = rows.chunks_exact(columns.max(1)).zip(output.chunks_exact_mut(columns.max(1)));
        for ((row, output), &factor) in rows.zip(factors) {
            for (&value, output) in row.iter().zip(output) {
                *output = value * factor;
            }
        }
    }
}

vectorised! {
    fn scale_columns(factors: &[f32], rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(factors.len()) {
            for (value, &factor) in row.iter_mut().zip(factors) {
                *value *= factor;
            }
        }
    }
}

vectorised! {
    /// What enters the second product: GELU times GRN's factors.
    fn mixed(products: &[f32], hidden: usize, factors: Option<&[f32]>, output: &mut [f32]) {
        let rows = products.chunks_exact(hidden).zip(output.chunks_exact_mut(hidden));
        match factors {
            Some(factors) => {
                for (x, output) in rows {
                    for ((&x, output), &factor) in x.iter().zip(output).zip(factors) {
                        *output = gelu(x) * factor;
                    }
                }
            }
            None => {
                for (x, output) in rows {
                    for (&x, output) in x.iter().zip(output) {
                        *output = gelu(x);
                    }
                }
            }
        }
    }
}

/// The sum at the end of a block.
struct Residual<'a> {
    x: &'a [f32],
    product: &'a [f32],
    bias: &'a [f32],
    gamma: Option<&'a [f32]>,
}

impl Residual<'_> {
    /// `x + scale * gamma * (product + bias)`, row by row.
    fn add(self, scale: f32, output: &mut [f32]) {
        let factors: Vec<f32> = match self.gamma {
            Some(gamma) => gamma.iter().map(|gamma| gamma * scale).collect(),
            None => vec![scale; self.bias.len()],
        };
        add_branch(self.x, self.product, self.bias, &factors, output);
    }
}

vectorised! {
    fn add_branch(x: &[f32], product: &[f32], bias: &[f32], factors: &[f32], output: &mut [f32]) {
        let channels = bias.len();
        let rows = x.chunks_exact(channels).zip(product.chunks_exact(channels));
        for ((x, product), output) in rows.zip(output.chunks_exact_mut(channels)) {
            let terms = x.iter().zip(product).zip(bias).zip(factors);
            for ((((&x, &product), &bias), &factor), output) in terms.zip(output) {
                *output = (product + bias).mul_add(factor, x);
            }
        }
    }
}

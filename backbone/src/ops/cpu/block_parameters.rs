//! What follows from sums over positions already made: GRN's backward, and the parameters' gradients.

use rayon::prelude::*;

use super::block_backward::CHUNK;
use super::block_forward::{BlockInputs, MixingInputs, mean};
use super::buffer::{Buffer, Shared};
use super::depthwise::Images;
use super::matmul::{Matrix, Write, multiply};
use super::tiles::chunks;
use crate::ops::EPSILON;

/// Through GRN's norms: what each GELU's gradient receives for each unit of GELU, `[batch, hidden]`,
/// and the gradient of gamma.
///
/// A channel that is zero everywhere receives nothing, as with `torch.norm`.
pub(crate) fn grn_backward(norms: &[f32], along: &[f32], gamma: &[f32]) -> (Vec<f32>, Vec<f32>) {
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

/// Gradients of the second product and of what V1 and V2 differ in.
pub(crate) struct SecondGradients {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

/// Completes the gradients of the second product.
///
/// `weight` holds the sum of `factor * R`, `branch` the sum of the branch's gradient over positions,
/// `grn_gamma` the gradient of GRN's gamma.
pub(crate) fn second_gradients(
    inputs: BlockInputs<'_>,
    mut weight: Vec<f32>,
    branch: &[f32],
    grn_gamma: Vec<f32>,
) -> SecondGradients {
    let channels = branch.len();
    let rows = weight.chunks_exact_mut(channels);
    let rows = rows.zip(inputs.contract_weight.chunks_exact(channels));
    match inputs.mixing {
        MixingInputs::Grn { beta, .. } => {
            let rows = rows.zip(beta).map(|((gradient, weight), &beta)| {
                let mut along = 0.0;
                for ((gradient, &weight), &branch) in gradient.iter_mut().zip(weight).zip(branch) {
                    *gradient += beta * branch;
                    along += weight * branch;
                }
                along
            });
            SecondGradients { beta: rows.collect(), weight, bias: branch.to_vec(), gamma: grn_gamma }
        }
        MixingInputs::LayerScale { gamma } => {
            let bias = branch.iter().zip(inputs.contract_bias);
            let mut gamma_gradient: Vec<f32> = bias.map(|(branch, bias)| branch * bias).collect();
            for (gradient, weight) in rows {
                let terms = gradient.iter_mut().zip(weight).zip(gamma);
                for (((gradient, &weight), &gamma), total) in terms.zip(&mut gamma_gradient) {
                    *total += *gradient * weight;
                    *gradient *= gamma;
                }
            }
            SecondGradients {
                weight,
                bias: branch.iter().zip(gamma).map(|(branch, gamma)| branch * gamma).collect(),
                gamma: gamma_gradient,
                beta: Vec::new(),
            }
        }
    }
}

/// Gradients of the first product's weight and of the norm before it.
pub(crate) struct FirstGradients {
    pub(crate) expand_weight: Vec<f32>,
    pub(crate) norm_weight: Vec<f32>,
    pub(crate) norm_bias: Vec<f32>,
}

/// Pass 3, with `D = normalised^T . gradient`: `dW1 = scale * D + shift * db1`, `d scale = D . W1`,
/// `d shift = W1 . db1`.
pub(crate) fn first_gradients(
    inputs: BlockInputs<'_>,
    images: Images,
    normalised: &[f32],
    gradient: &[f32],
    expand_bias: &[f32],
) -> FirstGradients {
    let channels = images.channels;
    let (positions, hidden) = (images.batch * images.positions(), inputs.hidden());
    let ranges = chunks(hidden, CHUNK);
    let parts: Vec<Buffer> = ranges
        .par_iter()
        .map(|range| {
            let mut part = Buffer::new(channels * range.len());
            let sizes = [channels, range.len(), positions];
            let left = Matrix::columns(normalised, channels);
            let right = Matrix::rows(&gradient[range.start..], hidden);
            multiply(sizes, &mut part, range.len(), Write::Replace, left, right);
            part
        })
        .collect();

    let mut expand_weight = vec![0.0; channels * hidden];
    let shared = Shared::new(&mut expand_weight);
    let (norm_weight, norm_bias) = (0..channels)
        .into_par_iter()
        .map(|channel| {
            // SAFETY: each channel has its own row.
            let row = unsafe { shared.part(channel * hidden, hidden) };
            let weight = &inputs.expand_weight[channel * hidden..][..hidden];
            let (scale, shift) = (inputs.norm_weight[channel], inputs.norm_bias[channel]);
            let (mut scale_gradient, mut shift_gradient) = (0.0, 0.0);
            for (range, part) in ranges.iter().zip(&parts) {
                let sums = &part[channel * range.len()..][..range.len()];
                let bias = &expand_bias[range.clone()];
                let terms = sums.iter().zip(bias).zip(&weight[range.clone()]);
                for (((&sum, &bias), &weight), out) in terms.zip(&mut row[range.clone()]) {
                    *out = scale * sum + shift * bias;
                    scale_gradient += f64::from(sum * weight);
                    shift_gradient += f64::from(bias * weight);
                }
            }
            (scale_gradient as f32, shift_gradient as f32)
        })
        .unzip();
    FirstGradients { expand_weight, norm_weight, norm_bias }
}

//! LayerNorm over the last axis, forward and backward.

use pulp::Simd;
use rayon::prelude::*;

use super::block_sums::add_to;
use super::buffer::{Buffer, Shared, with_scratch};
use super::dispatch::run;
use super::norm::{normalise, normalise_backward};
use super::tiles::tiles;

/// What the backward pass needs: the input centred and divided by its deviation, and one over that.
#[derive(Clone, Debug)]
pub(crate) struct Normalised {
    pub(crate) values: Buffer,
    pub(crate) inverse: Buffer,
}

/// `normalised * weight + bias` into `output`; keeps what the backward pass needs if `keep` is there.
pub(crate) fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    keep: Option<&mut Normalised>,
) {
    let channels = weight.len();
    let kept = keep.map(|keep| (Shared::new(&mut keep.values), Shared::new(&mut keep.inverse)));
    let output = Shared::new(output);
    tiles(x.len() / channels.max(1), channels).into_par_iter().with_max_len(1).for_each(|tile| {
        let floats = tile.len() * channels;
        // SAFETY: tiles do not overlap.
        let output = unsafe { output.part(tile.start * channels, floats) };
        let x = &x[tile.start * channels..][..floats];
        if let Some((values, inverse)) = kept {
            // SAFETY: as above.
            let (normalised, inverse) =
                unsafe { (values.part(tile.start * channels, floats), inverse.part(tile.start, tile.len())) };
            run(Rows { x, weight, bias, normalised, inverse, output });
        } else {
            with_scratch([floats, tile.len()], |[normalised, inverse]| {
                run(Rows { x, weight, bias, normalised, inverse, output });
            });
        }
    });
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    normalised: &'a mut [f32],
    inverse: &'a mut [f32],
    output: &'a mut [f32],
}

impl pulp::WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.weight.len();
        let rows = self.x.chunks_exact(channels).zip(self.output.chunks_exact_mut(channels));
        let rows = rows.zip(self.normalised.chunks_exact_mut(channels)).zip(self.inverse);
        for (((x, output), normalised), inverse) in rows {
            *inverse = normalise(simd, x, normalised);
            let terms = normalised.iter().zip(self.weight).zip(self.bias);
            for (((&x, &weight), &bias), output) in terms.zip(output) {
                *output = x.mul_add(weight, bias);
            }
        }
    }
}

/// Gradients of a LayerNorm's input, weight and bias.
pub(crate) struct NormGradients {
    pub(crate) x: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// The gradients, from that of the output.
pub(crate) fn layer_norm_backward(saved: &Normalised, weight: &[f32], gradient: &[f32]) -> NormGradients {
    let channels = weight.len();
    let mut x = vec![0.0; gradient.len()];
    let shared = Shared::new(&mut x);
    let sums: Vec<(Vec<f32>, Vec<f32>)> = tiles(gradient.len() / channels.max(1), channels)
        .into_par_iter()
        .with_max_len(1)
        .map(|tile| {
            let floats = tile.start * channels..tile.end * channels;
            let (mut weight_sums, mut bias_sums) = (vec![0.0; channels], vec![0.0; channels]);
            run(BackwardRows {
                // SAFETY: tiles do not overlap.
                x: unsafe { shared.part(floats.start, floats.len()) },
                gradient: &gradient[floats.clone()],
                normalised: &saved.values[floats],
                inverse: &saved.inverse[tile],
                weight,
                weight_sums: &mut weight_sums,
                bias_sums: &mut bias_sums,
            });
            (weight_sums, bias_sums)
        })
        .collect();
    let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
    for (weight_sums, bias_sums) in sums {
        add_to(&mut weight, &weight_sums);
        add_to(&mut bias, &bias_sums);
    }
    NormGradients { x, weight, bias }
}

struct BackwardRows<'a> {
    x: &'a mut [f32],
    gradient: &'a [f32],
    normalised: &'a [f32],
    inverse: &'a [f32],
    weight: &'a [f32],
    weight_sums: &'a mut [f32],
    bias_sums: &'a mut [f32],
}

impl pulp::WithSimd for BackwardRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.weight.len();
        let rows = self.x.chunks_exact_mut(channels).zip(self.gradient.chunks_exact(channels));
        let rows = rows.zip(self.normalised.chunks_exact(channels)).zip(self.inverse);
        for (((x, gradient), normalised), &inverse) in rows {
            let sums = self.weight_sums.iter_mut().zip(&mut *self.bias_sums);
            let terms = x.iter_mut().zip(gradient).zip(normalised).zip(self.weight).zip(sums);
            for ((((x, &gradient), &normalised), &weight), (weight_sum, bias_sum)) in terms {
                *weight_sum += gradient * normalised;
                *bias_sum += gradient;
                *x = gradient * weight;
            }
            normalise_backward(simd, x, normalised, inverse);
        }
    }
}

//! The gradients of a depthwise 7x7 convolution with respect to its weight and bias.

use core::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::buffer::{Shared, with_scratch};
use super::depthwise::{Images, MARGIN, Ring, TAPS, blocked, set_vector, vector};
use super::dispatch::run;
use super::field::{Field, Segment};
use crate::block::KERNEL;

/// The gradient of a depthwise convolution with respect to its weight, `[channels, 1, 7, 7]`, and
/// its bias, `[channels]`.
pub(crate) fn depthwise_weight_gradient(
    x: &[f32],
    gradient: &[f32],
    field: Field<'_>,
) -> (Vec<f32>, Vec<f32>) {
    run(WeightGradient { x, gradient, field })
}

struct WeightGradient<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    field: Field<'a>,
}

impl pulp::WithSimd for WeightGradient<'_> {
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (Vec<f32>, Vec<f32>) {
        let lanes = S::F32_LANES;
        let Images { width, channels, .. } = self.field.maps;
        let bands = self.field.maps.bands();
        // [band][block of channels][tap, then bias][lane], summed in the order of the bands.
        let len = channels.div_ceil(lanes) * (TAPS + 1) * lanes;
        let mut sums = vec![0.0; bands.len() * len];
        let shared = Shared::new(&mut sums);
        let ring = Ring::<S>::new(self.field);
        let sizes = [ring.len(), ring.blocks * width * lanes];
        bands.into_par_iter().with_max_len(1).enumerate().for_each(|(index, (image, rows))| {
            // SAFETY: each band has its own part.
            let sums = unsafe { shared.part(index * len, len) };
            with_scratch(sizes, |[floats, gradients]| {
                run(WeightBand {
                    x: self.x,
                    gradient: self.gradient,
                    field: self.field,
                    image,
                    rows,
                    floats,
                    gradients,
                    sums,
                });
            });
        });
        let mut total = vec![0.0; len];
        for sums in sums.chunks_exact(len.max(1)) {
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        let sum = |channel: usize, tap: usize| {
            total[(channel / lanes * (TAPS + 1) + tap) * lanes + channel % lanes]
        };
        let weight = (0..channels).flat_map(|channel| (0..TAPS).map(move |tap| (channel, tap)));
        (
            weight.map(|(channel, tap)| sum(channel, tap)).collect(),
            (0..channels).map(|channel| sum(channel, TAPS)).collect(),
        )
    }
}

struct WeightBand<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    field: Field<'a>,
    image: usize,
    rows: Range<usize>,
    floats: &'a mut [f32],
    gradients: &'a mut [f32],
    sums: &'a mut [f32],
}

impl pulp::WithSimd for WeightBand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let Self { x, field, image, floats, gradients, sums, .. } = self;
        let Images { width, channels, .. } = field.maps;
        let ring = Ring::<S>::new(field);
        floats.fill(0.0);
        for row in self.rows.start.saturating_sub(MARGIN)..self.rows.start + MARGIN {
            ring.load(simd, floats, x, image, row);
        }
        for row in self.rows {
            ring.load(simd, floats, x, image, row + MARGIN);
            for Segment { column, len, position } in field.segments(image, row) {
                let gradient = &self.gradient[position * channels..][..len * channels];
                blocked(simd, gradient, channels, &mut gradients[column * lanes..], width * lanes);
            }
            for block in 0..ring.blocks {
                let sums = &mut sums[block * (TAPS + 1) * lanes..][..(TAPS + 1) * lanes];
                for run in field.runs(image, row) {
                    let gradients = &gradients[(block * width + run.start) * lanes..][..run.len() * lanes];
                    for tap_row in ring.tap_rows(row) {
                        let start = ring.start(row + tap_row - MARGIN, block) + run.start * lanes;
                        let sums = &mut sums[tap_row * KERNEL * lanes..][..KERNEL * lanes];
                        tap_sums(simd, &floats[start..], gradients, sums);
                    }
                    let (gradients, _) = S::as_simd_f32s(gradients);
                    let mut bias = vector::<S>(sums, TAPS * lanes);
                    for &gradient in gradients {
                        bias = simd.add_f32s(bias, gradient);
                    }
                    set_vector::<S>(sums, TAPS * lanes, bias);
                }
            }
        }
    }
}

/// Adds what one row of gradients and one row of inputs give to the seven weights between them.
#[inline(always)]
fn tap_sums<S: Simd>(simd: S, inputs: &[f32], gradients: &[f32], sums: &mut [f32]) {
    let lanes = S::F32_LANES;
    let mut totals = [simd.splat_f32s(0.0); KERNEL];
    for (tap, total) in totals.iter_mut().enumerate() {
        *total = vector::<S>(sums, tap * lanes);
    }
    let (gradients, _) = S::as_simd_f32s(gradients);
    let inputs = &inputs[..(gradients.len() + KERNEL - 1) * lanes];
    for (column, &gradient) in gradients.iter().enumerate() {
        for (tap, total) in totals.iter_mut().enumerate() {
            let input = vector::<S>(inputs, (column + tap) * lanes);
            *total = simd.mul_add_e_f32s(input, gradient, *total);
        }
    }
    for (tap, total) in totals.into_iter().enumerate() {
        set_vector::<S>(sums, tap * lanes, total);
    }
}

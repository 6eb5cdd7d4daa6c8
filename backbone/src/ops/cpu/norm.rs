//! LayerNorm of one position, forward and backward.

use pulp::Simd;

use super::super::EPSILON;

/// Writes `(x - mean) / deviation` and returns `1 / deviation`, with the biased variance plus epsilon.
#[inline(always)]
pub(crate) fn normalise<S: Simd>(simd: S, x: &[f32], normalised: &mut [f32]) -> f32 {
    let per_channel = 1.0 / x.len() as f32;
    let (whole, rest) = S::as_simd_f32s(x);
    let mask = simd.partial_load_f32s(&ONES[..rest.len()]);
    let last = simd.partial_load_f32s(rest);

    let mut sum = last;
    for &x in whole {
        sum = simd.add_f32s(sum, x);
    }
    let mean = simd.splat_f32s(simd.reduce_sum_f32s(sum) * per_channel);

    let last = simd.mul_f32s(simd.sub_f32s(last, mean), mask);
    let mut squares = simd.mul_f32s(last, last);
    for &x in whole {
        let centred = simd.sub_f32s(x, mean);
        squares = simd.mul_add_e_f32s(centred, centred, squares);
    }
    let variance = simd.reduce_sum_f32s(squares) * per_channel;
    let inverse = 1.0 / (variance + EPSILON as f32).sqrt();

    let scale = simd.splat_f32s(inverse);
    let (whole_out, rest_out) = S::as_mut_simd_f32s(normalised);
    for (out, &x) in whole_out.iter_mut().zip(whole) {
        *out = simd.mul_f32s(simd.sub_f32s(x, mean), scale);
    }
    if !rest.is_empty() {
        simd.partial_store_f32s(rest_out, simd.mul_f32s(last, scale));
    }
    inverse
}

/// From `d loss / d normalised` to `d loss / d x`, in place.
#[inline(always)]
pub(crate) fn normalise_backward<S: Simd>(simd: S, gradient: &mut [f32], normalised: &[f32], inverse: f32) {
    let per_channel = 1.0 / gradient.len() as f32;
    let (whole_x, rest_x) = S::as_simd_f32s(normalised);
    let (whole, rest) = S::as_mut_simd_f32s(gradient);
    let last_x = simd.partial_load_f32s(rest_x);
    let last = simd.partial_load_f32s(rest);

    let mut sum = last;
    let mut along = simd.mul_f32s(last, last_x);
    for (&gradient, &x) in whole.iter().zip(whole_x) {
        sum = simd.add_f32s(sum, gradient);
        along = simd.mul_add_e_f32s(gradient, x, along);
    }
    let mean = simd.splat_f32s(simd.reduce_sum_f32s(sum) * per_channel);
    let along = simd.splat_f32s(simd.reduce_sum_f32s(along) * per_channel);
    let scale = simd.splat_f32s(inverse);

    let one = |gradient: S::f32s, x: S::f32s| {
        let centred = simd.sub_f32s(gradient, mean);
        simd.mul_f32s(simd.sub_f32s(centred, simd.mul_f32s(x, along)), scale)
    };
    for (gradient, &x) in whole.iter_mut().zip(whole_x) {
        *gradient = one(*gradient, x);
    }
    if !rest.is_empty() {
        let last = one(last, last_x);
        simd.partial_store_f32s(rest, last);
    }
}

/// As many ones as the widest vector has lanes.
const ONES: [f32; 16] = [1.0; 16];

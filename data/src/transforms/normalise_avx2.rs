//! The normalisation of a row with AVX2, for the pixels that fill a vector.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm_setr_epi8, _mm256_broadcastsi128_si256, _mm256_castsi128_si256,
    _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_inserti128_si256, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_shuffle_epi8, _mm256_storeu_ps, _mm256_sub_ps,
};

/// Pixels of a vector.
const LANES: usize = 8;

/// Bytes of a vector's pixels that are read: sixteen from the first on, and sixteen from the fifth on.
const BYTES: usize = 12 + 16;

/// Normalises a row eight pixels at a time, as long as all bytes read are its own; returns how many pixels were done.
///
/// It multiplies by `inverse` and corrects the product once, which takes half as long as a division; the caller has made
/// sure with [`is_exact`] that the result is the same.
#[target_feature(enable = "avx2,fma")]
pub(super) fn normalise(
    pixels: &[u8],
    mean: [f32; 3],
    std: [f32; 3],
    inverse: [f32; 3],
    planes: &mut [&mut [f32]; 3],
) -> usize {
    let masks: [__m256i; 3] = [0i8, 1, 2].map(|channel| {
        let at = |pixel: i8| channel + 3 * pixel;
        // One byte of each of four pixels, zero-extended to 32 bits.
        _mm256_broadcastsi128_si256(_mm_setr_epi8(
            at(0),
            -1,
            -1,
            -1,
            at(1),
            -1,
            -1,
            -1,
            at(2),
            -1,
            -1,
            -1,
            at(3),
            -1,
            -1,
            -1,
        ))
    });
    let mut done = 0;
    while 3 * done + BYTES <= pixels.len() {
        let first = pixels[3 * done..][..BYTES].as_ptr();
        // SAFETY: bytes 0 to 15, then 12 to 27, of the `BYTES` that were just found to lie in the slice.
        let [low, high] = unsafe { [_mm_loadu_si128(first.cast()), _mm_loadu_si128(first.add(12).cast())] };
        let bytes = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        for (channel, plane) in planes.iter_mut().enumerate() {
            let value = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, masks[channel]));
            let distance = _mm256_sub_ps(value, _mm256_set1_ps(mean[channel]));
            let inverse = _mm256_set1_ps(inverse[channel]);
            let estimate = _mm256_mul_ps(distance, inverse);
            let rest = _mm256_fnmadd_ps(estimate, _mm256_set1_ps(std[channel]), distance);
            let target = &mut plane[done..][..LANES];
            // SAFETY: the target holds eight values of four bytes.
            unsafe { _mm256_storeu_ps(target.as_mut_ptr(), _mm256_fmadd_ps(rest, inverse, estimate)) };
        }
        done += LANES;
    }
    done
}

/// Whether [`normalise`] gives what a division gives, to the last bit: there are no more than 256 results of a channel, and all
/// of them are tried.
#[target_feature(enable = "avx2,fma")]
pub(super) fn is_exact(mean: [f32; 3], std: [f32; 3], inverse: [f32; 3]) -> bool {
    (0..3).all(|channel| {
        let differs = |byte: u8| {
            let distance = f32::from(byte) - mean[channel];
            let quotient = quotient(distance, std[channel], inverse[channel]);
            quotient.to_bits() != (distance / std[channel]).to_bits()
        };
        (0..=u8::MAX).filter(|&byte| differs(byte)).count() == 0
    })
}

/// What [`normalise`] computes in each lane, for one value.
#[inline(always)]
fn quotient(distance: f32, std: f32, inverse: f32) -> f32 {
    let estimate = distance * inverse;
    let rest = (-estimate).mul_add(std, distance);
    rest.mul_add(inverse, estimate)
}

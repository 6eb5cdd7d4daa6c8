//! The two passes of the bilinear resize with AVX2, for the columns that fill a vector.

use std::arch::x86_64::{
    __m256i, _mm_loadl_epi64, _mm_setr_epi8, _mm_storeu_si128, _mm_unpacklo_epi64, _mm256_add_epi16,
    _mm256_broadcastsi128_si256, _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mulhi_epi16, _mm256_packs_epi32,
    _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm256_shuffle_epi8, _mm256_srai_epi16,
    _mm256_srli_epi32, _mm256_storeu_si256,
};
use std::mem::MaybeUninit;

use crate::resize::{Columns, ROW_CHANNELS};

/// Resamples a row four columns at a time, as long as eight bytes can be read at each; returns
/// how many columns were done.
#[target_feature(enable = "avx2")]
pub(crate) fn horizontal(source: &[u8], columns: &Columns, row: &mut [i16]) -> usize {
    // Bytes r0 g0 b0 r1 g1 b1 of two neighbours to 16-bit pairs (r0, r1) (g0, g1) (b0, b1) (0, 0).
    let pairs = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    let pairs = _mm256_broadcastsi128_si256(pairs);
    let upper_pairs = _mm_setr_epi8(8, -1, 11, -1, 9, -1, 12, -1, 10, -1, 13, -1, -1, -1, -1, -1);
    let upper_pairs = _mm256_broadcastsi128_si256(upper_pairs);
    let mut done = 0;
    let groups = columns.left.chunks_exact(4).zip(columns.weights.chunks_exact(4));
    for ((left, weights), target) in groups.zip(row.chunks_exact_mut(4 * ROW_CHANNELS)) {
        // Left pixels never decrease, so the last one reaches farthest.
        if left[3] * 3 + 8 > source.len() {
            break;
        }
        let two = |index: usize| {
            // SAFETY: at most left[3], whose eight bytes were just found to lie in the slice.
            unsafe { _mm_loadl_epi64(source.as_ptr().add(index * 3).cast()) }
        };
        // Lanes hold columns (0 and 2) and (1 and 3), so that packing puts them in order.
        let low = _mm_unpacklo_epi64(two(left[0]), two(left[2]));
        let high = _mm_unpacklo_epi64(two(left[1]), two(left[3]));
        let bytes = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        let weight = |index: usize| {
            // SAFETY: weights holds four columns of sixteen bytes; two beginning at 0 or 2 are read.
            unsafe { _mm256_loadu_si256(weights.as_ptr().add(index).cast()) }
        };
        let first = _mm256_madd_epi16(_mm256_shuffle_epi8(bytes, pairs), weight(0));
        let second = _mm256_madd_epi16(_mm256_shuffle_epi8(bytes, upper_pairs), weight(2));
        let packed = _mm256_packs_epi32(_mm256_srli_epi32::<4>(first), _mm256_srli_epi32::<4>(second));
        // Lane 0 holds columns 0 and 2, lane 1 columns 1 and 3: each is one 64-bit quarter.
        let ordered: __m256i = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
        // SAFETY: the target chunk holds 4 * ROW_CHANNELS = 16 values of two bytes.
        unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), ordered) };
        done += 4;
    }
    done
}

/// Blends two rows eight pixels at a time; returns how many pixels were done, every byte of which is written.
#[target_feature(enable = "avx2")]
pub(crate) fn vertical(
    upper: &[i16],
    lower: &[i16],
    above: i16,
    below: i16,
    target: &mut [MaybeUninit<u8>],
) -> usize {
    const PIXELS: usize = 8;
    let above = _mm256_set1_epi16(above);
    let below = _mm256_set1_epi16(below);
    let half = _mm256_set1_epi16(2);
    // Drop the unused fourth byte of each of four pixels.
    let dense = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let dense = _mm256_broadcastsi128_si256(dense);
    let blend = |upper: &[i16], lower: &[i16]| {
        let blend_inner = |upper: __m256i, lower: __m256i| {
            let sum = _mm256_add_epi16(_mm256_mulhi_epi16(upper, above), _mm256_mulhi_epi16(lower, below));
            _mm256_srai_epi16::<2>(_mm256_add_epi16(sum, half))
        };
        assert!(upper.len() >= 16 && lower.len() >= 16);
        // SAFETY: both slices hold at least the 16 values that are read.
        unsafe {
            blend_inner(_mm256_loadu_si256(upper.as_ptr().cast()), _mm256_loadu_si256(lower.as_ptr().cast()))
        }
    };
    let mut done = 0;
    let chunk = PIXELS * ROW_CHANNELS;
    for (upper, lower) in upper.chunks_exact(chunk).zip(lower.chunks_exact(chunk)) {
        let at = done * 3;
        // Each half writes 16 bytes, of which 12 are pixels; the next write covers the rest.
        if at + 12 + 16 > target.len() {
            break;
        }
        let first = blend(&upper[..16], &lower[..16]);
        let second = blend(&upper[16..], &lower[16..]);
        // Packing interleaves the lanes of its two arguments.
        let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(first, second));
        let bytes = _mm256_shuffle_epi8(bytes, dense);
        // SAFETY: at + 28 bytes were just found to lie in the target.
        unsafe {
            let target = target.as_mut_ptr().add(at);
            _mm_storeu_si128(target.cast(), _mm256_castsi256_si128(bytes));
            _mm_storeu_si128(target.add(12).cast(), _mm256_extracti128_si256::<1>(bytes));
        }
        done += PIXELS;
    }
    done
}

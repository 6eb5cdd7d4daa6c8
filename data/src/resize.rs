//! OpenCV's bilinear resize of 8-bit RGB, equal to the bit, and mmcv's rule for the new size.
//!
//! `cv2.resize(.., INTER_LINEAR)` works in fixed point, first along rows, then between them:
//!
//! ```text
//! position = (i + 0.5) * old / new - 0.5           left = floor, fraction = position - left
//! weights  = round((1 - fraction, fraction) * 2048)         11 bits, ties to even
//! row[x]   = (pixel[left] * w0 + pixel[left + 1] * w1) >> 4
//! result   = ((row0 * v0 >> 16) + (row1 * v1 >> 16) + 2) >> 2
//! ```
//!
//! Every intermediate fits 16 bits, so one AVX2 instruction handles 16 of them. Horizontal weights
//! beyond an edge are folded onto the edge pixel; vertical ones are not, and truncate once more.

use std::mem::MaybeUninit;

use image::RgbImage;

#[cfg(target_arch = "x86_64")]
use crate::resize_avx2;

/// Weights sum to this: OpenCV's `INTER_RESIZE_COEF_SCALE`.
const WEIGHT_ONE: i16 = 2048;

/// Values a pixel takes in the intermediate rows: R, G, B and one unused, to keep lanes aligned.
pub(crate) const ROW_CHANNELS: usize = 4;

/// Where the horizontal pass reads for one output column.
pub(crate) struct Columns {
    /// Index of the left pixel; the right one is its neighbour, which exists unless the image has
    /// a single column.
    pub(crate) left: Vec<usize>,
    /// `w0, w1` four times a column, as the vector code multiplies them.
    pub(crate) weights: Vec<[i16; 8]>,
}

/// The size that keeps the ratio and fits into `long` x `short`, whichever way the image lies
/// (mmcv `rescale_size`): the scale is a quotient of integers, the result `int(x * scale + 0.5)`.
pub fn keep_ratio_size(width: u32, height: u32, long: u32, short: u32) -> (u32, u32) {
    let (long, short) = (long.max(short), long.min(short));
    let scale =
        (f64::from(long) / f64::from(width.max(height))).min(f64::from(short) / f64::from(width.min(height)));
    let scaled = |side: u32| ((f64::from(side) * scale + 0.5) as u32).max(1);
    (scaled(width), scaled(height))
}

/// Resizes as `cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)` does.
///
/// # Panics
/// When a side of the image or of the result is zero.
pub fn resize_bilinear(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (old_width, old_height) = image.dimensions();
    assert!(
        old_width > 0 && old_height > 0 && width > 0 && height > 0,
        "{old_width} x {old_height} cannot become {width} x {height}"
    );
    if (old_width, old_height) == (width, height) {
        return image.clone();
    }
    let old_width = old_width as usize;
    let columns = columns(old_width, width as usize);
    let num_bytes = width as usize * height as usize * 3;
    // Every byte is written below, so none is zeroed before.
    let mut pixels = Vec::with_capacity(num_bytes);
    // Rows already resampled horizontally, with the source row each holds.
    let mut rows = [0, 1].map(|_| (None, vec![0i16; width as usize * ROW_CHANNELS]));

    for (y, target) in
        pixels.spare_capacity_mut()[..num_bytes].chunks_exact_mut(width as usize * 3).enumerate()
    {
        let (top, [above, below]) = tap(y, old_height as usize, height as usize);
        let last = old_height as i64 - 1;
        let wanted = [top.clamp(0, last) as usize, (top + 1).clamp(0, last) as usize];
        // Going down, what was the lower row is often the upper one now.
        if rows[1].0 == Some(wanted[0]) {
            rows.swap(0, 1);
        }
        for (row, wanted) in rows.iter_mut().zip(wanted) {
            if row.0 != Some(wanted) {
                horizontal(&image.as_raw()[wanted * old_width * 3..], old_width, &columns, &mut row.1);
                row.0 = Some(wanted);
            }
        }
        vertical(&rows[0].1, &rows[1].1, above, below, target);
    }
    // SAFETY: the rows are all of these bytes, and `vertical` wrote every byte of every row.
    unsafe { pixels.set_len(num_bytes) };
    RgbImage::from_raw(width, height, pixels).expect("three bytes were written for each pixel")
}

/// The left (or upper) source index of output `i`, which may be -1, and the two weights.
fn tap(i: usize, old: usize, new: usize) -> (i64, [i16; 2]) {
    // OpenCV inverts the ratio of the sizes, then inverts it back; the roundings must be the same.
    let inverse = new as f64 / old as f64;
    let position = ((i as f64 + 0.5) * (1.0 / inverse) - 0.5) as f32;
    let left = position.floor();
    (left as i64, weights(position - left))
}

/// Eleven-bit weights of the left and the right pixel.
fn weights(fraction: f32) -> [i16; 2] {
    let fixed = |weight: f32| (weight * f32::from(WEIGHT_ONE)).round_ties_even() as i16;
    [fixed(1.0 - fraction), fixed(fraction)]
}

/// Taps of every output column. Past an edge the whole weight lies on the edge pixel.
fn columns(old: usize, new: usize) -> Columns {
    let mut columns = Columns { left: Vec::with_capacity(new), weights: Vec::with_capacity(new) };
    for x in 0..new {
        let (left, [w0, w1]) = tap(x, old, new);
        let (left, [w0, w1]) = if left < 0 {
            (0, [WEIGHT_ONE, 0])
        } else if left as usize + 1 >= old {
            // The right one of the last two pixels, so that two can be read at once.
            if old == 1 { (0, [WEIGHT_ONE, 0]) } else { (old - 2, [0, WEIGHT_ONE]) }
        } else {
            (left as usize, [w0, w1])
        };
        columns.left.push(left);
        columns.weights.push([w0, w1, w0, w1, w0, w1, w0, w1]);
    }
    columns
}

/// Resamples one row of `width` pixels; `source` begins at the row and may go on after it.
fn horizontal(source: &[u8], width: usize, columns: &Columns, row: &mut [i16]) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if width > 1 && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was just detected.
        done = unsafe { resize_avx2::horizontal(source, columns, row) };
    }
    for x in done..columns.left.len() {
        let left = columns.left[x];
        let right = (left + 1).min(width - 1);
        let [w0, w1, ..] = columns.weights[x];
        for channel in 0..3 {
            let sum = i32::from(source[left * 3 + channel]) * i32::from(w0)
                + i32::from(source[right * 3 + channel]) * i32::from(w1);
            row[x * ROW_CHANNELS + channel] = (sum >> 4) as i16;
        }
    }
}

/// Blends two resampled rows into one row of pixels, all of whose bytes are written.
fn vertical(upper: &[i16], lower: &[i16], above: i16, below: i16, target: &mut [MaybeUninit<u8>]) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was just detected.
        done = unsafe { resize_avx2::vertical(upper, lower, above, below, target) };
    }
    let high = |value: i16, weight: i16| (i32::from(value) * i32::from(weight)) >> 16;
    let rows = upper.chunks_exact(ROW_CHANNELS).zip(lower.chunks_exact(ROW_CHANNELS));
    for (pixel, (upper, lower)) in target.chunks_exact_mut(3).zip(rows).skip(done) {
        for ((value, &upper), &lower) in pixel.iter_mut().zip(upper).zip(lower) {
            value.write(((high(upper, above) + high(lower, below) + 2) >> 2).clamp(0, 255) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// A picture without structure: errors of one in any weight show.
    fn noise(width: u32, height: u32, seed: u32) -> RgbImage {
        let mut state = seed;
        RgbImage::from_fn(width, height, |_, _| {
            Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    }

    /// FNV-1a of the pixels.
    fn fingerprint(image: &RgbImage) -> u64 {
        image.as_raw().iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    #[test]
    fn the_long_side_or_the_short_side_binds() {
        assert_eq!(keep_ratio_size(640, 480, 1333, 800), (1067, 800));
        assert_eq!(keep_ratio_size(480, 640, 1333, 800), (800, 1067));
        assert_eq!(keep_ratio_size(2000, 500, 1333, 800), (1333, 333));
        assert_eq!(keep_ratio_size(160, 128, 208, 144), (180, 144));
        assert_eq!(keep_ratio_size(5000, 1, 100, 100), (100, 1));
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = noise(7, 5, 1);
        assert_eq!(resize_bilinear(&image, 7, 5), image);
    }

    #[test]
    fn twice_the_width_blends_neighbours_three_to_one() {
        let image = RgbImage::from_raw(2, 1, vec![0, 0, 0, 200, 100, 40]).unwrap();
        let wide = resize_bilinear(&image, 4, 1);
        assert_eq!(wide.as_raw(), &[0, 0, 0, 50, 25, 10, 150, 75, 30, 200, 100, 40]);
    }

    /// Expected values by opencv-python-headless 5.0.0:
    ///
    /// ```text
    /// def noise(w, h, state):
    ///     out = np.empty(w * h * 3, np.uint8)
    ///     for i in range(out.size):
    ///         state = (state * 1664525 + 1013904223) % 2**32; out[i] = state >> 24
    ///     return out.reshape(h, w, 3)
    /// def fnv(a):
    ///     x = 0xcbf29ce484222325
    ///     for b in a.tobytes(): x = ((x ^ b) * 0x100000001b3) % 2**64
    ///     return x
    /// fnv(cv2.resize(noise(w, h, 7), (new_w, new_h)))
    /// ```
    #[track_caller]
    fn case(old: (u32, u32), new: (u32, u32), expected: u64) {
        let resized = resize_bilinear(&noise(old.0, old.1, 7), new.0, new.1);
        assert_eq!(fingerprint(&resized), expected, "{old:?} to {new:?}");
    }

    #[test]
    fn every_byte_equals_opencv() {
        case((61, 47), (180, 139), 0xb0d9_1742_9d64_8b80);
        case((200, 150), (67, 50), 0xf518_b019_8a02_8485);
        case((64, 48), (32, 24), 0x1e5c_8027_93f4_8a53);
        case((30, 20), (60, 40), 0x3a18_4179_56de_1098);
        case((1, 9), (5, 20), 0x18b1_35ce_6173_04fd);
        case((9, 1), (31, 3), 0xd14d_446d_90d6_1ae3);
        case((2, 2), (33, 17), 0x53f4_93b2_2c7b_bdb2);
        case((101, 75), (100, 76), 0x4d54_eb86_06c6_a1e4);
    }

    #[test]
    fn the_vector_code_and_the_plain_code_agree() {
        let image = noise(57, 3, 5);
        let columns = columns(57, 83);
        let mut fast = vec![0; 83 * ROW_CHANNELS];
        horizontal(image.as_raw(), 57, &columns, &mut fast);
        for x in 0..83 {
            for channel in 0..3 {
                let [w0, w1, ..] = columns.weights[x].map(i32::from);
                let pixel = |x: usize| i32::from(image.as_raw()[x * 3 + channel]);
                let sum = pixel(columns.left[x]) * w0 + pixel(columns.left[x] + 1) * w1;
                assert_eq!(i32::from(fast[x * ROW_CHANNELS + channel]), sum >> 4, "column {x}");
            }
        }
    }

    #[test]
    fn one_pixel_fills_any_size() {
        let image = RgbImage::from_pixel(1, 1, Rgb([3, 130, 255]));
        let large = resize_bilinear(&image, 9, 6);
        assert!(large.pixels().all(|pixel| pixel == &Rgb([3, 130, 255])));
    }
}

//! The last step: 8-bit pixels to normalised planes inside a padded batch.

use image::RgbImage;

/// Writes `(pixel - mean) / std` as three planes (red, green, blue) into the upper left corner of
/// planes of `padded_height` x `padded_width`; the rest becomes zero, which after normalisation is
/// the mean colour.
///
/// # Panics
/// When the image is larger than the padded size or `planes` does not hold three padded planes.
pub fn normalise_into(
    image: &RgbImage,
    mean: [f32; 3],
    std: [f32; 3],
    planes: &mut [f32],
    padded_height: usize,
    padded_width: usize,
) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    assert!(
        width <= padded_width && height <= padded_height,
        "{width} x {height} does not fit into {padded_width} x {padded_height}"
    );
    assert_eq!(planes.len(), 3 * padded_height * padded_width, "three padded planes");
    let (red, rest) = planes.split_at_mut(padded_height * padded_width);
    let (green, blue) = rest.split_at_mut(padded_height * padded_width);
    let mut source = image.as_raw().chunks_exact(width.max(1) * 3);
    let rows = red
        .chunks_exact_mut(padded_width)
        .zip(green.chunks_exact_mut(padded_width))
        .zip(blue.chunks_exact_mut(padded_width));
    for ((red, green), blue) in rows {
        let pixels = source.next().unwrap_or_default();
        let mut planes = [red, green, blue];
        normalise_row(pixels, mean, std, &mut planes);
        for plane in planes {
            plane[pixels.len() / 3..].fill(0.0);
        }
    }
}

/// One row of pixels into the beginnings of three rows of planes.
fn normalise_row(pixels: &[u8], mean: [f32; 3], std: [f32; 3], planes: &mut [&mut [f32]; 3]) {
    #[cfg(target_arch = "x86_64")]
    {
        /// The same loop, compiled for wider vectors: three bytes apart is only quick to load with
        /// byte shuffles.
        #[target_feature(enable = "avx2")]
        fn with_avx2(pixels: &[u8], mean: [f32; 3], std: [f32; 3], planes: &mut [&mut [f32]; 3]) {
            plain(pixels, mean, std, planes);
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was just detected.
            return unsafe { with_avx2(pixels, mean, std, planes) };
        }
    }
    plain(pixels, mean, std, planes);
}

#[inline(always)]
fn plain(pixels: &[u8], mean: [f32; 3], std: [f32; 3], planes: &mut [&mut [f32]; 3]) {
    for (channel, plane) in planes.iter_mut().enumerate() {
        let (mean, std) = (mean[channel], std[channel]);
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
            *value = (f32::from(pixel[channel]) - mean) / std;
        }
    }
}

/// The next multiple of `divisor` at or above `size`: both sides of a batch are rounded up so that
/// every stride of the network divides them.
pub fn pad_to_multiple(size: usize, divisor: usize) -> usize {
    size.next_multiple_of(divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_normalised_and_the_padding_is_zero() {
        let image = RgbImage::from_raw(2, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
        let mut planes = vec![9.0; 3 * 2 * 3];
        normalise_into(&image, [10.0, 20.0, 30.0], [2.0, 5.0, 10.0], &mut planes, 2, 3);
        let red = [0.0, 15.0, 0.0, 0.0, 0.0, 0.0];
        let green = [0.0, 6.0, 0.0, 0.0, 0.0, 0.0];
        let blue = [0.0, 3.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(planes, [red, green, blue].concat());
    }

    #[test]
    fn sides_are_rounded_up_to_the_divisor() {
        assert_eq!(pad_to_multiple(128, 32), 128);
        assert_eq!(pad_to_multiple(129, 32), 160);
    }
}

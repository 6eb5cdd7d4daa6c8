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
    let inverses = exact_inverses(mean, std);
    let mut source = image.as_raw().chunks_exact(width.max(1) * 3);
    let rows = red
        .chunks_exact_mut(padded_width)
        .zip(green.chunks_exact_mut(padded_width))
        .zip(blue.chunks_exact_mut(padded_width));
    for ((red, green), blue) in rows {
        let pixels = source.next().unwrap_or_default();
        let mut planes = [red, green, blue];
        normalise_row(pixels, mean, std, inverses, &mut planes);
        for plane in planes {
            plane[pixels.len() / 3..].fill(0.0);
        }
    }
}

/// One row of pixels into the beginnings of three rows of planes.
fn normalise_row(
    pixels: &[u8],
    mean: [f32; 3],
    std: [f32; 3],
    inverses: Option<[f32; 3]>,
    planes: &mut [&mut [f32]; 3],
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(inverses) = inverses {
        // SAFETY: inverses are found only where the instructions are.
        return unsafe { multiply_row(pixels, mean, std, inverses, planes) };
    }
    for (channel, plane) in planes.iter_mut().enumerate() {
        let (mean, std) = (mean[channel], std[channel]);
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
            *value = (f32::from(pixel[channel]) - mean) / std;
        }
    }
}

/// The row by wide vectors: three bytes apart is only quick to load with byte shuffles, and three products are quicker
/// than a division.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_row(
    pixels: &[u8],
    mean: [f32; 3],
    std: [f32; 3],
    inverses: [f32; 3],
    planes: &mut [&mut [f32]; 3],
) {
    for (channel, plane) in planes.iter_mut().enumerate() {
        let (mean, std, inverse) = (mean[channel], std[channel], inverses[channel]);
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)) {
            *value = quotient(f32::from(pixel[channel]) - mean, std, inverse);
        }
    }
}

/// A product, and its correction by what it leaves over.
#[inline(always)]
fn quotient(difference: f32, std: f32, inverse: f32) -> f32 {
    let near = difference * inverse;
    (-near).mul_add(std, difference).mul_add(inverse, near)
}

/// The inverses of `std`, if [`quotient`] then equals the division to the bit, which all 256 values show.
fn exact_inverses(mean: [f32; 3], std: [f32; 3]) -> Option<[f32; 3]> {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn is_exact(mean: f32, std: f32) -> bool {
            (0..=255u8).fold(true, |exact, value| {
                let difference = f32::from(value) - mean;
                exact & (quotient(difference, std, 1.0 / std).to_bits() == (difference / std).to_bits())
            })
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the instructions were just detected.
            let exact = mean.iter().zip(std).all(|(&mean, std)| unsafe { is_exact(mean, std) });
            return exact.then(|| std.map(|std| 1.0 / std));
        }
    }
    None
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
    fn every_pixel_value_is_divided_to_the_bit() {
        let pixels: Vec<u8> = (0..=255).flat_map(|value| [value, 255 - value, value / 2]).collect();
        let image = RgbImage::from_raw(256, 1, pixels).unwrap();
        // mmdet's, timm's, values without an inverse, and one for which products do not give the quotient.
        for std in [[58.395, 57.12, 57.375], [57.0; 3], [255.0, 127.5, 1.0], [1e-40, 3e38, 0.0]] {
            let mean = [123.675, 116.28, 0.0];
            let mut planes = vec![0.0; 3 * 256];
            normalise_into(&image, mean, std, &mut planes, 1, 256);
            for (x, pixel) in image.pixels().enumerate() {
                for channel in 0..3 {
                    let expected: f32 = (f32::from(pixel[channel]) - mean[channel]) / std[channel];
                    let found = planes[channel * 256 + x];
                    assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
                }
            }
        }
    }

    #[test]
    fn sides_are_rounded_up_to_the_divisor() {
        assert_eq!(pad_to_multiple(128, 32), 128);
        assert_eq!(pad_to_multiple(129, 32), 160);
    }
}

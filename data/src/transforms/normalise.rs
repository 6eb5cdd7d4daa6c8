//! The last step: 8-bit pixels to normalised planes inside a padded batch.

use image::RgbImage;

#[cfg(target_arch = "x86_64")]
use super::normalise_avx2;

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
    let way = Way::of(mean, std);
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
        normalise_row(pixels, mean, std, way, &mut planes);
        for plane in planes {
            plane[pixels.len() / 3..].fill(0.0);
        }
    }
}

/// How rows are computed; the results are the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Pixel by pixel.
    Plain,
    /// Eight at a time, by multiplication with these inverses.
    #[cfg(target_arch = "x86_64")]
    Avx2 { inverse: [f32; 3] },
}

impl Way {
    /// The quickest that is exact.
    fn of(mean: [f32; 3], std: [f32; 3]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            let inverse = std.map(|std| 1.0 / std);
            // SAFETY: AVX2 and FMA were just found.
            if unsafe { normalise_avx2::is_exact(mean, std, inverse) } {
                return Self::Avx2 { inverse };
            }
        }
        Self::Plain
    }
}

/// One row of pixels into the beginnings of three rows of planes.
fn normalise_row(pixels: &[u8], mean: [f32; 3], std: [f32; 3], way: Way, planes: &mut [&mut [f32]; 3]) {
    let done = match way {
        Way::Plain => 0,
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Way::of` found AVX2 and FMA.
        Way::Avx2 { inverse } => unsafe { normalise_avx2::normalise(pixels, mean, std, inverse, planes) },
    };
    for (channel, plane) in planes.iter_mut().enumerate() {
        let (mean, std) = (mean[channel], std[channel]);
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(3)).skip(done) {
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
    fn every_byte_has_the_quotient_of_a_division_whatever_the_way() {
        let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
        // Divided by a number without a finite inverse, nothing is left to a multiplication.
        for std in [std, [1.0, 3.0, 1e-40]] {
            let width = 256;
            let pixels: Vec<u8> = (0..3 * width).map(|at| (at / 3 + 85 * (at % 3)) as u8).collect();
            for cut in 0..width {
                let pixels = &pixels[3 * cut..];
                let mut planes = vec![0.0; 3 * (width - cut)];
                let image = RgbImage::from_raw((width - cut) as u32, 1, pixels.to_vec()).unwrap();
                normalise_into(&image, mean, std, &mut planes, 1, width - cut);
                for (at, &byte) in pixels.iter().enumerate() {
                    let (pixel, channel) = (at / 3, at % 3);
                    let expected = (f32::from(byte) - mean[channel]) / std[channel];
                    assert_eq!(planes[channel * (width - cut) + pixel].to_bits(), expected.to_bits());
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

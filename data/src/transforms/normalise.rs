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
    // A value of 8 bits has 256 results; a division each would cost more than the look-up.
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 - mean[channel]) / std[channel])
    });
    let (red, rest) = planes.split_at_mut(padded_height * padded_width);
    let (green, blue) = rest.split_at_mut(padded_height * padded_width);
    let mut source = image.as_raw().chunks_exact(width.max(1) * 3);
    let rows = red
        .chunks_exact_mut(padded_width)
        .zip(green.chunks_exact_mut(padded_width))
        .zip(blue.chunks_exact_mut(padded_width));
    for ((red, green), blue) in rows {
        let pixels = source.next().unwrap_or_default();
        let columns = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        for (((red, green), blue), pixel) in columns.zip(pixels.chunks_exact(3)) {
            *red = tables[0][usize::from(pixel[0])];
            *green = tables[1][usize::from(pixel[1])];
            *blue = tables[2][usize::from(pixel[2])];
        }
        let filled = pixels.len() / 3;
        for row in [red, green, blue] {
            row[filled..].fill(0.0);
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

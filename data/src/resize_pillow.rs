//! Pillow's resize of 8-bit RGB, which widens its filter where it shrinks an image.
//!
//! What torchvision and timm resize images with. The arithmetic is fast_image_resize's, which is Pillow's; see the test
//! for how near it comes.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// What an image is resized with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// From two pixels in each direction, or as many as one becomes of.
    Bilinear,
    /// From four pixels in each direction, or twice as many as one becomes of.
    Bicubic,
}

/// Resizes as `PIL.Image.resize((width, height), Image.BICUBIC)`, or `BILINEAR`, does.
///
/// # Panics
/// When a side of the image or of the result is zero.
pub fn resize_pillow(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let (old_width, old_height) = image.dimensions();
    assert!(
        old_width > 0 && old_height > 0 && width > 0 && height > 0,
        "{old_width} x {old_height} cannot become {width} x {height}"
    );
    if (old_width, old_height) == (width, height) {
        return image.clone();
    }
    // Across first, as Pillow does: what is cut off in between depends on the order.
    let wide = pass(image.as_raw(), [old_width, old_height], [width, old_height], filter);
    let pixels = pass(&wide, [width, old_height], [width, height], filter);
    RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel")
}

/// Resizes along one axis.
fn pass(pixels: &[u8], old: [u32; 2], new: [u32; 2], filter: Filter) -> Vec<u8> {
    if old == new {
        return pixels.to_vec();
    }
    let source = ImageRef::new(old[0], old[1], pixels, PixelType::U8x3).expect("three bytes a pixel");
    let mut target = Image::new(new[0], new[1], PixelType::U8x3);
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        // The cubic through its points with slopes of half the neighbours' distance: Pillow's, whose `a` is -0.5.
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new().resize(&source, &mut target, &options).expect("both images are of the same kind");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn one_colour_stays_one_colour() {
        let image = RgbImage::from_pixel(13, 7, Rgb([3, 130, 255]));
        for (width, height) in [(5, 3), (40, 29), (13, 7), (1, 1)] {
            let resized = resize_pillow(&image, width, height, Filter::Bicubic);
            assert_eq!(resized.dimensions(), (width, height));
            assert!(resized.pixels().all(|pixel| pixel == &Rgb([3, 130, 255])));
        }
    }

    #[test]
    fn values_beyond_what_a_byte_holds_are_cut_off() {
        // Beside an edge the cubic overshoots. Values by Pillow 13.0.0.
        let image = RgbImage::from_fn(4, 1, |x, _| Rgb([if x < 2 { 0 } else { 255 }; 3]));
        let wide = resize_pillow(&image, 16, 1, Filter::Bicubic);
        let reds: Vec<u8> = wide.pixels().map(|pixel| pixel[0]).collect();
        assert_eq!(reds, [0, 0, 0, 0, 0, 0, 21, 88, 167, 234, 255, 255, 255, 255, 255, 255]);
    }

    /// A picture without structure: errors of one in any weight show. As in `resize`.
    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 7u32;
        RgbImage::from_fn(width, height, |_, _| {
            Rgb([0; 3].map(|_: u8| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    }

    /// Values of `Image.fromarray(noise(..)).resize(new, Image.BICUBIC)` by Pillow 13.0.0, whose weights have 22 bits where
    /// these have 16: a value may differ by one.
    #[track_caller]
    fn case(old: (u32, u32), new: (u32, u32), expected: &[u8]) {
        let resized = resize_pillow(&noise(old.0, old.1), new.0, new.1, Filter::Bicubic);
        assert_eq!(resized.as_raw().len(), expected.len());
        for (index, (&ours, &pillow)) in resized.as_raw().iter().zip(expected).enumerate() {
            assert!(
                ours.abs_diff(pillow) <= 1,
                "{old:?} to {new:?}, byte {index}: {ours}, expected {pillow}"
            );
        }
    }

    #[test]
    fn no_value_is_further_than_one_from_pillows() {
        case(
            (9, 7),
            (4, 3),
            &[
                157, 79, 84, 160, 159, 91, 138, 179, 115, 133, 134, 129, 134, 87, 117, 126, 154, 142, 143,
                132, 132, 161, 135, 149, 111, 95, 104, 131, 150, 109, 114, 148, 139, 65, 139, 151,
            ],
        );
        case(
            (4, 3),
            (6, 5),
            &[
                44, 255, 152, 151, 126, 203, 231, 0, 204, 100, 0, 31, 172, 140, 62, 255, 255, 140, 65, 211,
                159, 151, 147, 177, 214, 81, 163, 112, 89, 56, 149, 130, 100, 207, 160, 171, 109, 136, 157,
                159, 167, 133, 194, 207, 101, 131, 228, 88, 117, 116, 144, 123, 10, 198, 178, 104, 81, 211,
                101, 98, 220, 98, 103, 132, 101, 60, 124, 116, 67, 142, 128, 85, 219, 92, 31, 245, 55, 80,
                239, 11, 111, 130, 1, 37, 132, 117, 11, 165, 223, 7,
            ],
        );
    }

    /// The sum of Pillow's values, each times its position in 251 plus one.
    #[track_caller]
    fn checksum_case(old: (u32, u32), new: (u32, u32), expected: i64) {
        let resized = resize_pillow(&noise(old.0, old.1), new.0, new.1, Filter::Bicubic);
        let weights = (0..251_i64).cycle().map(|position| position + 1);
        let (mut sum, mut most) = (0, 0);
        for (&value, weight) in resized.as_raw().iter().zip(weights) {
            sum += i64::from(value) * weight;
            most += weight;
        }
        // Were a tenth of the values off by one in the same direction, it would show.
        assert!((sum - expected).abs() * 10 <= most, "{old:?} to {new:?}: {sum}, expected {expected}");
    }

    #[test]
    fn large_images_are_pillows_on_the_whole() {
        checksum_case((61, 47), (180, 139), 1211751590);
        checksum_case((200, 150), (67, 50), 160942378);
        checksum_case((101, 75), (100, 76), 367490298);
    }
}

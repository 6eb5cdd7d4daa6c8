//! Crops and resizes of classification: torchvision's random crop, and what timm evaluates with.

use rand::{Rng, RngExt};

use super::{crop, resized};
use crate::resize_pillow::{Filter, resize_pillow};
use crate::sample::Sample;

/// Rectangles that are drawn until one fits into the image (torchvision `RandomResizedCrop.get_params`).
const ATTEMPTS: usize = 10;

/// A rectangle in an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rectangle {
    x0: usize,
    y0: usize,
    width: usize,
    height: usize,
}

/// Cuts out a random rectangle and resizes it to a square.
pub(super) fn random<R: Rng + ?Sized>(
    sample: Sample,
    side: u32,
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut R,
) -> Sample {
    let size = [sample.geometry.input_width, sample.geometry.input_height];
    let Rectangle { x0, y0, width, height } = draw(size, scale, ratio, rng);
    resize(crop::cut(sample, x0, y0, width, height), side, side, Filter::Bicubic)
}

/// Area and ratio are drawn, the ratio on a logarithmic scale; if no rectangle fits in ten attempts, it is the largest
/// in the centre whose ratio is allowed.
fn draw<R: Rng + ?Sized>(
    [width, height]: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    rng: &mut R,
) -> Rectangle {
    let area = (width * height) as f64;
    let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
    let found = (0..ATTEMPTS).find_map(|_| {
        let target = area * between(scale);
        let ratio = between(ratio.map(f64::ln)).exp();
        let sides =
            [(target * ratio).sqrt(), (target / ratio).sqrt()].map(|side| side.round_ties_even() as usize);
        let [crop_width, crop_height] = sides;
        ((1..=width).contains(&crop_width) && (1..=height).contains(&crop_height)).then_some(sides)
    });
    if let Some([crop_width, crop_height]) = found {
        let y0 = rng.random_range(0..=height - crop_height);
        let x0 = rng.random_range(0..=width - crop_width);
        return Rectangle { x0, y0, width: crop_width, height: crop_height };
    }
    let whole = width as f64 / height as f64;
    let rounded = |side: f64, most: usize| (side.round_ties_even() as usize).clamp(1, most);
    let [crop_width, crop_height] = if whole < ratio[0] {
        [width, rounded(width as f64 / ratio[0], height)]
    } else if whole > ratio[1] {
        [rounded(height as f64 * ratio[1], width), height]
    } else {
        [width, height]
    };
    Rectangle {
        x0: (width - crop_width) / 2,
        y0: (height - crop_height) / 2,
        width: crop_width,
        height: crop_height,
    }
}

/// Resizes until the shorter side has `short` pixels, then cuts a square out of the centre.
pub(super) fn centre(sample: Sample, short: u32, side: u32, filter: Filter) -> Sample {
    let short = short.max(side);
    let (width, height) = sample.image.dimensions();
    // torchvision rounds the longer side down.
    let long = |long: u32, old: u32| (u64::from(short) * u64::from(long) / u64::from(old)) as u32;
    let (new_width, new_height) =
        if width <= height { (short, long(height, width)) } else { (long(width, height), short) };
    let sample = resize(sample, new_width, new_height, filter);
    // As torchvision: half a pixel goes to the even side.
    let start = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as usize;
    crop::cut(sample, start(new_width), start(new_height), side as usize, side as usize)
}

/// Resizes to a size whatever the ratio.
pub(super) fn resize(sample: Sample, width: u32, height: u32, filter: Filter) -> Sample {
    if sample.image.dimensions() == (width, height) {
        return sample;
    }
    let image = resize_pillow(&sample.image, width, height, filter);
    resized(sample, image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SCALE: [f64; 2] = [0.2, 1.0];
    const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

    #[test]
    fn rectangles_have_the_area_and_ratio_asked_for_and_lie_in_the_image() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut areas = Vec::new();
        for _ in 0..2000 {
            let Rectangle { x0, y0, width, height } = draw([500, 400], SCALE, RATIO, &mut rng);
            assert!(x0 + width <= 500 && y0 + height <= 400);
            let ratio = width as f64 / height as f64;
            assert!((0.74..1.35).contains(&ratio), "{ratio}");
            areas.push((width * height) as f64 / 200_000.0);
        }
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!(areas.iter().all(|area| (0.19..=1.0).contains(area)));
        // Large rectangles are drawn again more often than small ones, as they do not fit: below the middle of .6.
        assert!((0.5..0.6).contains(&mean), "{mean}");
    }

    #[test]
    fn an_image_that_no_rectangle_fits_gives_its_centre() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let wide = draw([1000, 30], [0.9, 1.0], RATIO, &mut rng);
        assert_eq!(wide, Rectangle { x0: 480, y0: 0, width: 40, height: 30 });
        let high = draw([30, 1000], [0.9, 1.0], RATIO, &mut rng);
        assert_eq!(high, Rectangle { x0: 0, y0: 480, width: 30, height: 40 });
        assert_eq!(draw([1, 1], SCALE, RATIO, &mut rng), Rectangle { x0: 0, y0: 0, width: 1, height: 1 });
    }

    fn sample(width: u32, height: u32) -> Sample {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 0]));
        Sample::of_image(0, "drawn".into(), image)
    }

    #[test]
    fn the_centre_is_cut_out_of_what_the_shorter_side_was_resized_to() {
        // 60 x 40 becomes 48 x 32: the centre begins at column 8.
        let cropped = centre(sample(60, 40), 32, 32, Filter::Bicubic);
        assert_eq!(cropped.image.dimensions(), (32, 32));
        let whole = resize(sample(60, 40), 48, 32, Filter::Bicubic);
        assert_eq!(cropped.image.get_pixel(0, 0), whole.image.get_pixel(8, 0));
        // In image pixels, 60 / 48 a pixel.
        assert_eq!(cropped.geometry.x.offset, 10.0);
        assert_eq!(centre(sample(40, 61), 32, 28, Filter::Bilinear).image.dimensions(), (28, 28));
    }

    #[test]
    fn any_image_becomes_the_square_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (width, height) in [(1, 1), (3, 200), (224, 224), (500, 9)] {
            let square = random(sample(width, height), 64, SCALE, RATIO, &mut rng);
            assert_eq!(square.image.dimensions(), (64, 64));
            assert_eq!(resize(sample(width, height), 64, 64, Filter::Bicubic).image.dimensions(), (64, 64));
            assert_eq!(centre(sample(width, height), 73, 64, Filter::Bicubic).image.dimensions(), (64, 64));
        }
    }
}

//! Operations that move pixels: bicubic, with the coordinates and roundings of Pillow's `Image.transform`.
//!
//! Not the bicubic of a resize: the kernel is that with a slope of -1 at a distance of one pixel (a resize has -0.5),
//! it does not widen, pixels beyond the border repeat it, and the fraction of a level is cut off, not rounded.

use image::{Rgb, RgbImage};

/// Turns counter-clockwise around the centre.
pub(super) fn rotate(image: &RgbImage, degrees: f64, fill: [u8; 3]) -> RgbImage {
    let degrees = degrees.rem_euclid(360.0);
    if degrees == 0.0 {
        return image.clone();
    }
    let (sine, cosine) = (-(degrees * (std::f64::consts::PI / 180.0))).sin_cos();
    let [sine, minus_sine, cosine] = [sine, -sine, cosine].map(rounded);
    let centre_x = f64::from(image.width()) / 2.0;
    let centre_y = f64::from(image.height()) / 2.0;
    let x = [cosine, sine, cosine * -centre_x + sine * -centre_y + centre_x];
    let y = [minus_sine, cosine, minus_sine * -centre_x + cosine * -centre_y + centre_y];
    affine(image, [x, y], fill)
}

/// To 15 decimal places, as Pillow does to the coefficients of a rotation.
fn rounded(value: f64) -> f64 {
    format!("{value:.15}").parse().expect("a number that was written can be read")
}

/// Fetches every pixel from where the two rows of the matrix say: factors of x and y, and an offset.
pub(super) fn affine(image: &RgbImage, [to_x, to_y]: [[f64; 3]; 2], fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    let (right, bottom) = (f64::from(width), f64::from(height));
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let [from_x, from_y] = [to_x, to_y].map(|[by_x, by_y, offset]| by_x * x + by_y * y + offset);
        if from_x < 0.0 || from_x >= right || from_y < 0.0 || from_y >= bottom {
            return Rgb(fill);
        }
        // A cast to u8 clamps, and cuts what follows the point.
        Rgb(interpolated(image, from_x - 0.5, from_y - 0.5).map(|level| level as u8))
    })
}

/// The three channels at a place not more than half a pixel outside the outermost centres.
fn interpolated(image: &RgbImage, x: f64, y: f64) -> [f64; 3] {
    let (columns, right) = four(x, image.width());
    let (rows, down) = four(y, image.height());
    let (pixels, stride) = (image.as_raw(), image.width() as usize * 3);
    let along = |y: usize| {
        let row = &pixels[y * stride..][..stride];
        let pixel = |x: usize| [row[x * 3], row[x * 3 + 1], row[x * 3 + 2]].map(f64::from);
        match right {
            0.0 => pixel(columns[1]),
            _ => cubic(columns.map(pixel), right),
        }
    };
    // On a centre a cubic is the centre, exactly: shears and translations have one axis of these.
    match down {
        0.0 => along(rows[1]),
        _ => cubic(rows.map(along), down),
    }
}

/// The two pixels on either side of a place, within the image, and how far it lies after the second.
fn four(place: f64, size: u32) -> ([usize; 4], f64) {
    // Rounded down: a cast rounds towards zero, and no place is below -0.5.
    let before = if place < 0.0 { -1 } else { place as i64 };
    let last = i64::from(size) - 1;
    let pixels = [before - 1, before, before + 1, before + 2].map(|at| at.clamp(0, last) as usize);
    (pixels, place - before as f64)
}

/// The cubic through the second and third of four values, at a share of the way between them; operations are in
/// Pillow's order, as the fraction of a level depends on it.
fn cubic([a, b, c, d]: [[f64; 3]; 4], share: f64) -> [f64; 3] {
    std::array::from_fn(|channel| {
        let [a, b, c, d] = [a, b, c, d].map(|values| values[channel]);
        let first = -a + c;
        let second = 2.0 * (a - b) + c - d;
        let third = -a + b - c + d;
        b + share * (first + share * (second + share * third))
    })
}

//! Operations that change every pixel where it is, with the roundings of Pillow's `ImageOps` and `ImageEnhance`.

use image::RgbImage;

/// What each level becomes.
type Table = [u8; 256];

/// Stretches each channel until it reaches from 0 to 255 (`autocontrast`).
pub(super) fn stretch(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let lowest = counts.iter().position(|count| *count > 0).unwrap_or(0);
        let highest = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
        if highest <= lowest {
            return unchanged();
        }
        let scale = 255.0 / (highest - lowest) as f64;
        let offset = -(lowest as f64) * scale;
        std::array::from_fn(|level| (level as f64 * scale + offset) as u8)
    });
    look_up(&tables, image);
}

/// Spreads the levels of each channel until all are about equally frequent (`equalize`).
pub(super) fn equalize(image: &mut RgbImage) {
    let tables = histograms(image).map(|counts| {
        let below_the_last: u32 = match counts.iter().rposition(|count| *count > 0) {
            Some(last) => counts[..last].iter().sum(),
            None => 0,
        };
        let step = below_the_last / 255;
        if step == 0 {
            return unchanged();
        }
        let mut below = step / 2;
        counts.map(|count| {
            let level = (below / step).min(255) as u8;
            below += count;
            level
        })
    });
    look_up(&tables, image);
}

/// Inverts the levels from `threshold` on (`solarize`; `invert` with 0).
pub(super) fn invert_from(threshold: u32, image: &mut RgbImage) {
    look_up_all(|level| if u32::from(level) < threshold { level } else { 255 - level }, image);
}

/// Keeps the highest `bits` of each level, at most 8 (`posterize`).
pub(super) fn keep_bits(bits: u32, image: &mut RgbImage) {
    let kept = !(0xff_u32 >> bits) as u8;
    look_up_all(|level| level & kept, image);
}

/// Adds to the levels of the lower half (timm's `SolarizeAdd`).
pub(super) fn brighten_dark(added: u8, image: &mut RgbImage) {
    look_up_all(|level| if level < 128 { level.saturating_add(added) } else { level }, image);
}

/// Multiplies each level (`Brightness`).
pub(super) fn brighten(factor: f32, image: &mut RgbImage) {
    look_up_all(|level| blended(0, level, factor), image);
}

/// Moves the levels away from the mean of the grey image, or towards it (`Contrast`).
pub(super) fn contrast(factor: f32, image: &mut RgbImage) {
    let pixels = image.chunks_exact(3);
    let (count, sum) = (pixels.len(), pixels.map(|pixel| u64::from(grey(pixel))).sum::<u64>());
    let mean = (sum as f64 / count.max(1) as f64 + 0.5) as u8;
    look_up_all(|level| blended(mean, level, factor), image);
}

/// Moves each pixel away from its grey, or towards it (`Color`).
pub(super) fn saturate(factor: f32, image: &mut RgbImage) {
    for pixel in image.chunks_exact_mut(3) {
        let grey = grey(pixel);
        for level in pixel {
            *level = blended(grey, *level, factor);
        }
    }
}

/// Moves each pixel away from the mean of its surroundings, in which it counts fivefold, or towards it (`Sharpness`).
/// The outermost pixels stay.
pub(super) fn sharpen(factor: f32, image: &mut RgbImage) {
    const NEIGHBOUR: f32 = 1.0 / 13.0;
    const CENTRE: f32 = 5.0 / 13.0;
    let (row, height) = (image.width() as usize * 3, image.height() as usize);
    if row < 9 || height < 3 {
        return;
    }
    let pixels = image.to_vec();
    let rows = pixels.windows(3 * row).step_by(row);
    for (rows, out) in rows.zip(image.chunks_exact_mut(row).skip(1)) {
        let (above, rest) = rows.split_at(row);
        let (here, below) = rest.split_at(row);
        for at in 3..row - 3 {
            let weighed = |row: &[u8], centre: f32| {
                f32::from(row[at - 3]) * NEIGHBOUR
                    + f32::from(row[at]) * centre
                    + f32::from(row[at + 3]) * NEIGHBOUR
            };
            let (above, below) = (weighed(above, NEIGHBOUR), weighed(below, NEIGHBOUR));
            // In Pillow's order, from below: sums of f32 depend on it.
            let smooth = (0.5 + below + weighed(here, CENTRE) + above) as u8;
            out[at] = blended(smooth, here[at], factor);
        }
    }
}

/// From the degenerate level to the image's by `factor`, or beyond. The cast clamps, and cuts what follows the point.
fn blended(degenerate: u8, level: u8, factor: f32) -> u8 {
    let [degenerate, level] = [degenerate, level].map(f32::from);
    (degenerate + factor * (level - degenerate)) as u8
}

/// Luma of ITU-R 601, in 16 binary places.
fn grey(pixel: &[u8]) -> u8 {
    let weighed = [19595, 38470, 7471].iter().zip(pixel).map(|(weight, level)| weight * u32::from(*level));
    ((weighed.sum::<u32>() + 0x8000) >> 16) as u8
}

/// How often each level occurs in each channel.
fn histograms(image: &RgbImage) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.chunks_exact(3) {
        for (counts, level) in counts.iter_mut().zip(pixel) {
            counts[usize::from(*level)] += 1;
        }
    }
    counts
}

fn unchanged() -> Table {
    std::array::from_fn(|level| level as u8)
}

fn look_up_all(becomes: impl Fn(u8) -> u8, image: &mut RgbImage) {
    let table = unchanged().map(becomes);
    for level in image.iter_mut() {
        *level = table[usize::from(*level)];
    }
}

fn look_up(tables: &[Table; 3], image: &mut RgbImage) {
    for pixel in image.chunks_exact_mut(3) {
        for (level, table) in pixel.iter_mut().zip(tables) {
            *level = table[usize::from(*level)];
        }
    }
}

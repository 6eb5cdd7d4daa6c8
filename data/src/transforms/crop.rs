//! Random crops: the image is cut, boxes become the bounds of what is left of the masks.

use rand::{Rng, RngExt};

use super::image_from;
use crate::sample::{Instance, Sample};

/// Whether a crop may hold no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// Yes: the image then teaches background only.
    Allow,
    /// No: if the place drawn touches no box, one is drawn that holds the centre of some object.
    /// (mmdet throws the image away and takes another; here an index always gives its own image.)
    /// An image without objects is cropped anywhere.
    Avoid,
}

/// Cuts `width` x `height`, at most what there is, at a random place.
pub(super) fn fixed<R: Rng + ?Sized>(
    sample: Sample,
    width: u32,
    height: u32,
    negative: Negative,
    rng: &mut R,
) -> Sample {
    let width = (width as usize).min(sample.geometry.input_width);
    let height = (height as usize).min(sample.geometry.input_height);
    let margin_x = sample.geometry.input_width - width;
    let margin_y = sample.geometry.input_height - height;
    let mut y0 = rng.random_range(0..=margin_y);
    let mut x0 = rng.random_range(0..=margin_x);
    let touched = |instance: &Instance| touches(instance, x0, y0, width, height);
    if negative == Negative::Avoid && !sample.instances.is_empty() && !sample.instances.iter().any(touched) {
        let chosen = sample.instances[rng.random_range(0..sample.instances.len())].bbox;
        y0 = start_around((chosen.y0 + chosen.y1) / 2.0, height, margin_y, rng);
        x0 = start_around((chosen.x0 + chosen.x1) / 2.0, width, margin_x, rng);
    }
    cut(sample, x0, y0, width, height)
}

/// A start in `0..=margin` such that `length` pixels from it include the pixel under `centre`.
fn start_around<R: Rng + ?Sized>(centre: f32, length: usize, margin: usize, rng: &mut R) -> usize {
    let pixel = (centre.max(0.0) as usize).min(margin + length - 1);
    rng.random_range((pixel + 1).saturating_sub(length)..=pixel.min(margin))
}

/// Whether a box and the crop share an area.
fn touches(instance: &Instance, x0: usize, y0: usize, width: usize, height: usize) -> bool {
    let bbox = instance.bbox;
    bbox.x0 < (x0 + width) as f32
        && bbox.y0 < (y0 + height) as f32
        && bbox.x1 > x0 as f32
        && bbox.y1 > y0 as f32
}

/// Keeps the rectangle; drops objects of which no box area or no mask pixel is left.
pub(super) fn cut(mut sample: Sample, x0: usize, y0: usize, width: usize, height: usize) -> Sample {
    let old_width = sample.geometry.input_width;
    let mut pixels = Vec::with_capacity(width * height * 3);
    for row in sample.image.as_raw().chunks_exact(old_width * 3).skip(y0).take(height) {
        pixels.extend_from_slice(&row[x0 * 3..(x0 + width) * 3]);
    }
    sample.image = image_from(width, height, pixels);
    sample.instances.retain_mut(|instance| {
        if !touches(instance, x0, y0, width, height) {
            return false;
        }
        instance.mask = instance.mask.crop(x0, y0, width, height);
        match instance.mask.bounding_box() {
            Some(bounds) => {
                instance.bbox = bounds;
                true
            }
            None => false,
        }
    });
    sample.labels = sample.labels.map(|labels| labels.crop(x0, y0, width, height));
    sample.geometry = sample.geometry.cropped(x0, y0, width, height);
    sample
}

//! Flips and transposition of a whole sample, pixel for pixel.

use super::image_from;
use crate::boxes::BoxXyxy;
use crate::label_map::LabelMap;
use crate::mask::Mask;
use crate::sample::Sample;

/// Mirrors left and right.
pub(super) fn flip_horizontal(mut sample: Sample) -> Sample {
    let width = sample.geometry.input_width;
    // Pixels of three bytes are exchanged from both ends of a row.
    for row in sample.image.chunks_exact_mut(width * 3) {
        for left in 0..width / 2 {
            let (head, tail) = row.split_at_mut((width - 1 - left) * 3);
            head[left * 3..left * 3 + 3].swap_with_slice(&mut tail[..3]);
        }
    }
    for instance in &mut sample.instances {
        instance.bbox = instance.bbox.flip_horizontal(width as f32);
        instance.mask = instance.mask.flip_horizontal();
    }
    sample.labels = sample.labels.map(LabelMap::flip_horizontal);
    sample.geometry = sample.geometry.flipped_horizontally();
    sample
}

/// Mirrors top and bottom.
pub(super) fn flip_vertical(mut sample: Sample) -> Sample {
    let (width, height) = (sample.geometry.input_width, sample.geometry.input_height);
    let pixels = sample.image.as_raw().rchunks_exact(width * 3).flatten().copied().collect();
    sample.image = image_from(width, height, pixels);
    for instance in &mut sample.instances {
        let bbox = instance.bbox;
        instance.bbox = BoxXyxy { y0: height as f32 - bbox.y1, y1: height as f32 - bbox.y0, ..bbox };
        let mask = &instance.mask;
        instance.mask = Mask {
            y0: mask.frame_height - mask.y0 - mask.height,
            pixels: mask.pixels.rchunks_exact(mask.width.max(1)).flatten().copied().collect(),
            ..*mask
        };
    }
    sample.labels = sample.labels.map(LabelMap::flip_vertical);
    sample.geometry = sample.geometry.flipped_vertically();
    sample
}

/// Exchanges rows and columns.
pub(super) fn transpose(mut sample: Sample) -> Sample {
    let (width, height) = (sample.geometry.input_width, sample.geometry.input_height);
    let source = sample.image.as_raw();
    let mut pixels = Vec::with_capacity(source.len());
    for x in 0..width {
        for y in 0..height {
            pixels.extend_from_slice(&source[(y * width + x) * 3..][..3]);
        }
    }
    sample.image = image_from(height, width, pixels);
    for instance in &mut sample.instances {
        let BoxXyxy { x0, y0, x1, y1 } = instance.bbox;
        instance.bbox = BoxXyxy { x0: y0, y0: x0, x1: y1, y1: x1 };
        let mask = &instance.mask;
        let column = |x: usize| mask.pixels.iter().skip(x).step_by(mask.width.max(1)).copied();
        instance.mask = Mask {
            frame_width: mask.frame_height,
            frame_height: mask.frame_width,
            x0: mask.y0,
            y0: mask.x0,
            width: mask.height,
            height: mask.width,
            pixels: (0..mask.width).flat_map(column).collect(),
        };
    }
    sample.labels = sample.labels.map(|labels| labels.transpose());
    sample.geometry = sample.geometry.transposed();
    sample
}

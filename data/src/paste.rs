//! Mask probabilities of a box to the pixels of an image, as mmdet pastes them.
//!
//! mmdet 3.3, `fcn_mask_head.py`, `_do_paste_mask`: every pixel's middle is looked up in the box by PyTorch's
//! `grid_sample` (bilinear, `align_corners=False`, zeros outside), in `f32`.

use std::ops::Range;

use crate::boxes::BoxXyxy;
use crate::mask::Mask;

/// The binary mask of a detection: pixels whose pasted probability is at least `threshold`.
///
/// `probabilities` are `side x side`, row-major, and cover `bbox`, which lies in the frame's pixels and may reach beyond
/// it.
///
/// # Panics
/// If there are not `side * side` probabilities, or `threshold` is not positive (every pixel of the frame would be set).
pub fn paste(
    probabilities: &[f32],
    side: usize,
    bbox: BoxXyxy,
    frame_width: usize,
    frame_height: usize,
    threshold: f32,
) -> Mask {
    assert!(threshold > 0.0, "a mask threshold of {threshold} would set pixels outside the box");
    let (columns, rows, pasted) = paste_probabilities(probabilities, side, bbox, frame_width, frame_height);
    if pasted.is_empty() {
        return Mask::empty(frame_width, frame_height);
    }
    Mask {
        frame_width,
        frame_height,
        x0: columns.start,
        y0: rows.start,
        width: columns.len(),
        height: rows.len(),
        pixels: pasted.into_iter().map(|probability| u8::from(probability >= threshold)).collect(),
    }
}

/// The pasted probabilities of the frame's columns and rows that the box reaches, row-major; zero elsewhere.
///
/// # Panics
/// If there are not `side * side` probabilities.
pub fn paste_probabilities(
    probabilities: &[f32],
    side: usize,
    bbox: BoxXyxy,
    frame_width: usize,
    frame_height: usize,
) -> (Range<usize>, Range<usize>, Vec<f32>) {
    assert_eq!(probabilities.len(), side * side, "a mask of side {side}");
    let columns = reach(bbox.x0, bbox.x1, frame_width);
    let rows = reach(bbox.y0, bbox.y1, frame_height);
    let taps_x: Vec<Tap> = columns.clone().map(|x| Tap::new(x, bbox.x0, bbox.x1, side)).collect();
    let mut pasted = Vec::with_capacity(columns.len() * rows.len());
    for y in rows.clone() {
        let tap_y = Tap::new(y, bbox.y0, bbox.y1, side);
        // Rows and columns beyond the mask are zero.
        let value = |y: i64, x: i64| {
            let inside = (0..side as i64).contains(&y) && (0..side as i64).contains(&x);
            if inside { probabilities[y as usize * side + x as usize] } else { 0.0 }
        };
        pasted.extend(taps_x.iter().map(|tap_x| {
            let (north, south) = (1.0 - tap_y.fraction, tap_y.fraction);
            let (west, east) = (1.0 - tap_x.fraction, tap_x.fraction);
            value(tap_y.index, tap_x.index) * (west * north)
                + value(tap_y.index, tap_x.index + 1) * (east * north)
                + value(tap_y.index + 1, tap_x.index) * (west * south)
                + value(tap_y.index + 1, tap_x.index + 1) * (east * south)
        }));
    }
    (columns, rows, pasted)
}

/// The pixels that mmdet looks at: one more than the box touches on both sides.
fn reach(low: f32, high: f32, size: usize) -> Range<usize> {
    // Casts saturate, and a NaN becomes 0.
    let start = ((low.floor() - 1.0).max(0.0) as usize).min(size);
    let end = ((high.ceil() + 1.0).max(0.0) as usize).min(size);
    start..end.max(start)
}

/// Which two mask cells a pixel lies between, and how far it is from the first.
struct Tap {
    index: i64,
    fraction: f32,
}

impl Tap {
    fn new(pixel: usize, low: f32, high: f32, side: usize) -> Self {
        let mut position = (pixel as f32 + 0.5 - low) / (high - low) * 2.0 - 1.0;
        // mmdet sends the pixels of a box without extent to its middle.
        if position.is_infinite() {
            position = 0.0;
        }
        let cell = (position + 1.0) * (side as f32 / 2.0) - 0.5;
        let index = cell.floor();
        Self { index: index as i64, fraction: cell - index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corners(x0: f32, y0: f32, x1: f32, y1: f32) -> BoxXyxy {
        BoxXyxy { x0, y0, x1, y1 }
    }

    #[test]
    fn a_box_of_as_many_pixels_shows_the_mask_itself() {
        let probabilities = [0.9, 0.2, 0.4, 0.5];
        let mask = paste(&probabilities, 2, corners(1.0, 2.0, 3.0, 4.0), 5, 5, 0.5);
        let set: Vec<_> =
            (0..5).flat_map(|y| (0..5).map(move |x| (x, y))).filter(|&(x, y)| mask.get(x, y)).collect();
        assert_eq!(set, [(1, 2), (2, 3)]);
    }

    #[test]
    fn the_edge_fades_to_zero_over_half_a_cell() {
        // One cell over 4 pixels: the pixel middles lie 1/8, 3/8, .. of a cell from the edge.
        let (columns, rows, pasted) = paste_probabilities(&[1.0], 1, corners(0.0, 0.0, 4.0, 1.0), 4, 1);
        assert_eq!((columns, rows), (0..4, 0..1));
        assert_eq!(pasted, [0.625, 0.875, 0.875, 0.625]);
    }

    #[test]
    fn boxes_outside_the_frame_or_without_extent_are_harmless() {
        let full = [1.0; 4];
        assert!(paste(&full, 2, corners(20.0, 20.0, 30.0, 30.0), 5, 5, 0.5).is_empty());
        assert!(paste(&full, 2, corners(-30.0, -30.0, -20.0, -20.0), 5, 5, 0.5).is_empty());
        assert!(paste(&full, 2, corners(f32::NAN, 0.0, 4.0, 4.0), 5, 5, 0.5).is_empty());
        assert_eq!(paste(&full, 2, corners(-1e9, -1e9, 1e9, 1e9), 3, 2, 0.5).area(), 6);
        paste(&full, 2, corners(2.0, 2.0, 2.0, 2.0), 5, 5, 0.5);
        assert!(paste(&full, 2, corners(0.0, 0.0, 1.0, 1.0), 0, 0, 0.5).is_empty());
    }
}

//! Boxes as deltas from a reference box, and back.
//!
//! Semantics of mmdet 3.3, `delta_xywh_bbox_coder.py`: means of zero, centres unclamped, log-scales
//! clamped on both sides.
//!
//! ```text
//! dx = (cx' - cx) / w / std_x      dw = ln(w' / w) / std_w      (y and h alike)
//! ```

use crate::target::ImageSize;

/// Largest log-scale a delta may ask for: a 16-pixel anchor may grow to 1000 pixels and a
/// 1000-pixel one shrink to 16, no further.
const MAX_LOG_SCALE: f32 = 4.135_166_5; // ln(1000 / 16)

/// Smallest width and height that are divided by, so that an empty box gives no infinities.
const MIN_SIDE: f32 = 1e-6;

/// Deltas divided by standard deviations, so that a network sees numbers around one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// Of centre x, centre y, width and height.
    pub stds: [f32; 4],
}

impl BoxCoder {
    /// The deltas that lead from `reference` to `target`.
    pub fn encode(&self, reference: [f32; 4], target: [f32; 4]) -> [f32; 4] {
        let ([cx, cy], [width, height]) = centre_and_size(reference);
        let ([target_cx, target_cy], [target_width, target_height]) = centre_and_size(target);
        let (width, height) = (width.max(MIN_SIDE), height.max(MIN_SIDE));
        let [std_x, std_y, std_w, std_h] = self.stds;
        [
            (target_cx - cx) / width / std_x,
            (target_cy - cy) / height / std_y,
            (target_width.max(MIN_SIDE) / width).ln() / std_w,
            (target_height.max(MIN_SIDE) / height).ln() / std_h,
        ]
    }

    /// The box that `deltas` lead to from `reference`, not clipped.
    pub fn decode(&self, reference: [f32; 4], deltas: [f32; 4]) -> [f32; 4] {
        let ([cx, cy], [width, height]) = centre_and_size(reference);
        let [std_x, std_y, std_w, std_h] = self.stds;
        let [dx, dy, dw, dh] = deltas;
        let cx = cx + width * (dx * std_x);
        let cy = cy + height * (dy * std_y);
        let half_width = width * (dw * std_w).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() * 0.5;
        let half_height = height * (dh * std_h).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() * 0.5;
        [cx - half_width, cy - half_height, cx + half_width, cy + half_height]
    }
}

/// The part of a box within the image, padding excluded.
pub fn clip([x0, y0, x1, y1]: [f32; 4], size: &ImageSize) -> [f32; 4] {
    let (width, height) = (size.width as f32, size.height as f32);
    [x0.clamp(0.0, width), y0.clamp(0.0, height), x1.clamp(0.0, width), y1.clamp(0.0, height)]
}

fn centre_and_size([x0, y0, x1, y1]: [f32; 4]) -> ([f32; 2], [f32; 2]) {
    ([(x0 + x1) * 0.5, (y0 + y1) * 0.5], [x1 - x0, y1 - y0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: BoxCoder = BoxCoder { stds: [1.0; 4] };

    #[test]
    fn a_shift_by_a_width_is_a_delta_of_one_over_its_deviation() {
        let coder = BoxCoder { stds: [0.1, 0.1, 0.2, 0.2] };
        let deltas = coder.encode([0.0, 0.0, 4.0, 2.0], [4.0, 0.0, 8.0, 2.0]);
        assert_eq!(deltas, [10.0, 0.0, 0.0, 0.0]);
        assert_eq!(coder.decode([0.0, 0.0, 4.0, 2.0], deltas), [4.0, 0.0, 8.0, 2.0]);
    }

    #[test]
    fn a_box_grows_and_shrinks_at_most_by_the_clamped_ratio() {
        let [x0, y0, x1, y1] = UNIT.decode([0.0, 0.0, 16.0, 1000.0], [0.0, 0.0, 99.0, -99.0]);
        assert!((x1 - x0 - 1000.0).abs() < 1e-2, "{}", x1 - x0);
        assert!((y1 - y0 - 16.0).abs() < 1e-2, "{}", y1 - y0);
    }

    #[test]
    fn an_empty_box_gives_finite_deltas() {
        let deltas = UNIT.encode([3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]);
        assert!(deltas.iter().all(|delta| delta.is_finite()), "{deltas:?}");
    }

    #[test]
    fn clipping_stops_at_the_image_and_not_at_its_padding() {
        let size = ImageSize { height: 10, width: 20, padded_height: 32, padded_width: 32 };
        assert_eq!(clip([-3.0, 4.0, 25.0, 30.0], &size), [0.0, 4.0, 20.0, 10.0]);
    }
}

//! Boxes: two corners in the continuous pixel frame of one image.

/// An axis-aligned box by its corners, in pixels of one image.
///
/// The pixel (0, 0) covers `[0, 1) x [0, 1)`, so the width is `x1 - x0`, with no `+ 1`. Which frame it lies in (input
/// pixels or image pixels) is said by whoever holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxXyxy {
    /// Left edge.
    pub x0: f32,
    /// Top edge (y points down).
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
}

impl BoxXyxy {
    /// From COCO's left, top, width, height; the far corner is summed before it is rounded to `f32`, as mmdet does.
    pub fn from_coco([x, y, width, height]: [f64; 4]) -> Self {
        Self { x0: x as f32, y0: y as f32, x1: (x + width) as f32, y1: (y + height) as f32 }
    }

    /// To COCO's left, top, width, height.
    pub fn to_coco(self) -> [f32; 4] {
        [self.x0, self.y0, self.width(), self.height()]
    }

    /// `x1 - x0`; nothing forbids a negative width.
    pub fn width(self) -> f32 {
        self.x1 - self.x0
    }

    /// `y1 - y0`; nothing forbids a negative height.
    pub fn height(self) -> f32 {
        self.y1 - self.y0
    }

    /// Width times height, 0 for a box with a negative side.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The box with its corners moved into `[0, width] x [0, height]`.
    pub fn clip(self, width: f32, height: f32) -> Self {
        Self {
            x0: self.x0.clamp(0.0, width),
            y0: self.y0.clamp(0.0, height),
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
        }
    }

    /// The box moved by `(dx, dy)` pixels.
    pub fn translate(self, dx: f32, dy: f32) -> Self {
        Self { x0: self.x0 + dx, y0: self.y0 + dy, x1: self.x1 + dx, y1: self.y1 + dy }
    }

    /// The box with its coordinates multiplied by a factor per axis.
    pub fn scale(self, x: f32, y: f32) -> Self {
        Self { x0: self.x0 * x, y0: self.y0 * y, x1: self.x1 * x, y1: self.y1 * y }
    }

    /// The box in an image of this width that was mirrored left to right.
    pub fn flip_horizontal(self, width: f32) -> Self {
        Self { x0: width - self.x1, x1: width - self.x0, ..self }
    }

    /// Whether a side is zero or negative, or a coordinate is not a number.
    pub fn is_degenerate(self) -> bool {
        let positive = self.width() > 0.0 && self.height() > 0.0;
        !positive
    }

    /// Whether all coordinates are numbers, and none is infinite.
    pub fn is_finite(self) -> bool {
        [self.x0, self.y0, self.x1, self.y1].into_iter().all(f32::is_finite)
    }

    /// Intersection over union, 0 where the boxes do not overlap.
    pub fn iou(self, other: Self) -> f32 {
        let width = self.x1.min(other.x1) - self.x0.max(other.x0);
        let height = self.y1.min(other.y1) - self.y0.max(other.y0);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let intersection = width * height;
        intersection / (self.area() + other.area() - intersection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corners(x0: f32, y0: f32, x1: f32, y1: f32) -> BoxXyxy {
        BoxXyxy { x0, y0, x1, y1 }
    }

    #[test]
    fn coco_boxes_come_and_go() {
        let bbox = BoxXyxy::from_coco([2.0, 3.0, 10.0, 20.0]);
        assert_eq!(bbox, corners(2.0, 3.0, 12.0, 23.0));
        assert_eq!(bbox.to_coco(), [2.0, 3.0, 10.0, 20.0]);
        assert_eq!(bbox.area(), 200.0);
    }

    #[test]
    fn a_box_outside_the_image_is_clipped_to_nothing() {
        let clipped = corners(-9.0, 2.0, -3.0, 8.0).clip(10.0, 5.0);
        assert_eq!(clipped, corners(0.0, 2.0, 0.0, 5.0));
        assert!(clipped.is_degenerate());
        assert!(corners(f32::NAN, 0.0, 1.0, 1.0).is_degenerate());
        let huge = BoxXyxy::from_coco([2.0, 3.0, 1e300, 1.0]);
        assert!(!huge.is_finite() && huge.clip(10.0, 5.0) == corners(2.0, 3.0, 10.0, 4.0));
    }

    #[test]
    fn mirroring_twice_is_the_identity() {
        let bbox = corners(1.0, 2.0, 4.0, 3.0);
        assert_eq!(bbox.flip_horizontal(10.0), corners(6.0, 2.0, 9.0, 3.0));
        assert_eq!(bbox.flip_horizontal(10.0).flip_horizontal(10.0), bbox);
    }

    #[test]
    fn boxes_that_share_half_have_an_iou_of_a_third() {
        assert_eq!(corners(0.0, 0.0, 2.0, 1.0).iou(corners(1.0, 0.0, 3.0, 1.0)), 1.0 / 3.0);
        assert_eq!(corners(0.0, 0.0, 1.0, 1.0).iou(corners(1.0, 0.0, 2.0, 1.0)), 0.0);
    }
}

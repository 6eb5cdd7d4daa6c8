//! The four outlines as signed distances: negative inside, in pixels.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// What is drawn; the discriminant is the class index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Disc,
    Square,
    Triangle,
    Star,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Disc, Self::Square, Self::Triangle, Self::Star];

    /// Area over the square of the radius of the circumscribed circle.
    pub(super) fn area_factor(self) -> f32 {
        match self {
            Self::Disc => PI,
            Self::Square => 2.0,
            Self::Triangle => 1.299_038,                   // 3 sqrt(3) / 4
            Self::Star => 5.0 * STAR_WAIST * 0.587_785_25, // sin 36 degrees
        }
    }
}

/// Radius of a star's inner corners over that of its tips; fatter than a pentagram (0.38), so that
/// a star of 12 pixels still has a body.
const STAR_WAIST: f32 = 0.48;

/// A placed outline, in pixels of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) kind: Kind,
    pub(super) x: f32,
    pub(super) y: f32,
    /// Of the circumscribed circle.
    pub(super) radius: f32,
    /// Radians, clockwise as seen on the screen.
    pub(super) angle: f32,
}

impl Outline {
    /// Coordinates relative to the centre and turned back; pixels.
    pub(super) fn local(&self, x: f32, y: f32) -> [f32; 2] {
        let (dx, dy) = (x - self.x, y - self.y);
        let (sin, cos) = self.angle.sin_cos();
        [dx * cos + dy * sin, dy * cos - dx * sin]
    }

    /// Distance of a local point from the edge, negative inside. Exact near the edge, where it
    /// matters for anti-aliasing.
    pub(super) fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let radius = self.radius;
        match self.kind {
            Kind::Disc => x.hypot(y) - radius,
            Kind::Square => x.abs().max(y.abs()) - radius * std::f32::consts::FRAC_1_SQRT_2,
            // Half planes at the inradius, which is half the radius.
            Kind::Triangle => {
                [0.0, 1.0, 2.0]
                    .map(|side: f32| {
                        let (sin, cos) = (FRAC_PI_2 + side * TAU / 3.0).sin_cos();
                        x * cos + y * sin
                    })
                    .into_iter()
                    .fold(f32::NEG_INFINITY, f32::max)
                    - radius / 2.0
            }
            Kind::Star => {
                // Fold into one tenth: between a tip and the next inner corner.
                let tenth = PI / 5.0;
                let angle = x.atan2(-y).rem_euclid(2.0 * tenth);
                let angle = angle.min(2.0 * tenth - angle);
                let (sin, cos) = angle.sin_cos();
                let length = x.hypot(y);
                let (along, across) = (length * cos, length * sin);
                let (waist_sin, waist_cos) = tenth.sin_cos();
                let corner = [radius * STAR_WAIST * waist_cos, radius * STAR_WAIST * waist_sin];
                // The edge runs from the tip (radius, 0) to the inner corner.
                let edge = [corner[0] - radius, corner[1]];
                ((along - radius) * edge[1] - across * edge[0]) / edge[0].hypot(edge[1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_cover_the_area_they_say() {
        for kind in Kind::ALL {
            let outline = Outline { kind, x: 50.0, y: 50.0, radius: 40.0, angle: 0.3 };
            let inside = (0..100 * 100)
                .filter(|i| {
                    let (x, y) = ((i % 100) as f32 + 0.5, (i / 100) as f32 + 0.5);
                    outline.distance(outline.local(x, y)) <= 0.0
                })
                .count() as f32;
            let expected = kind.area_factor() * 40.0 * 40.0;
            assert!((inside / expected - 1.0).abs() < 0.01, "{kind:?}: {inside}, not {expected}");
        }
    }
}

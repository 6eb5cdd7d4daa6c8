//! The four outlines as signed distances: negative inside, in pixels.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

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
            Self::Triangle => 1.299_038, // 3 sqrt(3) / 4
            Self::Star => 5.0 * STAR_WAIST * SIN_36,
        }
    }
}

/// Radius of a star's inner corners over that of its tips; fatter than a pentagram (0.38), so that
/// a star of 12 pixels still has a body.
const STAR_WAIST: f32 = 0.48;

/// Sine and cosine of 36 degrees, half the angle between two tips of a star.
const SIN_36: f32 = 0.587_785_25;
const COS_36: f32 = 0.809_017;

/// Sine of 60 degrees.
const SIN_60: f32 = 0.866_025_4;

/// A placed outline, in pixels of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) kind: Kind,
    pub(super) x: f32,
    pub(super) y: f32,
    /// Of the circumscribed circle.
    pub(super) radius: f32,
    /// Sine and cosine of how far it is turned, clockwise as seen on the screen.
    pub(super) turn: (f32, f32),
}

impl Outline {
    /// Coordinates relative to the centre and turned back; pixels.
    pub(super) fn local(&self, x: f32, y: f32) -> [f32; 2] {
        let (dx, dy) = (x - self.x, y - self.y);
        let (sin, cos) = self.turn;
        [dx * cos + dy * sin, dy * cos - dx * sin]
    }

    /// Distance of a local point from the edge, negative inside. Exact near the edge, where it
    /// matters for anti-aliasing.
    pub(super) fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let radius = self.radius;
        match self.kind {
            Kind::Disc => (x * x + y * y).sqrt() - radius,
            Kind::Square => x.abs().max(y.abs()) - radius * FRAC_1_SQRT_2,
            // Half planes at the inradius, which is half the radius; two of them mirror each other.
            Kind::Triangle => y.max(x.abs() * SIN_60 - y / 2.0) - radius / 2.0,
            Kind::Star => {
                // Mirrored until it lies within 36 degrees of the upper tip.
                let mut p = [x.abs(), -y];
                for normal in [[COS_36, -SIN_36], [-COS_36, -SIN_36]] {
                    let beyond = 2.0 * (p[0] * normal[0] + p[1] * normal[1]).max(0.0);
                    p = [p[0] - beyond * normal[0], p[1] - beyond * normal[1]];
                }
                let from_tip = [p[0].abs(), p[1] - radius];
                // The edge runs from the tip to the inner corner.
                let edge = [STAR_WAIST * SIN_36, STAR_WAIST * COS_36 - 1.0];
                let length = (edge[0] * edge[0] + edge[1] * edge[1]).sqrt();
                (from_tip[1] * edge[0] - from_tip[0] * edge[1]) / length
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
            let outline = Outline { kind, x: 50.0, y: 50.0, radius: 40.0, turn: 0.3f32.sin_cos() };
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

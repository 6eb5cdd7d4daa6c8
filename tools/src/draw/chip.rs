//! Label chips: rounded, filled with the detection's colour, never on top of each other.

use cvx_data::BoxXyxy;
use image::{Rgb, RgbImage};

use super::blend;
use super::palette::readable_on;
use super::text::Lettering;

/// The chips drawn so far on one canvas.
pub(super) struct Chips {
    lettering: Lettering,
    padding: f32,
    taken: Vec<[f32; 4]>,
}

impl Chips {
    /// Letters of about a fiftieth of the longer side, within what is legible and what is polite.
    pub(super) fn new(canvas: &RgbImage) -> Self {
        let side = canvas.width().max(canvas.height()) as f32;
        let height = (side / 52.0).clamp(14.0, 34.0);
        Self { lettering: Lettering::new(height), padding: (height / 5.0).round(), taken: Vec::new() }
    }

    /// Draws `name score` at a free corner of `bbox`, or the score alone, or nothing.
    pub(super) fn place(
        &mut self,
        canvas: &mut RgbImage,
        bbox: BoxXyxy,
        name: &str,
        score: f64,
        ink: Rgb<u8>,
    ) {
        for text in [format!("{name} {score:.2}"), format!("{score:.2}")] {
            let (width, height) = self.lettering.size(&text);
            let (width, height) = (width + 2.0 * self.padding, height + self.padding);
            if let Some(corner) = self.free_corner(canvas, bbox, width, height) {
                self.draw(canvas, corner, width, height, &text, ink);
                return;
            }
        }
    }

    /// Above the box, inside it, below it, and the same at its right end; kept on the canvas.
    fn free_corner(&self, canvas: &RgbImage, bbox: BoxXyxy, width: f32, height: f32) -> Option<[f32; 2]> {
        let right = bbox.x1 - width;
        let candidates = [
            [bbox.x0, bbox.y0 - height],
            [bbox.x0, bbox.y0],
            [bbox.x0, bbox.y1],
            [right, bbox.y0 - height],
            [right, bbox.y1],
            [right, bbox.y1 - height],
        ];
        let max_x = (canvas.width() as f32 - width).max(0.0);
        let max_y = (canvas.height() as f32 - height).max(0.0);
        candidates.into_iter().map(|[x, y]| [x.clamp(0.0, max_x).round(), y.clamp(0.0, max_y).round()]).find(
            |[x, y]| {
                self.taken
                    .iter()
                    .all(|[x0, y0, x1, y1]| x + width <= *x0 || *x1 <= *x || y + height <= *y0 || *y1 <= *y)
            },
        )
    }

    fn draw(
        &mut self,
        canvas: &mut RgbImage,
        [x, y]: [f32; 2],
        width: f32,
        height: f32,
        text: &str,
        ink: Rgb<u8>,
    ) {
        let radius = self.padding;
        for row in 0..height.ceil() as i64 {
            for column in 0..width.ceil() as i64 {
                let coverage = rounded(column as f32 + 0.5, row as f32 + 0.5, width, height, radius);
                blend(canvas, x as i64 + column, y as i64 + row, ink, 0.92 * coverage);
            }
        }
        let (text_x, text_y) = (x + self.padding, y + self.padding / 2.0);
        self.lettering.draw(canvas, text_x, text_y, text, readable_on(ink));
        self.taken.push([x, y, x + width, y + height]);
    }
}

/// How much of the pixel centred at (`x`, `y`) a rounded rectangle covers.
fn rounded(x: f32, y: f32, width: f32, height: f32, radius: f32) -> f32 {
    let dx = (radius - x).max(x - (width - radius)).max(0.0);
    let dy = (radius - y).max(y - (height - radius)).max(0.0);
    (radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_of_one_place_do_not_cover_each_other() {
        let mut canvas = RgbImage::new(400, 300);
        let mut chips = Chips::new(&canvas);
        let bbox = BoxXyxy { x0: 100.0, y0: 100.0, x1: 180.0, y1: 160.0 };
        for _ in 0..20 {
            chips.place(&mut canvas, bbox, "nucleus", 0.5, Rgb([255, 0, 0]));
        }
        assert!((2..=12).contains(&chips.taken.len()), "{} chips", chips.taken.len());
        for (index, a) in chips.taken.iter().enumerate() {
            for b in &chips.taken[index + 1..] {
                assert!(a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1]);
            }
        }
    }
}

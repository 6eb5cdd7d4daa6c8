//! Label chips: rounded, filled with the detection's colour, never on top of each other nor of a small object.

use cvx_data::BoxXyxy;
use image::{Rgb, RgbImage};

use super::blend;
use super::palette::readable_on;
use super::text::Lettering;

/// How much of an object's box a chip may hide: in a crowd the objects matter more than their names.
const MAX_HIDDEN: f32 = 0.2;

/// The chips drawn so far on one canvas.
pub(super) struct Chips {
    lettering: Lettering,
    padding: f32,
    taken: Vec<[f32; 4]>,
    boxes: Vec<BoxXyxy>,
}

impl Chips {
    /// Letters of about a fiftieth of the longer side, within what is legible and what is polite.
    ///
    /// `boxes` are those of all detections, in pixels of the canvas.
    pub(super) fn new(canvas: &RgbImage, boxes: Vec<BoxXyxy>) -> Self {
        let side = canvas.width().max(canvas.height()) as f32;
        let height = (side / 52.0).clamp(14.0, 34.0);
        Self { lettering: Lettering::new(height), padding: (height / 5.0).round(), taken: Vec::new(), boxes }
    }

    /// Draws `name score`, or of truth the name, at a free corner of `bbox`, or the score alone, or nothing.
    pub(super) fn place(
        &mut self,
        canvas: &mut RgbImage,
        bbox: BoxXyxy,
        name: &str,
        score: Option<f64>,
        ink: Rgb<u8>,
    ) {
        let texts = match score {
            Some(score) => vec![format!("{name} {score:.2}"), format!("{score:.2}")],
            None => vec![name.to_owned()],
        };
        for text in texts {
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
                let chip = BoxXyxy { x0: *x, y0: *y, x1: x + width, y1: y + height };
                self.taken.iter().all(|[x0, y0, x1, y1]| {
                    chip.x1 <= *x0 || *x1 <= chip.x0 || chip.y1 <= *y0 || *y1 <= chip.y0
                }) && self.boxes.iter().all(|other| overlap(chip, *other) <= MAX_HIDDEN * other.area())
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

/// Area common to two boxes.
fn overlap(a: BoxXyxy, b: BoxXyxy) -> f32 {
    let width = a.x1.min(b.x1) - a.x0.max(b.x0);
    let height = a.y1.min(b.y1) - a.y0.max(b.y0);
    width.max(0.0) * height.max(0.0)
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
        let bbox = BoxXyxy { x0: 100.0, y0: 100.0, x1: 180.0, y1: 160.0 };
        let mut chips = Chips::new(&canvas, vec![bbox]);
        for _ in 0..20 {
            chips.place(&mut canvas, bbox, "nucleus", Some(0.5), Rgb([255, 0, 0]));
        }
        assert!((2..=12).contains(&chips.taken.len()), "{} chips", chips.taken.len());
        for (index, a) in chips.taken.iter().enumerate() {
            for b in &chips.taken[index + 1..] {
                assert!(a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1]);
            }
        }
    }

    #[test]
    fn a_chip_that_would_hide_a_small_neighbour_is_left_out() {
        let mut canvas = RgbImage::new(400, 300);
        let small = BoxXyxy { x0: 200.0, y0: 150.0, x1: 210.0, y1: 160.0 };
        let [left, top] = [-40.0, -40.0];
        let neighbours = (0..81).map(|at| {
            let (x, y) = (small.x0 + left + 10.0 * (at % 9) as f32, small.y0 + top + 10.0 * (at / 9) as f32);
            BoxXyxy { x0: x, y0: y, x1: x + 10.0, y1: y + 10.0 }
        });
        let mut chips = Chips::new(&canvas, neighbours.collect());
        chips.place(&mut canvas, small, "nucleus", Some(0.5), Rgb([255, 0, 0]));
        assert!(chips.taken.is_empty(), "{:?}", chips.taken);
    }
}

//! Overlays: what was detected, drawn on the image so that a person likes to look at it.
//!
//! Small images are enlarged first, so that lines and letters have room. Masks are tinted and
//! outlined, boxes are thin, labels are chips that keep clear of each other and of small objects:
//! the surest detections choose their place first, and a chip that finds none shows the score
//! alone, or nothing.

use cvx_data::{BoxXyxy, Mask};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

mod chip;
mod palette;
mod segments;
mod sheet;
mod text;

pub use self::palette::color;
pub use self::segments::{ClassShare, Legend, class_shares, label_overlay};
pub(crate) use self::segments::{label_tint, percent};
pub(crate) use self::sheet::sheet;
pub use self::text::Lettering;

/// One detection to draw, image pixels.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Its box.
    pub bbox: BoxXyxy,
    /// Its mask, in the frame of the image.
    pub mask: Option<Mask>,
    /// What stands on its chip, without the score.
    pub name: String,
    /// 0 to 1; truth has none.
    pub score: Option<f64>,
    /// Position in the palette.
    pub color_index: usize,
}

/// Images whose longer side is below this are enlarged by a whole factor, pixels.
const COMFORTABLE_SIDE: u32 = 800;

/// Weight of a mask's colour against the image below it.
const MASK_OPACITY: f32 = 0.38;

/// The image with everything in `drawn` on it, surest on top.
pub fn overlay(image: &RgbImage, drawn: &[Drawn]) -> RgbImage {
    let factor = enlargement(image);
    let mut canvas = if factor == 1 {
        image.clone()
    } else {
        let (width, height) = (image.width() * factor, image.height() * factor);
        imageops::resize(image, width, height, FilterType::CatmullRom)
    };
    let mut order: Vec<&Drawn> = drawn.iter().collect();
    order.sort_by(|a, b| a.score.unwrap_or(1.0).total_cmp(&b.score.unwrap_or(1.0)));
    let line = line_width(&canvas);
    for item in &order {
        if let Some(mask) = &item.mask {
            paint_mask(&mut canvas, mask, factor, line, color(item.color_index));
        }
    }
    for item in &order {
        outline_box(&mut canvas, scaled(item.bbox, factor), line, color(item.color_index));
    }
    let mut chips = chip::Chips::new(&canvas, order.iter().map(|item| scaled(item.bbox, factor)).collect());
    for item in order.iter().rev() {
        let bbox = scaled(item.bbox, factor);
        chips.place(&mut canvas, bbox, &item.name, item.score, color(item.color_index));
    }
    canvas
}

/// Whole factor that brings the longer side to a comfortable size.
fn enlargement(image: &RgbImage) -> u32 {
    let side = image.width().max(image.height()).max(1);
    (COMFORTABLE_SIDE / side).clamp(1, 8)
}

/// Thickness of boxes and outlines: about a three-hundredth of the shorter side.
fn line_width(canvas: &RgbImage) -> i64 {
    (i64::from(canvas.width().min(canvas.height())) / 300).max(1)
}

fn scaled(bbox: BoxXyxy, factor: u32) -> BoxXyxy {
    let factor = factor as f32;
    BoxXyxy { x0: bbox.x0 * factor, y0: bbox.y0 * factor, x1: bbox.x1 * factor, y1: bbox.y1 * factor }
}

/// Tints the mask and draws its rim, `line` pixels thick, inside the mask.
fn paint_mask(canvas: &mut RgbImage, mask: &Mask, factor: u32, line: i64, ink: Rgb<u8>) {
    let factor = factor as usize;
    let is_set = |x: i64, y: i64| {
        let column = x.div_euclid(factor as i64) - mask.x0 as i64;
        let row = y.div_euclid(factor as i64) - mask.y0 as i64;
        (0..mask.width as i64).contains(&column)
            && (0..mask.height as i64).contains(&row)
            && mask.pixels[row as usize * mask.width + column as usize] != 0
    };
    let reach = line + 1;
    for y in mask.y0 * factor..((mask.y0 + mask.height) * factor).min(canvas.height() as usize) {
        for x in mask.x0 * factor..((mask.x0 + mask.width) * factor).min(canvas.width() as usize) {
            let (column, row) = (x as i64, y as i64);
            if !is_set(column, row) {
                continue;
            }
            let on_rim = [(reach, 0), (-reach, 0), (0, reach), (0, -reach)]
                .iter()
                .any(|(dx, dy)| !is_set(column + dx, row + dy));
            let opacity = if on_rim { 1.0 } else { MASK_OPACITY };
            blend(canvas, column, row, ink, opacity);
        }
    }
}

/// A rectangle's four sides, `line` pixels thick, centred on its edges.
fn outline_box(canvas: &mut RgbImage, bbox: BoxXyxy, line: i64, ink: Rgb<u8>) {
    let [left, top, right, bottom] = [bbox.x0, bbox.y0, bbox.x1, bbox.y1].map(|edge| edge.round() as i64);
    let (before, after) = (line / 2, line - line / 2);
    for x in left - before..right + after {
        for y in (top - before..top + after).chain(bottom - before..bottom + after) {
            blend(canvas, x, y, ink, 0.9);
        }
    }
    for y in top + after..bottom - before {
        for x in (left - before..left + after).chain(right - before..right + after) {
            blend(canvas, x, y, ink, 0.9);
        }
    }
}

/// Mixes `ink` into one pixel; outside the canvas nothing happens.
fn blend(canvas: &mut RgbImage, x: i64, y: i64, ink: Rgb<u8>, opacity: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
        return;
    };
    if let Some(pixel) = canvas.get_pixel_mut_checked(x, y) {
        for (below, above) in pixel.0.iter_mut().zip(ink.0) {
            let mixed = f32::from(*below) * (1.0 - opacity) + f32::from(above) * opacity;
            *below = mixed.round().clamp(0.0, 255.0) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(x0: f32, y0: f32, x1: f32, y1: f32) -> Drawn {
        Drawn {
            bbox: BoxXyxy { x0, y0, x1, y1 },
            mask: None,
            name: "disc".to_owned(),
            score: Some(0.9),
            color_index: 0,
        }
    }

    #[test]
    fn a_small_image_is_enlarged_by_a_whole_factor() {
        let drawn = overlay(&RgbImage::new(256, 100), &[]);
        assert_eq!(drawn.dimensions(), (768, 300));
    }

    #[test]
    fn boxes_that_leave_the_image_are_cut_at_its_border() {
        let image = RgbImage::new(900, 900);
        let drawn = overlay(&image, &[detection(-50.0, -50.0, 2000.0, 1000.0)]);
        assert_eq!(drawn.dimensions(), (900, 900));
    }

    #[test]
    fn an_image_without_detections_stays_as_it_was() {
        let image = RgbImage::from_pixel(900, 900, Rgb([7, 8, 9]));
        assert_eq!(overlay(&image, &[]), image);
    }
}

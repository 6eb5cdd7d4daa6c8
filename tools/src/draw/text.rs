//! Letters: one line of anti-aliased text, measured and drawn with a font that is built in.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use super::blend;

/// A font at one size.
#[derive(Debug, Clone)]
pub struct Lettering {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Lettering {
    /// Lines of `height_px` pixels, from the highest ascender to the lowest descender.
    ///
    /// # Panics
    /// Never: the font's bytes are part of the program.
    pub fn new(height_px: f32) -> Self {
        let font =
            FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR).expect("the built-in font is a font");
        Self { font, scale: PxScale::from(height_px) }
    }

    /// Width and height of `text`, pixels.
    pub fn size(&self, text: &str) -> (f32, f32) {
        let (_, width) = self.line(text);
        (width, self.font.as_scaled(self.scale).height())
    }

    /// Draws `text` with its upper left corner at (`x`, `y`).
    pub fn draw(&self, canvas: &mut RgbImage, x: f32, y: f32, text: &str, ink: Rgb<u8>) {
        for mut glyph in self.line(text).0 {
            glyph.position.x += x;
            glyph.position.y += y;
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                outline.draw(|column, row, coverage| {
                    let x = bounds.min.x as i64 + i64::from(column);
                    let y = bounds.min.y as i64 + i64::from(row);
                    blend(canvas, x, y, ink, coverage.clamp(0.0, 1.0));
                });
            }
        }
    }

    /// The glyphs of one line whose upper left corner is (0, 0), and the line's width.
    fn line(&self, text: &str) -> (Vec<Glyph>, f32) {
        let font = self.font.as_scaled(self.scale);
        let mut pen = 0.0;
        let mut previous = None;
        let mut glyphs = Vec::new();
        for character in text.chars() {
            let id = font.glyph_id(character);
            if let Some(previous) = previous {
                pen += font.kern(previous, id);
            }
            glyphs.push(id.with_scale_and_position(self.scale, point(pen, font.ascent())));
            pen += font.h_advance(id);
            previous = Some(id);
        }
        (glyphs, pen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_text_is_wider_and_no_text_has_no_width() {
        let lettering = Lettering::new(16.0);
        assert_eq!(lettering.size("").0, 0.0);
        assert!(lettering.size("nucleus").0 > lettering.size("disc").0);
    }

    #[test]
    fn letters_leave_ink_within_their_size() {
        let lettering = Lettering::new(16.0);
        let mut canvas = RgbImage::new(64, 32);
        lettering.draw(&mut canvas, 2.0, 2.0, "ap", Rgb([255, 255, 255]));
        let (width, height) = lettering.size("ap");
        let inked: Vec<(u32, u32)> = canvas
            .enumerate_pixels()
            .filter(|(_, _, pixel)| pixel.0[0] > 40)
            .map(|(x, y, _)| (x, y))
            .collect();
        assert!(inked.len() > 20, "{} pixels", inked.len());
        assert!(inked.iter().all(|(x, y)| *x as f32 <= 3.0 + width && *y as f32 <= 3.0 + height));
    }
}

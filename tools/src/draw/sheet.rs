//! Many pictures on one sheet, each with a line below it.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::text::Lettering;

/// Sides of a picture on the sheet, pixels.
const SIDE: u32 = 384;
/// Height of the line below a picture, and of the gap after it.
const LINE: u32 = 20;
const GAP: u32 = 12;

const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([28, 28, 30]);

/// The pictures in rows, in about as many rows as columns.
pub(crate) fn sheet(pictures: &[(RgbImage, String)]) -> RgbImage {
    let columns = (pictures.len().max(1) as f64).sqrt().ceil() as u32;
    let rows = (pictures.len().max(1) as u32).div_ceil(columns);
    let (step_x, step_y) = (SIDE + GAP, SIDE + LINE + GAP);
    let mut sheet = RgbImage::from_pixel(GAP + columns * step_x, GAP + rows * step_y, PAPER);
    let lettering = Lettering::new(15.0);
    for (index, (picture, line)) in (0..).zip(pictures) {
        let (left, top) = (GAP + index % columns * step_x, GAP + index / columns * step_y);
        let fitted = fitted(picture);
        let (x, y) = (left + (SIDE - fitted.width()) / 2, top + (SIDE - fitted.height()) / 2);
        imageops::replace(&mut sheet, &fitted, i64::from(x), i64::from(y));
        let text = shortened(&lettering, line);
        lettering.draw(&mut sheet, left as f32, (top + SIDE + 2) as f32, &text, INK);
    }
    sheet
}

/// The picture so large that it just fits.
fn fitted(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height()).max(1);
    let side = |side: u32| ((u64::from(side) * u64::from(SIDE) / u64::from(longest)) as u32).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    if longest > SIDE {
        imageops::thumbnail(picture, width, height)
    } else {
        imageops::resize(picture, width, height, FilterType::CatmullRom)
    }
}

/// The end of a line that is too long: file names differ there.
fn shortened(lettering: &Lettering, line: &str) -> String {
    let mut text = line.to_owned();
    while lettering.size(&text).0 > SIDE as f32 && text.chars().count() > 2 {
        text = format!("…{}", text.chars().skip(2).collect::<String>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_pictures_stand_in_two_rows_of_three() {
        let picture = RgbImage::from_pixel(10, 20, Rgb([200, 0, 0]));
        let sheet = sheet(&vec![(picture, "a".repeat(200)); 5]);
        assert_eq!(sheet.dimensions(), (GAP + 3 * (SIDE + GAP), GAP + 2 * (SIDE + LINE + GAP)));
        // The first is centred; where a sixth would be there is paper.
        assert_eq!(*sheet.get_pixel(GAP + SIDE / 2, GAP + SIDE / 2), Rgb([200, 0, 0]));
        assert_eq!(*sheet.get_pixel(GAP + 5, GAP + SIDE / 2), PAPER);
        assert_eq!(*sheet.get_pixel(sheet.width() - GAP - SIDE / 2, sheet.height() - SIDE / 2), PAPER);
    }
}

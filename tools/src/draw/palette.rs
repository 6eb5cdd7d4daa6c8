//! Colours that stay apart from each other, on bright and on dark images.

use image::Rgb;

/// Twelve strong hues, neighbours in the list far apart on the colour wheel.
const FIRST: [[u8; 3]; 12] = [
    [255, 87, 51],
    [0, 168, 255],
    [80, 200, 70],
    [255, 176, 0],
    [170, 90, 255],
    [0, 205, 180],
    [255, 70, 160],
    [160, 205, 30],
    [60, 100, 255],
    [230, 120, 40],
    [215, 60, 225],
    [0, 150, 90],
];

/// Turn between one colour past the list and the next: the golden angle, in turns.
const GOLDEN_TURN: f64 = 0.381_966_011_250_105; // 1 - 1 / golden ratio

/// The colour at `index`; past the list, hues a golden angle apart.
pub fn color(index: usize) -> Rgb<u8> {
    if let Some(first) = FIRST.get(index) {
        return Rgb(*first);
    }
    let later = (index - FIRST.len()) as f64;
    let hue = (0.06 + later * GOLDEN_TURN).fract();
    let value = if index.is_multiple_of(2) { 0.98 } else { 0.82 };
    hsv(hue, 0.75, value)
}

/// Hue in turns, saturation and value from 0 to 1.
fn hsv(hue: f64, saturation: f64, value: f64) -> Rgb<u8> {
    let channel = |offset: f64| {
        let k = (offset + hue * 6.0) % 6.0;
        let level = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (level * 255.0).round() as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}

/// Black or white, whichever is easier to read on `background`.
pub(super) fn readable_on(background: Rgb<u8>) -> Rgb<u8> {
    let [red, green, blue] = background.0.map(f64::from);
    // Luma of ITU-R BT.601.
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    if luma > 140.0 { Rgb([16, 16, 16]) } else { Rgb([255, 255, 255]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn eighty_classes_have_eighty_colors() {
        let distinct: HashSet<[u8; 3]> = (0..80).map(|index| color(index).0).collect();
        assert_eq!(distinct.len(), 80);
    }

    #[test]
    fn letters_are_dark_on_yellow_and_light_on_blue() {
        assert_eq!(readable_on(Rgb([255, 220, 0])), Rgb([16, 16, 16]));
        assert_eq!(readable_on(Rgb([30, 60, 200])), Rgb([255, 255, 255]));
    }
}

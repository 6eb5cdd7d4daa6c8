//! Photometric distortion as segmentors were trained with it: every change is rounded to 8 bits.
//!
//! Source: mmseg 1.2.2 `PhotoMetricDistortion` on OpenCV 5.0. Against mmdet's, which [`Photometric`] is, it
//! clamps to 0..=255 and rounds down after every change, so that what a brightening saturates stays
//! saturated; it turns the hue in OpenCV's 8-bit steps of two degrees, up to 36 degrees with the same
//! setting of 18; and it does not shuffle channels. The pixels are OpenCV's to the bit, where that works with
//! vectors (it rounds the last few pixels of a row otherwise).
//!
//! [`Photometric`]: super::Photometric

use rand::{Rng, RngExt};

use crate::sample::Sample;

/// Strengths of the changes. [`Photometric8Bit::default`] has mmseg's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Photometric8Bit {
    /// Largest change of brightness either way, in grey levels of 255.
    pub brightness_delta: f32,
    /// Factors of all channels, from and to.
    pub contrast: [f32; 2],
    /// Factors of the saturation, from and to.
    pub saturation: [f32; 2],
    /// Largest turn of the hue, in steps of two degrees: from minus this, inclusive, to this, exclusive.
    pub hue_delta: u8,
}

impl Default for Photometric8Bit {
    fn default() -> Self {
        Self { brightness_delta: 32.0, contrast: [0.5, 1.5], saturation: [0.5, 1.5], hue_delta: 18 }
    }
}

/// What was drawn for one image; `None` for a change that does not happen.
struct Drawn {
    brightness: Option<f32>,
    contrast: Option<f32>,
    contrast_first: bool,
    saturation: Option<f32>,
    hue: Option<i32>,
}

impl Photometric8Bit {
    pub(super) fn apply<R: Rng + ?Sized>(&self, mut sample: Sample, rng: &mut R) -> Sample {
        self.draw(rng).change(&mut sample.image);
        sample
    }

    /// Draws every number whether it is used or not, so that later transforms see the same stream.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Drawn {
        let mut between = |[from, to]: [f32; 2]| {
            let happens = rng.random::<bool>();
            let value = from + rng.random::<f32>() * (to - from);
            happens.then_some(value)
        };
        let brightness = between([-self.brightness_delta, self.brightness_delta]);
        let contrast = between(self.contrast);
        let saturation = between(self.saturation);
        let turns = rng.random::<bool>();
        let delta = i32::from(self.hue_delta);
        let hue = rng.random_range(-delta..delta.max(1 - delta));
        let contrast_first = rng.random::<bool>();
        Drawn { brightness, contrast, contrast_first, saturation, hue: turns.then_some(hue) }
    }
}

impl Drawn {
    fn change(&self, pixels: &mut [u8]) {
        let unchanged: [u8; 256] = std::array::from_fn(|level| level as u8);
        let contrast = scaled(self.contrast.unwrap_or(1.0), 0.0);
        let (first, last) = if self.contrast_first { (contrast, unchanged) } else { (unchanged, contrast) };
        let brightness = scaled(1.0, self.brightness.unwrap_or(0.0));
        let first = brightness.map(|level| first[usize::from(level)]);
        let saturation = self.saturation.map(|factor| scaled(factor, 0.0));
        let tables = Tables::new();
        for pixel in pixels.chunks_exact_mut(3) {
            let mut rgb = [pixel[0], pixel[1], pixel[2]].map(|level| first[usize::from(level)]);
            if let Some(saturation) = &saturation {
                let [hue, level, value] = tables.to_hsv(rgb);
                rgb = from_hsv([hue, saturation[usize::from(level)], value]);
            }
            if let Some(turn) = self.hue {
                let [hue, saturation, value] = tables.to_hsv(rgb);
                rgb = from_hsv([(i32::from(hue) + turn).rem_euclid(HUES) as u8, saturation, value]);
            }
            pixel.copy_from_slice(&rgb.map(|level| last[usize::from(level)]));
        }
    }
}

/// Every level times a factor plus an offset, clamped and rounded down.
fn scaled(factor: f32, offset: f32) -> [u8; 256] {
    // A cast to u8 clamps, and cuts what follows the point.
    std::array::from_fn(|level| (level as f32 * factor + offset) as u8)
}

/// Hues of an 8-bit pixel: half the degrees of a circle.
const HUES: i32 = 180;

/// Quotients have this many binary places: OpenCV's `hsv_shift`.
const PLACES: u32 = 12;

/// OpenCV's reciprocals of a value, for the saturation, and of a range of channels, for the hue.
struct Tables {
    saturation: [i32; 256],
    hue: [i32; 256],
}

impl Tables {
    fn new() -> Self {
        let quotients = |whole: i32, parts: f64| {
            let quotient = |divisor: usize| f64::from(whole << PLACES) / (parts * divisor as f64);
            std::array::from_fn(|level| if level == 0 { 0 } else { quotient(level).round_ties_even() as i32 })
        };
        Self { saturation: quotients(255, 1.0), hue: quotients(HUES, 6.0) }
    }

    /// Hue 0 to 179, saturation and value 0 to 255.
    fn to_hsv(&self, rgb: [u8; 3]) -> [u8; 3] {
        let [red, green, blue] = rgb.map(i32::from);
        let value = red.max(green).max(blue);
        let range = value - red.min(green).min(blue);
        let rounded = |product: i32| (product + (1 << (PLACES - 1))) >> PLACES;
        let saturation = rounded(range * self.saturation[value as usize]);
        let sixths = if value == red {
            green - blue
        } else if value == green {
            blue - red + 2 * range
        } else {
            red - green + 4 * range
        };
        let hue = rounded(sixths * self.hue[range as usize]);
        let hue = if hue < 0 { hue + HUES } else { hue };
        [hue as u8, saturation as u8, value as u8]
    }
}

/// Red, green, blue; products and their roundings are those of OpenCV's vector code, which multiplies and
/// subtracts in one step: in f64 the product of two f32 is exact.
fn from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    const SIXTHS: f32 = 6.0 / 180.0;
    const SHARE: f32 = 1.0 / 255.0;
    let position = f32::from(hue) * SIXTHS;
    let sector = position.floor();
    let fraction = position - sector;
    let (saturation, value) = (f32::from(saturation) * SHARE, f32::from(value) * SHARE);
    let without = |share: f32| (1.0 - f64::from(saturation) * f64::from(share)) as f32;
    let level = |channel: f32| (channel * 255.0) as u8;
    let high = level(value);
    let low = level(value * (1.0 - saturation));
    let falling = level(value * without(fraction));
    let rising = level(value * without(1.0 - fraction));
    match sector as u32 % 6 {
        0 => [high, rising, low],
        1 => [falling, high, low],
        2 => [low, high, rising],
        3 => [low, falling, high],
        4 => [rising, low, high],
        _ => [high, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::Value;

    use super::*;

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_mmseg_drew_gives_the_pixels_of_mmseg() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/segmentation/transforms.json")).unwrap();
        let reference = &reference["photometric"];
        let cases = reference["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 24);
        for (number, case) in cases.iter().enumerate() {
            let factor = |key: &str| case[key].as_f64().map(|value| value as f32);
            let drawn = Drawn {
                brightness: factor("brightness"),
                contrast: factor("contrast"),
                contrast_first: case["contrast_first"].as_bool().unwrap(),
                saturation: factor("saturation"),
                hue: case["hue"].as_i64().map(|turn| turn as i32),
            };
            let mut pixels = bytes(&reference["pixels"]);
            drawn.change(&mut pixels);
            let expected = bytes(&case["pixels"]);
            let wrong = pixels.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(wrong, 0, "case {number}: {wrong} of {} differ, {case}", expected.len());
        }
    }

    #[test]
    fn every_change_happens_about_every_other_time_and_within_its_bounds() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let drawn: Vec<Drawn> = (0..2000).map(|_| Photometric8Bit::default().draw(&mut rng)).collect();
        let share = |happens: fn(&Drawn) -> bool| drawn.iter().filter(|drawn| happens(drawn)).count();
        for happened in [
            share(|drawn| drawn.brightness.is_some()),
            share(|drawn| drawn.contrast.is_some()),
            share(|drawn| drawn.contrast_first),
            share(|drawn| drawn.saturation.is_some()),
            share(|drawn| drawn.hue.is_some()),
        ] {
            assert!((900..1100).contains(&happened), "{happened} of 2000");
        }
        let turns: Vec<i32> = drawn.iter().filter_map(|drawn| drawn.hue).collect();
        assert_eq!((turns.iter().min(), turns.iter().max()), (Some(&-18), Some(&17)));
        assert!(drawn.iter().filter_map(|drawn| drawn.brightness).all(|delta| delta.abs() <= 32.0));
    }

    #[test]
    fn strengths_of_zero_change_nothing_but_what_hsv_rounds() {
        let none =
            Photometric8Bit { brightness_delta: 0.0, contrast: [1.0; 2], saturation: [1.0; 2], hue_delta: 0 };
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..20 {
            let mut pixels = [3, 77, 250, 0, 0, 0, 255, 255, 255, 90, 90, 90];
            none.draw(&mut rng).change(&mut pixels);
            let near = pixels.iter().zip([3u8, 77, 250, 0, 0, 0, 255, 255, 255, 90, 90, 90]);
            assert!(near.clone().all(|(a, b)| a.abs_diff(b) <= 4), "{pixels:?}");
        }
    }
}

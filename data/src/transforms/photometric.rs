//! Photometric distortion: brightness, contrast, saturation, hue and the order of the channels.
//!
//! Source: mmdet `PhotoMetricDistortion` (from SSD, Liu et al. 2016, <https://arxiv.org/abs/1512.02325>).
//! Each change happens with probability one half; contrast comes first or last at random.
//! Deviation: mmdet hands the float image on, here it is rounded and clamped to 8 bits at the end.

use rand::{Rng, RngExt};

use crate::sample::Sample;

/// Strengths of the changes. [`Photometric::default`] has mmdet's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Photometric {
    /// Largest change of brightness either way, in grey levels of 255.
    pub brightness_delta: f32,
    /// Factors of all channels, from and to.
    pub contrast: [f32; 2],
    /// Factors of the saturation, from and to.
    pub saturation: [f32; 2],
    /// Largest turn of the hue either way, degrees.
    pub hue_delta: f32,
    /// How often the channels are shuffled, 0 to 1.
    pub swap_probability: f64,
}

impl Default for Photometric {
    fn default() -> Self {
        Self {
            brightness_delta: 32.0,
            contrast: [0.5, 1.5],
            saturation: [0.5, 1.5],
            hue_delta: 18.0,
            swap_probability: 0.5,
        }
    }
}

/// What was drawn for one image. A change that does not happen has its neutral value.
struct Drawn {
    brightness: f32,
    contrast: f32,
    contrast_first: bool,
    saturation: f32,
    hue: f32,
    order: [usize; 3],
}

impl Photometric {
    pub(super) fn apply<R: Rng + ?Sized>(&self, mut sample: Sample, rng: &mut R) -> Sample {
        let drawn = self.draw(rng);
        for pixel in sample.image.chunks_exact_mut(3) {
            let changed = drawn.change([pixel[0], pixel[1], pixel[2]].map(f32::from));
            for (value, channel) in pixel.iter_mut().zip(drawn.order) {
                // A cast to u8 clamps.
                *value = changed[channel].round_ties_even() as u8;
            }
        }
        sample
    }

    /// Draws every number whether it is used or not, so that later transforms see the same stream.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Drawn {
        let mut between = |[from, to]: [f32; 2], neutral: f32| {
            let happens = rng.random::<bool>();
            let value = from + rng.random::<f32>() * (to - from);
            if happens { value } else { neutral }
        };
        let brightness = between([-self.brightness_delta, self.brightness_delta], 0.0);
        let contrast = between(self.contrast, 1.0);
        let saturation = between(self.saturation, 1.0);
        let hue = between([-self.hue_delta, self.hue_delta], 0.0);
        let contrast_first = rng.random::<bool>();
        let swap = rng.random::<f64>() < self.swap_probability;
        /// All orders of three channels.
        const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let order = ORDERS[rng.random_range(0..ORDERS.len())];
        let order = if swap { order } else { ORDERS[0] };
        Drawn { brightness, contrast, contrast_first, saturation, hue, order }
    }
}

impl Drawn {
    fn change(&self, rgb: [f32; 3]) -> [f32; 3] {
        let mut rgb = rgb.map(|value| value + self.brightness);
        if self.contrast_first {
            rgb = rgb.map(|value| value * self.contrast);
        }
        if self.saturation != 1.0 || self.hue != 0.0 {
            let [hue, saturation, value] = to_hsv(rgb);
            // As OpenCV's for floats: saturation lies in 0..=1.
            let saturation = (saturation * self.saturation).clamp(0.0, 1.0);
            rgb = from_hsv([(hue + self.hue).rem_euclid(360.0), saturation, value]);
        }
        if !self.contrast_first {
            rgb = rgb.map(|value| value * self.contrast);
        }
        rgb
    }
}

/// Hue in degrees, saturation 0 to 1, value on the scale of the input.
fn to_hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    let saturation = range / (value.abs() + f32::EPSILON);
    let sixth = 60.0 / (range + f32::EPSILON);
    let hue = if value == red {
        (green - blue) * sixth
    } else if value == green {
        (blue - red) * sixth + 120.0
    } else {
        (red - green) * sixth + 240.0
    };
    [if hue < 0.0 { hue + 360.0 } else { hue }, saturation, value]
}

fn from_hsv([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sector = hue / 60.0;
    let index = sector.floor();
    let fraction = sector - index;
    let low = value * (1.0 - saturation);
    let falling = value * (1.0 - saturation * fraction);
    let rising = value * (1.0 - saturation * (1.0 - fraction));
    match index as u32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_colours_have_the_hues_of_the_wheel() {
        assert_eq!(to_hsv([200.0, 0.0, 0.0])[0], 0.0);
        assert!((to_hsv([0.0, 200.0, 0.0])[0] - 120.0).abs() < 1e-3);
        assert!((to_hsv([0.0, 0.0, 200.0])[0] - 240.0).abs() < 1e-3);
        assert_eq!(to_hsv([80.0, 80.0, 80.0])[1], 0.0);
    }

    #[test]
    fn hsv_and_back_is_the_same_colour() {
        for rgb in [[0.0, 0.0, 0.0], [255.0, 255.0, 255.0], [12.0, 200.0, 99.0], [9.0, 8.0, 250.0]] {
            let back = from_hsv(to_hsv(rgb));
            for (a, b) in back.into_iter().zip(rgb) {
                assert!((a - b).abs() < 1e-2, "{back:?} is not {rgb:?}");
            }
        }
    }

    #[test]
    fn neutral_strengths_change_nothing() {
        let drawn = Drawn {
            brightness: 0.0,
            contrast: 1.0,
            contrast_first: true,
            saturation: 1.0,
            hue: 0.0,
            order: [0, 1, 2],
        };
        assert_eq!(drawn.change([3.0, 77.0, 250.0]), [3.0, 77.0, 250.0]);
    }
}

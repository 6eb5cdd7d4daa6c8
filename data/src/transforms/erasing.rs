//! Random erasing: a rectangle becomes noise, so that a network cannot lean on one part of an object.
//!
//! Paper: Zhong et al. 2017, <https://arxiv.org/abs/1708.04896>. As timm's `RandomErasing` in its mode `pixel`, with one
//! rectangle. Deviation: noise is drawn before the normalisation, and cut off where a byte ends.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::happens;
use crate::sample::Sample;

/// Rectangles that are drawn until one fits (timm).
const ATTEMPTS: usize = 10;

/// What is erased, and what with.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomErasing {
    /// How often, 0 to 1.
    pub probability: f64,
    /// Smallest and largest share of the image's area; 0.02 and 1/3 in timm.
    pub scale: [f64; 2],
    /// Smallest and largest height over width; 0.3 and 1/0.3 in timm.
    pub ratio: [f64; 2],
    /// Mean of the noise in each channel.
    pub mean: [f32; 3],
    /// Standard deviation of the noise in each channel.
    pub std: [f32; 3],
}

impl RandomErasing {
    pub(super) fn apply<R: Rng + ?Sized>(&self, mut sample: Sample, rng: &mut R) -> Sample {
        if !happens(self.probability, rng) {
            return sample;
        }
        let (width, height) = sample.image.dimensions();
        let Some([x0, y0, erased_width, erased_height]) = self.rectangle(width, height, rng) else {
            return sample;
        };
        for y in y0..y0 + erased_height {
            for x in x0..x0 + erased_width {
                let channels = self.mean.iter().zip(self.std);
                for (value, (mean, std)) in sample.image.get_pixel_mut(x, y).0.iter_mut().zip(channels) {
                    let noise: f32 = StandardNormal.sample(rng);
                    *value = (mean + std * noise).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
        sample
    }

    /// Left and upper edge, width and height; nothing where none fitted.
    fn rectangle<R: Rng + ?Sized>(&self, width: u32, height: u32, rng: &mut R) -> Option<[u32; 4]> {
        let area = f64::from(width) * f64::from(height);
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
        let [erased_width, erased_height] = (0..ATTEMPTS).find_map(|_| {
            let target = area * between(self.scale);
            let ratio = between(self.ratio.map(f64::ln)).exp();
            let [erased_width, erased_height] =
                [(target / ratio).sqrt(), (target * ratio).sqrt()].map(|side| side.round_ties_even() as u32);
            (erased_width < width && erased_height < height).then_some([erased_width, erased_height])
        })?;
        let y0 = rng.random_range(0..=height - erased_height);
        let x0 = rng.random_range(0..=width - erased_width);
        Some([x0, y0, erased_width, erased_height])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_share_asked_for_becomes_noise_of_the_mean_asked_for() {
        let erasing = RandomErasing {
            probability: 1.0,
            scale: [0.1, 0.2],
            ratio: [0.3, 1.0 / 0.3],
            mean: [120.0, 60.0, 200.0],
            std: [10.0; 3],
        };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for index in 0..20 {
            let image = RgbImage::from_pixel(100, 80, Rgb([7; 3]));
            let erased = erasing.apply(Sample::of_image(index, "drawn".into(), image), &mut rng).image;
            let noise: Vec<_> = erased.pixels().filter(|pixel| **pixel != Rgb([7; 3])).collect();
            let share = noise.len() as f64 / 8000.0;
            assert!((0.09..0.21).contains(&share), "{share}");
            for (channel, mean) in erasing.mean.iter().enumerate() {
                let sum: f32 = noise.iter().map(|pixel| f32::from(pixel[channel])).sum();
                assert!((sum / noise.len() as f32 - mean).abs() < 2.0);
            }
        }
        let never = RandomErasing { probability: 0.0, ..erasing };
        let image = RgbImage::from_pixel(9, 9, Rgb([7; 3]));
        assert_eq!(never.apply(Sample::of_image(0, "drawn".into(), image.clone()), &mut rng).image, image);
    }
}

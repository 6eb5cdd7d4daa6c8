//! RandAugment: a few operations drawn from fifteen, so that a class is also known turned, sheared, inverted or pale.
//!
//! Paper: Cubuk et al. 2019, <https://arxiv.org/abs/1909.13719>. As timm's `rand-m9-mstd0.5-inc1`, which ConvNeXt V1
//! and V2 were trained and fine-tuned with; the pixels are those of Pillow 13 on x86-64, to the bit. In timm's words
//! `n` is [`layers`](RandAugment::layers), `m` the magnitude, `mstd` its deviation, `p` the probability, and `inc1`
//! says that every operation does more the larger the magnitude.
//!
//! Deviation: at a magnitude of 10, which one in 44 exceeds before it is cut off, posterising keeps no bit and gives
//! black, as it did with the Pillow that ConvNeXt was trained with; since 13 Pillow refuses, and timm fails.

mod colour;
#[cfg(test)]
mod pillow_tests;
mod warp;

use image::RgbImage;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::happens;
use crate::sample::Sample;

/// How many operations are applied, how often and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    /// Operations that are drawn for one image, with replacement.
    pub layers: usize,
    /// Mean of the magnitudes, 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the magnitudes, which are then cut off at 0 and 10.
    pub magnitude_deviation: f64,
    /// How often an operation that was drawn is applied, 0 to 1.
    pub probability: f64,
    /// Colour of what an operation moves in from outside the image.
    pub fill: [u8; 3],
}

impl RandAugment {
    /// `rand-m9-mstd0.5-inc1`, with the mean of the data set, in grey levels of 255, as the fill colour.
    pub fn of_convnext(mean: [f32; 3]) -> Self {
        let fill = mean.map(|level| level.round_ties_even() as u8);
        Self { layers: 2, magnitude: 9.0, magnitude_deviation: 0.5, probability: 0.5, fill }
    }

    /// # Panics
    /// When the sample has objects or labels of pixels, which would not follow the image.
    pub(super) fn apply<R: Rng + ?Sized>(&self, mut sample: Sample, rng: &mut R) -> Sample {
        assert!(
            sample.instances.is_empty() && sample.labels.is_none(),
            "{}: RandAugment is for classification, boxes, masks and labels do not follow it",
            sample.file.display()
        );
        for _ in 0..self.layers {
            let layer = self.draw(rng);
            if layer.happens {
                sample.image = layer.change(sample.image, self.fill);
            }
        }
        sample
    }

    /// Draws every number whether it is used or not, so that later transforms see the same stream.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Layer {
        let operation = Operation::ALL[rng.random_range(0..Operation::ALL.len())];
        let happens = happens(self.probability, rng);
        let noise: f64 = StandardNormal.sample(rng);
        let magnitude = (self.magnitude + self.magnitude_deviation * noise).clamp(0.0, MOST);
        Layer { operation, happens, magnitude, negated: rng.random::<bool>() }
    }
}

/// The largest magnitude.
const MOST: f64 = 10.0;

/// What was drawn for one layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    operation: Operation,
    happens: bool,
    magnitude: f64,
    /// Whether an operation with two directions takes the negative one.
    negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

impl Operation {
    const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];
}

impl Layer {
    /// The image after the operation; the largest magnitude turns by 30 degrees, keeps no bit, inverts everything, adds
    /// 110, enhances by a factor of 0.1 or 1.9, shears by 0.3 and moves by 0.45 of a side.
    fn change(&self, mut image: RgbImage, fill: [u8; 3]) -> RgbImage {
        let share = self.magnitude / MOST;
        let signed = |value: f64| if self.negated { -value } else { value };
        let enhancing = || (1.0 + signed(share * 0.9)).max(0.1) as f32;
        let (width, height) = image.dimensions();
        match self.operation {
            Operation::AutoContrast => colour::stretch(&mut image),
            Operation::Equalize => colour::equalize(&mut image),
            Operation::Invert => colour::invert_from(0, &mut image),
            Operation::Posterize => colour::keep_bits(4 - (share * 4.0) as u32, &mut image),
            Operation::Solarize => colour::invert_from(256 - (share * 256.0) as u32, &mut image),
            Operation::SolarizeAdd => colour::brighten_dark((share * 110.0) as u8, &mut image),
            Operation::Color => colour::saturate(enhancing(), &mut image),
            Operation::Contrast => colour::contrast(enhancing(), &mut image),
            Operation::Brightness => colour::brighten(enhancing(), &mut image),
            Operation::Sharpness => colour::sharpen(enhancing(), &mut image),
            Operation::Rotate => image = warp::rotate(&image, signed(share * 30.0), fill),
            Operation::ShearX => {
                image = warp::affine(&image, [[1.0, signed(share * 0.3), 0.0], [0.0, 1.0, 0.0]], fill);
            }
            Operation::ShearY => {
                image = warp::affine(&image, [[1.0, 0.0, 0.0], [signed(share * 0.3), 1.0, 0.0]], fill);
            }
            Operation::TranslateX => {
                let pixels = signed(share * 0.45) * f64::from(width);
                image = warp::affine(&image, [[1.0, 0.0, pixels], [0.0, 1.0, 0.0]], fill);
            }
            Operation::TranslateY => {
                let pixels = signed(share * 0.45) * f64::from(height);
                image = warp::affine(&image, [[1.0, 0.0, 0.0], [0.0, 1.0, pixels]], fill);
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::label_map::LabelMap;

    fn recipe() -> RandAugment {
        RandAugment::of_convnext([123.675, 116.28, 103.53])
    }

    fn picture() -> Sample {
        let image = RgbImage::from_fn(40, 31, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, (x * y) as u8 ^ 90]));
        Sample::of_image(0, "drawn".into(), image)
    }

    fn augmented(augment: &RandAugment, seed: u64) -> RgbImage {
        augment.apply(picture(), &mut ChaCha8Rng::seed_from_u64(seed)).image
    }

    #[test]
    fn the_fill_colour_of_imagenet_is_that_of_timm() {
        assert_eq!(recipe().fill, [124, 116, 104]);
    }

    #[test]
    fn every_operation_is_drawn_equally_often_and_applied_every_other_time_either_way() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let drawn: Vec<Layer> = (0..30_000).map(|_| recipe().draw(&mut rng)).collect();
        for operation in Operation::ALL {
            let count = |wanted: fn(&Layer) -> bool| {
                drawn.iter().filter(|layer| layer.operation == operation && wanted(layer)).count()
            };
            // Five standard deviations: 43 of 2000 drawn, 31 of 1000 applied, 31 of 1000 negated.
            let (all, applied) = (count(|_| true), count(|layer| layer.happens));
            let negated = count(|layer| layer.negated);
            assert!(all.abs_diff(2000) < 215, "{operation:?}: {all}");
            assert!(applied.abs_diff(1000) < 155, "{operation:?}: {applied}");
            assert!(negated.abs_diff(1000) < 155, "{operation:?}: {negated}");
        }
    }

    #[test]
    fn magnitudes_are_normal_and_cut_off_at_ten_and_at_zero() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut share = |augment: &RandAugment, wanted: &dyn Fn(f64) -> bool| {
            let magnitudes = (0..20_000).map(|_| augment.draw(&mut rng).magnitude);
            magnitudes.filter(|magnitude| wanted(*magnitude)).count() as f64 / 20_000.0
        };
        // Beyond two standard deviations, on one side: 0.02275; within one: 0.6827.
        let at_the_end = share(&recipe(), &|magnitude| magnitude == 10.0);
        assert!((at_the_end - 0.022_75).abs() < 0.005, "{at_the_end}");
        let near = share(&recipe(), &|magnitude| (8.5..9.5).contains(&magnitude));
        assert!((near - 0.6827).abs() < 0.02, "{near}");
        let weak = RandAugment { magnitude: 0.0, ..recipe() };
        assert!((share(&weak, &|magnitude| magnitude == 0.0) - 0.5).abs() < 0.02);
        assert_eq!(share(&recipe(), &|magnitude| (0.0..=10.0).contains(&magnitude)), 1.0);
        let fixed = RandAugment { magnitude_deviation: 0.0, ..recipe() };
        assert_eq!(share(&fixed, &|magnitude| magnitude == 9.0), 1.0);
    }

    #[test]
    fn one_seed_gives_one_image_and_others_give_others() {
        let always = RandAugment { probability: 1.0, ..recipe() };
        let images: Vec<RgbImage> = (0..40).map(|seed| augmented(&always, seed)).collect();
        for (seed, image) in images.iter().enumerate() {
            assert!(augmented(&always, seed as u64) == *image, "seed {seed}");
        }
        let repeated = images.iter().enumerate().filter(|(place, image)| images[..*place].contains(image));
        assert!(repeated.count() <= 2, "two weak operations may agree, hardly more");
    }

    #[test]
    fn one_image_in_four_is_left_alone_and_all_are_with_probability_or_layers_of_zero() {
        let original = picture().image;
        let untouched = (0..2000).filter(|seed| augmented(&recipe(), *seed) == original).count();
        // An inversion of an inversion, and what else changes nothing here, come on top of a quarter.
        assert!((450..600).contains(&untouched), "{untouched} of 2000");
        for seed in 0..20 {
            assert!(augmented(&RandAugment { probability: 0.0, ..recipe() }, seed) == original);
            assert!(augmented(&RandAugment { layers: 0, ..recipe() }, seed) == original);
        }
    }

    #[test]
    fn posterising_with_the_largest_magnitude_gives_black() {
        let operation = Operation::Posterize;
        let layer = Layer { operation, happens: true, magnitude: 10.0, negated: false };
        assert!(layer.change(picture().image, [9; 3]).iter().all(|level| *level == 0));
    }

    #[test]
    fn an_image_of_one_pixel_survives_every_operation() {
        let always = RandAugment { layers: 15, probability: 1.0, ..recipe() };
        for seed in 0..100 {
            let sample = Sample::of_image(0, "drawn".into(), RgbImage::from_pixel(1, 1, Rgb([9, 200, 30])));
            let image = always.apply(sample, &mut ChaCha8Rng::seed_from_u64(seed)).image;
            assert_eq!(image.dimensions(), (1, 1));
        }
    }

    #[test]
    #[should_panic(expected = "boxes, masks and labels do not follow")]
    fn labels_of_pixels_are_refused() {
        let sample = Sample { labels: Some(LabelMap::filled(40, 31, 0)), ..picture() };
        recipe().apply(sample, &mut ChaCha8Rng::seed_from_u64(0));
    }
}

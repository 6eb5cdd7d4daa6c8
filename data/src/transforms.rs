//! What happens to a sample between the file and the network, with everything drawn from one rng.
//!
//! Semantics are mmdet 3's, whose published figures came from these transforms: boxes are scaled and
//! clipped by a resize. Those of semantic segmentation are mmseg 1.2's. Masks and labels follow every
//! transform exactly, by copying pixels. Normalisation and padding come last, where the batch is
//! written: [`normalise_into`], [`pad_labels_into`](crate::label_map::pad_labels_into).
//!
//! Deviations: after a crop a box is the bounds of what is left of its mask, which mmdet's `RandomCrop`
//! does only with `recompute_bbox`, and otherwise clips the box; and an image of which no object is left
//! teaches background, where mmdet's loader may draw another one.

#[cfg(test)]
mod chain_tests;
mod crop;
mod crop_labelled;
mod erasing;
mod normalise;
mod photometric;
mod photometric_8bit;
mod rand_augment;
mod resized_crop;
mod turn;

use image::RgbImage;
use rand::{Rng, RngExt};

use crate::resize::{keep_ratio_size, resize_bilinear};
use crate::resize_pillow::Filter;
use crate::sample::Sample;

pub use crop::Negative;
pub use erasing::RandomErasing;
pub use normalise::{normalise_into, pad_to_multiple};
pub use photometric::Photometric;
pub use photometric_8bit::Photometric8Bit;
pub use rand_augment::RandAugment;

/// One step of a [`Pipeline`].
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Resizes, keeping the ratio, until the image fits into `long` x `short`, whichever way it
    /// lies. The only step a detector is evaluated with.
    ResizeKeepRatio {
        /// Bound of the longer side, pixels.
        long: u32,
        /// Bound of the shorter side, pixels.
        short: u32,
    },
    /// [`ResizeKeepRatio`](Self::ResizeKeepRatio) with one of several short sides, each as likely.
    MultiScale {
        /// Bound of the longer side, pixels.
        long: u32,
        /// Bounds of the shorter side to choose from, pixels.
        short_sides: Vec<u32>,
    },
    /// Resizes to fit a square of `size` times a random ratio, then cuts at most `size` x `size`
    /// out of it. Smaller results are padded where the batch is written.
    LargeScaleJitter {
        /// Side of the square, pixels.
        size: u32,
        /// Smallest ratio, inclusive.
        min: f64,
        /// Largest ratio, exclusive.
        max: f64,
    },
    /// Cuts out a rectangle each side of which is drawn from `min..=max` (mmdet's crop type
    /// `absolute_range`), at a random place. Sides never exceed the image's.
    RandomCropAbsolute {
        /// Shortest side, pixels.
        min: u32,
        /// Longest side, pixels, inclusive.
        max: u32,
        /// Whether a crop may hold no object.
        negative: Negative,
    },
    /// Cuts out `width` x `height` pixels, or what there is, at a random place.
    FixedSizeCrop {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
        /// Whether a crop may hold no object.
        negative: Negative,
    },
    /// [`ResizeKeepRatio`](Self::ResizeKeepRatio) with both bounds multiplied by one random ratio and
    /// rounded down (mmcv's `RandomResize` with a `ratio_range`).
    RandomResize {
        /// Bound of the longer side, pixels, at ratio 1.
        long: u32,
        /// Bound of the shorter side, pixels, at ratio 1.
        short: u32,
        /// Smallest ratio, inclusive.
        min_ratio: f64,
        /// Largest ratio, exclusive.
        max_ratio: f64,
    },
    /// Cuts out `width` x `height` pixels, or what there is, where no class is nearly everything: up to
    /// ten other places are drawn if it is (mmseg's `RandomCrop`). Smaller results are padded where the
    /// batch is written.
    RandomCropLabelled {
        /// Height, pixels.
        height: u32,
        /// Width, pixels.
        width: u32,
        /// Largest share of one class, exclusive, of the pixels that are not ignored (mmseg's
        /// `cat_max_ratio`); from 1 on, any place will do.
        max_category_ratio: f64,
    },
    /// Cuts out a rectangle of random area and ratio and resizes it, bicubic, to a square
    /// (torchvision's `RandomResizedCrop`).
    RandomResizedCrop {
        /// Side of the square, pixels.
        side: u32,
        /// Smallest and largest share of the image's area.
        scale: [f64; 2],
        /// Smallest and largest width over height.
        ratio: [f64; 2],
    },
    /// Resizes until the shorter side has `short` pixels, and cuts `side` x `side` out of the centre
    /// (timm's evaluation below 384 pixels).
    ResizeAndCentreCrop {
        /// The shorter side, pixels; not below `side`.
        short: u32,
        /// Side of the square, pixels.
        side: u32,
        /// What it is resized with.
        filter: Filter,
    },
    /// Resizes to a square whatever the ratio (timm's evaluation from 384 pixels on).
    ResizeToSquare {
        /// Side of the square, pixels.
        side: u32,
        /// What it is resized with.
        filter: Filter,
    },
    /// Changes colours, turns, shears and moves: a few operations drawn from fifteen. For classification: what the
    /// operations move is not in [`Geometry`](crate::Geometry), and a sample with instances or labels panics.
    RandAugment(RandAugment),
    /// Fills a random rectangle with noise.
    RandomErasing(RandomErasing),
    /// Mirrors left and right.
    Flip {
        /// How often, 0 to 1.
        probability: f64,
    },
    /// Mirrors top and bottom: for pictures without an up, such as microscopy.
    FlipVertical {
        /// How often, 0 to 1.
        probability: f64,
    },
    /// Turns by 90 degrees clockwise: with the two flips, every way a picture without an up can lie.
    QuarterTurn {
        /// How often, 0 to 1.
        probability: f64,
    },
    /// Changes brightness, contrast, saturation, hue and the order of the channels.
    PhotometricDistortion(Photometric),
    /// Changes brightness, contrast, saturation and hue as mmseg does, in 8 bits.
    PhotometricDistortion8Bit(Photometric8Bit),
    /// Removes objects whose box is narrower or lower than this many input pixels.
    DropSmall {
        /// Shortest side kept, input pixels, inclusive.
        min_side: f32,
    },
    /// Applies one of several lists, each as likely.
    OneOf(Vec<Vec<Transform>>),
}

impl Transform {
    /// The augmentation of DETR, which Swin and ConvNeXt were fine-tuned with: either a multi-scale
    /// resize to `short_sides`, or a resize to `first_sides`, a crop with sides from `crop.0` to
    /// `crop.1`, and then the multi-scale resize. The ConvNeXt repository has long 1333, short 480
    /// to 800 in steps of 32, first 400, 500, 600, and crops of 384 to 600 pixels.
    pub fn resize_or_crop_and_resize(
        long: u32,
        short_sides: &[u32],
        first_sides: &[u32],
        crop: (u32, u32),
    ) -> Self {
        let resize = |short_sides: &[u32]| Self::MultiScale { long, short_sides: short_sides.into() };
        Self::OneOf(vec![
            vec![resize(short_sides)],
            vec![
                resize(first_sides),
                Self::RandomCropAbsolute { min: crop.0, max: crop.1, negative: Negative::Allow },
                resize(short_sides),
            ],
        ])
    }

    fn apply<R: Rng + ?Sized>(&self, sample: Sample, rng: &mut R) -> Sample {
        match self {
            Self::ResizeKeepRatio { long, short } => resize(sample, *long, *short),
            Self::MultiScale { long, short_sides } => match pick(short_sides, rng) {
                Some(short) => resize(sample, *long, *short),
                None => sample,
            },
            Self::LargeScaleJitter { size, min, max } => {
                let ratio = min + rng.random::<f64>() * (max - min);
                let side = ((f64::from(*size) * ratio) as u32).max(1);
                let resized = resize(sample, side, side);
                crop::fixed(resized, *size, *size, Negative::Allow, rng)
            }
            Self::RandomCropAbsolute { min, max, negative } => {
                let (width, height) = sample.image.dimensions();
                let mut draw = |side: u32| rng.random_range(side.min(*min)..=side.min(*max));
                let crop_height = draw(height);
                let crop_width = draw(width);
                crop::fixed(sample, crop_width, crop_height, *negative, rng)
            }
            Self::FixedSizeCrop { width, height, negative } => {
                crop::fixed(sample, *width, *height, *negative, rng)
            }
            Self::RandomResize { long, short, min_ratio, max_ratio } => {
                let ratio = rng.random::<f64>() * (max_ratio - min_ratio) + min_ratio;
                let scaled = |side: u32| ((f64::from(side) * ratio) as u32).max(1);
                resize(sample, scaled(*long), scaled(*short))
            }
            Self::RandomCropLabelled { height, width, max_category_ratio } => {
                crop_labelled::apply(sample, *width, *height, *max_category_ratio, rng)
            }
            Self::RandomResizedCrop { side, scale, ratio } => {
                resized_crop::random(sample, *side, *scale, *ratio, rng)
            }
            Self::ResizeAndCentreCrop { short, side, filter } => {
                resized_crop::centre(sample, *short, *side, *filter)
            }
            Self::ResizeToSquare { side, filter } => resized_crop::resize(sample, *side, *side, *filter),
            Self::RandAugment(augment) => augment.apply(sample, rng),
            Self::RandomErasing(erasing) => erasing.apply(sample, rng),
            Self::Flip { probability } => {
                if happens(*probability, rng) {
                    turn::flip_horizontal(sample)
                } else {
                    sample
                }
            }
            Self::FlipVertical { probability } => {
                if happens(*probability, rng) {
                    turn::flip_vertical(sample)
                } else {
                    sample
                }
            }
            Self::QuarterTurn { probability } => {
                // Clockwise: the left column becomes the top row, read from below.
                if happens(*probability, rng) {
                    turn::flip_horizontal(turn::transpose(sample))
                } else {
                    sample
                }
            }
            Self::PhotometricDistortion(photometric) => photometric.apply(sample, rng),
            Self::PhotometricDistortion8Bit(photometric) => photometric.apply(sample, rng),
            Self::DropSmall { min_side } => {
                let mut sample = sample;
                sample.instances.retain(|instance| {
                    instance.bbox.width() >= *min_side && instance.bbox.height() >= *min_side
                });
                sample
            }
            Self::OneOf(branches) => match pick(branches, rng) {
                Some(branch) => branch.iter().fold(sample, |sample, transform| transform.apply(sample, rng)),
                None => sample,
            },
        }
    }
}

/// Transforms applied one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipeline {
    /// In the order of application.
    pub transforms: Vec<Transform>,
}

impl Pipeline {
    /// Applies all transforms; the result depends on the sample and on what `rng` gives alone.
    pub fn apply<R: Rng + ?Sized>(&self, sample: Sample, rng: &mut R) -> Sample {
        self.transforms.iter().fold(sample, |sample, transform| transform.apply(sample, rng))
    }
}

/// Whether an event of this probability takes place. One number is drawn in any case, so that a
/// changed probability does not shift what later transforms draw.
fn happens<R: Rng + ?Sized>(probability: f64, rng: &mut R) -> bool {
    rng.random::<f64>() < probability
}

/// One of the choices, each as likely; `None` when there are none.
fn pick<'a, T, R: Rng + ?Sized>(choices: &'a [T], rng: &mut R) -> Option<&'a T> {
    if choices.is_empty() { None } else { choices.get(rng.random_range(0..choices.len())) }
}

/// Keep-ratio resize of image, boxes, masks and labels.
fn resize(sample: Sample, long: u32, short: u32) -> Sample {
    let (old_width, old_height) = sample.image.dimensions();
    let (width, height) = keep_ratio_size(old_width, old_height, long, short);
    if (width, height) == (old_width, old_height) {
        return sample;
    }
    let image = resize_bilinear(&sample.image, width, height);
    resized(sample, image)
}

/// The sample with `image`, its own at another size: boxes, masks and labels follow.
fn resized(mut sample: Sample, image: RgbImage) -> Sample {
    let (old_width, old_height) = sample.image.dimensions();
    let (width, height) = image.dimensions();
    sample.image = image;
    // The factors of the integer sizes, which differ a little between the axes.
    let scale_x = width as f32 / old_width as f32;
    let scale_y = height as f32 / old_height as f32;
    for instance in &mut sample.instances {
        instance.bbox = instance.bbox.scale(scale_x, scale_y).clip(width as f32, height as f32);
        instance.mask = instance.mask.resize(width as usize, height as usize);
    }
    sample.labels = sample.labels.map(|labels| labels.resize(width as usize, height as usize));
    sample.geometry = sample.geometry.resized(width as usize, height as usize);
    sample
}

/// An image of the same kind from rows of bytes.
fn image_from(width: usize, height: usize, pixels: Vec<u8>) -> RgbImage {
    RgbImage::from_raw(width as u32, height as u32, pixels)
        .expect("transforms write three bytes for each pixel")
}

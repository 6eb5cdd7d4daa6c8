//! The recipe's augmentation: what happens to a training image, in order.

use cvx_data::{Negative, Photometric, Photometric8Bit, Transform};
use serde::{Deserialize, Serialize};

/// One step an image takes on its way in; boxes and masks follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TransformRecipe {
    /// Scale, keeping the ratio, so that the shorter side reaches `short_side` unless the longer
    /// would pass `long_side`.
    Resize {
        /// Pixels.
        short_side: u32,
        /// Pixels.
        long_side: u32,
    },
    /// `resize` with one of these shorter sides, drawn anew for every image.
    MultiScale {
        /// Pixels.
        short_sides: Vec<u32>,
        /// Pixels.
        long_side: u32,
    },
    /// Large-scale jitter: scale to fit a square of `side` times a factor drawn between the two,
    /// then cut out at most `side` by `side` pixels.
    LargeScaleJitter {
        /// Pixels.
        side: u32,
        /// Smallest factor, inclusive.
        min_scale: f64,
        /// Largest factor, exclusive.
        max_scale: f64,
    },
    /// Cut out a window, each side of which is drawn between the two bounds.
    RandomCrop {
        /// Pixels, inclusive.
        min_side: u32,
        /// Pixels, inclusive.
        max_side: u32,
        /// Whether a window may hold no object.
        empty: EmptyCrop,
    },
    /// `resize` with both sides multiplied by a factor drawn between the two (mmseg's `RandomResize`).
    RandomResize {
        /// Pixels, at factor 1.
        short_side: u32,
        /// Pixels, at factor 1.
        long_side: u32,
        /// Smallest factor, inclusive.
        min_scale: f64,
        /// Largest factor, exclusive.
        max_scale: f64,
    },
    /// Cut out a window where no class is nearly everything, in ten tries (mmseg's `RandomCrop` with
    /// `cat_max_ratio`). Batches of what was cut have its size: smaller images are padded, and their labels ignored there.
    CategoryCrop {
        /// Pixels.
        height: u32,
        /// Pixels.
        width: u32,
        /// Largest share of one class among the pixels that are not ignored, exclusive; at 1.0 any place will do.
        max_category_share: f64,
    },
    /// Mirror left and right.
    Flip {
        /// Share of the images.
        probability: f64,
    },
    /// Mirror top and bottom: for pictures without an up, such as microscopy.
    FlipVertical {
        /// Share of the images.
        probability: f64,
    },
    /// Turn by 90 degrees clockwise: for pictures without an up.
    QuarterTurn {
        /// Share of the images.
        probability: f64,
    },
    /// Change brightness, contrast, saturation, hue and the order of the channels, as SSD does.
    PhotometricDistortion {
        /// Largest shift, of 255.
        brightness_delta: f32,
        /// Smallest and largest factor.
        contrast: [f32; 2],
        /// Smallest and largest factor.
        saturation: [f32; 2],
        /// Largest turn, degrees.
        hue_delta: f32,
        /// Share of the images whose channels are shuffled.
        swap_probability: f64,
    },
    /// `photometric-distortion` as mmseg does it: every change is rounded down to 8 bits, and the hue turns in steps of two
    /// degrees.
    #[serde(rename = "photometric-distortion-8-bit")]
    PhotometricDistortion8Bit {
        /// Largest shift, of 255.
        brightness_delta: f32,
        /// Smallest and largest factor.
        contrast: [f32; 2],
        /// Smallest and largest factor.
        saturation: [f32; 2],
        /// Largest turn, steps of two degrees, below 90.
        hue_delta: u8,
    },
    /// Remove objects whose box is narrower or lower than this.
    DropSmall {
        /// Input pixels.
        min_side: f32,
    },
    /// One of these sequences, drawn with equal chances.
    OneOf(Vec<Vec<TransformRecipe>>),
}

/// Whether a window that was cut out may hold no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EmptyCrop {
    /// It may; the image then teaches background only.
    Allow,
    /// It is moved to an object, if the image has one.
    Avoid,
}

impl TransformRecipe {
    /// The transform itself.
    pub fn transform(&self) -> Transform {
        match self {
            Self::Resize { short_side, long_side } => {
                Transform::ResizeKeepRatio { long: *long_side, short: *short_side }
            }
            Self::MultiScale { short_sides, long_side } => {
                Transform::MultiScale { long: *long_side, short_sides: short_sides.clone() }
            }
            Self::LargeScaleJitter { side, min_scale, max_scale } => {
                Transform::LargeScaleJitter { size: *side, min: *min_scale, max: *max_scale }
            }
            Self::RandomCrop { min_side, max_side, empty } => Transform::RandomCropAbsolute {
                min: *min_side,
                max: *max_side,
                negative: match empty {
                    EmptyCrop::Allow => Negative::Allow,
                    EmptyCrop::Avoid => Negative::Avoid,
                },
            },
            Self::RandomResize { short_side, long_side, min_scale, max_scale } => Transform::RandomResize {
                long: *long_side,
                short: *short_side,
                min_ratio: *min_scale,
                max_ratio: *max_scale,
            },
            Self::CategoryCrop { height, width, max_category_share } => Transform::RandomCropLabelled {
                height: *height,
                width: *width,
                max_category_ratio: *max_category_share,
            },
            Self::Flip { probability } => Transform::Flip { probability: *probability },
            Self::FlipVertical { probability } => Transform::FlipVertical { probability: *probability },
            Self::QuarterTurn { probability } => Transform::QuarterTurn { probability: *probability },
            Self::PhotometricDistortion {
                brightness_delta,
                contrast,
                saturation,
                hue_delta,
                swap_probability,
            } => Transform::PhotometricDistortion(Photometric {
                brightness_delta: *brightness_delta,
                contrast: *contrast,
                saturation: *saturation,
                hue_delta: *hue_delta,
                swap_probability: *swap_probability,
            }),
            Self::PhotometricDistortion8Bit { brightness_delta, contrast, saturation, hue_delta } => {
                Transform::PhotometricDistortion8Bit(Photometric8Bit {
                    brightness_delta: *brightness_delta,
                    contrast: *contrast,
                    saturation: *saturation,
                    hue_delta: *hue_delta,
                })
            }
            Self::DropSmall { min_side } => Transform::DropSmall { min_side: *min_side },
            Self::OneOf(sequences) => Transform::OneOf(
                sequences.iter().map(|steps| steps.iter().map(Self::transform).collect()).collect(),
            ),
        }
    }
}

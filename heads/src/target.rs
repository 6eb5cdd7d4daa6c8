//! What a detector is told about its images: their sizes, and in training the truth in them.

use crate::mask_target::TargetMask;

/// Truth of one image, in input pixels: one box, one label and one mask an object.
///
/// Crowd regions do not belong here: as in mmdet with its default `ignore_iof_thr` of -1, they
/// neither attract proposals nor protect them from becoming background.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Corners `[x0, y0, x1, y1]`; the width is `x1 - x0`.
    pub boxes: Vec<[f32; 4]>,
    /// Contiguous class indices, each less than the number of classes.
    pub labels: Vec<usize>,
    /// One mask a box, in a frame of the image's input pixels.
    pub masks: Vec<TargetMask>,
}

/// How much of a padded input is image, in input pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Height of the image itself: boxes are clipped to it.
    pub height: usize,
    /// Width of the image itself.
    pub width: usize,
    /// Height of this image alone padded to the divisor, at most the height of the batch: anchors
    /// whose cell begins below it take no part in training.
    pub padded_height: usize,
    /// Width of this image alone padded to the divisor.
    pub padded_width: usize,
}

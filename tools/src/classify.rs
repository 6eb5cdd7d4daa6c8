//! Classifiers: what a checkpoint of one says of its model, so that it can be used without a recipe.

use anyhow::{Result, ensure};
use burn::prelude::*;
use cvx_backbone::{Classifier, ClassifierConfig};
use cvx_data::{Filter, Pipeline, Sample, Transform};
use serde::{Deserialize, Serialize};

use crate::collate::collate;
use crate::recipe::{self, Input, checks};

/// What builds a [`Classifier`]; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The backbone.
    pub model: recipe::Model,
    /// What stands on it.
    pub classifier: Head,
}

/// What stands on a classifier's backbone: the mean over all positions, a norm, a linear layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of classes; 0: no linear layer.
    pub num_classes: usize,
}

impl Architecture {
    /// A classifier with random weights on `device`; seed the device before.
    pub fn init(&self, device: &Device) -> Classifier {
        ClassifierConfig::new(self.model.config(), self.classifier.num_classes).init(device)
    }
}

/// How an image becomes the input of a network that was trained to classify; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Subtracted from each channel, values 0 to 255, red first.
    pub mean: [f32; 3],
    /// Each channel is divided by it.
    pub std: [f32; 3],
    /// Side of the network's input, pixels.
    pub size: u32,
    /// The input is cut from the centre of an image whose shorter side is `size / crop_pct`; at 1.0 the image is
    /// resized to the square instead.
    pub crop_pct: f64,
    /// How images are resized.
    pub interpolation: Interpolation,
}

impl Preprocessing {
    /// What happens to an image that is judged or shown.
    pub fn pipeline(&self) -> Pipeline {
        let Self { mean: _, std: _, size, crop_pct, interpolation } = *self;
        let filter = match interpolation {
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Bicubic => Filter::Bicubic,
        };
        let centre = if crop_pct < 1.0 {
            // timm rounds down.
            let short = (f64::from(size) / crop_pct) as u32;
            Transform::ResizeAndCentreCrop { short, side: size, filter }
        } else {
            Transform::ResizeToSquare { side: size, filter }
        };
        Pipeline { transforms: vec![centre] }
    }

    /// Samples that [`pipeline`](Self::pipeline) made squares of, as the network's input.
    ///
    /// # Shapes
    /// - output: `[batch, 3, size, size]`
    pub fn images(&self, samples: &[Sample], device: &Device) -> Tensor<4> {
        images(samples, self.mean, self.std, device)
    }

    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { mean, std, size, crop_pct, interpolation: _ } = self;
        checks::check_normalisation(mean, std)?;
        checks::length("size", *size as usize)?;
        ensure!(*crop_pct > 0.0 && *crop_pct <= 1.0, "crop_pct = {crop_pct}: must be above 0, and at most 1");
        Ok(())
    }

    /// What the ConvNeXt repositories evaluate with: ImageNet's mean and deviation; below 384 pixels the shorter side
    /// goes to `size / 0.875` and the centre is cut out, from there on the image is resized to the square.
    pub fn official(size: u32) -> Self {
        Self {
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            size,
            crop_pct: if size < 384 { 0.875 } else { 1.0 },
            interpolation: Interpolation::Bicubic,
        }
    }
}

/// Samples of one size, a multiple of 32, as a network's input: `[batch, 3, height, width]`.
pub(crate) fn images(samples: &[Sample], mean: [f32; 3], std: [f32; 3], device: &Device) -> Tensor<4> {
    collate(samples, &Input { mean, std, pad_multiple: 32 }, device).images
}

/// How an image is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Interpolation {
    /// From two pixels in each direction.
    Bilinear,
    /// From four pixels in each direction.
    Bicubic,
}

impl Interpolation {
    /// The one of this name in timm's configurations.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "bilinear" => Some(Self::Bilinear),
            "bicubic" => Some(Self::Bicubic),
            _ => None,
        }
    }
}
